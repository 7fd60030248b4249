"""``LIVEPUSH["RELAYS"]``: which messages become which events, and which events are sent where."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from livepush import tenants
from livepush.bridges import patterns
from livepush.bridges.addresses import is_good_address
from livepush.bridges.relays import kafka_settings, signing
from livepush.bridges.relays.models import MAX_NAME_LENGTH
from livepush.conf import get_settings, load
from livepush.wire import MAX_GROUP_LENGTH, MAX_TYPE_LENGTH

KINDS = {"redis": "redis", "rediss": "redis", "valkey": "redis", "unix": "redis", "nats": "nats", "tls": "nats"}
"""The kind of broker by its address's scheme."""
INWARD_KINDS = {**KINDS, "amqp": "rabbit", "amqps": "rabbit", "mqtt": "mqtt", "mqtts": "mqtt", "kafka": "kafka"}
OFFSETS = ("redis", "nats")
"""The kinds of brokers whose streams have one offset. Kafka's topics have one for each partition."""
KEYED = ("rabbit", "mqtt")
"""The kinds of brokers without offsets, whose messages are known by their keys."""
OUTWARD_KINDS = {**INWARD_KINDS, "https": "webhook", "http": "webhook"}
COMMON = {"DIRECTION", "URL", "TENANT"}
FIELDS = COMMON | {"STREAM", "GROUP", "TYPE", "MAP"}
FIELDS_OF = {"redis": {"START"}, "nats": {"START", "SUBJECT"}, "rabbit": {"KEY"}, "mqtt": {"KEY"}}
FIELDS_OF["kafka"] = {"START", "OPTIONS"}
OUTWARD_FIELDS = COMMON | {"START", "GROUPS", "TYPES", "LEASE"}
OUTWARD_FIELDS_OF = {
    "redis": {"STREAM", "MAXLEN"},
    "nats": {"STREAM", "SUBJECT"},
    "rabbit": {"STREAM", "SUBJECT"},
    "mqtt": {"SUBJECT"},
    "kafka": {"STREAM", "KEY", "OPTIONS"},
    "webhook": {"SECRET", "TIMEOUT", "GIVE_UP", "ALLOW_HTTP"},
}
NEEDED_OUTWARDS = {
    "redis": {"STREAM"},
    "nats": {"STREAM", "SUBJECT"},
    "rabbit": {"SUBJECT"},
    "mqtt": {"SUBJECT"},
    "kafka": {"STREAM"},
    "webhook": {"SECRET"},
}
STARTS = ("first", "new")
UNNAMED = re.compile(r"\d*(?:[.\[]|$)")
"""How the places in a template begin that name no field."""
MAX_SUBJECT_BYTES = 2000
"""How long a subject may become: NATS closes the connection of whoever sends lines of over 4096 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """A relay whose messages become events."""

    name: str
    kind: str
    url: str = field(repr=False)
    """The address, which may have a password in it."""
    stream: str
    """The stream, Kafka's topic, RabbitMQ's queue, or a filter of MQTT topics."""
    subject: str = ">"
    """Which of a NATS stream's subjects are relayed."""
    key: str = ""
    """RabbitMQ and MQTT: a template by which a message that comes twice is known, such as ``{id}``."""
    group: str = ""
    """A template of the group, such as ``order:{id}``."""
    type: str = "message"
    """A template of the type."""
    map: Callable[[Any], Any] | None = None
    """The project's function, in place of the templates."""
    start: str = "first"
    """Whether the first run begins with the first message that the broker has, or with the next one."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Kafka: properties of the client."""
    tenant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutwardRelay:
    """A relay that sends events outwards."""

    name: str
    kind: str
    url: str = field(repr=False)
    """The address, which may have a password in it."""
    groups: tuple[str, ...] = ("*",)
    """Patterns of the groups whose events are sent."""
    types: tuple[str, ...] = ("*",)
    """Patterns of their types."""
    stream: str = ""
    """The stream, Kafka's topic, or RabbitMQ's exchange."""
    subject: str = ""
    """A template of NATS's subject, RabbitMQ's routing key, or the MQTT topic, such as ``events.{type}``."""
    key: str = "{group}"
    """Kafka: a template of the messages' keys."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Kafka: properties of the client."""
    maxlen: int = 0
    """Redis: about how many entries the stream keeps; all of them if it is 0."""
    secret: tuple[bytes, ...] = field(default=(), repr=False)
    """Webhooks: the keys with which requests are signed."""
    timeout: float = 15.0
    """Webhooks: how long (seconds) an answer may take."""
    give_up: float = 3 * 86_400.0
    """Webhooks: the age (seconds) at which an event becomes a dead letter if it is not taken."""
    lease: float = 10.0
    """How long (seconds) a process that was killed holds up the one that takes its place."""
    start: str = "first"
    tenant: str | None = None


