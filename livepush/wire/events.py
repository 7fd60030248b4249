"""Every byte format that livepush speaks, as pure functions.

Grammar (ABNF, RFC 5234)::

    position  = epoch "-" number             ; opaque to clients
    epoch     = 1*16( %x61-7A / DIGIT )      ; one life of one database
    number    = 1*19DIGIT                    ; contiguous within an epoch
    group     = 1*200( ALPHA / DIGIT / "_" / "-" / "." / ":" / "/" / "@" / "+" / "~" / "=" )
    type      = 1*100( ALPHA / DIGIT / "_" / "-" / "." / ":" )
                                             ; not "error", not "open"; "livepush.…" and
                                             ; "inbox.…" are livepush's own

    envelope  = JSON object {"id": position, "group": group, "type": type, "data": any, "time": RFC 3339}
                                             ; an ephemeral event has no "id"
    copies    = with "send": number too      ; the same in each copy of what was sent to several groups
    own       = JSON object {"type": "livepush.…", …}

Server-Sent Events are those of WHATWG HTML, section 9.2; WebSocket frames are text (RFC 6455); what
livepush itself says has a type that begins with ``livepush.``::

    livepush.hello     first: {"id", "position", "heartbeat" (seconds), "groups", "refused"}
    livepush.reset     history lost, reload your state: {"id", "position", "reason"}
    livepush.bye       planned close, come back: {"retry" (milliseconds), "reason"}
    livepush.revoked   rights ended: {"groups"}
    livepush.position  keeps a quiet stream's cursor fresh: {"id", "position"}
    livepush.reply     WebSocket only, the answer to a command: {"ref", "ok", …}

``id`` and ``position`` are equal: ``id`` is there so that an EventSource keeps it as its last event id.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import Enum, StrEnum
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

MAX_GROUP_LENGTH = 200
MAX_TYPE_LENGTH = 100
MAX_REF_LENGTH = 100
SUBPROTOCOL = "livepush.v1"
"""A client that offers it gets a JSON array of envelopes when several go in one write."""

GROUP = re.compile(rf"[A-Za-z0-9_.:/@+~=-]{{1,{MAX_GROUP_LENGTH}}}", re.ASCII)
TYPE = re.compile(rf"[A-Za-z0-9_.:-]{{1,{MAX_TYPE_LENGTH}}}", re.ASCII)
POSITION = re.compile(r"([a-z0-9]{1,16})-([0-9]{1,19})", re.ASCII)
SURROGATE = re.compile("[\ud800-\udfff]")
RESERVED_TYPES = frozenset({"error", "open"})
RESERVED_PREFIX = "livepush."
INBOX_PREFIX = "inbox."
LARGEST_NUMBER = 2**63 - 1
LARGEST_ARRAY = 65_536
"""The most characters of events that go in one array, unless a single event is longer."""


class Close(int, Enum):
    """A WebSocket close code (RFC 6455, section 7.4.2: private use, since daphne sends no other) and when it is used.

    Each is 4000 and the HTTP status that says the same.
    """

    reason: str

    def __new__(cls, code: int, reason: str) -> Close:
        member = int.__new__(cls, code)
        member._value_ = code
        member.reason = reason
        return member

    BAD_REQUEST = 4400, "the query is malformed: do not retry"
    UNAUTHENTICATED = 4401, "no group is granted and nobody is logged in: do not retry"
    FORBIDDEN = 4403, "no group is granted, or the origin is foreign: do not retry"
    TOO_SLOW = 4408, "the client reads too slowly: connect again"
    TOO_BIG = 4413, "a message is over the size limit"
    FAILED = 4500, "the server failed: connect again"
    GOING_AWAY = 4503, "the server is going away: connect again"


class WireError(ValueError):
    """A request that livepush can't answer: a stable ``code``, a sentence, an HTTP status and a close code."""

    def __init__(self, code: str, message: str, status: int = 400, close: Close = Close.BAD_REQUEST) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.close = close
        self.ref: str | int | None = None
        """The ``ref`` of the WebSocket command that it answers."""

    def body(self) -> bytes:
        """Return the JSON that an HTTP client gets."""
        return dumps({"code": self.code, "message": self.message}).encode()


class Position(NamedTuple):
    """A place in the log: everything with this number or a smaller one has been offered."""

    epoch: str
    number: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.number}"


class Event(NamedTuple):
    """One event as it travels: ``data`` and ``time`` are text, ready to be joined into frames.

    ``number`` is ``None`` for an ephemeral event. ``send`` is shared by the events that one send to several
    groups made, else ``None``.
    """

    number: int | None
    group: str
    type: str
    data: str
    time: str
    send: int | None = None


