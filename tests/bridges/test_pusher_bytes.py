"""Pusher's channels, signatures and messages, without a server."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from types import SimpleNamespace

import pusher
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.urls import get_script_prefix, include, path, set_script_prefix
from hypothesis import given
from hypothesis import strategies as st

import livepush
from livepush import checks, log, process, publish
from livepush.access import limits
from livepush.bridges import lazily
from livepush.bridges.pusher import config, consumer, frames, listening, proving, signing, snapshots, subscribing
from livepush.bridges.pusher.channels import PREFIXES, channel_of, name_of
from livepush.bridges.pusher.connection import CAUGHT_UP, LEFT_OUT, NO_PONG, RESUMES, PusherConnection
from livepush.consumers.incoming import Incoming
from livepush.hub.source import Limits
from livepush.process.servers import daphne
from livepush.wire import Event, Format, Position, WireError, envelope, system_frames, unavailable
from tests.bridges.pushers import APP
from tests.patience import PATIENCE

APPLICATION = config.App("3", "278d425bdf160c739803", "7ad3773142a6692b25b8")
"""Of the worked example in Pusher's reference of its HTTP API."""


@given(st.sampled_from(["", *PREFIXES]), st.from_regex(r"[A-Za-z0-9_=@.:/-]{1,150}", fullmatch=True))
def test_each_group_that_can_have_channels_has_one_of_each_kind(prefix, group):
    name = name_of(group, prefix)
    if not group.startswith(("private-", "presence-", "cache-")):
        assert channel_of(name) == (name, group, prefix)


@pytest.mark.parametrize("name", [None, 7, "", "a b", "a:b", "ä", "x" * 201, "#a", "private-", "private-encrypted-a"])
def test_a_malformed_channel_is_refused(name):
    with pytest.raises(WireError):
        channel_of(name)


def test_the_channel_of_a_user_is_the_users_own_group():
    found = channel_of("#server-to-user-7")
    assert (found.group, found.is_of_user, found.needs_auth) == ("user:7", True, False)


def test_signatures_are_those_of_pushers_reference():
    """https://pusher.com/docs/channels/library_auth_reference/rest-api/#worked-authentication-example"""
    body = b'{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}'
    query = {
        "auth_key": APPLICATION.key,
        "auth_timestamp": "1353088179",
        "auth_version": "1.0",
        "body_md5": "ec365a775a4cd0599faeb73354201b6f",
        "auth_signature": "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c",
    }
    signing.check_request(APPLICATION, "POST", "/apps/3/events", query, body, 1353088179)
    for name, value in ("auth_key", "x"), ("auth_version", "2.0"), ("body_md5", ""), ("auth_signature", "ä"):
        with pytest.raises(WireError, match=name):
            signing.check_request(APPLICATION, "POST", "/apps/3/events", {**query, name: value}, body, 1353088179)
    for now in (1353088179 + 601, 1353088179 - 601):
        with pytest.raises(WireError, match="auth_timestamp"):
            signing.check_request(APPLICATION, "POST", "/apps/3/events", query, body, now)


def test_channels_are_signed_as_pushers_library_does():
    client = pusher.Pusher(APP["APP_ID"], APP["KEY"], APP["SECRET"])
    own = config.App(*APP.values())
    found = client.authenticate("presence-a", "1.2", {"user_id": "7"})
    text = signing.of_channel("1.2", "presence-a", found["channel_data"])
    assert found["auth"] == f"{own.key}:{signing.sign(own, text)}"
    found = client.authenticate_user("1.2", {"id": "7"})
    assert found["auth"] == f"{own.key}:{signing.sign(own, signing.of_user('1.2', found['user_data']))}"


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
values = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | texts, lambda kids: st.lists(kids, max_size=3))


