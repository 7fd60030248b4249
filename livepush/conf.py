"""The ``LIVEPUSH`` setting: one name, one default, one place."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import lru_cache
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The values of ``LIVEPUSH``; times are seconds, sizes are bytes."""

    DATABASE: str = "default"
    """The database alias whose log the hubs read."""
    GROUP_NAMES: Mapping[str, str] = field(default_factory=dict)
    """The word with which the groups of a model's instances begin, by the model's label. The default is the model's
    name in lower case."""
    AUTHENTICATORS: tuple[str, ...] = ("livepush.access.authenticating.session", "livepush.access.authenticating.token")
    """Functions that take a request and return its user or ``None``, by their dotted paths. livepush asks them in this
    order, and takes the first user."""
    ALLOWED_ORIGINS: tuple[str, ...] = ()
    """The other origins whose pages may connect, such as ``https://app.example.com``."""
    HANDSHAKE: Sequence[str | Callable[..., Any]] = ()
    """Checks and middleware that run before a client is let in: functions, or dotted paths to them."""
    PUBLIC_USER: str = "livepush.publish.senders.id_and_name"
    """The function that returns what others may see of a user who sends, by its dotted path."""
    TENANT: str = ""
    """The class that tells to which tenant a request or the running code belongs, by its dotted path."""
    HINT: str = "auto"
    """How processes tell each other what was sent: ``auto``, ``channels``, ``notify`` or ``none``."""
    NOTIFY_DATABASE: str = ""
    """The alias of a direct connection to listen on for NOTIFY, if ``DATABASE`` leads through a transaction pooler."""
    CHANNEL_LAYER: str = "default"
    """The alias in ``CHANNEL_LAYERS`` that announcements travel through."""
    MAX_EVENT_BYTES: int = 65_536
    """The largest data of one event, as UTF-8 JSON."""
    MAX_GROUPS: int = 100
    """The most groups that one connection may ask for."""
    MAX_GROUPS_ANONYMOUS: int = 0
    """The most groups that one connection may ask for if nobody is logged in; with 0, as many as others."""
    MAX_CONNECTIONS: int = 20_000
    """The most streams and held polls of one server process."""
    MAX_CONNECTIONS_PER_USER: int = 200
    """The most streams and held polls that one user has with one server process."""
    MAX_CONNECTIONS_PER_ADDRESS: int = 1000
    """The most streams and held polls that one address has with one server process; needs ``TRUSTED_PROXIES``."""
    MAX_HANDSHAKES: int = 5000
    """How many clients may be on their way into one server process at once, including those that wait."""
    MAX_HANDSHAKES_PER_CLIENT: int = 200
    """How many of these clients may have the same session, token or address."""
    MAX_STREAM_AGE: float = 86_400.0
    """How long a stream stays open before its client is told to come back; with 0, there is no limit."""
    COMMANDS_PER_SECOND: float = 20.0
    """How many commands a user's WebSockets to one server process may send together, on average over five seconds."""
    MESSAGES_PER_SECOND: float = 10.0
    """How many of these commands may be messages to groups."""
    EPHEMERAL_PER_SECOND: float = 100.0
    """How many ephemeral messages a client may send on top of these. One that a handler takes counts as an ordinary
    message. Of each client's messages of one type to one group, a process that serves streams passes on the newest, 30
    times a second at most."""
    MESSAGE_BYTES_PER_SECOND: float = 262_144.0
    """How many bytes these messages may have together."""
    PUBLISHED_PER_SECOND: float = 1000.0
    """How many events one API key, or all publishers of Mercure's or of Pusher's protocol together, may publish with
    one server process, on average over five seconds."""
    RELAYS: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Message brokers and webhooks that events come from or go to: by name, what ``livepush_relay`` needs to know."""
    PUSHER: Mapping[str, Any] = field(default_factory=dict)
    """Pusher's app: ``APP_ID``, ``KEY``, ``SECRET``, ``WEBHOOK``, ``WEBHOOK_EVENTS`` and ``SUBSCRIPTION_COUNT``."""
    MERCURE: Mapping[str, Any] = field(default_factory=dict)
    """The keys of the tokens with which Mercure's publishers and subscribers come: ``KEY``, ``ALGORITHM`` and more."""
    GRIP: Mapping[str, Any] = field(default_factory=dict)
    """The Pushpins before a WSGI site: ``CONTROL_URI``, ``KEY``, ``SUBSCRIPTIONS``, ``PREFIX`` and ``CHECK``."""
    TRUSTED_PROXIES: tuple[str, ...] = ()
    """Proxies whose ``X-Forwarded-For`` is believed, or ``unix``. Without, connections are not limited by address."""
    METRICS_TOKEN: str = ""
    """The token with which a monitoring system may read ``metrics/``."""
    METRICS_ALLOWED: str = ""
    """Who else may read ``metrics/``: the dotted path of a function that returns ``True`` for such a request."""
    METRICS_INTERVAL: float = 10.0
    """How often a process stores its metrics for the others, if ``METRICS_TOKEN`` or ``METRICS_ALLOWED`` is set."""
    TRACING: bool = False
    """Whether OpenTelemetry gets spans of each event's send, settle and delivery."""
    RETENTION: float = 7 * 86_400.0
    """How long events stay in the log, and so how long a client can be away and still resume."""
    INBOX_RETENTION: float = 90 * 86_400.0
    """How long notifications stay in the inbox."""
    DEAD_LETTER_RETENTION: float = 30 * 86_400.0
    """How long messages and events that a relay could not relay stay in the admin."""
    STREAM_RETENTION: float = 7 * 86_400.0
    """How long the text of a stream stays after the stream has ended."""
    PRUNE_INTERVAL: float = 300.0
    """How often a hub deletes events that are older than their retention; with 0, only ``livepush_prune`` does."""
    TAIL_INTERVAL: float = 0.25
    """How often a hub reads the log when there is no layer and no NOTIFY, or when they fail."""
    TAIL_INTERVAL_WITH_LAYER: float = 2.0
    """How often a hub reads the log while the layer or NOTIFY works; a lost message delays an event by at most this."""
    HEARTBEAT: float = 15.0
    """About how often the server writes to a quiet stream, to keep it open. The longest pause is one and a half times
    as long."""
    RETRY: float = 2.0
    """How long an EventSource waits before it reconnects."""
    MAX_WAIT: float = 30.0
    """The longest time that the server holds a long poll."""
    WINDOW_EVENTS: int = 10_000
    """How many of the newest events a hub keeps in memory for reconnecting clients."""
    WINDOW_BYTES: int = 16 * 1_048_576
    """How many bytes of the newest events a hub keeps in memory."""
    BUFFER_BYTES: int = 262_144
    """How many unsent bytes a connection may hold; above that, livepush drops them and reads the events again later."""
    WRITE_TIMEOUT: float = 60.0
    """How long a write may make no progress before the connection is closed."""
    RECHECK: float = 60.0
    """How often a server asks again whether its clients may read what they read. Most changes end a right at once."""
    PRESENCE_GRACE: float = 5.0
    """How long a member stays in a group after the last connection has ended, so that a reload is no leave."""
    PRESENCE_LEASE: float = 15.0
    """How long the members of a server process that has died stay in their groups."""
    DRAIN: float = 5.0
    """When a server shuts down, its clients reconnect spread over this time."""
    DRAIN_STREAMS: float = 10.0
    """When a server shuts down, producers of streams and async handlers have this time; then they are interrupted."""
    DATABASE_THREADS: int = 4
    """How many threads, each with a database connection, a server process uses for sessions and rules."""
    DATABASE_TIMEOUT: float = 10.0
    """How long a query may take before livepush gives up its connection, and how long an async function may take."""
    PAGE_POSITIONS: bool = True
    """Whether the log's position is noted before a request's first query, so that ``{% livepush %}`` misses nothing."""
    MODEL_EVENTS: bool = True
    """Whether the signals of registered models send events; ``send_for`` does so anyway."""
    MODEL_EVENT_ERRORS: str = "auto"
    """What happens to errors of a ``ModelEvents``: ``raise``, ``log``, or ``auto`` (raise in tests and ``DEBUG``)."""


