/* The load of the fan-out benchmarks: many clients in one process (epoll), which count events without parsing them.
 *
 *     load PORT sse|ws|poll|socketio READY < commands
 *
 * An event is whatever holds "@NUMBER,MICROSECONDS;": its number (0 to 65535) and when it was sent (since 1970). A client
 * is ready when the text READY has come, or with READY empty, when the head of the response has.
 *
 * Commands, a line each; each but "request" and "loop" is answered by a line of JSON:
 *     request HEX      the request that clients which are opened from now on send; "{i}" becomes the client's number,
 *                      and in the mode poll "{since}" the position of the answer before
 *     open N AT_ONCE   open N more clients, so many at a time; answered when all are ready or have failed
 *     clear            forget what was counted
 *     until N MS       answered with the counts when N events have come to clients, or after so many milliseconds
 *     loop N           from now on say {"all": NUMBER} when an event has come to N clients; 0 for never
 *     close            close all clients
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { NUMBERS = 65536, HEAD = 8192, BODY = 1 << 21, BUCKETS = 8192 };
enum mode { SSE, WS, POLL, SOCKETIO };
enum scan { LOOKING, NUMBER, TIME };
enum framing { RAW, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, FRAME_HEAD, FRAME_DATA, BODY_DATA };

struct client {
    int fd, number, ready, status;
    enum framing framing;
    enum scan scan;
    uint64_t remaining, value, sent_at;
    long value_number, last;
    int head_length, header_length, control_length, opcode;
    unsigned char header[16], control[128];
    char head[HEAD + 1];
    char *body;
    size_t body_length;
    char since[96];
    uint64_t seen[NUMBERS / 64];
};

static enum mode mode;
static const char *ready_text;
static int port, poller, at_once, pending, to_open, opened, failed, lost;
static char *request;
static struct client **clients;
static int client_count;
static uint64_t deliveries, repeated, disorder, bytes, reads, reads_with_events, first_at, last_at, longest;
static uint64_t histogram[BUCKETS];
static uint32_t come_to[NUMBERS];
static uint32_t loop_clients;
static uint64_t until_deliveries, until_at, open_began;
static int opening, waiting;
static char buffer[1 << 18];

static uint64_t now_us(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (uint64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int bucket(uint64_t value) {
    if (value < 256) return value;
    int power = 63 - __builtin_clzll(value);
    int found = 256 + (power - 8) * 128 + ((value >> (power - 7)) & 127);
    return found < BUCKETS ? found : BUCKETS - 1;
}

static uint64_t floor_of(int place) {
    if (place < 256) return place;
    int power = (place - 256) / 128 + 8;
    return (1ULL << power) + ((uint64_t)((place - 256) % 128) << (power - 7));
}

static uint64_t quantile(double share) {
    uint64_t target = deliveries * share, sum = 0;
    for (int place = 0; place < BUCKETS; place++)
        if ((sum += histogram[place]) > target) return floor_of(place);
    return longest;
}

static void count(struct client *client, uint64_t number, uint64_t sent_at, uint64_t now) {
    if (number >= NUMBERS) return;
    uint64_t bit = 1ULL << (number % 64);
    if (client->seen[number / 64] & bit) {
        repeated++;
        return;
    }
    client->seen[number / 64] |= bit;
    if ((long)number < client->last) disorder++;
    else client->last = number;
    uint64_t age = now > sent_at ? now - sent_at : 0;
    histogram[bucket(age)]++;
    if (age > longest) longest = age;
    if (!deliveries++) first_at = now;
    last_at = now;
    if (++come_to[number] == loop_clients && loop_clients) printf("{\"all\": %lu}\n", number);
}

static void scan(struct client *client, const char *text, size_t length, uint64_t now) {
    const char *end = text + length;
    while (text < end) {
        if (client->scan == LOOKING) {
            text = memchr(text, '@', end - text);
            if (!text) return;
            text++;
            client->scan = NUMBER;
            client->value = 0;
        }
        uint64_t value = client->value;
        while (text < end && *text >= '0' && *text <= '9') value = value * 10 + (*text++ - '0');
        client->value = value;
        if (text == end) return;
        if (client->scan == NUMBER && *text == ',') {
            client->value_number = value;
            client->value = 0;
            client->scan = TIME;
            text++;
        } else {
            if (client->scan == TIME && *text == ';') count(client, client->value_number, value, now);
            client->scan = LOOKING;
        }
    }
}

static void drop(struct client *client, int is_failure) {
    if (client->fd < 0) return;
    close(client->fd);
    client->fd = -1;
    if (client->ready == 0) {
        pending--;
        failed++;
    } else if (is_failure) lost++;
    client->ready = -1;
}

static void become_ready(struct client *client) {
    if (client->ready) return;
    client->ready = 1;
    pending--;
    opened++;
}

static void put(struct client *client, const void *data, size_t length) {
    if (write(client->fd, data, length) != (ssize_t)length) drop(client, 1);
}

static void put_frame(struct client *client, int opcode, const unsigned char *data, size_t length) {
    unsigned char frame[140] = {0x80 | opcode, 0x80 | length, 0, 0, 0, 0};
    memcpy(frame + 6, data, length);
    put(client, frame, 6 + length);
}

static void replace(char *text, size_t room, const char *from, const char *to) {
    char *place = strstr(text, from);
    if (!place || strlen(text) + strlen(to) >= room) return;
    memmove(place + strlen(to), place + strlen(from), strlen(place + strlen(from)) + 1);
    memcpy(place, to, strlen(to));
}

static void ask(struct client *client) {
    char text[HEAD], number[16];
    snprintf(text, sizeof text, "%s", request);
    snprintf(number, sizeof number, "%d", client->number);
    while (strstr(text, "{i}")) replace(text, sizeof text, "{i}", number);
    replace(text, sizeof text, "{since}", client->since);
    client->head_length = 0;
    client->framing = RAW;
    client->status = 0;
    put(client, text, strlen(text));
}

static void take(struct client *client, const char *text, size_t length, uint64_t now) {
    if (!client->ready && client->fd >= 0) {
        size_t room = HEAD - client->head_length, part = length < room ? length : room;
        memcpy(client->head + client->head_length, text, part);
        client->head_length += part;
        client->head[client->head_length] = 0;
        if (strstr(client->head, ready_text)) become_ready(client);
    }
    scan(client, text, length, now);
}

static void take_control(struct client *client) {
    if (client->opcode == 9) put_frame(client, 10, client->control, client->control_length);
    else if (client->opcode == 8) drop(client, 1);
    else if (client->control[0] == '0' && client->control[1] == '{') put_frame(client, 1, (unsigned char *)"40", 2);
    else if (client->control[0] == '2' && client->control_length == 1) put_frame(client, 1, (unsigned char *)"3", 1);
}

static int header_size(const struct client *client) {
    if (client->header_length < 2) return 2;
    int length = client->header[1] & 127;
    return length == 126 ? 4 : length == 127 ? 10 : 2;
}

static void begin_frame(struct client *client) {
    int size = client->header_length;
    client->opcode = client->header[0] & 15;
    client->remaining = size == 2 ? client->header[1] & 127 : 0;
    for (int place = 2; place < size; place++) client->remaining = client->remaining << 8 | client->header[place];
    client->header_length = client->control_length = 0;
    client->framing = client->remaining ? FRAME_DATA : FRAME_HEAD;
    if (!client->remaining) take_control(client);
}

static void answer_taken(struct client *client, uint64_t now) {
    scan(client, client->body, client->body_length, now);
    client->body[client->body_length] = 0;
    char *place = client->body, *found = NULL;
    while ((place = strstr(place, "\"position\":"))) found = place += 11;
    if (found) {
        char *begin = strchr(found, '"') + 1, *end = strchr(begin, '"');
        snprintf(client->since, sizeof client->since, "%.*s", (int)(end - begin), begin);
    }
    become_ready(client);
    ask(client);
}

static void unframe(struct client *client, const char *text, size_t length, uint64_t now) {
    const char *end = text + length;
    while (text < end && client->fd >= 0) {
        size_t left = end - text, part = left < client->remaining ? left : client->remaining;
        switch (client->framing) {
        case RAW:
            take(client, text, left, now);
            return;
        case CHUNK_SIZE:
            if (*text == '\n') client->framing = client->remaining ? CHUNK_DATA : CHUNK_END;
            else if (isxdigit((unsigned char)*text))
                client->remaining = client->remaining * 16 + (*text <= '9' ? *text - '0' : (*text | 32) - 'a' + 10);
            text++;
            break;
        case CHUNK_DATA:
            take(client, text, part, now);
            text += part;
            if (!(client->remaining -= part)) client->framing = CHUNK_END;
            break;
        case CHUNK_END:
            if (*text++ == '\n') client->framing = CHUNK_SIZE;
            break;
        case FRAME_HEAD:
            client->header[client->header_length++] = *text++;
            if (client->header_length >= 2 && client->header_length == header_size(client)) begin_frame(client);
            break;
        case FRAME_DATA:
            take(client, text, part, now);
            for (size_t place = 0; place < part && client->control_length < 125; place++)
                client->control[client->control_length++] = text[place];
            text += part;
            if (!(client->remaining -= part)) {
                client->framing = FRAME_HEAD;
                if (client->opcode >= 8 || mode == SOCKETIO) take_control(client);
            }
            break;
        case BODY_DATA:
            if (client->body_length + part >= BODY) part = BODY - 1 - client->body_length;
            memcpy(client->body + client->body_length, text, part);
            client->body_length += part;
            text += part;
            if (!(client->remaining -= part)) answer_taken(client, now);
            break;
        }
    }
}

static void take_head(struct client *client, const char *text, size_t length, uint64_t now) {
    size_t room = HEAD - client->head_length, part = length < room ? length : room;
    memcpy(client->head + client->head_length, text, part);
    client->head[client->head_length + part] = 0;
    char *end = strstr(client->head, "\r\n\r\n");
    if (!end) {
        client->head_length += part;
        if (part < length) drop(client, 1);
        return;
    }
    size_t used = end + 4 - client->head - client->head_length;
    end[2] = 0;
    client->status = atoi(client->head + 9);
    if (client->status != 200 && client->status != 101) {
        drop(client, 1);
        return;
    }
    client->remaining = 0;
    if (mode == POLL) {
        char *size = strcasestr(client->head, "content-length:");
        client->remaining = size ? strtoull(size + 15, NULL, 10) : 0;
        client->body_length = 0;
        if (!client->body && !(client->body = malloc(BODY))) fail("malloc");
        client->framing = BODY_DATA;
    } else if (client->status == 101) client->framing = FRAME_HEAD;
    else client->framing = strcasestr(client->head, "transfer-encoding: chunked") ? CHUNK_SIZE : RAW;
    client->head_length = 0;
    if (!*ready_text && mode != POLL) become_ready(client);
    unframe(client, text + used, length - used, now);
}

static void open_more(void) {
    while (to_open > 0 && pending < at_once) {
        struct client *client = calloc(1, sizeof *client);
        if (!client) fail("calloc");
        client->number = client_count;
        client->last = -1;
        client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (client->fd < 0) fail("socket");
        int one = 1;
        setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        struct epoll_event event = {.events = EPOLLOUT, .data.ptr = client};
        if (connect(client->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) fail("connect");
        if (epoll_ctl(poller, EPOLL_CTL_ADD, client->fd, &event) < 0) fail("epoll_ctl");
        clients[client_count++] = client;
        to_open--;
        pending++;
    }
    if (opening && !to_open && !pending) {
        opening = 0;
        printf("{\"opened\": %d, \"failed\": %d, \"seconds\": %.6f}\n", opened, failed, (now_us() - open_began) / 1e6);
    }
}

static void take_event(struct client *client, uint32_t events) {
    if (client->fd < 0) return;
    if (events & EPOLLOUT) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
        epoll_ctl(poller, EPOLL_CTL_MOD, client->fd, &event);
        ask(client);
        return;
    }
    ssize_t length = read(client->fd, buffer, sizeof buffer);
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) {
        drop(client, 1);
        return;
    }
    reads++;
    bytes += length;
    uint64_t before = deliveries;
    if (client->status) unframe(client, buffer, length, now_us());
    else take_head(client, buffer, length, now_us());
    reads_with_events += deliveries > before;
}

static void report(void) {
    waiting = 0;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"deliveries\": %lu, \"repeated\": %lu, \"disorder\": %lu, \"bytes\": %lu, \"reads\": %lu, "
           "\"reads_with_events\": %lu, \"first\": %.6f, \"last\": %.6f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"most_ms\": %.3f, "
           "\"open\": %d, \"lost\": %d, \"cpu\": %.3f}\n",
           deliveries, repeated, disorder, bytes, reads, reads_with_events, first_at / 1e6, last_at / 1e6,
           quantile(0.5) / 1e3, quantile(0.99) / 1e3, longest / 1e3, opened - lost, lost,
           used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
}

static void clear(void) {
    deliveries = repeated = disorder = bytes = reads = reads_with_events = first_at = last_at = longest = 0;
    memset(histogram, 0, sizeof histogram);
    memset(come_to, 0, sizeof come_to);
    for (int place = 0; place < client_count; place++) {
        memset(clients[place]->seen, 0, sizeof clients[place]->seen);
        clients[place]->last = -1;
    }
}

static void unhex(const char *text) {
    free(request);
    request = calloc(1, strlen(text) / 2 + 2);
    for (size_t place = 0; text[place] && text[place + 1] && text[place] != '\n'; place += 2) {
        unsigned value;
        sscanf(text + place, "%2x", &value);
        request[place / 2] = value;
    }
}

static void obey(const char *line) {
    int number, other;
    if (!strncmp(line, "request ", 8)) unhex(line + 8);
    else if (sscanf(line, "open %d %d", &to_open, &at_once) == 2) {
        clients = realloc(clients, sizeof *clients * (client_count + to_open));
        opening = 1;
        open_began = now_us();
    } else if (sscanf(line, "until %d %d", &number, &other) == 2) {
        waiting = 1;
        until_deliveries = number;
        until_at = now_us() + other * 1000ULL;
    } else if (sscanf(line, "loop %d", &number) == 1) loop_clients = number;
    else if (!strncmp(line, "clear", 5)) {
        clear();
        puts("{}");
    } else if (!strncmp(line, "close", 5)) {
        for (int place = 0; place < client_count; place++) {
            if (clients[place]->fd >= 0) close(clients[place]->fd);
            free(clients[place]->body);
            free(clients[place]);
        }
        client_count = opened = failed = lost = pending = 0;
        puts("{}");
    } else fail("unknown command");
}

static void listen_to_commands(void) {
    static char line[65536];
    static size_t length;
    ssize_t more = read(0, line + length, sizeof line - length - 1);
    if (more <= 0) exit(0);
    length += more;
    char *end;
    while ((end = memchr(line, '\n', length))) {
        *end = 0;
        obey(line);
        length -= end + 1 - line;
        memmove(line, end + 1, length);
    }
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fputs("usage: load PORT sse|ws|poll|socketio READY\n", stderr);
        return 2;
    }
    port = atoi(argv[1]);
    mode = !strcmp(argv[2], "ws") ? WS : !strcmp(argv[2], "poll") ? POLL : !strcmp(argv[2], "socketio") ? SOCKETIO : SSE;
    ready_text = argv[3];
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    poller = epoll_create1(0);
    struct epoll_event commands = {.events = EPOLLIN, .data.ptr = NULL}, found[512];
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &commands);
    for (;;) {
        int number = epoll_wait(poller, found, 512, waiting ? 20 : -1);
        for (int place = 0; place < number; place++)
            if (found[place].data.ptr) take_event(found[place].data.ptr, found[place].events);
        for (int place = 0; place < number; place++)
            if (!found[place].data.ptr) listen_to_commands();
        open_more();
        if (waiting && (deliveries >= until_deliveries || now_us() >= until_at)) report();
    }
}
