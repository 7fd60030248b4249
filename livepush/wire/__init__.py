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

from livepush.wire.events import (
    COPIES,
    GROUP,
    HEARTBEAT,
    INBOX_PREFIX,
    LARGEST_ARRAY,
    LARGEST_NUMBER,
    MAX_GROUP_LENGTH,
    MAX_REF_LENGTH,
    MAX_TYPE_LENGTH,
    POSITION,
    RESERVED_PREFIX,
    RESERVED_TYPES,
    SUBPROTOCOL,
    SURROGATE,
    TEXTS,
    TYPE,
    Batch,
    Close,
    Command,
    Event,
    Format,
    Page,
    Position,
    Query,
    State,
    WireError,
    batch_messages,
    check_get,
    check_group,
    dumps,
    encode,
    envelope,
    hello,
    join,
    on_the_wire,
    once_a_send,
    own,
    parse_batch,
    parse_command,
    parse_position,
    parse_query,
    parse_wait,
    poll_answer,
    sse_envelope,
    sse_event,
    timestamp,
    type_problem,
)

__all__ = [
    "COPIES",
    "GROUP",
    "HEARTBEAT",
    "INBOX_PREFIX",
    "LARGEST_ARRAY",
    "LARGEST_NUMBER",
    "MAX_GROUP_LENGTH",
    "MAX_REF_LENGTH",
    "MAX_TYPE_LENGTH",
    "POSITION",
    "RESERVED_PREFIX",
    "RESERVED_TYPES",
    "SUBPROTOCOL",
    "SURROGATE",
    "TEXTS",
    "TYPE",
    "Batch",
    "Close",
    "Command",
    "Event",
    "Format",
    "Page",
    "Position",
    "Query",
    "State",
    "WireError",
    "batch_messages",
    "check_get",
    "check_group",
    "dumps",
    "encode",
    "envelope",
    "hello",
    "join",
    "on_the_wire",
    "once_a_send",
    "own",
    "parse_batch",
    "parse_command",
    "parse_position",
    "parse_query",
    "parse_wait",
    "poll_answer",
    "sse_envelope",
    "sse_event",
    "timestamp",
    "type_problem",
]