@given(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=40), st.dictionaries(texts, values, max_size=3) | texts
)
def test_what_is_published_arrives_as_it_was(name, data):
    given = data if isinstance(data, str) else json.dumps(data)
    found = frames.content(name, given)
    text = envelope(Event(1, ("a",), found.type, json.dumps(found.data), "2026-01-01T00:00:00.000000Z"), "e")
    message = frames.event(text, "a", False)
    if name.startswith(frames.PROTECTED):
        assert message == ""
        return
    got = json.loads(message)
    assert (got["event"], got["channel"]) == (name, "a")
    is_text = isinstance(frames.told(text).data, str)
    assert got["data"] == given if is_text else json.loads(got["data"]) == json.loads(given)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({**APP, "SECRETS": ""}, "nothing reads"),
        ({**APP, "KEY": "a/b"}, "'KEY'"),
        ({"KEY": "a", "SECRET": "x" * 20}, "'APP_ID'"),
        ({**APP, "SECRET": "short"}, "can be guessed"),
        ({**APP, "SECRET": 7}, "'SECRET'"),
        ("x", "LIVEPUSH"),
    ],
)
def test_a_bad_setting_is_found_by_the_check_and_the_secret_is_not_shown(settings, given, text):
    settings.LIVEPUSH = {"PUSHER": given}
    [error] = checks.check_settings(None)
    assert error.id == ("livepush.E001" if given == "x" else "livepush.E022")
    assert text in error.msg
    assert "short" not in error.msg
    if given != "x":
        with pytest.raises(ImproperlyConfigured):
            config.app()


def test_a_good_setting_is_no_finding(settings):
    settings.LIVEPUSH = {"PUSHER": APP}
    assert checks.check_settings(None) == []
    assert config.app()[: len(APP)] == tuple(APP.values())


urlpatterns = [path("push/", include("livepush.bridges.pusher.urls"))]


@pytest.mark.parametrize("root", ["/", "/site/"])
def test_the_websocket_is_where_the_addresses_are_mounted(settings, root):
    settings.LIVEPUSH = {"PUSHER": APP}
    assert ("websocket", "/push/app/<str:key>") not in lazily.endpoints("/livepush/")
    settings.ROOT_URLCONF = __name__
    set_script_prefix(root)
    try:
        assert ("websocket", "/push/app/<str:key>") in lazily.endpoints("/livepush/")
        assert get_script_prefix() == root
    finally:
        set_script_prefix("/")
    settings.LIVEPUSH = {}
    assert ("websocket", "/push/app/<str:key>") not in lazily.endpoints("/livepush/")


# The log


def test_a_cache_channel_gives_the_last_event_that_is_no_members_or_clients(using):
    livepush.send(["board", "room:a"], "score", 1, using=using)
    livepush.send("room:a", "client-typing", 2, using=using)
    publish.send_own("room:a", "presence.join", {}, using)
    livepush.send("room:b", "score", 3, using=using)
    head = log.state(using).position.number
    found = log.last(using, "room:a", head, snapshots.NOT_CACHED)
    assert (found.groups, found.type, found.data) == (("room:a",), "score", "1")
    assert log.last(using, "room:a", head).type == "presence.join"
    assert log.last(using, "room:a", found.number - 1, snapshots.NOT_CACHED) is None
    assert log.last(using, "room:z", head) is None


# Connections


async def write(written):
    pass


def pusher_connection():
    return PusherConnection(SimpleNamespace(), (), Position("a", 0), Format.TEXT, write, Limits(1000, 1.0, 1.0))


async def test_an_event_that_the_server_lets_be_no_message_is_left_out_loudly():
    connection = pusher_connection()
    connection.fits = partial(daphne.fits, largest=200)
    connection.enter(channel_of("board"))
    large = {"quoted": '"' * 40}
    events = [
        envelope(Event(number, ("board",), "n", json.dumps(data), "2026-01-01T00:00:00Z"), "a")
        for number, data in ((1, large), (2, {"n": 1}), (None, large))
    ]
    told = [json.loads(each) for each in connection.translated(events)]
    left_out = {"event": "pusher:error", "data": {"code": None, "message": LEFT_OUT}}
    reset = {"event": "livepush:reset", "data": '{"position":"a-1","reason":"too_large"}'}
    assert told == [left_out, reset, {"event": "n", "channel": "board", "data": '{"n":1}'}, left_out]


