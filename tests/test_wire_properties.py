"""What holds of the wire's formats for any input: nothing but WireError escapes, and what goes out can be read back."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from urllib.parse import quote_from_bytes, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from livepush import wire
from livepush.wire import LARGEST_NUMBER, Event, Format, Position, WireError
from tests.scale import EXAMPLES, FULL

set_hypothesis_home_dir(Path(__file__).parents[1] / ".cache" / "hypothesis")

parse_query = partial(wire.parse_query, max_groups=100)
parse_command = partial(wire.parse_command, max_groups=100)
small = settings(
    max_examples=5000 if FULL else 50 * EXAMPLES, derandomize=not FULL, database=None, deadline=None, print_blob=FULL
)
positions = st.builds(
    Position,
    st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=16),
    st.integers(0, LARGEST_NUMBER),
)
groups = st.from_regex(wire.GROUP, fullmatch=True)
types = st.from_regex(wire.TYPE, fullmatch=True).filter(lambda name: wire.type_problem(name) is None)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
events = st.builds(
    Event,
    st.none() | st.integers(1, LARGEST_NUMBER),
    st.lists(groups, min_size=1, max_size=3, unique=True).map(tuple),
    types,
    values.map(wire.dumps),
    st.just("2026-01-31T12:00:00.000000Z"),
    st.none() | texts.map(lambda name: wire.dumps({"id": "7", "name": name})),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


def tried(parse):
    """Return what is parsed and the refusal; one of the two is ``None``."""
    try:
        return parse(), None
    except WireError as refusal:
        return None, refusal


def read_sse(stream: str) -> list[dict[str, str]]:
    """Return the events in a stream as an EventSource reads them (WHATWG HTML 9.2.6), the last event id with each."""
    found, last_id = [], ""
    for block in re.sub("\r\n|\r", "\n", stream).split("\n\n")[:-1]:
        fields: dict[str, list[str]] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
        last_id = fields.get("id", [last_id])[-1]
        type = fields.get("event", ["message"])[-1]
        found.append({"type": type, "data": "\n".join(fields["data"]), "id": last_id})
    return found


def envelope_of(event: Event, epoch: str) -> dict[str, object]:
    identity = {} if event.number is None else {"id": f"{epoch}-{event.number}"}
    several = {"groups": list(event.groups)} if len(event.groups) > 1 else {}
    data = json.loads(event.data)
    several |= {} if event.sender is None else {"from": json.loads(event.sender)}
    return {**identity, "group": event.groups[0], **several, "type": event.type, "data": data, "time": event.time}


@small
@given(positions)
def test_any_position_survives_the_round_trip(position):
    assert wire.parse_position(str(position)) == position


@small
@given(st.text() | st.from_regex(r"\w{0,20}-\w{0,25}", fullmatch=True))
@example("a-" + "9" * 5000)
@example("a-" + str(2**63))
@example("a-٣")
@example("a-１")
def test_a_position_is_read_or_refused(text):
    found, refusal = tried(lambda: wire.parse_position(text))
    if found is None:
        assert refusal.code == "bad_position"
    else:
        assert 0 <= found.number <= LARGEST_NUMBER
        assert found.epoch in text


@small
@given(st.binary(max_size=200), st.text(max_size=50))
def test_a_query_is_read_or_refused(query, last_event_id):
    found, refusal = tried(lambda: parse_query(query, last_event_id))
    if found is None:
        assert (refusal.status, refusal.close) == (400, wire.Close.BAD_REQUEST)
        json.loads(refusal.body())
    else:
        assert all(wire.GROUP.fullmatch(group) for group in found.groups)
        assert 0 <= found.wait < 10_000


@small
@given(st.lists(st.tuples(st.sampled_from(["group", "since", "wait", "format"]), st.binary(max_size=30)), max_size=8))
def test_a_query_of_known_names_is_read_or_refused(pairs):
    query = "&".join(f"{name}={quote_from_bytes(value)}" for name, value in pairs).encode()
    found, _ = tried(lambda: parse_query(query))
    if found is not None:
        assert set(found.groups) == {value.decode() for name, value in pairs if name == "group"}


@small
@given(st.lists(groups, max_size=10), st.none() | positions)
def test_a_query_keeps_what_was_asked_for(names, since):
    pairs = [("group", name) for name in names] + ([] if since is None else [("since", str(since))])
    found = parse_query(urlencode(pairs).encode())
    assert found.groups == tuple(dict.fromkeys(names))
    assert found.since == since


def answered(text: str) -> None:
    """Parse a command and encode its reply, as the WebSocket endpoint does."""
    try:
        command = parse_command(text)
        ref, fields = command.ref, {"ok": True}
    except WireError as error:
        ref, fields = error.ref, {"ok": False, "code": error.code, "message": error.message}
    (reply,) = wire.system_frames("reply", Format.TEXT, ref=ref, **fields)
    reply.encode()
    assert json.loads(reply)["ref"] == ref
    assert len(reply) < 1000


@small
@given(st.text())
@example("\ud800")
@example("[" * 60_000)
@example('{"a":' * 10_000)
@example("1" * 60_000)
@example('{"command":"ping","ref":' + "9" * 5000 + "}")
def test_any_text_is_answered(text):
    answered(text)


@small
@given(
    st.fixed_dictionaries(
        {"command": st.sampled_from(["ping", "send", "subscribe", "unsubscribe"]) | anything},
        optional={
            "ref": anything | st.text(max_size=100) | st.integers(),
            "groups": anything | st.lists(groups | st.text()),
            "group": anything,
            "since": anything | positions.map(str),
            "type": anything,
            "data": anything,
        },
    )
)
@example({"command": "ping", "ref": "\ud800"})
@example({"command": "subscribe", "groups": ["a b"], "ref": "\udfff"})
@example({"command": "ping", "ref": 10**100})
def test_any_command_is_answered_with_its_ref(fields):
    answered(json.dumps(fields))


@small
@given(st.lists(events, min_size=1, max_size=5), st.sampled_from([Format.SSE, Format.SSE_ENVELOPE]))
def test_an_event_source_reads_what_was_sent(sent, format):
    (frame,) = wire.join([wire.encode(event, "ab", format) for event in sent], format)
    found = read_sse(frame.decode())
    if format is Format.SSE:
        assert [(each["type"], json.loads(each["data"])) for each in found] == [
            (event.type, json.loads(event.data)) for event in sent
        ]
    else:
        assert [json.loads(each["data"]) for each in found] == [envelope_of(event, "ab") for event in sent]
    last = next((event.number for event in reversed(sent) if event.number is not None), None)
    assert found[-1]["id"] == ("" if last is None else f"ab-{last}")


lines = st.lists(st.sampled_from(["\r", "\n", "\r\n", "data: x", "id: 1", "event: e", ":", " ", "é"]) | texts).map(
    "".join
)


@small
@given(st.lists(lines, min_size=1, max_size=3))
def test_an_event_source_reads_the_text_that_was_sent_and_nothing_else(sent):
    events = [Event(n, ("a",), "t", wire.dumps(text), "") for n, text in enumerate(sent, 1)]
    (frame,) = wire.join([wire.encode(event, "ab", Format.SSE_TEXT) for event in events], Format.SSE_TEXT)
    expected = [re.sub("\r\n|\r", "\n", text) for text in sent]
    assert read_sse(frame.decode()) == [
        {"type": "t", "data": text, "id": f"ab-{n}"} for n, text in enumerate(expected, 1)
    ]


@small
@given(st.lists(events, min_size=1, max_size=5), st.sampled_from(sorted(wire.TEXTS)))
def test_a_websocket_client_reads_what_was_sent(sent, format):
    frames = wire.join([wire.encode(event, "ab", format) for event in sent], format)
    found = [json.loads(frame) for frame in frames]
    flat = [each for frame in found for each in (frame if isinstance(frame, list) else [frame])]
    assert flat == [envelope_of(event, "ab") for event in sent]


@small
@given(st.lists(events, max_size=5), positions, st.lists(groups, max_size=3))
def test_a_polls_answer_is_json(sent, position, refused):
    found = json.loads(wire.poll_answer(sent, position, refused=refused))
    assert found["events"] == [envelope_of(event, position.epoch) for event in sent]
    assert (found["position"], found["refused"]) == (str(position), refused)


@small
@given(st.lists(events, max_size=10), st.integers(1, 500))
def test_a_batch_comes_through_the_layer_whole_and_in_order(sent, most):
    parts = wire.split_batch(wire.Batch("ab", tuple(sent)), most)
    assert [event for batch in parts for event in batch.events] == sent


@small
@given(st.lists(groups, min_size=1, max_size=5, unique=True), st.none() | positions | st.text())
def test_a_subscribe_keeps_what_was_asked_for(names, since):
    text = json.dumps({"command": "subscribe", "groups": names, "since": None if since is None else str(since)})
    found, refusal = tried(lambda: parse_command(text))
    if found is None:
        assert refusal.code == "bad_position"
        assert tried(lambda: wire.parse_position(str(since)))[0] is None
    else:
        assert found.groups == tuple(names)
        assert found.since == (None if since is None else wire.parse_position(str(since)))


@small
@given(events, st.data())
def test_a_reader_is_told_those_of_its_groups_that_match_in_its_own_order(event, data):
    mine = data.draw(st.lists(st.sampled_from(event.groups), min_size=1, unique=True))
    found = json.loads(wire.envelope(event.to(tuple(mine)), "ab"))
    assert found.pop("groups", [found["group"]]) == mine
    assert found == envelope_of(event.to((mine[0],)), "ab")


@pytest.mark.parametrize("problem", [{"a": float("nan")}, float("inf")])
def test_numbers_that_json_has_not_are_no_commands_ref(problem):
    with pytest.raises(WireError) as refused:
        parse_command(json.dumps({"command": "ping", "ref": problem}))
    assert (refused.value.code, refused.value.ref) == ("bad_command", None)
