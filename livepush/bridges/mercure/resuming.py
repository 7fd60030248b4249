"""Finds the place in the log that an update's id stands for."""

from __future__ import annotations

from typing import NamedTuple

from django.http import HttpRequest

from livepush import log, publish, tenants
from livepush.bridges.mercure.tokens import fields_of
from livepush.bridges.mercure.topics import EARLIEST, EVERY, group_of_id, problem_of
from livepush.bridges.mercure.updates import KEYS
from livepush.conf import get_settings
from livepush.wire import NOWHERE, Position, position_of_header

FIELDS = ("lasteventid", "last_event_id", "last-event-id")
"""The query's fields for an id, in any case: of the protocol's revisions, and of polyfills."""
MARK = "#"
"""The beginning of an id that is a position."""


class Place(NamedTuple):
    """A place from which a subscriber reads."""

    position: Position
    is_lost: bool
    """Whether the log has no update with the subscriber's id, so that it reads all that there is."""


def id_of(request: HttpRequest) -> str | None:
    """Return the last id that a client knows: of the header, else of the query; ``None`` if it names none."""
    header: str | None = request.META.get("HTTP_LAST_EVENT_ID")
    if header:
        return _decoded(header)
    found = [value for name, value in fields_of(request) if name.lower() in FIELDS]
    return next(filter(None, reversed(found)), None)


def place_of(id: str, request: HttpRequest) -> Place:
    """Return the place of an id; where the log begins now, if it has no such update. Uses the database."""
    found = _position_of(id, request)
    if found is not None:
        return Place(found, is_lost=False)
    state = log.state(get_settings().DATABASE)
    return Place(Position(state.position.epoch, state.floor), is_lost=True)


def _position_of(id: str, request: HttpRequest) -> Position | None:
    if id.startswith(MARK):
        position = position_of_header(id.removeprefix(MARK))
        return None if position == NOWHERE else position
    if id == EARLIEST or problem_of(id) is not None:
        return None
    using, tenant = get_settings().DATABASE, tenants.of_request(request)
    found = _find(id, tenant, using)
    if found is None:  # a publisher may know it before it has its position
        publish.settle(using)
        found = _find(id, tenant, using)
    return found


def _decoded(header: str) -> str:
    """Return a header that Django has read as Latin-1. Browsers send UTF-8 (WHATWG HTML, 9.2), others do not."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def _find(id: str, tenant: str | None, using: str) -> Position | None:
    [every, own] = tenants.stored_groups([EVERY, group_of_id(id)], tenant)
    key = f"{KEYS}{id}"[:200]
    known = log.positions_of(using, [key], [every])
    if known is not None and (key, every) in known[1]:
        return Position(known[0], known[1][key, every])
    head = log.state(using).position
    event = log.last(using, own, head.number)
    return None if event is None or event.number is None else Position(head.epoch, event.number)