def relay(name: str) -> Relay | OutwardRelay:
    """Return a relay by its name. Raises ImproperlyConfigured: there is none, or its settings are malformed."""
    known = get_settings().RELAYS
    if name not in known:
        listed = ", ".join(map(repr, known)) or "none"
        raise ImproperlyConfigured(f"LIVEPUSH['RELAYS'] has no {name!r}: it has {listed}.")
    where, given = f"LIVEPUSH['RELAYS'][{name!r}]", known[name]
    if not isinstance(given, Mapping) or not isinstance(given.get("URL"), str):
        raise ImproperlyConfigured(
            f"{where} has no URL that is a text: expected a dict such as {{'URL': 'redis://127.0.0.1:6379', …}}."
        )
    if len(name) > MAX_NAME_LENGTH:
        raise ImproperlyConfigured(f"{where}: the name has {len(name)} characters: expected {MAX_NAME_LENGTH} at most.")
    if given.get("START", "first") not in STARTS:
        expected = " or ".join(map(repr, STARTS))
        raise ImproperlyConfigured(f"{where}['START'] is {given['START']!r}: expected {expected}.")
    direction = given.get("DIRECTION", "in")
    if direction not in ("in", "out"):
        raise ImproperlyConfigured(f"{where}['DIRECTION'] is {direction!r}: expected 'in' or 'out'.")
    return _inward(name, where, given) if direction == "in" else _outward(name, where, given)


def check_all() -> None:
    """Raise ImproperlyConfigured if the settings of a relay are malformed."""
    for name in get_settings().RELAYS:
        relay(name)


def _inward(name: str, where: str, given: Mapping[str, Any]) -> Relay:
    kind = _kind(where, given, INWARD_KINDS)
    _check_fields(where, given, FIELDS | FIELDS_OF[kind], {"STREAM"})
    _check_kafka(where, kind, given)
    if ("MAP" in given) == ("GROUP" in given):
        raise ImproperlyConfigured(
            f"{where} needs either GROUP, a template such as 'order:{{id}}', or MAP, a function."
        )
    for each in ("GROUP", "TYPE", "KEY"):
        if each in given and (given[each] or each != "KEY"):
            _check_template(f"{where}[{each!r}]", given[each])
    plain = {each.lower(): given[each] for each in given if each not in ("MAP", "DIRECTION")}
    plain["url"] = _url(given)
    return Relay(name=name, kind=kind, map=load("RELAYS", given["MAP"]) if "MAP" in given else None, **plain)


