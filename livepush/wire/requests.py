"""Parses HTTP requests, and makes the answer to a poll."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl

from livepush.wire.caching import Cache
from livepush.wire.encoding import dumps
from livepush.wire.errors import WireError, bad_query
from livepush.wire.events import Event, Format, envelope
from livepush.wire.names import check_group
from livepush.wire.positions import Position, parse_position, position_of_header
from livepush.wire.system import still_owed

OTHER_FIELDS = 900
"""How many fields a query may have besides as many as there may be groups."""

SSE_FORMATS = {"envelope": Format.SSE_ENVELOPE, "text": Format.SSE_TEXT}
"""What a query can ask for; anything else is ``Format.SSE``."""

LAST_EVENT_ID = ("lasteventid", "last-event-id")
"""The field, in any case, in which clients that can set no header send the last event's id, as polyfills do."""

CACHE_BYTES = 262_144
"""How many bytes of parsed queries are kept."""


class Query(NamedTuple):
    """A client's request: its groups, position, format and wait (seconds)."""

    groups: tuple[str, ...]
    since: Position | None
    format: Format
    """The format of the client's Server-Sent Events."""
    wait: float


_queries: Cache[tuple[Query, str, str]] = Cache(CACHE_BYTES)  # many clients send the same query


def parse_query(query: bytes, last_event_id: str = "", *, max_groups: int) -> Query:
    """Parse ``group=a&group=b&since=POSITION&format=envelope&wait=SECONDS``.

    ``last_event_id`` is the header of that name, else the query's field ``lastEventId`` counts. It wins over ``since``,
    and is never refused: if it is no position, ``NOWHERE`` stands for it. Groups come back in order, each once.

    Raises WireError: not UTF-8, a malformed group, position or wait, too many groups.
    """
    asked, since, field = _asked(query, max_groups)
    if last_event_id or field:
        return asked._replace(since=position_of_header(last_event_id or field))
    return asked._replace(since=parse_position(since)) if since else asked


def _asked(query: bytes, max_groups: int) -> tuple[Query, str, str]:
    found = _queries.get((query, max_groups))
    if found is None:
        found = _parse(query, max_groups)
        _queries.put((query, max_groups), found, 500 + 2 * len(query) + 100 * len(found[0].groups))
    return found


def _parse(query: bytes, max_groups: int) -> tuple[Query, str, str]:
    try:
        most = max_groups + OTHER_FIELDS
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=most)
    except ValueError as error:
        raise bad_query(most) from error
    groups = tuple(dict.fromkeys(value for name, value in pairs if name == "group"))
    if len(groups) > max_groups:
        raise WireError("too_many_groups", f"{len(groups)} groups were asked for: expected {max_groups} at most.")
    for group in groups:
        check_group(group)
    last = dict(pairs)
    format = SSE_FORMATS.get(last.get("format", ""), Format.SSE)
    asked = Query(groups, None, format, parse_wait(last.get("wait", "")))
    seen = next((value for name, value in reversed(pairs) if name.lower() in LAST_EVENT_ID), "")
    return asked, last.get("since", ""), seen


def check_get(method: str, content_length: str, limit: int) -> None:
    """Refuse all methods but GET, and large bodies.

    Raises WireError: the wrong method, or a body of more than ``limit`` bytes.
    """
    if method != "GET":
        raise WireError("bad_method", "This address answers GET.", 405)
    if content_length.isdigit() and (len(content_length) > 18 or int(content_length) > limit):
        raise WireError("too_large", "A body is not expected here, least of all one of this size.", 413)


def parse_wait(text: str) -> float:
    """Return the seconds that a poll may be held, 0 when absent.

    Raises WireError: not a number of seconds.
    """
    if not text:
        return 0.0
    if not re.fullmatch(r"\d{1,4}(\.\d{1,6})?", text, re.ASCII):
        raise WireError("bad_wait", "wait is malformed: expected a number of seconds, for example wait=25.")
    return float(text)


def poll_answer(
    events: Sequence[Event],
    position: Position,
    reset: bool = False,
    refused: Sequence[str] = (),
    failed: tuple[str, ...] = (),
    reason: str = "",
) -> bytes:
    """Return a poll's answer: ``{"events": […], "position": …, "reset": …, "refused": […]}``.

    It has ``failed`` too if there are refused groups that are still owed what follows the position, and the ``reason``
    if groups were taken away while the poll was held, or the token has ended.
    """
    bodies = ",".join(envelope(event, position.epoch) for event in events)
    why = {"reason": reason} if reason else {}
    tail = dumps({"position": str(position), "reset": reset, "refused": list(refused), **still_owed(failed), **why})
    return f'{{"events":[{bodies}],{tail[1:]}'.encode()
