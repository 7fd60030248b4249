"""Everything that the doctor can find, with its remedy. ``docs/commands.md`` lists it for readers."""

from __future__ import annotations

from enum import Enum


class Level(Enum):
    """How bad a finding is."""

    ERROR = "error"
    """Something that livepush promises, or that was configured, does not work."""
    WARNING = "warning"
    """It works, but slower, less safely or for fewer clients than it could."""


class Problem(Enum):
    """Every problem that the doctor can find: a stable id, a level, a title, the expected state, and the remedy."""

    level: Level
    title: str
    expected: str
    remedy: str

    def __new__(cls, id: str, level: Level, title: str, expected: str, remedy: str) -> Problem:
        member = object.__new__(cls)
        member._value_ = id
        member.level, member.title, member.expected, member.remedy = level, title, expected, remedy
        return member

    DATABASE_SILENT = (
        "D001", Level.ERROR, "the database does not answer", "an answer within the time limit",
        "start the database, or correct `DATABASES` and the network between",
    )  # fmt: skip
    NOT_MIGRATED = (
        "D002", Level.ERROR, "livepush's tables are missing or old", "all migrations of livepush applied",
        "`manage.py migrate livepush`",
    )  # fmt: skip
    NOT_SETTLED = (
        "D003", Level.ERROR, "an event that was sent gets no position", "a position within the time limit",
        "end the session that holds the row of `livepush_loghead`, and see that the database takes writes",
    )  # fmt: skip
    WAITING = (
        "D004", Level.WARNING, "committed events waited for their positions for over a minute",
        "positions within a second or so",
        "see that a server with a hub runs: it settles what a killed process left",
    )  # fmt: skip
    SLOW_DATABASE = (
        "D005", Level.WARNING, "the database is far away", "a round trip under 20 ms",
        "run the site near its database: each send takes several round trips",
    )  # fmt: skip
    NO_SKIP_LOCKED = (
        "D006", Level.WARNING, "the database has no `SKIP LOCKED`, so processes that send wait for each other",
        "MariaDB 10.6, MySQL 8.0, or PostgreSQL", "update the database",
    )  # fmt: skip
    SQLITE_OPTIONS = (
        "D007", Level.WARNING, "SQLite's readers and writers hold each other up",
        "`journal_mode` WAL and `transaction_mode` IMMEDIATE", "set `OPTIONS` as docs/deploying.md does",
    )  # fmt: skip
    LONG_TRANSACTION = (
        "D008", Level.WARNING, "a transaction has been open for over ten minutes, so sending and reading get slower",
        "transactions of seconds",
        "end the session that the finding names; take dumps from a standby, and set "
        "`idle_in_transaction_session_timeout` on PostgreSQL (docs/deploying.md)",
    )  # fmt: skip
    LAYER_SILENT = (
        "D011", Level.ERROR, "the channel layer does not answer", "a message back within the time limit",
        "start Redis, or correct `CHANNEL_LAYERS`; events arrive through the log meanwhile, ephemeral ones do not",
    )  # fmt: skip
    LAYER_DROPS = (
        "D012", Level.WARNING, "the channel layer drops messages of a burst", "every message of the burst",
        "use `channels_redis.pubsub.RedisPubSubChannelLayer`; what is lost arrives through the log, later",
    )  # fmt: skip
    LAYER_LATE = (
        "D013", Level.WARNING, "the channel layer answers late",
        "a round trip under 250 ms, and a burst within seconds",
        "use a faster layer (docs/deploying.md names those that are tested), or take `CHANNEL_LAYERS` out: without a "
        "layer, events arrive within `TAIL_INTERVAL`",
    )  # fmt: skip
    NOTIFY_SILENT = (
        "D014", Level.WARNING, "NOTIFY does not arrive, so events of other processes arrive through the log",
        "a notification back within the time limit",
        "give `NOTIFY_DATABASE` an alias that leads past the pooler (PgBouncer in transaction mode brings none), or "
        "set `HINT` to `none`",
    )  # fmt: skip
    NOTIFY_QUEUE = (
        "D015", Level.WARNING, "the queue of PostgreSQL's notifications is filling up",
        "under half of the queue in use",
        "end the session that listens in a transaction that stays open (`pg_stat_activity`): it keeps the queue",
    )  # fmt: skip
    NOT_PRUNED = (
        "D021", Level.WARNING, "events past their retention are still there", "none much older than `RETENTION`",
        "run a server with `PRUNE_INTERVAL` above 0, or `manage.py livepush_prune` from a timer",
    )  # fmt: skip
    PRUNED_RARELY = (
        "D022", Level.WARNING, "`PRUNE_INTERVAL` is longer than `RETENTION`", "several prunings within the retention",
        "set `PRUNE_INTERVAL` well below `RETENTION`",
    )  # fmt: skip
    CLOCK_OFF = (
        "D031", Level.WARNING, "clocks differ by over 5 seconds", "the same time everywhere",
        "run NTP (chrony, systemd-timesyncd) on every host",
    )  # fmt: skip
    CLOCK_WRONG = (
        "D032", Level.ERROR, "clocks differ by over a minute", "the same time everywhere",
        "run NTP (chrony, systemd-timesyncd) on every host: retention, sessions and tokens depend on it",
    )  # fmt: skip
    UNREACHABLE = (
        "D041", Level.ERROR, "nothing answers at the URL", "an HTTP answer",
        "see that the proxy and the server run, and that name, port and certificate are right; if this host does not "
        "trust your own certificate, set `SSL_CERT_FILE` to its path",
    )  # fmt: skip
    NOT_LIVEPUSH = (
        "D042", Level.ERROR, "livepush does not answer at the URL", "livepush's own answer from `sse/`",
        "give `--url` the address of the site's root, as browsers open it; include `livepush.urls`; let the proxy pass "
        "livepush's prefix to the server",
    )  # fmt: skip
    STRANGER = (
        "D043", Level.ERROR, "the server does not know this command's token", "the same `SECRET_KEY` on both sides",
        "run the command with the settings and the version that the server runs with; see that the clocks agree",
    )  # fmt: skip
    POLLS_ONLY = (
        "D044", Level.WARNING, "livepush's ASGI application does not answer, so browsers can only poll",
        "an ASGI server",
        "take `get_asgi_application` from `livepush.asgi` in the module that the server loads, and run uvicorn, "
        "granian, gunicorn, hypercorn or daphne",
    )  # fmt: skip
    HOST_REFUSED = (
        "D045", Level.ERROR, "Django refuses the host", "a host that `ALLOWED_HOSTS` has",
        "add the site's host to `ALLOWED_HOSTS`; nginx: `proxy_set_header Host $http_host;`",
    )  # fmt: skip
    HOST_CHANGED = (
        "D046", Level.WARNING, "the proxy changes the `Host` header, so browsers' WebSockets are refused",
        "the host as the browser sent it",
        "nginx: `proxy_set_header Host $http_host;`; or add the site to `CSRF_TRUSTED_ORIGINS`",
    )  # fmt: skip
    TAKEN_FOR_HTTP = (
        "D047", Level.WARNING, "the server takes https for http", "a request that Django holds for secure",
        "nginx: `proxy_set_header X-Forwarded-Proto $scheme;`, and have it heeded: `SECURE_PROXY_SSL_HEADER`, or the "
        "server's own option (daphne: `--proxy-headers`)",
    )  # fmt: skip
    NO_HTTP2 = (
        "D048", Level.WARNING, "browsers get HTTP/1.1, and six connections for all tabs of the site", "HTTP/2",
        "nginx: `listen 443 ssl http2;` (from 1.25.1 on: `http2 on;`)",
    )  # fmt: skip
    REFUSED = (
        "D049", Level.WARNING, "livepush refuses this command", "an answer as browsers get it",
        "run the command from where `HANDSHAKE` and the authenticators let clients in, with a `--url` whose host is a "
        "tenant's; if the code is `throttled`, run it again later",
    )  # fmt: skip
    NOBODY_ENTERS = (
        "D050", Level.ERROR, "the server can't let anybody in now", "livepush's own answer from `sse/`",
        "see the server's log, and whether a check in `HANDSHAKE` answers 503, as for maintenance",
    )  # fmt: skip
    BUFFERED = (
        "D051", Level.ERROR, "the proxy holds the stream back", "each frame as soon as it was sent",
        "nginx: `proxy_buffering off;`, and no `proxy_ignore_headers X-Accel-Buffering;`",
    )  # fmt: skip
    COMPRESSED = (
        "D052", Level.WARNING, "the proxy compresses the stream", "no `Content-Encoding`",
        "nginx: `gzip off;` there, or leave `text/event-stream` out of `gzip_types`, and pass on `Content-Encoding`",
    )  # fmt: skip
    HEADERS_LOST = (
        "D053", Level.WARNING, "the proxy changes the stream's headers",
        "`Cache-Control: no-store, no-transform` and `Content-Type: text/event-stream`",
        "nginx: no `proxy_hide_header`, `proxy_ignore_headers` or `expires` for livepush's prefix",
    )  # fmt: skip
    STREAM_BROKEN = (
        "D054", Level.ERROR, "the stream does not come through", "status 200 and every frame",
        "see what the proxy's log says; nginx: `proxy_pass` to the ASGI server for all of livepush's prefix",
    )  # fmt: skip
    IDLE_CUT = (
        "D055", Level.ERROR, "a quiet stream is cut before its next heartbeat", "a stream that outlives a heartbeat",
        "nginx: `proxy_read_timeout 60s;`; or a shorter `HEARTBEAT`",
    )  # fmt: skip
    NO_POLLS = (
        "D056", Level.WARNING, "polls do not come through", "livepush's own answer from `poll/`",
        "let the proxy pass all of livepush's prefix to the server: a browser polls where nothing else works",
    )  # fmt: skip
    NO_SCRIPT = (
        "D057", Level.ERROR, "browsers do not get the client's script, so no page is live",
        "JavaScript at the address that `{% livepush %}` puts into pages",
        "`manage.py collectstatic`, and have `STATIC_ROOT` served at `STATIC_URL`, by the proxy, by WhiteNoise or by a "
        "CDN: uvicorn, daphne and the like serve no static files by themselves",
    )  # fmt: skip
    NO_UPGRADE = (
        "D061", Level.WARNING, "the proxy strips the WebSocket upgrade", "status 101",
        "nginx: `proxy_http_version 1.1;`, `proxy_set_header Upgrade $http_upgrade;` and "
        "`proxy_set_header Connection $connection_upgrade;`",
    )  # fmt: skip
    NO_WEBSOCKETS = (
        "D062", Level.WARNING, "the server does not speak WebSocket", "status 101",
        "`pip install websockets` beside uvicorn, and no `--ws none`",
    )  # fmt: skip
    WEBSOCKET_MUTE = (
        "D063", Level.WARNING, "a WebSocket opens, but messages do not pass both ways", "each message and its echo",
        "see that nothing between browser and server inspects or limits WebSockets",
    )  # fmt: skip
    MESSAGE_REFUSED = (
        "D064", Level.WARNING, "a message of the largest size does not pass over WebSocket",
        "its echo, for messages of `MAX_EVENT_BYTES`",
        "lower `MAX_EVENT_BYTES`; or raise the server's limit (uvicorn: `--ws-max-size`, daphne: "
        "`--websocket-max-message-size` and `--websocket-max-frame-size`) and that of the proxy",
    )  # fmt: skip
    SOCKET_COMPRESSED = (
        "D065", Level.WARNING, "the server compresses WebSockets: few bytes may unpack into many, for anybody",
        "no permessage-deflate",
        "uvicorn: `--ws-per-message-deflate false`; do not wrap the server's `send` where livepush is called",
    )  # fmt: skip
    HANDSHAKE_REFUSED = (
        "D066", Level.WARNING, "something else than livepush answers a WebSocket's handshake", "status 101",
        "see what answers so: a proxy whose path for `ws/` leads elsewhere (404) or to a server that is down (502), a "
        "redirect, a login or a firewall in front of the site; let livepush's prefix pass as other requests do",
    )  # fmt: skip
    DEBUG_ON = (
        "D071", Level.ERROR, "the server runs with `DEBUG`", "`DEBUG = False`",
        "set `DEBUG = False`: it shows settings to strangers and keeps every query in memory",
    )  # fmt: skip
    FEW_FILES = (
        "D072", Level.WARNING, "the server may open few files", "4096 or more: each client takes one",
        "`LimitNOFILE=65536` in the systemd unit, or `ulimit -n 65536` before the server starts",
    )  # fmt: skip
    NO_GRACE = (
        "D074", Level.WARNING, "uvicorn waits without a limit for clients that do not read when it ends",
        "a limit", "`uvicorn --timeout-graceful-shutdown 5`",
    )  # fmt: skip
    OTHER_LOG = (
        "D075", Level.ERROR, "the server has another log than this command", "the same epoch",
        "run the command with the server's `DATABASES`; after a restore see docs/deploying.md",
    )  # fmt: skip
    HUB_BEHIND = (
        "D076", Level.ERROR, "the server's hub does not keep up with the log", "the log's position within seconds",
        "see the server's log for what keeps it from reading the database",
    )  # fmt: skip
    HUB_BROKEN = (
        "D077", Level.ERROR, "the server can't read the log", "a hub that runs",
        "see that the server reaches the database, and what its log says",
    )  # fmt: skip
    OTHER_VERSION = (
        "D078", Level.WARNING, "the server runs another version of livepush", "one version everywhere",
        "restart the server after an update",
    )  # fmt: skip
    LONG_URL = (
        "D079", Level.WARNING, "an address with `MAX_GROUPS` groups is refused",
        "an answer to an address of that length",
        "lower `MAX_GROUPS`; or raise the limits: nginx: `large_client_header_buffers 4 64k;`, uvicorn: "
        "`--h11-max-incomplete-event-size`, gunicorn: `--limit-request-line 8190`, hypercorn: "
        "`h11_max_incomplete_size`; daphne's is 16 KiB",
    )  # fmt: skip
