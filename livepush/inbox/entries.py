"""Entries: what filing writes of events. A new entry, or an existing one that an event is collapsed into."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import accumulate, islice
from typing import Any

from django.db import connections

from livepush.inbox.models import Notification
from livepush.log.dialects.base import STATEMENT_BYTES
from livepush.models import Event

ROWS_AT_ONCE = 500
"""The largest number of rows that one statement writes or looks for."""
MAX_ACTORS = 100
MAX_ACTORS_LENGTH = 32_768
"""How many characters an entry's actors may have as JSON. The last one is kept however long it is."""
_RENEWED = (
    "position", "key", "category", "level", "title", "body", "url", "icon", "count", "actors", "context", "created",
)  # fmt: skip


def write(using: str, events: list[Event]) -> list[Notification]:
    """Write the entries of events in the caller's transaction; return them in the order of their positions.

    Raises the database's errors, and whatever an event leads to that is none of a notification.
    """
    contents = _contents(events)
    known = _collapsed(using, events, contents)
    moved: dict[int, Notification] = {}
    fresh: list[Notification] = []
    for event, content in zip(events, contents, strict=True):
        collapse = content.get("collapse")
        entry = known.get((event.group, collapse)) if collapse else None
        if entry is None:
            entry = Notification(group=event.group, collapse=collapse, count=0, first=event.created)
            fresh.append(entry)
            if collapse:
                known[event.group, collapse] = entry
        elif entry.pk:
            moved[entry.pk] = entry
        _renew(entry, event, content)
    _write(using, fresh, moved.values())
    return sorted([*fresh, *moved.values()], key=lambda entry: entry.position)


def _contents(events: list[Event]) -> list[dict[str, Any]]:
    """Return what events say, and its ``context``. The events of one send say the same, which is read once."""
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.data not in found:
            content = json.loads(event.data)
            context = {name: content[name] for name in ("data", "target", "lang") if content.get(name)}
            found[event.data] = {**content, "context": _dumps(context)}
    return [found[event.data] for event in events]


def _collapsed(
    using: str, events: list[Event], contents: list[dict[str, Any]]
) -> dict[tuple[str, str | None], Notification]:
    """Return the entries that events may be collapsed into, without what the events replace."""
    pairs = {(e.group, c["collapse"]) for e, c in zip(events, contents, strict=True) if c.get("collapse")}
    rows = Notification.objects.using(using).only("group", "collapse", "count", "actors", "first")
    remaining, found = iter(pairs), {}
    while some := list(islice(remaining, ROWS_AT_ONCE)):
        groups, keys = {group for group, _ in some}, {collapse for _, collapse in some}
        found.update({(row.group, row.collapse): row for row in rows.filter(group__in=groups, collapse__in=keys)})
    return found


def _renew(entry: Notification, event: Event, content: dict[str, Any]) -> None:
    entry.position = event.position or 0
    entry.created = event.created
    for name in ("key", "category", "title", "body", "url", "icon"):
        setattr(entry, name, content.get(name, ""))
    entry.level = content.get("level", "info")
    entry.count += 1
    actor = content.get("actor")
    if actor:
        others = [other for other in entry.people if _who(other) != _who(actor)]
        entry.actors = _actors([actor, *others])
    entry.context = content["context"]


def _who(actor: dict[str, Any]) -> tuple[Any, ...]:
    return (actor.get("model"), actor["id"]) if actor.get("id") else (None, actor.get("name", ""))


def _actors(actors: list[dict[str, Any]]) -> str:
    """Return the first of some actors as JSON, as many as an entry keeps."""
    texts = [_dumps(actor) for actor in actors[:MAX_ACTORS]]
    fitting = sum(length <= MAX_ACTORS_LENGTH for length in accumulate(map(len, texts)))
    return f"[{','.join(texts[: max(1, fitting)])}]"


def _write(using: str, fresh: Iterable[Notification], moved: Iterable[Notification]) -> None:
    """Write entries, several with each statement.

    An existing entry that was pruned meanwhile is made again. An UPDATE with many values would take very long to build.
    """
    rows = Notification.objects.using(using)
    names_target = connections[using].features.supports_update_conflicts_with_target  # MariaDB and MySQL do not
    target: dict[str, Any] = {"unique_fields": ["pk"]} if names_target else {}
    for some in _statements(fresh):
        rows.bulk_create(some)
    for some in _statements(moved):
        rows.bulk_create(some, update_conflicts=True, update_fields=_RENEWED, **target)


def _statements(rows: Iterable[Notification]) -> Iterator[list[Notification]]:
    """Yield the rows in lists, each small enough for one statement."""
    some: list[Notification] = []
    bytes_of_some = 0
    for row in rows:
        size = _size(row)
        if some and (len(some) == ROWS_AT_ONCE or bytes_of_some + size > STATEMENT_BYTES):
            yield some
            some, bytes_of_some = [], 0
        some.append(row)
        bytes_of_some += size
    if some:
        yield some


def _size(row: Notification) -> int:
    """Return about how many bytes a row adds to a statement."""
    return 500 + sum(
        len(text.encode()) for text in (row.group, row.title, row.body, row.url, row.icon, row.actors, row.context)
    )


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
