"""The bytes on the wire; the golden cases are the JavaScript client's too."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pytest
from websockets.frames import Frame, Opcode

from livepush import wire
from livepush.wire import Close, Command, Event, Format, Position, Query, Sending, WireError

parse_query = partial(wire.parse_query, max_groups=100)
parse_command = partial(wire.parse_command, max_groups=100)
GOLDEN = json.loads((Path(__file__).parent / "golden" / "wire.json").read_text())["cases"]


@pytest.fixture(params=GOLDEN, ids=lambda case: case["name"])
def case(request):
    return request.param


def events_of(case):
    return [Event(number, tuple(groups), *rest) for number, groups, *rest in case["events"]]


def encoded(case, format):
    events = events_of(case)
    return wire.join([wire.encode(event, case["epoch"], format) for event in events], format)


def test_sse_for_any_event_source_is_the_golden_text(case):
    assert encoded(case, Format.SSE) == (case["sse"].encode(),)


def test_sse_for_the_client_is_the_golden_text(case):
    assert encoded(case, Format.SSE_ENVELOPE) == (case["sse_envelope"].encode(),)


def test_plain_websocket_clients_get_a_text_an_event(case):
    assert encoded(case, Format.TEXT) == tuple(case["ws"])


def test_clients_of_our_subprotocol_get_an_array_when_several_go_in_one_write(case):
    assert encoded(case, Format.ARRAY) == (case["ws_array"],)


def test_a_polls_answer_is_the_golden_text(case):
    if case["poll"] is not None:
        events = events_of(case)
        answer = wire.poll_answer(events, Position(case["epoch"], events[-1].number))
        assert answer.decode() == case["poll"]


def test_the_envelopes_are_what_json_reads_from_them(case):
    assert [json.loads(text) for text in case["ws"]] == case["envelopes"]


def test_what_livepush_says_carries_its_position_as_id_for_event_sources():
    assert wire.system_frames("reset", Format.SSE, position=Position("ab", 3), reason="epoch") == (
        b"id: ab-3\nevent: livepush.reset\n"
        b'data: {"type":"livepush.reset","id":"ab-3","position":"ab-3","reason":"epoch"}\n\n',
    )


def text(data, type="row", number=7):
    """Return the stream that a client of ``format=text`` gets of some data."""
    return wire.encode(Event(number, ("a",), type, wire.dumps(data), "time"), "ab", Format.SSE_TEXT)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_string_goes_as_it_is_in_as_many_data_lines_as_it_has_lines(end):
    assert text(f'<p class="a">{end}  \\n ü</p>{end}') == (
        'id: ab-7\nevent: row\ndata: <p class="a">\ndata:   \\n ü</p>\ndata: \n\n'
    )


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\n\n", "\r\r", "\n\r", "\r\n\r\n"])
def test_no_string_ends_its_event_or_begins_a_field(end):
    for name in ("id: evil-1", "event: evil", "data: evil", "retry: 1", ":"):
        assert all(
            line.startswith(("id: ab-7", "event: row", "data: ")) for line in text(f"x{end}{name}").split("\n")[:-2]
        )
        assert text(f"x{end}{name}").count("\n\n") == 1


def test_what_ends_lines_elsewhere_ends_none_here():
    odd = "\u2028a\u2029b\x0bc\x0cd\x1ce\x85f"
    assert text(odd) == f"id: ab-7\nevent: row\ndata: {odd}\n\n"


def test_a_message_as_text_needs_no_event_line_and_an_ephemeral_one_no_id():
    assert text("hi", "message", None) == "data: hi\n\n"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("", ""),
        (None, ""),
        (0, "0"),
        (False, "false"),
        ({"a": [1, "b\nc"]}, '{"a":[1,"b\\nc"]}'),
        (["<b>&"], '["\\u003cb\\u003e\\u0026"]'),
    ],
)
def test_data_that_is_no_string_goes_as_json_that_is_no_markup_and_none_as_an_empty_line(data, line):
    assert text(data) == f"id: ab-7\nevent: row\ndata: {line}\n\n"
    assert data is None or data == "" or json.loads(line) == data


def test_text_that_no_database_could_hold_breaks_no_stream():
    event = Event(None, ("a",), "row", '"\\ud800x"', "time")
    assert wire.join([wire.encode(event, "", Format.SSE_TEXT)], Format.SSE_TEXT) == (b"event: row\ndata: ?x\n\n",)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("<img src=x onerror=alert(1)>&", r'"\u003cimg src=x onerror=alert(1)\u003e\u0026"'),
        ({"html": "<b>"}, r'{"html":"\u003cb\u003e"}'),
        ("one\r\ntwo", r'"one\r\ntwo"'),
        (None, "null"),
    ],
)
def test_what_a_client_has_sent_is_no_markup(data, line):
    event = Event(7, ("a",), "row", wire.dumps(data), "time", '{"id":"1","name":"Eve"}')
    assert wire.encode(event, "ab", Format.SSE_TEXT) == f"id: ab-7\nevent: row\ndata: {line}\n\n"


def test_livepushs_own_messages_have_names_also_among_texts():
    assert wire.system_frames("bye", Format.SSE_TEXT, retry=250) == wire.system_frames("bye", Format.SSE, retry=250)


def test_a_bye_sets_an_event_sources_reconnection_time():
    assert wire.system_frames("bye", Format.SSE, retry=250, reason="drain") == (
        b'retry: 250\nevent: livepush.bye\ndata: {"type":"livepush.bye","retry":250,"reason":"drain"}\n\n',
    )


def test_our_client_gets_no_event_line():
    assert wire.system_frames("bye", Format.SSE_ENVELOPE, retry=250) == (
        b'retry: 250\ndata: {"type":"livepush.bye","retry":250}\n\n',
    )


def test_a_reply_carries_a_position_that_moves_no_cursor():
    assert wire.system_frames("reply", Format.TEXT, ref=1, ok=True, position="ab-3") == (
        '{"type":"livepush.reply","ref":1,"ok":true,"position":"ab-3"}',
    )


@pytest.mark.parametrize("format", list(Format))
def test_a_plain_client_that_is_owed_something_hears_no_position_but_where_it_began(format):
    event = Event(4, ("a",), "t", '"id: ab-9\\nid: ab-9"', "2026-01-31T12:00:00.000000Z")
    greeting = wire.hello(
        Position("ab", 3), format, heartbeat=15.0, retry=2000, groups=("a",), refused=("b",), failed=("b",)
    )
    assert wire.without_ids(greeting) == greeting
    if format is Format.ARRAY:  # such a client heeds what hello says
        return
    frames = wire.join([wire.encode(event, "ab", format)] * 2, format)
    frames += wire.system_frames("position", format, position=Position("ab", 5))
    plain = "".join(each if isinstance(each, str) else each.decode() for each in wire.without_ids(frames))
    same = wire.join([wire.encode(event._replace(number=None), "ab", format)] * 2, format)
    expected = "".join(each if isinstance(each, str) else each.decode() for each in same)
    if format is Format.SSE_ENVELOPE:
        assert "\nid: " not in f"\n{plain}"
        return
    assert plain.startswith(expected)
    assert "\nid: " not in plain
    assert plain.endswith('{"type":"livepush.heartbeat"}') is (format is Format.TEXT)


def test_hello_comes_with_protocol_cursor_heartbeat_and_groups():
    frames = wire.hello(Position("ab", 3), Format.TEXT, heartbeat=15.0, retry=2000, groups=("a",), refused=("b",))
    assert frames == (
        '{"type":"livepush.hello","id":"ab-3","protocol":1,"position":"ab-3","heartbeat":15.0,"retry":2000,'
        '"groups":["a"],"refused":["b"]}',
    )


def test_a_position_survives_the_round_trip():
    assert wire.parse_position(str(Position("a1b2", 17))) == Position("a1b2", 17)


@pytest.mark.parametrize(
    "text",
    ["17", "-17", "a1-", "a1-x", "A1-7", "a1-7 ", "a1-7\n", "a1--7", f"a1-{2**63}", "a1-٣", "a" * 17 + "-1"],
)
def test_a_malformed_position_is_refused(text):
    with pytest.raises(WireError) as caught:
        wire.parse_position(text)
    assert (caught.value.code, caught.value.status, caught.value.close) == (
        "bad_position",
        400,
        Close.BAD_REQUEST,
    )


def test_a_query_keeps_groups_in_order_and_once():
    query = parse_query(b"group=b&group=a%3A1&group=b&since=ab-3&format=envelope&wait=2.5")
    assert query == Query(("b", "a:1"), Position("ab", 3), Format.SSE_ENVELOPE, 2.5)


def test_a_query_can_ask_for_texts():
    assert parse_query(b"group=b&format=text").format is Format.SSE_TEXT


@pytest.mark.parametrize("format", ["", "sse", "copies", "Envelope", "Text", "array", "sse_text"])
def test_any_other_format_is_that_of_event_sources(format):
    assert parse_query(f"group=b&format={format}".encode()).format is Format.SSE


def test_last_event_id_wins_over_since():
    assert parse_query(b"group=a&since=ab-3", "ab-9").since == Position("ab", 9)


@pytest.mark.parametrize("name", ["lastEventId", "lastEventID", "Last-Event-ID"])
def test_a_client_that_can_set_no_header_sends_the_last_event_id_in_a_field(name):
    query = f"group=a&since=ab-3&{name}=ab-5&{name}=ab-7".encode()
    assert parse_query(query).since == Position("ab", 7)
    assert parse_query(query, "ab-9").since == Position("ab", 9)
    assert parse_query(f"group=a&since=ab-3&{name}=urn:uuid:7".encode()).since == wire.NOWHERE
    assert parse_query(f"group=a&since=ab-3&{name}=".encode()).since == Position("ab", 3)


@pytest.mark.parametrize("header", ["board:17", "7c9e6679-7425-40de-944b-e07fc1f90ae7", "A1-7", f"a-{2**63}", "ü", " "])
def test_a_foreign_last_event_id_is_a_position_that_no_log_continues(header):
    assert parse_query(b"group=a&since=ab-3", header).since == wire.NOWHERE


def test_an_empty_since_is_none():
    assert parse_query(b"group=a&since=").since is None


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (b"group=", "bad_group"),
        (b"group=a%20b", "bad_group"),
        (b"group=a%0Ab", "bad_group"),
        (b"group=" + b"a" * 201, "bad_group"),
        (b"group=%FF", "bad_query"),
        (b"group=\xff", "bad_query"),
        (b"group=a&since=x", "bad_position"),
        (b"group=a&wait=-1", "bad_wait"),
        (b"group=a&wait=nan", "bad_wait"),
        (b"&".join(b"group=g%d" % n for n in range(101)), "too_many_groups"),
        (b"&".join(b"x=%d" % n for n in range(1001)), "bad_query"),
    ],
)
def test_a_malformed_query_is_refused(query, code):
    with pytest.raises(WireError) as caught:
        parse_query(query)
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["status", "message", "a.b:c-d_e", "x" * 100])
def test_a_types_name_is_accepted(name):
    assert wire.type_problem(name) is None


@pytest.mark.parametrize("name", ["", "error", "open", "livepush.x", "a b", "a\n", "x" * 101, "é", 7, None])
def test_a_types_name_is_refused(name):
    assert wire.type_problem(name)


def test_a_timestamp_is_utc_with_microseconds():
    when = datetime(2026, 1, 31, 13, 0, tzinfo=timezone(timedelta(hours=1)))
    assert wire.timestamp(when) == "2026-01-31T12:00:00.000000Z"
    assert wire.timestamp(datetime(2026, 1, 31, tzinfo=UTC)) == "2026-01-31T00:00:00.000000Z"


def test_commands_are_read():
    assert parse_command('{"command":"ping"}') == Command("ping", None)
    assert parse_command('{"command":"subscribe","groups":["a","b","a"],"ref":7}') == Command(
        "subscribe", 7, ("a", "b")
    )
    assert parse_command('{"command":"subscribe","groups":["a"],"since":"ab-3","ref":8}') == Command(
        "subscribe", 8, ("a",), Position("ab", 3)
    )
    assert parse_command('{"command":"subscribe","groups":["a"],"since":null}') == Command("subscribe", None, ("a",))
    assert parse_command('{"command":"unsubscribe","groups":["a"],"since":"x"}') == Command("unsubscribe", None, ("a",))
    assert parse_command('{"command":"send","group":"a","type":"t","data":[1],"ref":"x"}') == Command(
        "send", "x", ("a",), sending=Sending("a", "t", [1], None, False, None)
    )


@pytest.mark.parametrize("length", [100, 101, 200])
def test_a_key_may_be_a_commands_ref(length):
    text = json.dumps({"command": "send", "group": "a", "type": "t", "key": "k" * length, "ref": "k" * length})
    found = parse_command(text)
    assert (found.ref, found.sending.key) == ("k" * length, "k" * length)


@pytest.mark.parametrize("ref", ["k" * 201, 10**200])
def test_a_ref_that_is_too_long_is_refused_with_a_sentence_that_says_so(ref):
    with pytest.raises(WireError, match="at most 200 characters long"):
        parse_command(json.dumps({"command": "ping", "ref": ref}))


@pytest.mark.parametrize(
    ("text", "code", "ref"),
    [
        ("", "bad_command", None),
        ("[]", "bad_command", None),
        ("[" * 100_000, "bad_command", None),
        ('{"command":["ping"]}', "bad_command", None),
        ('{"command":"fly","ref":1}', "bad_command", 1),
        ('{"command":"ping","ref":{}}', "bad_command", None),
        ('{"command":"ping","ref":true}', "bad_command", None),
        ('{"command":"subscribe","groups":[],"ref":1}', "bad_command", 1),
        ('{"command":"subscribe","groups":"a","ref":1}', "bad_command", 1),
        ('{"command":"subscribe","groups":[1],"ref":1}', "bad_group", 1),
        ('{"command":"subscribe","groups":["a"],"since":"7","ref":1}', "bad_position", 1),
        ('{"command":"subscribe","groups":["a"],"since":"","ref":1}', "bad_position", 1),
        ('{"command":"subscribe","groups":["a"],"since":7,"ref":1}', "bad_position", 1),
        ('{"command":"send","type":"t","ref":"r"}', "bad_group", "r"),
    ],
)
def test_a_malformed_command_is_refused_with_its_ref(text, code, ref):
    with pytest.raises(WireError) as caught:
        parse_command(text)
    assert (caught.value.code, caught.value.ref) == (code, ref)


KEY, TIME = b"k" * 32, "2026-01-31T12:00:00.000000Z"


def announcement(batch):
    return wire.Announcement("0123456789abcdef", 7, 1_769_860_800.5, batch)


def came_through(found):
    """Return an announcement as another process gets it through a layer that carries JSON."""
    message = json.loads(json.dumps(wire.seal(found, KEY)))
    return wire.parse_announcement(wire.unseal(message, [b"new" * 9, KEY]))


def test_an_announcement_survives_the_layer():
    batch = wire.Batch(
        "ab", (Event(7, ("a", "b:1"), "t", '{"é": "\\n\u2028😀"}', TIME), Event(8, ("a",), "t", "1", TIME))
    )
    ephemeral = wire.Batch("", (Event(None, ("a",), "t", "1", TIME),) * 2)
    for found in (announcement(batch), announcement(ephemeral), announcement(None)):
        assert came_through(found) == found


@pytest.mark.parametrize(
    "change",
    [
        lambda message: message | {"body": message["body"].replace('"1"', '"2"')},
        lambda message: message | {"body": message["body"] + " "},
        lambda message: message | {"signature": message["signature"].upper()},
        lambda message: message | {"signature": "0" * 64},
        lambda message: message | {"signature": "é" * 64},
        lambda message: message | {"signature": ""},
        lambda message: message | {"signature": None},
        lambda message: message | {"signature": message["signature"].encode()},
        lambda message: message | {"body": message["body"].encode()},
        lambda message: message | {"body": "\ud800"},
        lambda message: message | {"body": "[" * 5_000_000},
        lambda message: wire.seal(announcement(wire.Batch("ab", (Event(1, ("a",), "t", "1", TIME),))), b"other" * 6),
        lambda message: {"type": "livepush.batch", "epoch": "ab", "events": [[1, ["a"], "t", "1", TIME]]},
        lambda message: {},
        lambda message: [message],
        lambda message: None,
        lambda message: 7,
    ],
)  # fmt: skip
def test_a_message_that_is_not_signed_with_a_key_of_the_site_is_refused(change):
    message = wire.seal(announcement(wire.Batch("ab", (Event(1, ("a",), "t", "1", TIME),))), KEY)
    assert wire.unseal(message, [b"new" * 9, KEY]) == message["body"]
    with pytest.raises(ValueError, match=r"signed|signature|surrogates|characters"):
        wire.unseal(change(message), [b"new" * 9, KEY])


GOOD = ["0123456789abcdef", 7, 1.5, "ab", [[1, ["a"], "t", "1", TIME], [2, ["a", "b"], "t", "1", TIME]]]


def but(place, value):
    """Return a good announcement but for one field of it, or of its first event."""
    found = json.loads(json.dumps(GOOD))
    if isinstance(place, tuple):
        found[4][0][place[0]] = value
    else:
        found[place] = value
    return found


@pytest.mark.parametrize(
    "value",
    [
        *(but(0, bad) for bad in ("", "0123456789abcde\n", 1, None)),
        *(but(1, bad) for bad in (0, -1, 2**63, 1.0, True, "1", None)),
        *(but(2, bad) for bad in (0, -1.5, 1, float("nan"), float("inf"), 1e300, "1.5", None)),
        *(but(3, bad) for bad in ("", "A", "a\n", "a" * 17, 1, None)),
        *(but(4, bad) for bad in (None, 1, "ab", {"a": 1}, [[]], [1], [[1, ["a"], "t", "1"]])),
        *(but((0,), bad) for bad in (0, 2, -1, None, True, 1.0, "1", 2**63 - 1, 10**30)),
        *(but((1,), bad) for bad in ([], "a", None, ["a", "a"], ["a\nid: 5"], ['a"'], [1], [["a"]], ["a" * 201])),
        *(but((2,), bad) for bad in ("", "t\ndata: 5", "t\r", "error", 't"', "t" * 101, 1, None)),
        *(but((3,), bad) for bad in (1, None, ["1"], "\ud800")),
        *(but((4,), bad) for bad in ("", "now", TIME + "\n", '"' + TIME[1:], 1, None)),
        GOOD[:4], [*GOOD, 1], {}, "", None, 7,
    ],
)  # fmt: skip
def test_an_announcement_with_a_malformed_field_is_refused_although_it_is_signed(value):
    assert wire.parse_announcement(json.dumps(GOOD)).batch.events[1].groups == ("a", "b")
    with pytest.raises(ValueError):  # noqa: PT011 (whatever it says)
        wire.parse_announcement(json.dumps(value))


@pytest.mark.parametrize("body", ["", "[", "[" * 100_000, "nonsense"])
def test_an_announcement_that_is_no_json_is_refused(body):
    with pytest.raises(ValueError):  # noqa: PT011
        wire.parse_announcement(body)


def test_ephemeral_and_durable_events_do_not_mix_in_an_announcement():
    with pytest.raises(ValueError, match="malformed"):
        wire.parse_announcement(json.dumps(but(4, [[1, ["a"], "t", "1", TIME], [None, ["a"], "t", "1", TIME]])))
    with pytest.raises(ValueError, match="malformed"):
        wire.parse_announcement(json.dumps(but(4, [[None, ["a"], "t", "1", TIME], [2, ["a"], "t", "1", TIME]])))


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_data_with_line_breaks_stay_data_of_their_event(end):
    """As in rows that somebody wrote by hand, without ``send``."""
    event = Event(7, ("a",), "t", f'{{{end}"a":{end}{end}1}}', TIME)
    assert wire.sse_event(event, "ab") == 'id: ab-7\nevent: t\ndata: {\ndata: "a":\ndata: \ndata: 1}\n\n'
    lines = wire.sse_envelope(event, "ab").split("\n")
    assert (lines[0], lines[-2:]) == ("id: ab-7", ["", ""])
    assert all(line.startswith("data: ") for line in lines[1:-2])
    assert json.loads("\n".join(line.removeprefix("data: ") for line in lines[1:-2]))["data"] == {"a": 1}


def test_a_batch_survives_the_layer_in_messages_of_a_bounded_size():
    events = tuple(Event(n, ("a", "b"), "t", '"' + "x" * 96 + '"', TIME) for n in range(1, 11))
    parts = wire.split_batch(wire.Batch("ab", events), max_bytes=300)
    assert [len(part.events) for part in parts] == [3, 3, 3, 1]
    parsed = [came_through(announcement(part)) for part in parts]
    assert [each.batch for each in parsed] == parts
    assert tuple(event for part in parts for event in part.events) == events


def test_the_names_of_its_groups_count_in_an_events_size():
    groups = ("a" * 100, "b" * 100)
    events = tuple(Event(n, groups, "t", "1", "time") for n in range(1, 4))
    parts = wire.split_batch(wire.Batch("ab", events), max_bytes=300)
    assert [[event.number for event in part.events] for part in parts] == [[1], [2], [3]]


def test_an_array_is_no_longer_than_clients_take():
    parts = ["x" * 30_000] * 5 + ["y" * 100_000, "z"]
    frames = wire.join(parts, Format.ARRAY)
    assert [len(frame) for frame in frames] == [60_003, 60_003, 30_000, 100_000, 1]


def test_a_reader_gets_an_event_with_those_of_its_groups_that_the_reader_reads():
    event = Event(7, ("a", "b", "c"), "t", "1", "time")
    assert event.to(("c", "a")) == Event(7, ("c", "a"), "t", "1", "time")
    assert wire.envelope(event.to(("c", "a")), "ab") == (
        '{"id":"ab-7","group":"c","groups":["c","a"],"type":"t","data":1,"time":"time"}'
    )
    assert wire.envelope(event.to(("b",)), "ab") == '{"id":"ab-7","group":"b","type":"t","data":1,"time":"time"}'


def test_an_event_source_gets_the_same_bytes_whatever_the_groups():
    event = Event(7, ("a", "b", "c"), "t", "1", "time")
    assert wire.sse_event(event, "ab") == wire.sse_event(event.to(("c",)), "ab") == "id: ab-7\nevent: t\ndata: 1\n\n"


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_a_text_goes_over_the_wire_as_a_websocket_library_has_it(size):
    frame = Frame(Opcode.TEXT, b"x" * size)
    assert wire.on_the_wire(["x" * size, "x" * size]) == frame.serialize(mask=False) * 2


def test_a_text_of_any_language_goes_over_the_wire_by_its_length_in_bytes():
    assert wire.on_the_wire(["é"]) == b"\x81\x02\xc3\xa9"


def test_bytes_go_over_the_wire_as_chunks():
    assert wire.on_the_wire([b"data: 1\n\n", b"x" * 17]) == b"9\r\ndata: 1\n\n\r\n11\r\n" + b"x" * 17 + b"\r\n"


BYTES = Event(7, ("a",), "t", wire.dumps({"$bytes": "AP8K"}), "2026-01-31T12:00:00.000000Z")


def test_bytes_are_a_binary_message_for_livepushs_own_client_and_base64_for_others():
    text = wire.encode(BYTES, "e", Format.TEXT)
    found = wire.encode(BYTES, "e", Format.ARRAY)
    head, _, data = bytes(found).partition(b"\n")
    assert data == b"\x00\xff\n"
    assert json.loads(head) == {**json.loads(text), "data": None}
    assert json.loads(text)["data"] == {"$bytes": "AP8K"}
    assert "AP8K" in wire.encode(BYTES, "e", Format.SSE)


def test_binary_messages_keep_their_place_among_others():
    plain = [wire.encode(BYTES._replace(number=number, data="1"), "e", Format.ARRAY) for number in (5, 6, 8)]
    binary = wire.encode(BYTES, "e", Format.ARRAY)
    frames = wire.join([*plain[:2], binary, plain[2], binary, binary], Format.ARRAY)
    assert frames == (f"[{plain[0]},{plain[1]}]", binary, plain[2], binary, binary)
    assert [type(frame) for frame in frames] == [str, wire.Binary, str, wire.Binary, wire.Binary]
    assert wire.merge(frames) == frames
    wires = wire.on_the_wire([binary, "a"])
    assert wires[:2] == bytes([0x82, len(binary)]) if len(binary) < 126 else wires[0] == 0x82
    assert wires.endswith(b"\x81\x01a")


@pytest.mark.parametrize(
    ("status", "name", "usual"),
    [(401, "WWW-Authenticate", "Bearer"), (405, "Allow", "GET"), (503, "Retry-After", "2")],
)
def test_the_headers_of_a_refusal_are_the_usual_ones_unless_it_has_its_own(status, name, usual):
    error = WireError("refused", "The site does not let this client in.", status)
    assert error.answer_headers() == {name: usual}
    for own in ({name: "own"}, {name.lower(): "own"}):
        error.headers = own
        assert error.answer_headers() == own
    error.headers = {"Location": "/"}
    assert error.answer_headers() == {"Location": "/", name: usual}