class Format(StrEnum):
    """How a connection wants its events."""

    SSE = "sse"
    """``id``, ``event`` and ``data`` lines, for any EventSource."""
    SSE_ENVELOPE = "envelope"
    """One ``data`` line with the envelope, for the livepush client."""
    TEXT = "text"
    """One JSON text an event: plain WebSocket clients and polls."""
    ARRAY = "array"
    """A JSON array of what goes in one write: WebSocket clients that speak ``livepush.v1``."""
    SSE_COPIES = "copies"
    """As ``SSE_ENVELOPE``, for a client that reads for several: every copy of a send to several groups."""
    ARRAY_COPIES = "array-copies"
    """As ``ARRAY``, with every copy of a send to several groups."""


TEXTS = frozenset({Format.TEXT, Format.ARRAY, Format.ARRAY_COPIES})
"""The formats of WebSockets."""
COPIES = frozenset({Format.SSE_COPIES, Format.ARRAY_COPIES})
"""The formats in which each copy comes of what was sent to several groups, with the number of its send."""


class Query(NamedTuple):
    """What a client asks for."""

    groups: tuple[str, ...]
    since: Position | None
    envelope: bool
    """Whether Server-Sent Events are to be envelopes."""
    copies: bool
    """Whether each copy of what was sent to several groups is to come."""
    wait: float


_encoder = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def dumps(value: Any) -> str:
    """Encode what livepush itself says as compact JSON."""
    return _encoder.encode(value)  # json.dumps makes an encoder each time


def timestamp(when: datetime) -> str:
    """Return an aware datetime as RFC 3339 in UTC with microseconds, e.g. ``2026-01-31T12:00:00.000000Z``."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_position(text: str) -> Position:
    """Return the position that a client sent.

    Raises WireError: malformed.
    """
    match = POSITION.fullmatch(text)
    if match is None or int(match[2]) > LARGEST_NUMBER:
        raise WireError(
            "bad_position",
            "The position is malformed: expected the id of an event or the position of an answer, unchanged.",
        )
    return Position(match[1], int(match[2]))


def parse_query(query: bytes, last_event_id: str = "", max_groups: int = 100) -> Query:
    """Parse ``group=a&group=b&since=POSITION&format=envelope&wait=SECONDS``; the format may be ``copies`` too.

    ``last_event_id`` is the header of that name; it wins over ``since``. Groups come back in order, each once.

    Raises WireError: not UTF-8, a malformed group, position or wait, too many groups.
    """
    asked, since = _asked(query, max_groups)
    since = last_event_id or since
    return asked._replace(since=parse_position(since)) if since else asked


@lru_cache(64)  # a crowd asks for the same
def _asked(query: bytes, max_groups: int) -> tuple[Query, str]:
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError as error:
        raise WireError("bad_query", "The query string is malformed: expected percent-encoded UTF-8.") from error
    groups = tuple(dict.fromkeys(value for name, value in pairs if name == "group"))
    if len(groups) > max_groups:
        raise WireError("too_many_groups", f"At most {max_groups} groups can be asked for at once.")
    for group in groups:
        check_group(group)
    last = dict(pairs)
    format = last.get("format")
    copies = format == Format.SSE_COPIES.value
    envelope = copies or format == Format.SSE_ENVELOPE.value
    return Query(groups, None, envelope, copies, parse_wait(last.get("wait", ""))), last.get("since", "")


def check_get(method: str, content_length: str, limit: int) -> None:
    """Refuse all but GET, and bodies that no GET has.

    Raises WireError: the wrong method, or a body of more than ``limit`` bytes.
    """
    if method != "GET":
        raise WireError("bad_method", "Only GET is answered here.", 405)
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


def check_group(group: str) -> str:
    """Return the name of a group.

    Raises WireError: malformed.
    """
    if not GROUP.fullmatch(group):
        raise WireError(
            "bad_group",
            f"A group's name is malformed: expected 1 to {MAX_GROUP_LENGTH} of letters, digits and _-.:/@+~=.",
        )
    return group


def type_problem(name: object) -> str | None:
    """Return what is wrong with a type's name, or ``None``."""
    if not isinstance(name, str) or not TYPE.fullmatch(name):
        return f"expected 1 to {MAX_TYPE_LENGTH} of letters, digits and _-.:"
    if name in RESERVED_TYPES:
        return f"{name!r} is EventSource's own"
    for prefix in (RESERVED_PREFIX, INBOX_PREFIX):
        if name.startswith(prefix):
            return f"names that begin with {prefix!r} are livepush's own"
    return None