BEAT = system_frames("position", Format.TEXT, position=Position("a", 9))


@pytest.mark.parametrize(("answers", "code"), [(False, None), (True, NO_PONG)])
async def test_a_quiet_client_is_given_up_only_if_it_has_answered_a_ping_before(answers, code):
    connection = pusher_connection()
    connection.answers_pings = answers
    for _ in range(20):
        list(connection.translated(BEAT))
    await asyncio.sleep(0)
    assert connection.code == code


async def test_a_client_that_has_resumed_is_told_no_later_position_before_its_last_channel_has_caught_up():
    connection, now, start = pusher_connection(), [100.0], Position("a", 5)
    connection._loop = SimpleNamespace(time=lambda: now[0])
    connection.tells_position = True
    connection.resume(start)

    def told():
        *_, message = connection.translated(BEAT)
        return json.loads(json.loads(message)["data"])["position"]

    with connection.busy():
        now[0] += 100  # the server's own time does not count, since the client's next subscriptions wait meanwhile
        assert (connection.since_of("board"), told()) == (start, "a-5")
    now[0] += RESUMES
    assert (connection.since_of("board"), told()) == (start, "a-5")
    now[0] += 1
    assert (connection.since_of("board"), told()) == (None, "a-5")
    now[0] += CAUGHT_UP - RESUMES
    assert told() == "a-9"


async def test_a_slow_client_that_signs_in_is_told_no_position_that_it_has_not_reached():
    connection = pusher_connection()
    connection.tells_position = True
    connection.sign_in("ann", Position("a", 500))  # where the hub is
    *_, message = connection.translated(BEAT)
    assert json.loads(json.loads(message)["data"])["position"] == "a-9"


@pytest.mark.parametrize(("position", "reason"), [(Position("b", 97), "epoch"), (Position("a", 97), "pruned")])
async def test_after_a_reset_a_client_is_told_no_position_before_it_and_its_next_channels_go_on_from_it(
    position, reason
):
    connection = pusher_connection()
    connection.tells_position = True
    connection.resume(Position("a", 90))
    connection.sign_in("ann", Position("a", 90))
    reset = system_frames("reset", Format.TEXT, position=position, reason=reason)
    told = [json.loads(each) for each in connection.translated(reset)]
    assert [(each["event"], json.loads(each["data"])["position"]) for each in told] == [
        ("livepush:reset", str(position)), ("livepush:position", str(position)),
    ]  # fmt: skip
    assert connection.since_of("board") == connection.since_of("#server-to-user-ann") == position


# Listening


@pytest.mark.parametrize("event", sorted(listening.SAID_ONCE))
async def test_a_client_comes_back_if_what_it_says_only_once_can_not_be_done_now(event):
    connection = pusher_connection()
    listening._refuse(connection, {"event": event, "data": {}}, unavailable())
    assert connection.code == listening.OVER_CAPACITY


def listening_to(*said):
    """Return what listens to a client that says some messages, and what the audit is told of refusals."""
    told, budget = [], limits.Budget()
    texts = [{"type": "websocket.receive", "text": json.dumps(each)} for each in said]
    messages = iter([*texts, {"type": "websocket.disconnect"}])

    async def receive():
        return next(messages)

    async def listen():
        connection = pusher_connection()
        connection.say = lambda frames: None
        with Incoming(receive) as incoming:
            await asyncio.wait_for(listening.listen(visitor, connection, incoming), PATIENCE)

    client = SimpleNamespace(refuse=lambda error, *asked: told.append((error.code, *asked)))
    visitor = SimpleNamespace(budget=lambda: budget, entry=SimpleNamespace(client=client))
    return listen, told


