"""The position that a page carries: the log's at the request's start. So no event is lost between page and stream."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from django.core.signals import request_started
from django.db import connections
from django.http import HttpRequest

from livepush import hub, log, publish
from livepush.conf import get_settings
from livepush.wire import Position

logger = logging.getLogger("livepush")

KEY = "livepush.position"


def current() -> Position:
    """Return the log's position: from a hub's memory, else with one indexed read. Settles first if events wait."""
    known = hub.known_position()
    if known is not None:
        return known
    using = get_settings().DATABASE
    state = log.state(using)
    if state.waiting and not connections[using].in_atomic_block:  # else the caller's own events may wait
        publish.deliver(using)
        state = log.state(using)
    return state.position


def of(request: HttpRequest) -> Position | None:
    """Return the position at a request's start; ``None`` if it is not known."""
    place = _place(getattr(request, "scope", None), getattr(request, "environ", None))
    found = None if place is None else place.get(KEY)
    return found if isinstance(found, Position) else None


def note(sender: object, **kwargs: Any) -> None:
    """Note the position as a request starts. If the log can't be read now, the request goes on without it."""
    place = _place(kwargs.get("scope"), kwargs.get("environ"))
    if place is None or not get_settings().PAGE_POSITIONS:
        return
    try:
        if connections[get_settings().DATABASE].in_atomic_block:
            return  # only in a TestCase does a request start in a transaction, and that test may count queries
        place[KEY] = current()
    except Exception as error:
        logger.warning("Could not note the log's position for this request: %s: %s", type(error).__name__, error)


def connect() -> None:
    """Note the position of every request from now on."""
    request_started.connect(note, dispatch_uid="livepush.positions")


def _place(scope: object, environ: object) -> MutableMapping[str, Any] | None:
    return next((place for place in (scope, environ) if isinstance(place, MutableMapping)), None)
