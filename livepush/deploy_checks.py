"""livepush's checks for ``manage.py check --deploy``: settings that are risky in production. Each names its remedy."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Warning, register
from django.core.exceptions import ImproperlyConfigured

from livepush.conf import Settings, get_settings
from livepush.wire import MORE_BYTES

DAPHNE = (4, 2, 2)
"""The first daphne that limits what a WebSocket may send."""
LONGEST_RECHECK = 600.0
LONGEST_DRAIN = 25.0
"""Kubernetes kills a server 30 s after SIGTERM, if it is told nothing else."""
SHORTEST_TOKEN = 16
SAMPLES = frozenset(
    {
        "a long random text",
        "only for development",
        "only for development, at least 32 bytes",
        "the-same-secret-as-the-sig_key-of-Pushpin",
        "what the command has printed, which only this server knows",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    }
)
"""The secrets in the manual's examples."""
LOCAL = ("localhost", "localhost.localdomain", "")
ENCRYPTED = ("rediss", "valkeys", "tls", "wss", "unix")
BROKERS = ("channels_redis", "channels_valkey", "channels_nats")
"""The packages of layers that have servers of their own. Others use a database, which is not livepush's to check."""


@register("livepush", deploy=True)
def check_deployment(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check for settings that are risky where others can reach the site."""
    try:
        found = get_settings()
    except ImproperlyConfigured:
        return []  # check_settings reports it
    return [message for check in CHECKS for message in check(found)]


def _debug(found: Settings) -> Iterator[Warning]:
    if settings.DEBUG:
        yield Warning(
            "DEBUG is on: pages of errors show settings and code to anybody, and an error in a ModelEvents (see "
            "MODEL_EVENT_ERRORS) makes a save fail.",
            hint="Set DEBUG = False.",
            id="livepush.W010",
        )


def _layer(found: Settings) -> Iterator[Warning]:
    layer = getattr(settings, "CHANNEL_LAYERS", {}).get(found.CHANNEL_LAYER, {})
    config = layer.get("CONFIG") or {}
    if not str(layer.get("BACKEND", "")).startswith(BROKERS) or config.get("symmetric_encryption_keys"):
        return
    hosts = sorted({host for host in map(_open_host, _servers(config)) if host is not None})
    if hosts:
        yield Warning(
            f"The channel layer sends events to {', '.join(hosts)} in the clear. They are signed, but not secret.",
            hint="Use an encrypted address (rediss://…, tls://…), or set 'symmetric_encryption_keys' in its CONFIG.",
            id="livepush.W011",
        )


def _servers(config: Mapping[str, Any]) -> Iterator[Any]:
    for name in ("hosts", "servers"):
        given = config.get(name) or ()
        yield from [given] if isinstance(given, str | bytes | Mapping) else given


def _open_host(server: Any) -> str | None:
    """Return the host of a layer's server that is another one and reached in the clear; ``None`` otherwise."""
    if isinstance(server, Mapping):
        if server.get("ssl") or "SSL" in str(server.get("connection_class", "")):
            return None
        sentinels = server.get("sentinels")
        if sentinels:
            return next((host for host in map(_open_host, sentinels) if host is not None), None)
        server = server.get("address") or (server.get("host", ""), 0)
    if isinstance(server, bytes):
        server = server.decode(errors="replace")
    if isinstance(server, str):
        try:
            parts = urlsplit(server if "://" in server else f"//{server}")
        except ValueError:
            return None  # the layer says what is wrong with it
        if parts.scheme in ENCRYPTED or server.startswith("/"):
            return None
        return _unless_local(parts.hostname or "")
    return _unless_local(str(server[0])) if isinstance(server, list | tuple) and server else None


def _unless_local(host: str) -> str | None:
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = host.lower() in LOCAL
    return None if is_local else host


def _origins(found: Settings) -> Iterator[Warning]:
    if "*" in found.ALLOWED_ORIGINS:
        yield Warning(
            "LIVEPUSH['ALLOWED_ORIGINS'] has '*', so pages of any site may read what nobody must log in for, and use "
            "tokens that they get hold of.",
            hint="Name the origins, such as 'https://app.example.com'.",
            id="livepush.W012",
        )


def _hosts(found: Settings) -> Iterator[Warning]:
    if "*" in settings.ALLOWED_HOSTS:
        yield Warning(
            "ALLOWED_HOSTS has '*', so the check of a WebSocket's origin compares it with any host that a client "
            "names: a page whose name leads to this server's address passes (DNS rebinding).",
            hint="Name the site's hosts.",
            id="livepush.W013",
        )


def _proxies(found: Settings) -> Iterator[Warning]:
    names = ("SECURE_PROXY_SSL_HEADER", "USE_X_FORWARDED_HOST", "USE_X_FORWARDED_PORT")
    given = [name for name in names if getattr(settings, name)]
    if given and not found.TRUSTED_PROXIES:
        yield Warning(
            f"{' and '.join(given)} tell that there is a proxy, and LIVEPUSH['TRUSTED_PROXIES'] does not name it: a "
            "single address may take all connections of a process.",
            hint="List the proxies' addresses or networks, such as ['127.0.0.1'], or 'unix' for a Unix socket.",
            id="livepush.W014",
        )


def _daphne(found: Settings) -> Iterator[Warning]:
    try:
        version = metadata.version("daphne")
    except metadata.PackageNotFoundError:
        return
    if tuple(map(int, re.findall(r"\d+", version)[:3])) < DAPHNE:
        yield Warning(
            f"daphne {version} takes WebSocket messages of any size, from anybody.",
            hint='pip install "daphne>=4.2.2"',
            id="livepush.W015",
        )


def _recheck(found: Settings) -> Iterator[Warning]:
    if found.RECHECK > LONGEST_RECHECK:
        yield Warning(
            f"LIVEPUSH['RECHECK'] is {found.RECHECK:g} seconds: for so long a stream may go on after a right has ended "
            "by what sends no signal, such as raw SQL or a session that was deleted.",
            hint=f"Set it to {LONGEST_RECHECK:g} or less; the default is 60.",
            id="livepush.W016",
        )


def _drain(found: Settings) -> Iterator[Warning]:
    if found.DRAIN_STREAMS > LONGEST_DRAIN:
        yield Warning(
            f"LIVEPUSH['DRAIN_STREAMS'] is {found.DRAIN_STREAMS:g} seconds. Many supervisors kill a server that takes "
            "over 30 to end: its streams are then interrupted some seconds later, without their last text.",
            hint=f"Set it to {LONGEST_DRAIN:g} or less, or give the server more time (Kubernetes: "
            "terminationGracePeriodSeconds; systemd: TimeoutStopSec) and silence this check.",
            id="livepush.W019",
        )


def _sessions(found: Settings) -> Iterator[Warning]:
    if settings.SESSION_ENGINE == "django.contrib.sessions.backends.signed_cookies":
        yield Warning(
            "SESSION_ENGINE keeps sessions in signed cookies. The server has nothing to delete, so a copy of a cookie "
            "reads on after the logout, until it is SESSION_COOKIE_AGE old or the password changes.",
            hint="Use another engine, such as 'django.contrib.sessions.backends.cached_db'.",
            id="livepush.W017",
        )


def _metrics(found: Settings) -> Iterator[Warning]:
    if 0 < len(found.METRICS_TOKEN) < SHORTEST_TOKEN:
        yield Warning(
            f"LIVEPUSH['METRICS_TOKEN'] has {len(found.METRICS_TOKEN)} characters, so it can be guessed.",
            hint=f"Take a random one of {SHORTEST_TOKEN} characters or more.",
            id="livepush.W020",
        )


def _uploads(found: Settings) -> Iterator[Warning]:
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if limit is not None and limit < found.MAX_EVENT_BYTES + MORE_BYTES:
        yield Warning(
            f"DATA_UPLOAD_MAX_MEMORY_SIZE is {limit}, so Django refuses messages and published events that "
            f"LIVEPUSH['MAX_EVENT_BYTES'] ({found.MAX_EVENT_BYTES}) allows.",
            hint=f"Set it to {found.MAX_EVENT_BYTES + MORE_BYTES} or more, or lower MAX_EVENT_BYTES. The proxy has a "
            "limit too (nginx: client_max_body_size).",
            id="livepush.W028",
        )


def _samples(found: Settings) -> Iterator[Warning]:
    given = {field.name: getattr(found, field.name) for field in fields(found)}
    names = [*_of_manual(_secret_key(), "SECRET_KEY"), *_of_manual(given, "LIVEPUSH")]
    if names:
        yield Warning(
            f"{' and '.join(names)}: this secret stands in livepush's manual, so anybody can use it.",
            hint="Take a random one, and keep it out of the code: in an environment variable, for example.",
            id="livepush.W023",
        )


def _secret_key() -> str:
    try:
        found: str = settings.SECRET_KEY
    except ImproperlyConfigured:
        return ""  # Django's own check says so
    return found


def _of_manual(value: Any, name: str) -> Iterator[str]:
    """Yield where in a setting there is a secret of the manual."""
    if isinstance(value, str):
        if value in SAMPLES:
            yield name
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _of_manual(part, f"{name}[{key!r}]")
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _of_manual(part, name)


CHECKS: Iterable[Callable[[Settings], Iterator[Warning]]] = (
    _debug, _layer, _origins, _hosts, _proxies, _daphne, _recheck, _drain, _sessions, _metrics, _uploads, _samples,
)  # fmt: skip
