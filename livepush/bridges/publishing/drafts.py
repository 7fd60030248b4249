"""Parses bodies in livepush's own format: one event or notification, or a list of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from livepush.wire import WireError, loads

T = TypeVar("T")
MAX_EVENTS = 100
"""How many events or notifications one request may hold."""
MAX_ROWS = 1000
"""How many groups, or recipients, all of them may name together."""
MAX_BODY = 1_048_576
EVENT = ("group", "groups", "type", "data", "key", "ephemeral")
TEXTS = ("title", "kind", "body", "url", "icon", "level", "category", "actor", "target", "collapse", "key")
NOTIFICATION = ("recipients", *TEXTS, "data")


class Draft(NamedTuple):
    """An event as a request describes it."""

    groups: tuple[str, ...]
    type: str
    data: Any
    key: str | None = None
    ephemeral: bool = False
    own_key: str | None = None
    """A key of livepush's own, in place of one of the publisher's."""


class Note(NamedTuple):
    """A notification as a request describes it."""

    recipients: tuple[str, ...]
    texts: dict[str, str]
    """The texts that it has, by their names in ``notify``; ``title`` or ``kind`` among them."""
    data: dict[str, Any] | None


def events(body: bytes) -> list[Draft]:
    """Return the events of a body. Raises WireError: it is malformed, or has too many events."""
    return list(_each(body, _event, lambda draft: len(draft.groups)))


def notifications(body: bytes) -> list[Note]:
    """Return the notifications of a body. Raises WireError: it is malformed, or has too many notifications."""
    return list(_each(body, _note, lambda note: len(note.recipients)))


def parse_json(body: bytes) -> Any:
    """Return what a body says. Raises WireError: it is not JSON (RFC 8259) in UTF-8."""
    try:
        return loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise WireError("bad_body", f"The body is not JSON in UTF-8: {error}.") from error


def check_count(count: int, rows: int) -> None:
    """Refuse a request with too much in it. Raises WireError."""
    if not 0 < count <= MAX_EVENTS:
        raise WireError("bad_body", f"The body has {count} items: expected 1 to {MAX_EVENTS}.")
    if rows > MAX_ROWS:
        raise WireError("bad_body", f"The body names {rows} groups or recipients: expected {MAX_ROWS} at most.")


def _each(body: bytes, parse: Callable[[dict[str, Any], str], T], rows: Callable[[T], int]) -> Iterator[T]:
    found = parse_json(body)
    listed = found if isinstance(found, list) else [found]
    check_count(len(listed), 0)
    parsed = []
    for place, item in enumerate(listed):
        where = f"Item {place}" if isinstance(found, list) else "The body"
        if not isinstance(item, dict):
            raise WireError("bad_body", f"{where} is no JSON object: expected one, or a list of them.")
        parsed.append(parse(item, where))
    check_count(len(parsed), sum(map(rows, parsed)))
    return iter(parsed)


def _event(item: dict[str, Any], where: str) -> Draft:
    _check_fields(item, EVENT, where)
    if ("group" in item) == ("groups" in item):
        raise WireError("bad_event", f"{where} needs either group, a name, or groups, a list of names.")
    groups = _names(item["groups"] if "groups" in item else [item["group"]], "groups", where)
    ephemeral = item.get("ephemeral", False)
    if not isinstance(ephemeral, bool):
        raise WireError("bad_event", f"{where}: ephemeral is {ephemeral!r}: expected true or false."[:300])
    return Draft(groups, _text(item, "type", where), item.get("data"), _key(item, where), ephemeral)


def _note(item: dict[str, Any], where: str) -> Note:
    _check_fields(item, NOTIFICATION, where)
    if ("title" in item) == ("kind" in item):
        raise WireError("bad_event", f"{where} needs either title, a text, or kind, the key of a registered kind.")
    data = item.get("data")
    if not isinstance(data, dict | None):
        raise WireError("bad_event", f"{where}: data is no JSON object: expected one, or nothing.")
    recipients = _names(item.get("recipients"), "recipients", where)
    return Note(recipients, {name: _text(item, name, where) for name in TEXTS if name in item}, data)


def _check_fields(item: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = sorted(set(item) - set(known))
    if unknown:
        shown = f"{unknown[0][:100]!r}, which nothing reads: expected {', '.join(known)}."
        raise WireError("bad_event", f"{where} has {shown}")


def _names(found: Any, field: str, where: str) -> tuple[str, ...]:
    if not isinstance(found, list) or not found or not all(isinstance(name, str) for name in found):
        raise WireError("bad_event", f"{where}: {field} is malformed: expected a list of one name or more.")
    return tuple(dict.fromkeys(found))


def _text(item: dict[str, Any], field: str, where: str) -> str:
    found = item.get(field)
    if not isinstance(found, str):
        raise WireError("bad_event", f"{where}: {field} is {found!r}: expected a text."[:300])
    return found


def _key(item: dict[str, Any], where: str) -> str | None:
    return None if item.get("key") is None else _text(item, "key", where)
