"""Every byte format that livepush speaks, as pure functions.

Grammar (ABNF, RFC 5234)::

    position  = epoch "-" number             ; opaque to clients
    epoch     = 1*16( %x61-7A / DIGIT )      ; one lifetime of one database
    number    = 1*19DIGIT                    ; contiguous within an epoch
    group     = 1*200( ALPHA / DIGIT / "_" / "-" / "." / ":" / "/" / "@" / "+" / "~" / "=" )
    type      = 1*100( ALPHA / DIGIT / "_" / "-" / "." / ":" )
                                             ; not "error", not "open"; "livepush.…", "inbox.…"
                                             ; and "presence.…" are reserved for livepush

    envelope  = JSON object {"id": position, "group": group, "type": type, "data": any, "time": RFC 3339}
                                             ; an ephemeral event has no "id"; an event that was sent to
                                             ; several of the reader's groups has "groups": [group, …]
    system    = JSON object {"type": "livepush.…", …}

Server-Sent Events follow WHATWG HTML, section 9.2. With ``format=text`` a string's data are the string itself, in as
many ``data`` lines as it has lines. WebSocket frames are text (RFC 6455). livepush's own
messages have types that begin with ``livepush.``::

    livepush.hello     first: {"protocol", "id", "position", "heartbeat" (seconds), "groups", "refused"}
                       and "failed" if there are refused groups that are still owed what follows "position"
    livepush.reset     history lost, reload your state: {"id", "position", "reason"}
    livepush.bye       planned close, come back: {"retry" (milliseconds), "reason"}
    livepush.revoked   rights ended: {"groups", "reason"}
    livepush.position  keeps a quiet stream's cursor fresh: {"id", "position"}
    livepush.reply     WebSocket only, the answer to a command: {"ref", "ok", …}

``id`` and ``position`` are equal. ``id`` lets an EventSource keep the position as its last event id.
"""

from __future__ import annotations

from livepush.wire.announcements import (
    Announcement,
    origin_of,
    parse_announcement,
    seal,
    split_batch,
    unseal,
)
from livepush.wire.caching import (
    Cache,
)
from livepush.wire.commands import (
    Command,
    parse_command,
)
from livepush.wire.encoding import (
    dumps,
    loads,
    timestamp,
)
from livepush.wire.errors import (
    Close,
    WireError,
    bad_query,
    unavailable,
)
from livepush.wire.events import (
    LARGEST_ARRAY,
    TEXTS,
    Binary,
    Event,
    Format,
    Frames,
    encode,
    envelope,
    join,
    merge,
    on_the_wire,
    sse_envelope,
    sse_event,
)
from livepush.wire.floors import (
    EVERYTHING,
    Floor,
    Floors,
    above,
    changed,
    highest,
    is_same,
    lower,
    parse_forgotten,
    readable,
    without,
)
from livepush.wire.messages import (
    MORE_BYTES,
    Sending,
    parse_message,
)
from livepush.wire.names import (
    FORGOTTEN,
    GROUP,
    INBOX_PREFIX,
    MARK,
    MAX_GROUP_LENGTH,
    MAX_TYPE_LENGTH,
    OWN_GROUPS,
    PRESENCE_PREFIX,
    RESERVED_PREFIX,
    RESERVED_TYPES,
    RIGHTS,
    SURROGATE,
    TYPE,
    check_group,
    public_name,
    type_problem,
)
from livepush.wire.notices import (
    MAX_NOTICE_BYTES,
    Template,
    is_named,
    notice,
    open_notice,
    template,
)
from livepush.wire.positions import (
    LARGEST_NUMBER,
    NOWHERE,
    Position,
    parse_position,
    position_of_header,
)
from livepush.wire.records import (
    Batch,
    LogPage,
    LogState,
    memory_of,
    wire_size,
)
from livepush.wire.requests import (
    Query,
    check_get,
    parse_query,
    parse_wait,
    poll_answer,
)
from livepush.wire.system import (
    HEARTBEAT,
    PROTOCOL,
    SUBPROTOCOL,
    hello,
    still_owed,
    system_frames,
    without_ids,
)

__all__ = [
    "EVERYTHING",
    "FORGOTTEN",
    "GROUP",
    "HEARTBEAT",
    "INBOX_PREFIX",
    "LARGEST_ARRAY",
    "LARGEST_NUMBER",
    "MARK",
    "MAX_GROUP_LENGTH",
    "MAX_NOTICE_BYTES",
    "MAX_TYPE_LENGTH",
    "MORE_BYTES",
    "NOWHERE",
    "OWN_GROUPS",
    "PRESENCE_PREFIX",
    "PROTOCOL",
    "RESERVED_PREFIX",
    "RESERVED_TYPES",
    "RIGHTS",
    "SUBPROTOCOL",
    "SURROGATE",
    "TEXTS",
    "TYPE",
    "Announcement",
    "Batch",
    "Binary",
    "Cache",
    "Close",
    "Command",
    "Event",
    "Floor",
    "Floors",
    "Format",
    "Frames",
    "LogPage",
    "LogState",
    "Position",
    "Query",
    "Sending",
    "Template",
    "WireError",
    "above",
    "bad_query",
    "changed",
    "check_get",
    "check_group",
    "dumps",
    "encode",
    "envelope",
    "hello",
    "highest",
    "is_named",
    "is_same",
    "join",
    "loads",
    "lower",
    "memory_of",
    "merge",
    "notice",
    "on_the_wire",
    "open_notice",
    "origin_of",
    "parse_announcement",
    "parse_command",
    "parse_forgotten",
    "parse_message",
    "parse_position",
    "parse_query",
    "parse_wait",
    "poll_answer",
    "position_of_header",
    "public_name",
    "readable",
    "seal",
    "split_batch",
    "sse_envelope",
    "sse_event",
    "still_owed",
    "system_frames",
    "template",
    "timestamp",
    "type_problem",
    "unavailable",
    "unseal",
    "wire_size",
    "without",
    "without_ids",
]