CHOICES = {
    "HINT": ("auto", "channels", "notify", "none"),
    "MODEL_EVENT_ERRORS": ("auto", "raise", "log"),
}
NAMES = tuple(each.name for each in fields(Settings))
EXAMPLES: Mapping[str, Any] = {
    "GROUP_NAMES": {"archive.Order": "archived-order"},
    "ALLOWED_ORIGINS": ["https://app.example.com"],
    "TRUSTED_PROXIES": ["127.0.0.1", "10.0.0.0/8"],
    "HANDSHAKE": ["mysite.live.check_address"],
    "RELAYS": {"orders": {"URL": "redis://127.0.0.1:6379", "STREAM": "orders", "GROUP": "order:{id}"}},
    "PUSHER": {"APP_ID": "1", "KEY": "mysite", "SECRET": "…"},
    "MERCURE": {"KEY": "a secret of 32 bytes or more"},
    "GRIP": {"CONTROL_URI": "http://127.0.0.1:5561", "KEY": "the sig_key of Pushpin"},
    "METRICS_ALLOWED": "mysite.live.may_read_metrics",
    "METRICS_TOKEN": "a long secret text",
    "TENANT": "livepush.tenants.DjangoTenants",
    "NOTIFY_DATABASE": "direct",
}
"""What the error about a bad value shows for settings whose default is empty."""
MAY_BE_ZERO = frozenset({"PRUNE_INTERVAL", "DRAIN", "DRAIN_STREAMS", "MAX_STREAM_AGE", "MAX_GROUPS_ANONYMOUS"})
SECRET = frozenset({"RELAYS", "PUSHER", "MERCURE", "GRIP", "METRICS_TOKEN"})
"""The settings whose values no error shows."""
MAX_SECONDS = 100 * 366 * 86_400
"""The longest time (seconds) of a setting: dates end, and JSON has no infinity."""
MAX_NUMBER = 2**53
"""The largest number of a setting that is no time."""
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,100}")


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the project's settings, defaults filled in.

    Raises ImproperlyConfigured: ``LIVEPUSH`` is not a dict, or a value has the wrong type or range. Unknown keys
    are left to the system checks.
    """
    given = getattr(django_settings, "LIVEPUSH", {})
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"LIVEPUSH must be a dict, not {type(given).__name__}.")
    return Settings(**{name: _checked(name, given[name]) for name in NAMES if name in given})


def load(name: str, given: str | Callable[..., Any]) -> Callable[..., Any]:
    """Return the callable that a setting gives, itself or by its dotted path.

    Raises ImproperlyConfigured: it can't be imported, can't be called, or is async. ``HANDSHAKE`` may be async.
    """
    try:
        found = import_string(given) if isinstance(given, str) else given
    except ImportError as error:
        raise ImproperlyConfigured(f"LIVEPUSH[{name!r}] names {given!r}, which can't be imported: {error}") from error
    if not callable(found):
        raise ImproperlyConfigured(f"LIVEPUSH[{name!r}] names {given!r}, which is {found!r}: expected a callable.")
    if name != "HANDSHAKE" and iscoroutinefunction(found):
        raise ImproperlyConfigured(f"LIVEPUSH[{name!r}] names {given!r}, which is async: expected a plain function.")
    return found


def _checked(name: str, value: Any) -> Any:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    default = getattr(Settings(), name)
    if name in ("RELAYS", "PUSHER", "MERCURE", "GRIP"):
        if isinstance(value, Mapping) and all(isinstance(each, str) for each in value):
            return value
    elif isinstance(default, dict):
        if isinstance(value, Mapping) and all(map(_is_group_name, value.items())):
            return {label.lower(): word for label, word in value.items()}
    elif isinstance(default, tuple):
        fits = {"TRUSTED_PROXIES": _is_network, "HANDSHAKE": _is_name}.get(name, _is_text)
        if isinstance(value, list | tuple) and all(map(fits, value)):
            return tuple(value)
    elif name in CHOICES:
        if value in CHOICES[name]:
            return value
        choices = ", ".join(map(repr, CHOICES[name]))
        raise ImproperlyConfigured(f"LIVEPUSH[{name!r}] is {value!r}: expected one of {choices}.")
    elif isinstance(default, bool | str):
        if isinstance(value, type(default)):
            return value
    elif not isinstance(value, bool) and isinstance(value, int | float) and _in_range(name, value, default):
        return type(default)(value)
    example = EXAMPLES.get(name, default)
    unit = " (seconds, or a timedelta)" if isinstance(default, float) and not name.endswith("_PER_SECOND") else ""
    if isinstance(default, int | float) and not isinstance(default, bool):
        unit += ", 0 or more" if name in MAY_BE_ZERO else ", above 0"
    shown = f"of type {type(value).__name__}" if name in SECRET else repr(value)
    raise ImproperlyConfigured(f"LIVEPUSH[{name!r}] is {shown}: expected something like {example!r}{unit}.")


def _is_group_name(item: tuple[Any, Any]) -> bool:
    label, word = item
    return isinstance(label, str) and isinstance(word, str) and bool(_WORD.fullmatch(word))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) or callable(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_network(value: Any) -> bool:
    try:
        return isinstance(value, str) and (value == "unix" or bool(ipaddress.ip_network(value, strict=False)))
    except ValueError:
        return False


def _in_range(name: str, value: float, default: float) -> bool:
    if value == 0:
        return name in MAY_BE_ZERO
    if isinstance(default, int):
        return 1 <= value <= MAX_NUMBER
    return 0 < value <= (MAX_NUMBER if name.endswith("_PER_SECOND") else MAX_SECONDS)


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "LIVEPUSH":
        get_settings.cache_clear()


setting_changed.connect(_forget, dispatch_uid="livepush.conf")
