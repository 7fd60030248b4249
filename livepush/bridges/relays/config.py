"""``LIVEPUSH["RELAYS"]``: which messages become which events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from livepush.bridges.relays.models import MAX_NAME_LENGTH
from livepush.conf import get_settings, load

KINDS = {"redis": "redis", "rediss": "redis", "valkey": "redis", "unix": "redis", "nats": "nats", "tls": "nats"}
"""The kind of broker by its address's scheme."""
FIELDS = {"URL", "STREAM", "SUBJECT", "GROUP", "TYPE", "MAP", "START", "TENANT"}
STARTS = ("first", "new")


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """One of the project's relays."""

    name: str
    kind: str
    url: str
    stream: str
    subject: str = ">"
    """Which of a NATS stream's subjects are relayed."""
    group: str = ""
    """A template of the group, such as ``order:{id}``."""
    type: str = "message"
    """A template of the type."""
    map: Callable[[Any], Any] | None = None
    """The project's function, in place of the templates."""
    start: str = "first"
    """Whether the first run begins with the first message that the broker has, or with the next one."""
    tenant: str | None = None


def relay(name: str) -> Relay:
    """Return a relay by its name. Raises ImproperlyConfigured: there is none, or its settings are malformed."""
    known = get_settings().RELAYS
    if name not in known:
        listed = ", ".join(map(repr, known)) or "none"
        raise ImproperlyConfigured(f"LIVEPUSH['RELAYS'] has no {name!r}: it has {listed}.")
    return _relay(name, known[name])


def check_all() -> None:
    """Raise ImproperlyConfigured if the settings of a relay are malformed."""
    for name in get_settings().RELAYS:
        relay(name)


def _relay(name: str, given: Any) -> Relay:
    where = f"LIVEPUSH['RELAYS'][{name!r}]"
    if not isinstance(given, Mapping) or not all(isinstance(given.get(each), str) for each in ("URL", "STREAM")):
        raise ImproperlyConfigured(f"{where} is {given!r}: expected a dict with URL and STREAM, both texts.")
    unknown = sorted(set(given) - FIELDS)
    if unknown:
        raise ImproperlyConfigured(f"{where} has {unknown[0]!r}, which nothing reads: expected {sorted(FIELDS)}.")
    scheme = given["URL"].partition(":")[0]
    if scheme not in KINDS:
        raise ImproperlyConfigured(f"{where}['URL'] begins with {scheme!r}: expected one of {sorted(KINDS)}.")
    if ("MAP" in given) == ("GROUP" in given):
        raise ImproperlyConfigured(
            f"{where} needs either GROUP, a template such as 'order:{{id}}', or MAP, a function."
        )
    if given.get("START", "first") not in STARTS or len(name) > MAX_NAME_LENGTH:
        raise ImproperlyConfigured(
            f"{where}: expected START to be one of {STARTS}, and a name of 100 characters at most."
        )
    plain = {field.lower(): given[field] for field in FIELDS - {"MAP"} if field in given}
    return Relay(name=name, kind=KINDS[scheme], map=load("RELAYS", given["MAP"]) if "MAP" in given else None, **plain)
