"""Reads a request for a stream, and checks whether its client may have it."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl

from livepush.access.identity import Admission
from livepush.consumers.base import retry_in_ms, should_come_back
from livepush.streams.formats import END_MARK, FORMATS, HEARTBEAT
from livepush.streams.models import MAX_ID_LENGTH, Stream, StreamState
from livepush.wire import Close, WireError, bad_query, parse_wait, timestamp

MAX_OFFSET = 2**63 - 1
MAX_FIELDS = 100
"""How many fields a query may have."""
_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_ID_LENGTH}}}", re.ASCII)
_PLACE = re.compile(r"/([^/]+)/(?:stop/)?\Z")


class Asked(NamedTuple):
    """A request for a stream."""

    id: str
    after: int
    format: str
    """The format's name; empty for the stream's own."""
    wait: float | None
    """How long (seconds) a poll may be held; ``None`` for a stream."""
    has_all: bool
    """Whether the client has read the stream to its end, and only its EventSource comes back."""
    last: int | None
    """The offset of ``Last-Event-ID``; ``None`` if it is missing or no offset."""

    def of(self, row: Stream) -> Asked:
        """Return the request with ``after`` set to where it goes on in a stream.

        ``Last-Event-ID`` wins, unless it lies beyond a stream that has ended: then it is another library's. Of an
        interrupted stream, the client may have text that was not stored.
        """
        if self.last is None or (
            row.length is not None and self.last > row.length and row.state != StreamState.INTERRUPTED
        ):
            return self
        return self._replace(after=self.last)


def asked_of(path: str, query: bytes, last_event_id: str = "") -> Asked:
    """Parse a request for ``streams/<id>/?after=OFFSET&format=NAME&wait=SECONDS``.

    Another library's ``Last-Event-ID`` is as none, since an EventSource gives up for good after an error's status.

    Raises WireError: no id, or a malformed offset, format or wait.
    """
    found = _PLACE.search(path)
    try:
        fields = dict(parse_qsl(query.decode("ascii"), errors="strict", max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise bad_query(MAX_FIELDS) from error
    format = fields.get("format", "")
    if format and format not in FORMATS:
        raise WireError("bad_format", f"There is no such format: expected one of {', '.join(FORMATS)}.")
    wait = parse_wait(fields["wait"]) if "wait" in fields else None
    id, after = checked_id(found[1] if found else ""), _offset(fields.get("after", "0"))
    if after is None:
        raise WireError("bad_offset", "after is malformed: expected an offset that livepush gave, such as after=120.")
    return Asked(id, after, format, wait, last_event_id == END_MARK, _offset(last_event_id))


def away(asked: Asked, error: WireError, accept: str) -> str | None:
    """Return the stream by which an EventSource comes back after a refusal that passes; ``None`` for anybody else."""
    is_event_source = asked.wait is None and asked.format in ("", "livepush") and "text/event-stream" in accept
    if not is_event_source or not should_come_back(error, is_event_source):
        return None
    offset = asked.after if asked.last is None else asked.last
    return HEARTBEAT + FORMATS["livepush"].bye(offset, retry_in_ms(error))


def checked_id(id: str) -> str:
    """Return the id of a stream. Raises WireError: it can't be one."""
    if not _ID.fullmatch(id):
        raise unknown()
    return id


def unknown() -> WireError:
    """Return the refusal for a stream that does not exist, or is another tenant's."""
    return WireError("unknown_stream", "There is no such stream, or it was deleted after its retention.", 404)


def check_readable(row: Stream, admission: Admission) -> None:
    """Refuse a client of another tenant, or one who may read the group only since a later time.

    Raises WireError.
    """
    if row.group not in admission.stored:
        raise unknown()
    floor = admission.floors.get(row.group)
    if floor is not None and (row.position < floor.number or timestamp(row.created) < floor.time):
        raise WireError("forbidden", "The stream is older than what may be read of its group.", 403, Close.FORBIDDEN)


def _offset(text: str) -> int | None:
    """Return the offset that a text is; ``None`` if it is none."""
    is_offset = re.fullmatch(r"\d{1,19}", text, re.ASCII) and int(text) <= MAX_OFFSET
    return int(text) if is_offset else None
