/* The limit of one thread: writes each event, as it was made once, to every client's socket, and does no more.
 *
 *     writer PORT FEED_PORT
 *
 * Any request on PORT is answered by an event stream; each line that comes on FEED_PORT is an event.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 65536, LINE = 65536, AT_ONCE = 1024 };
enum role { NOTHING, CLIENT_DOOR, FEED_DOOR, ASKING, READING, FEED };

struct connection {
    enum role role;
    int place;            /* among the readers */
    int head_matched;     /* bytes of the empty line that ends the request's head */
    char *pending;        /* what the socket did not take yet */
    size_t begin, end, room;
};

static const char HEAD[] = "HTTP/1.1 200 OK\r\n"
                           "Content-Type: text/event-stream\r\n"
                           "Cache-Control: no-cache\r\n"
                           "Connection: close\r\n"
                           "\r\n"
                           ": open\n\n";
static struct connection connections[MOST]; /* by file descriptor */
static int readers[MOST], reader_count, poller;
static char buffer[LINE], event[LINE + 16];
static size_t event_length;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void watch(int fd, int operation, uint32_t events) {
    struct epoll_event wanted = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, operation, fd, &wanted) < 0) fail("epoll_ctl");
}

static void take_in(int fd, enum role role) {
    if (fd >= MOST) {
        close(fd);
        return;
    }
    memset(&connections[fd], 0, sizeof connections[fd]);
    connections[fd].role = role;
    watch(fd, EPOLL_CTL_ADD, EPOLLIN);
}

static void drop(int fd) {
    struct connection *connection = &connections[fd];
    if (connection->role == READING) {
        int last = readers[--reader_count];
        readers[connection->place] = last;
        connections[last].place = connection->place;
    }
    free(connection->pending);
    memset(connection, 0, sizeof *connection);
    close(fd);
}

static void listen_on(int port, enum role role) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
    if (listen(fd, 4096) < 0) fail("listen");
    take_in(fd, role);
}

static void accept_all(int door) {
    int fd, one = 1;
    enum role role = connections[door].role == CLIENT_DOOR ? ASKING : FEED;
    while ((fd = accept4(door, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        take_in(fd, role);
    }
}

static void keep(struct connection *connection, const char *data, size_t length) {
    if (connection->end + length > connection->room) {
        connection->room = (connection->end + length) * 2;
        connection->pending = realloc(connection->pending, connection->room);
        if (!connection->pending) fail("realloc");
    }
    memcpy(connection->pending + connection->end, data, length);
    connection->end += length;
}

/* Returns whether the client is still there. */
static int put(int fd, const char *data, size_t length) {
    struct connection *connection = &connections[fd];
    ssize_t written = 0;
    if (connection->begin == connection->end) {
        written = write(fd, data, length);
        if (written == (ssize_t)length) return 1;
        if (written < 0 && errno != EAGAIN) {
            drop(fd);
            return 0;
        }
        if (written < 0) written = 0;
        watch(fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    keep(connection, data + written, length - written);
    return 1;
}

static void put_pending(int fd) {
    struct connection *connection = &connections[fd];
    ssize_t written = write(fd, connection->pending + connection->begin, connection->end - connection->begin);
    if (written < 0) {
        if (errno != EAGAIN) drop(fd);
        return;
    }
    connection->begin += written;
    if (connection->begin < connection->end) return;
    connection->begin = connection->end = 0;
    watch(fd, EPOLL_CTL_MOD, EPOLLIN);
}

static void put_to_all(void) {
    for (int place = 0; place < reader_count;)
        if (put(readers[place], event, event_length)) place++; /* else another has come to this place */
}

static void take_request(int fd, const char *text, size_t length) {
    struct connection *connection = &connections[fd];
    for (size_t place = 0; place < length && connection->head_matched < 4; place++) {
        if (text[place] == "\r\n\r\n"[connection->head_matched]) connection->head_matched++;
        else connection->head_matched = text[place] == '\r';
    }
    if (connection->head_matched < 4) return;
    connection->role = READING;
    connection->place = reader_count;
    readers[reader_count++] = fd;
    put(fd, HEAD, sizeof HEAD - 1);
}

static void take_lines(int fd, const char *text, size_t length) {
    struct connection *connection = &connections[fd];
    keep(connection, text, length);
    char *end;
    while ((end = memchr(connection->pending + connection->begin, '\n', connection->end - connection->begin))) {
        char *line = connection->pending + connection->begin;
        event_length = snprintf(event, sizeof event, "data: %.*s\n\n", (int)(end - line), line);
        if (event_length < sizeof event) put_to_all();
        connection->begin = end + 1 - connection->pending;
    }
    connection->end -= connection->begin;
    memmove(connection->pending, connection->pending + connection->begin, connection->end);
    connection->begin = 0;
}

static void take_event(int fd, uint32_t events) {
    enum role role = connections[fd].role;
    if (role == NOTHING) return; /* dropped since the poll */
    if (role == CLIENT_DOOR || role == FEED_DOOR) {
        accept_all(fd);
        return;
    }
    if (events & EPOLLOUT) put_pending(fd);
    if (!(events & ~EPOLLOUT) || connections[fd].role == NOTHING) return;
    ssize_t length = read(fd, buffer, sizeof buffer);
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) drop(fd);
    else if (role == ASKING) take_request(fd, buffer, length);
    else if (role == FEED) take_lines(fd, buffer, length);
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: writer PORT FEED_PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if ((poller = epoll_create1(0)) < 0) fail("epoll_create1");
    listen_on(atoi(arguments[2]), FEED_DOOR);
    listen_on(atoi(arguments[1]), CLIENT_DOOR);
    struct epoll_event found[AT_ONCE];
    for (;;) {
        int ready = epoll_wait(poller, found, AT_ONCE, -1);
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        for (int place = 0; place < ready; place++) take_event(found[place].data.fd, found[place].events);
    }
}
