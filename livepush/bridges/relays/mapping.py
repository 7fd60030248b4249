"""Messages, and the events that they become."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

from django.db import InterfaceError, OperationalError

from livepush import publish
from livepush.bridges import patterns
from livepush.bridges.relays.config import Relay
from livepush.cancelling import contained
from livepush.exceptions import InvalidEvent
from livepush.wire import loads


@dataclass(frozen=True, slots=True)
class Message:
    """A broker's message, as a project's function gets it."""

    offset: str
    """Its place in the stream: a Redis entry's id, a NATS sequence, or Kafka's partition and offset (``3-1042``).
    With RabbitMQ and MQTT its key, or nothing."""
    body: Any
    """JSON as what it says, other text as a text; of a Redis entry with several fields a dict of these."""
    subject: str
    """The NATS subject, the name of the Redis stream or Kafka topic, RabbitMQ's routing key, or the MQTT topic."""
    headers: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    """The Kafka message's key; ``{key}`` in templates."""
    waiting: int | None = field(default=None, compare=False)
    """NATS: how many messages came after it when the broker sent it."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event that a message becomes: the arguments of ``livepush.send``."""

    groups: publish.Group | Iterable[publish.Group]
    type: str
    data: Any = None
    key: str | None = None


class Unmappable(Exception):
    """The message can't become events."""


def events_of(message: Message, relay: Relay) -> list[publish.Sent]:
    """Return the events that a message becomes, checked.

    Raises Unmappable: the message lacks what the templates name, the function raised, or an event is invalid. Raises
    the database's errors if the function could not reach it.
    """
    try:
        with contained():
            found = relay.map(message) if relay.map is not None else _by_template(message, relay)
            listed = [found] if isinstance(found, Outgoing) else list(found or ())
        return [_checked(each) for each in listed]
    except (OperationalError, InterfaceError, Unmappable):
        raise
    except InvalidEvent as error:
        raise Unmappable(str(error)) from error
    except Exception as error:
        raise Unmappable(f"{type(error).__name__}: {error}") from error


def _checked(outgoing: Outgoing) -> publish.Sent:
    sent = publish.checked(outgoing.groups, outgoing.type, outgoing.data, outgoing.key)
    if closed := [group for group in sent.groups if group.startswith(patterns.CLOSED)]:
        raise Unmappable(f"Only livepush itself sends to {closed[0]!r}.")
    return sent


def decoded(content: bytes) -> Any:
    """Return JSON as what it says, and other content as text. NaN and the infinities are no JSON (RFC 8259)."""
    text = content.decode(errors="replace")
    try:
        return loads(text)
    except (ValueError, RecursionError):
        return text


class _Template(Formatter):
    """Fills templates with fields that hold something: texts, numbers and so on, but not null, false or nothing."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        value, first = super().get_field(field_name, args, kwargs)
        if not value and type(value) not in (int, float):
            raise Unmappable(f"The message's field {field_name!r} is {value!r}: GROUP and TYPE need one with a value.")
        return value, first


_template = _Template()


def key_of(body: Any, subject: str, relay: Relay) -> str:
    """Return the key that a message's fields make by the template ``KEY``; nothing if one of them is empty."""
    try:
        return _template.vformat(relay.key, (), _fields(body, subject))
    except Exception:
        return ""


def _fields(body: Any, subject: str) -> dict[str, Any]:
    """Return what templates may name. The subject is the broker's, whose rights may be about it, and no field's."""
    return {**(body if isinstance(body, dict) else {}), "subject": subject}


def _by_template(message: Message, relay: Relay) -> Outgoing:
    known = _fields(message.body, message.subject)
    if relay.kind == "kafka":  # the key is Kafka's, and no field's
        known = {name: value for name, value in known.items() if name != "key"}
        known |= {"key": message.key} if message.key else {}
    try:
        group, type = (_template.vformat(each, (), known) for each in (relay.group, relay.type))
        return Outgoing(group, type, message.body)
    except KeyError as error:
        has = ", ".join(map(repr, known))
        raise Unmappable(f"The message has no field {error}, which GROUP or TYPE names: it has {has}.") from error