async def test_the_audit_is_told_which_group_and_which_type_was_refused(monkeypatch):
    async def refuse(visitor, connection, said):
        raise WireError("forbidden", "No rule lets this client read it.", 403)

    monkeypatch.setitem(listening.WORK, "pusher:subscribe", refuse)
    listen, told = listening_to(
        {"event": "pusher:subscribe", "data": {"channel": "private-order;7"}},
        {"event": "pusher:subscribe", "data": {"channel": "no channel"}},
        {"event": "client-admin", "channel": "private-room;a", "data": {}},
        {"event": f"client-{'x' * 1000}", "channel": {"a": 1}, "data": {}},
        {"event": "pusher:nope"},
    )
    await listen()
    assert told == [
        ("forbidden", ("order:7",), None),
        ("forbidden", (), None),
        ("forbidden", ("room:a",), "client-admin"),
        ("bad_channel", (), None),
        ("bad_command", (), None),
    ]


async def test_the_audit_is_told_the_group_of_a_message_that_is_over_a_limit(settings):
    settings.LIVEPUSH = {"MESSAGES_PER_SECOND": 0.001}
    said = {"event": "client-said", "channel": "private-room;a", "data": {}}
    listen, told = listening_to(said, said)
    await listen()
    assert told == [("forbidden", ("room:a",), "client-said"), ("throttled", ("room:a",), "client-said")]


async def test_an_auth_is_no_older_for_the_time_that_the_server_took(monkeypatch):
    connection, now, waited = pusher_connection(), [100.0], []
    connection._loop = SimpleNamespace(time=lambda: now[0])

    def proved(text, proof, seconds):
        waited.append(seconds)
        raise WireError("bad_auth", "It is over.", 401)

    async def in_thread(work):
        return work()

    monkeypatch.setattr(proving, "proved", proved)
    monkeypatch.setattr(process, "in_thread", in_thread)
    visitor = SimpleNamespace(grant=SimpleNamespace(tenant=None), entry=SimpleNamespace(rights=None))
    with connection.busy():
        now[0] += 40
    now[0] += 5  # the client's own
    with connection.busy():
        now[0] += 30
        with pytest.raises(WireError):
            await subscribing._become(visitor, connection, "1.1:private-a", "proof")
    assert waited == [70]


async def test_nothing_more_is_done_for_a_client_that_leaves_while_its_subscription_waits(settings, monkeypatch):
    settings.LIVEPUSH = {"COMMANDS_PER_SECOND": 0.001}
    budget, done = limits.Budget(), []
    budget.command()  # there is room for the next one after a quarter of an hour

    async def subscribe(visitor, connection, said):
        done.append(said)

    monkeypatch.setitem(listening.WORK, "pusher:subscribe", subscribe)
    text = json.dumps({"event": "pusher:subscribe", "data": {"channel": "board"}})
    said = {"type": "websocket.receive", "text": text}
    messages = iter([said, said, {"type": "websocket.disconnect"}])

    async def receive():
        return next(messages)

    with Incoming(receive) as incoming:
        listened = listening.listen(SimpleNamespace(budget=lambda: budget), pusher_connection(), incoming)
        await asyncio.wait_for(listened, PATIENCE)
    assert done == []


@pytest.mark.parametrize(("text", "reason"), [("No.", "No."), ("x" * 200, "x" * 123), ("語" * 200, "語" * 41)])
async def test_a_refusal_in_any_language_fits_into_a_close_frame(text, reason):
    sent = []

    async def send(message):
        sent.append(message)

    await consumer._refuse(send, 4009, text)
    assert sent[1] == {"type": "websocket.close", "code": 4009, "reason": reason}
    assert json.loads(sent[0]["text"])["data"]["message"] == text