def envelope(event: Event, epoch: str, copies: bool = False) -> str:
    """Return an event as a JSON object; its data is put in as it was encoded at ``send``."""
    head = "{" if event.number is None else f'{{"id":"{epoch}-{event.number}",'
    send = f',"send":{event.send}' if copies and event.send is not None else ""
    return f'{head}"group":"{event.group}","type":"{event.type}","data":{event.data},"time":"{event.time}"{send}}}'


def sse_event(event: Event, epoch: str) -> str:
    """Return an event for any EventSource (WHATWG HTML 9.2.5); ``message`` goes without an ``event`` line."""
    identity = "" if event.number is None else f"id: {epoch}-{event.number}\n"
    name = "" if event.type == "message" else f"event: {event.type}\n"
    return f"{identity}{name}data: {event.data}\n\n"


def sse_envelope(event: Event, epoch: str, copies: bool = False) -> str:
    """Return an event for the livepush client: the envelope in one ``data`` line."""
    identity = "" if event.number is None else f"id: {epoch}-{event.number}\n"
    return f"{identity}data: {envelope(event, epoch, copies)}\n\n"


def encode(event: Event, epoch: str, format: Format) -> str:
    """Return an event in one format, not yet joined."""
    if format is Format.SSE:
        return sse_event(event, epoch)
    if format in TEXTS:
        return envelope(event, epoch, format in COPIES)
    return sse_envelope(event, epoch, format in COPIES)


def join(parts: Sequence[str], format: Format) -> tuple[bytes | str, ...]:
    """Return the frames that carry some encoded events: one, but for plain WebSocket clients."""
    if format is Format.TEXT:
        return tuple(parts)
    if format in TEXTS:
        return tuple(f"[{','.join(run)}]" if len(run) > 1 else run[0] for run in _runs(parts))
    return ("".join(parts).encode(),)


def on_the_wire(frames: Iterable[bytes | str]) -> bytes:
    """Return frames as servers send them: bytes as chunks (RFC 9112, 7.1), texts as messages (RFC 6455, 5.2)."""
    return b"".join(_text_message(each.encode()) if isinstance(each, str) else _chunk(each) for each in frames)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _text_message(data: bytes) -> bytes:
    final_text = 0x81
    if len(data) < 126:
        return struct.pack("!BB", final_text, len(data)) + data
    if len(data) < 65_536:
        return struct.pack("!BBH", final_text, 126, len(data)) + data
    return struct.pack("!BBQ", final_text, 127, len(data)) + data


def _runs(parts: Iterable[str]) -> list[list[str]]:
    """Return parts in runs of a bounded length: WebSocket clients refuse messages of a megabyte or so."""
    runs: list[list[str]] = []
    room = 0
    for part in parts:
        room -= len(part)
        if room < 0 or not runs:
            room = LARGEST_ARRAY - len(part)
            runs.append([])
        runs[-1].append(part)
    return runs


def own(type: str, format: Format, **fields: Any) -> tuple[bytes | str, ...]:
    """Return the frames of what livepush itself says, e.g. ``own("bye", Format.SSE, retry=500)``.

    A ``position`` is also sent as ``id``, but in a reply; a ``retry`` (milliseconds) also as an EventSource's
    reconnection time.
    """
    moves = "position" in fields and type != "reply"
    if moves:
        fields = {"id": str(fields["position"]), **fields, "position": str(fields["position"])}
    text = dumps({"type": RESERVED_PREFIX + type, **fields})
    if format in TEXTS:
        return (text,)
    identity = f"id: {fields['position']}\n" if moves else ""
    retry = f"retry: {fields['retry']}\n" if "retry" in fields else ""
    name = f"event: {RESERVED_PREFIX}{type}\n" if format is Format.SSE else ""
    return (f"{identity}{retry}{name}data: {text}\n\n".encode(),)


@lru_cache(64)  # a crowd comes back to the same position
def hello(
    position: Position,
    format: Format,
    *,
    heartbeat: float,
    retry: int,
    groups: tuple[str, ...],
    refused: tuple[str, ...],
) -> tuple[bytes | str, ...]:
    """Return the first frame of every stream; ``position`` is the cursor that the replay starts from."""
    return own(
        "hello",
        format,
        position=position,
        heartbeat=heartbeat,
        retry=retry,
        groups=list(groups),
        refused=list(refused),
    )


HEARTBEAT = b":\n"
"""An SSE comment line with no blank line after it: some clients dispatch on the blank line."""