def _outward(name: str, where: str, given: Mapping[str, Any]) -> OutwardRelay:
    kind = _kind(where, given, OUTWARD_KINDS)
    needed = NEEDED_OUTWARDS[kind]
    _check_fields(where, given, OUTWARD_FIELDS | OUTWARD_FIELDS_OF[kind], needed)
    if tenants.hook() is not None and not given.get("TENANT"):
        raise ImproperlyConfigured(f"{where} needs TENANT: a relay sends the events of one tenant.")
    plain = {each.lower(): given[each] for each in given if each not in ("DIRECTION", "ALLOW_HTTP")}
    for each in {"GROUPS", "TYPES"} & given.keys():
        plain[each.lower()] = _patterns(f"{where}[{each!r}]", given[each])
    for each in {"LEASE", "TIMEOUT", "GIVE_UP", "MAXLEN"} & given.keys():
        if type(given[each]) not in (int, float) or given[each] <= 0:
            raise ImproperlyConfigured(f"{where}[{each!r}] is {given[each]!r}: expected a number above 0.")
    if "MAXLEN" in given and type(given["MAXLEN"]) is not int:  # Redis's client takes nothing else
        raise ImproperlyConfigured(f"{where}['MAXLEN'] is {given['MAXLEN']!r}: expected a whole number above 0.")
    if "SUBJECT" in given:
        _check_subject(where, given["SUBJECT"])
    _check_kafka(where, kind, given)
    if kind == "webhook":
        plain["secret"] = _keys(where, given["SECRET"])
        _check_address(where, given["URL"])
        if not given["URL"].startswith("https:") and not (given.get("ALLOW_HTTP") is True or settings.DEBUG):
            raise ImproperlyConfigured(
                f"{where}['URL'] is {given['URL']!r}: expected https, so that nobody on the way can read the events. "
                "In a network of your own, set ALLOW_HTTP to True."
            )
    plain["url"] = _url(given)
    return OutwardRelay(name=name, kind=kind, **plain)


def _url(given: Mapping[str, Any]) -> str:
    """Return the address as the client of Redis wants it, which serves Valkey too."""
    url: str = given["URL"]
    return f"redis://{url.removeprefix('valkey://')}" if url.startswith("valkey://") else url


def _kind(where: str, given: Mapping[str, Any], kinds: dict[str, str]) -> str:
    scheme = given["URL"].partition(":")[0]
    if scheme not in kinds:
        raise ImproperlyConfigured(f"{where}['URL'] begins with {scheme!r}: expected one of {sorted(kinds)}.")
    return kinds[scheme]


def _check_fields(where: str, given: Mapping[str, Any], known: set[str], needed: set[str]) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise ImproperlyConfigured(f"{where} has {unknown[0]!r}, which nothing reads: expected {sorted(known)}.")
    missing = sorted(each for each in needed if not given.get(each))
    if missing or not isinstance(given.get("STREAM", ""), str):
        raise ImproperlyConfigured(f"{where} needs URL and {' and '.join(sorted(needed))}, all of them texts.")


def _check_template(where: str, template: Any) -> None:
    try:
        fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except (TypeError, ValueError):
        fields = [""]
    if not template or any(map(UNNAMED.match, fields)):
        raise ImproperlyConfigured(f"{where} is {template!r}: expected a template of named fields, such as '{{id}}'.")


def _check_kafka(where: str, kind: str, given: Mapping[str, Any]) -> None:
    if kind == "kafka" and (problem := kafka_settings.problem(given)):
        raise ImproperlyConfigured(f"{where}{problem}")


def _patterns(where: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, list | tuple) or not given or not all(isinstance(each, str) for each in given):
        raise ImproperlyConfigured(f"{where} is {given!r}: expected a list of patterns such as 'order:*'.")
    if problem := patterns.problem(given):
        raise ImproperlyConfigured(f"{where}: {problem}.")
    return tuple(given)


def _keys(where: str, given: Any) -> tuple[bytes, ...]:
    try:
        return tuple(map(signing.key, [given] if isinstance(given, str) else given))
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"{where}['SECRET']: {error}") from error


def _check_address(where: str, url: str) -> None:
    if not is_good_address(url):
        raise ImproperlyConfigured(f"{where}['URL'] is malformed: expected https://host/path, without a password.")


def _check_subject(where: str, subject: Any) -> None:
    try:
        made = subject.format(group="g", type="t")
        longest = len(subject.format(group="g" * MAX_GROUP_LENGTH, type="t" * MAX_TYPE_LENGTH).encode())
    except (AttributeError, LookupError, ValueError):
        made, longest = "*", 0
    if not made or any(mark in made for mark in "*>#+ \t\r\n\0"):
        raise ImproperlyConfigured(
            f"{where}['SUBJECT'] is {subject!r}: expected a subject such as 'events.{{type}}', without wildcards."
        )
    if longest > MAX_SUBJECT_BYTES:
        raise ImproperlyConfigured(
            f"{where}['SUBJECT'] becomes {longest} bytes long with the longest names: expected {MAX_SUBJECT_BYTES} at "
            "most."
        )