def poll_answer(
    events: Sequence[Event], position: Position, reset: bool = False, refused: Sequence[str] = (), copies: bool = False
) -> bytes:
    """Return a poll's answer: ``{"events": […], "position": …, "reset": …, "refused": […]}``."""
    bodies = ",".join(envelope(event, position.epoch, copies) for event in events)
    tail = dumps({"position": str(position), "reset": reset, "refused": list(refused)})
    return f'{{"events":[{bodies}],{tail[1:]}'.encode()


class Command(NamedTuple):
    """What a WebSocket client asks for; ``ref`` comes back with the answer."""

    name: str
    ref: str | int | None
    groups: tuple[str, ...] = ()
    type: str = ""
    data: Any = None


def parse_command(text: str, max_groups: int = 100) -> Command:
    """Parse a WebSocket client's text.

    ``{"command": "subscribe" | "unsubscribe", "groups": [...], "ref": 1}``,
    ``{"command": "send", "group": ..., "type": ..., "data": ..., "ref": 2}`` or ``{"command": "ping", "ref": 3}``.

    Raises WireError: not such an object.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError("bad_command", "The command is malformed: expected a JSON object.") from error
    if not isinstance(value, dict) or value.get("command") not in (
        "subscribe",
        "unsubscribe",
        "send",
        "ping",
    ):
        raise WireError("bad_command", 'The command is unknown: expected "subscribe", "unsubscribe", "send" or "ping".')
    ref = value.get("ref")
    if ref is not None and not _is_ref(ref):
        raise WireError("bad_command", "ref is malformed: expected a string or a whole number.")
    try:
        return _command(value, ref, max_groups)
    except WireError as error:
        error.ref = ref
        raise


def _is_ref(value: object) -> bool:
    """Return whether a value can be sent back: half a surrogate pair, which JSON can escape, is no UTF-8."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return False
    return len(str(value)) <= MAX_REF_LENGTH and not SURROGATE.search(str(value))


def _command(value: dict[str, Any], ref: str | int | None, max_groups: int) -> Command:
    name = value["command"]
    if name == "ping":
        return Command(name, ref)
    if name == "send":
        return Command(name, ref, (_group_of(value.get("group")),), value.get("type", ""), value.get("data"))
    groups = value.get("groups")
    if not isinstance(groups, list) or not groups or len(groups) > max_groups:
        raise WireError("bad_command", f"groups is malformed: expected a list of 1 to {max_groups} names.")
    return Command(name, ref, tuple(dict.fromkeys(_group_of(group) for group in groups)))


def _group_of(value: object) -> str:
    return check_group(value if isinstance(value, str) else "")


class Batch(NamedTuple):
    """Events that were settled together: contiguous numbers of one epoch, or one ephemeral event."""

    epoch: str
    events: tuple[Event, ...]


class State(NamedTuple):
    """Where the log stands: its last position, its floor, and whether something waits to be settled."""

    position: Position
    floor: int
    waiting: bool


class Page(NamedTuple):
    """Some events after a cursor, the number up to which they were read, and the log's state afterwards."""

    events: tuple[Event, ...]
    upto: int
    state: State


def once_a_send(events: Iterable[Event], after: int, copies: bool = False) -> Iterator[Event]:
    """Yield the events behind ``after``, the first of each send alone, or every copy.

    ``events`` are in order, of the groups of one reader, and begin with the one at ``after``, whatever its group: what
    was sent to several groups has contiguous numbers, and no cursor lies among them but that of a reader who has had
    the event there.
    """
    last: int | None = None
    for event in events:
        if event.number is not None and event.number > after and (copies or event.send is None or event.send != last):
            yield event
        last = event.send


def batch_messages(batch: Batch, origin: str, max_bytes: int = 262_144) -> list[dict[str, Any]]:
    """Return a batch as messages for the layer, each with no more than about ``max_bytes`` of data.

    A message is ``{"type": "livepush.batch", "origin": process, "epoch": epoch, "events": [[number, group, type,
    data, time, send], …]}``.
    """
    messages: list[dict[str, Any]] = []
    room, send = 0, None
    for event in batch.events:
        room -= len(event.data)
        together = event.send is not None and event.send == send  # one send is routed in one go, and offered once
        send = event.send
        if (room < 0 and not together) or not messages:
            room = max_bytes - len(event.data)
            messages.append({"type": "livepush.batch", "origin": origin, "epoch": batch.epoch, "events": []})
        messages[-1]["events"].append(list(event))
    return messages


def parse_batch(message: dict[str, Any]) -> Batch:
    """Return the batch in a message from the layer."""
    return Batch(message["epoch"], tuple(Event(*values) for values in message["events"]))
