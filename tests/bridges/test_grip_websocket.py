"""A real Pushpin holds the WebSockets of a WSGI site, and asks it by requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from django.test import Client
from websockets.exceptions import ConnectionClosed, InvalidHandshake

import livepush
from livepush import log
from livepush.bridges.grip.config import edge
from livepush.bridges.grip.frames import Frame, parse
from livepush.bridges.grip.telling import Told
from livepush.doctor.examination import examine_site
from livepush.doctor.problems import Level
from livepush.doctor.site import Site as DoctorsSite
from livepush.doctor.web import parse_root
from livepush.models import LogHead
from livepush.wire import Close, WireError
from tests.bridges.edge import Site, audit_kills, running
from tests.integration import clients
from tests.patience import PATIENCE
from tests.scale import some
from tests.servers.fresh import Databases
from tests.servers.pushpin import KEY

TYPE = "application/websocket-events"
HERE = {"CONTROL_URI": "http://127.0.0.1:9", "KEY": KEY}


@pytest.fixture(scope="module")
def site(databases: Databases) -> Iterator[Site]:
    with running(databases, CHECK=3600) as found:
        yield found


async def types(socket: Any, count: int) -> list[str]:
    """Return the types of a WebSocket's next events; messages of livepush's own are left out."""
    found: list[str] = []
    while len(found) < count:
        frame = await clients.frame(socket)
        for envelope in frame if isinstance(frame, list) else [frame]:
            if not envelope["type"].startswith("livepush."):
                found.append(envelope["type"])
    return found


async def ask(socket: Any, **command: Any) -> dict[str, Any]:
    """Send a command; return its reply. Events may come first."""
    await socket.send(json.dumps(command))
    while True:
        frame = await clients.frame(socket)
        if isinstance(frame, dict) and frame["type"] == "livepush.reply" and frame["ref"] == command.get("ref"):
            return frame


async def closed_with(socket: Any) -> int | None:
    """Return the code with which the server closes a WebSocket."""
    _, closed = await clients.until_closed(socket)
    return None if closed is None else closed[0]


# Events


@pytest.mark.parametrize("subprotocol", some([None, "livepush.v1"]))
async def test_a_websocket_gets_everything_once_and_in_order(site, subprotocol):
    offered = [subprotocol] if subprotocol else None
    async with clients.websocket(site.url, ["board", "order:1"], subprotocols=offered) as socket:
        assert socket.subprotocol == subprotocol
        hello = await clients.frame(socket)
        assert (hello["type"], hello["groups"], hello["refused"]) == ("livepush.hello", ["board", "order:1"], [])
        for number in range(30):
            site.shop.send(["board", "order:1"] if number % 3 else "order:1", f"n{number}")
            site.shop.send("order:9", "other")
        assert await types(socket, 30) == [f"n{number}" for number in range(30)]


@pytest.mark.long
async def test_a_websocket_goes_on_at_its_position_and_a_long_replay_comes_in_several_answers(site):
    start = site.shop.position()
    site.shop.do("send_many", groups=["order:2"], type="t", count=1500)
    for _ in range(60):
        site.shop.send("order:2", "large", "x" * 15_000)
    site.shop.send("order:2", "end")
    async with clients.websocket(site.url, "order:2", since=start, subprotocols=["livepush.v1"]) as socket:
        assert await types(socket, 1561) == ["t"] * 1500 + ["large"] * 60 + ["end"]


async def test_an_event_that_the_proxy_never_heard_of_comes_with_the_next_one(site):
    async with clients.websocket(site.url, "order:3") as socket:
        await clients.frame(socket)
        site.silent.send("order:3", "silent")
        site.shop.send("order:3", "told")
        assert await types(socket, 2) == ["silent", "told"]


@pytest.mark.long  # Pushpin asks every 20 seconds at most
async def test_a_quiet_websocket_hears_heartbeats_and_the_proxy_asks_now_and_then(databases):
    with running(databases, {"HEARTBEAT": 1}, CHECK=1) as site:
        async with clients.websocket(site.url, "board") as socket:
            assert (await clients.frame(socket))["heartbeat"] == 1
            assert (await clients.frame(socket))["type"] == "livepush.heartbeat"
            site.silent.send("board", "silent")
            assert await types(socket, 1) == ["silent"]


@pytest.mark.parametrize("size", [16_000, 950_000])
async def test_an_event_too_large_for_the_proxy_closes_it_and_other_transports_bring_it(site, size):
    start = site.shop.position()
    site.shop.send("order:4", "before")
    site.shop.send("order:4", "large", "x" * size)
    async with clients.websocket(site.url, "order:4", since=start) as socket:
        assert await types(socket, 1) == ["before"]
        assert await closed_with(socket) == 4413
    async with clients.http() as client:
        answer = await client.get(clients.address(site.url, "poll", "order:4", since=start))
    assert [each["type"] for each in answer.json()["events"]] == ["before", "large"]


async def test_a_lost_history_is_told(site):
    async with clients.websocket(site.url, "board", since="another-5") as socket:
        assert (await clients.frame(socket))["type"] == "livepush.hello"
        reset = await clients.frame(socket)
        assert (reset["type"], reset["reason"]) == ("livepush.reset", "epoch")
        site.shop.send("board", "later")
        assert await types(socket, 1) == ["later"]


@pytest.mark.long
async def test_nothing_is_lost_repeated_or_out_of_order_when_the_proxy_is_killed_again_and_again(databases, figures):
    async def follow(site: Site, groups: list[str], since: str) -> list[str]:
        got: list[str] = []
        while "end" not in got:
            with contextlib.suppress(OSError, ConnectionClosed, InvalidHandshake, TimeoutError, EOFError):
                async with contextlib.AsyncExitStack() as stack:
                    async with asyncio.timeout(4):
                        opening = clients.websocket(site.url, groups, since=since)
                        socket = await stack.enter_async_context(opening)
                        await clients.frame(socket)
                    while "end" not in got:
                        frame = await clients.frame(socket)
                        since = frame.get("id", since)
                        if not frame["type"].startswith("livepush."):
                            got.append(frame["type"])
            await asyncio.sleep(0)
        return got

    await audit_kills(databases, figures, follow)


# Commands


async def test_a_client_takes_more_groups_and_leaves_some(site):
    start = site.shop.position()
    for number in range(3):
        site.shop.send(["order:5", "order:6"] if number == 1 else "order:6", f"n{number}")
    async with clients.websocket(site.url, "order:5", since=start) as socket:
        assert await types(socket, 1) == ["n1"]
        reply = await ask(socket, command="subscribe", groups=["order:6", "role:staff"], since=start, ref=1)
        assert reply == {
            "type": "livepush.reply", "ref": 1, "ok": True,
            "position": start, "groups": ["order:6"], "refused": ["role:staff"],
        }  # fmt: skip
        assert await types(socket, 3) == ["n0", "n1", "n2"]
        site.shop.send(["order:5", "order:6"], "both")
        frame = await clients.frame(socket)
        assert (frame["type"], frame["groups"]) == ("both", ["order:5", "order:6"])
        assert (await ask(socket, command="unsubscribe", groups=["order:5"], ref="left"))["ok"]
        site.shop.send("order:5", "not-here")
        site.shop.send("order:6", "here")
        assert await types(socket, 1) == ["here"]
        reply = await ask(socket, command="subscribe", groups=["order:7"], ref=2)
        assert reply["position"] == site.shop.position()
        site.shop.send("order:7", "new")
        assert await types(socket, 1) == ["new"]


async def test_what_an_older_place_brings_of_new_groups_repeats_nothing_of_the_others(site):
    start = site.shop.position()
    site.shop.send("order:10", "old")
    site.shop.send(["order:10", "order:11"], "both")
    async with clients.websocket(site.url, "order:10", since=start) as socket:
        assert await types(socket, 2) == ["old", "both"]
        await ask(socket, command="subscribe", groups=["order:11"], since=start, ref=1)
        frame = await clients.frame(socket)
        assert (frame["type"], frame["group"], frame.get("groups")) == ("both", "order:11", None)
        site.shop.send("order:10", "next")
        assert await types(socket, 1) == ["next"]


async def test_a_client_sends_messages_and_hears_the_answers(site):
    headers = {"Cookie": site.shop.session("writer")}
    async with clients.websocket(site.url, "desk:1", headers=headers) as socket:
        message = {"command": "send", "group": "desk:1", "type": "question", "data": {"text": "Hi"}, "key": "k1"}
        reply = await ask(socket, **message, ref=1)
        assert (reply["ok"], reply["reply"]) == (True, {"asked": {"text": "Hi"}})
        assert await types(socket, 1) == ["question"]
        assert (await ask(socket, **message, ref=2))["reply"] == {"asked": {"text": "Hi"}}
        refusal = await ask(socket, command="send", group="desk:1", type="question", data=None, ref=3)
        assert (refusal["ok"], refusal["code"], refusal["errors"]) == (False, "invalid", {"text": ["Ask something."]})
        site.shop.send("desk:1", "after")
        assert await types(socket, 1) == ["after"]  # the repeated message was taken once


async def test_malformed_commands_are_refused_and_the_websocket_goes_on(site):
    async with clients.websocket(site.url, "board") as socket:
        await clients.frame(socket)
        await socket.send("nonsense")
        assert (await clients.frame(socket))["code"] == "bad_command"
        assert (await ask(socket, command="nothing", ref=0))["code"] == "bad_command"
        assert (await ask(socket, command="subscribe", groups=["role:staff"], ref=1))["code"] == "forbidden"
        assert (await ask(socket, command="send", group="board", type="t", data=1, ref=2))["code"] == "forbidden"
        assert (await ask(socket, command="auth", token="a", ref=3))["code"] == "unsupported"
        assert (await ask(socket, command="ping", ref=4))["ok"]
        await asyncio.wait_for(await socket.ping(), PATIENCE)
        await socket.send(b"bytes")
        assert await closed_with(socket) == 4400


@pytest.mark.long
async def test_a_flood_of_commands_is_throttled(databases):
    with running(databases, {"COMMANDS_PER_SECOND": 5}) as site:
        async with clients.websocket(site.url, "board") as socket:
            for number in range(200):
                await socket.send(json.dumps({"command": "ping", "ref": number}))
            codes = {(await clients.frame(socket)).get("code") for _ in range(200)}
            assert "throttled" in codes


# Rights


async def test_what_may_not_be_read_is_refused_by_a_code_that_browsers_show(site):
    for headers, code in (({}, 4401), ({"Cookie": site.shop.session("nobody-special")}, 4403)):
        async with clients.websocket(site.url, "role:staff", headers=headers) as socket:
            _, closed = await clients.until_closed(socket)
            assert closed == (code, "forbidden")


async def test_a_page_of_another_site_is_refused(site):
    headers = {"Cookie": site.shop.session("victim"), "Origin": "https://evil.example"}
    async with clients.websocket(site.url, "board", headers=headers) as socket:
        assert await closed_with(socket) == 4403


@pytest.mark.parametrize("how", ["role taken", "logout"])
async def test_rights_that_end_close_the_websocket_and_the_client_is_refused(site, how):
    name = f"ws reader of {how}".replace(" ", "-")
    cookie = site.shop.session(name)
    site.shop.do("change", username=name, what="role given", role="crew")
    headers = {"Cookie": cookie}
    async with clients.websocket(site.url, "role:crew", headers=headers) as socket:
        site.shop.send("role:crew", "seen")
        assert await types(socket, 1) == ["seen"]
        if how == "logout":
            site.shop.do("end_session", cookie=cookie, how="logout")
        else:
            site.shop.do("change", username=name, what="role taken", role="crew")
        assert await closed_with(socket) == 4503
    async with clients.websocket(site.url, "role:crew", headers=headers) as socket:
        assert await closed_with(socket) in (4401, 4403)


@pytest.mark.long  # Pushpin asks every 20 seconds at most
async def test_the_client_is_sent_back_when_its_rules_are_due(databases):
    with running(databases, {"RECHECK": 2.0}) as site:
        async with clients.websocket(site.url, "board") as socket:
            said, closed = await clients.until_closed(socket)
            bye = json.loads(said[-1])
            assert (bye["type"], bye["reason"]) == ("livepush.bye", "recheck")
            assert closed == (4503, "the server is going away: connect again")


async def test_a_request_that_a_client_makes_up_is_refused(site):
    url = clients.address(site.url, "ws", "board")
    async with clients.http() as client:
        answer = await client.post(url, content=b"OPEN\r\n", headers={"Content-Type": TYPE, "Connection-Id": "a"})
    assert (answer.status_code, answer.json()["code"]) == (403, "bad_signature")
    assert not [name for name in answer.headers if "meta" in name.lower()]


async def test_the_doctor_says_what_it_does_not_check_behind_a_proxy(site, settings):
    settings.LIVEPUSH = {"GRIP": HERE}
    place = DoctorsSite(parse_root(site.url), PATIENCE)
    checks = await asyncio.to_thread(lambda: [*examine_site(place, None, PATIENCE)])
    assert [finding for check in checks for finding in check.findings if finding.level is Level.ERROR] == []
    assert [check.name for check in checks if check.unchecked] == ["server", "stream", "websocket"]


# Without a proxy


@pytest.fixture
def here(settings: Any, db: None) -> Client:
    settings.LIVEPUSH = {"GRIP": HERE}
    return Client()


def signed(**more: Any) -> dict[str, str]:
    claims = {"iss": "livepush-websocket", "exp": 4_000_000_000, **more}
    return {"Grip-Sig": jwt.encode({name: value for name, value in claims.items() if value}, KEY)}


def posted(here: Client, body: bytes, headers: dict[str, str]) -> Any:
    return here.post("/livepush/ws/?group=board", body, content_type=TYPE, headers=headers)


@pytest.mark.parametrize("claims", [{"iss": "pushpin"}, {"iss": None}, {"exp": 1}])
def test_a_signature_of_another_name_is_refused(here, claims):
    assert posted(here, b"OPEN\r\n", signed(**claims)).json()["code"] == "bad_signature"


def test_a_websocket_that_does_not_come_over_http_is_told_so(here):
    answer = here.get("/livepush/ws/?group=board", headers=signed())
    assert (answer.status_code, answer.json()["code"]) == (501, "needs_over_http")


@pytest.mark.parametrize("body", [b"HELLO\r\n", b"TEXT 5\r\nabc\r\n", b"TEXT x\r\nabc\r\n", b"TEXT 3\r\nabc", b"OPEN"])
def test_a_malformed_body_is_refused(here, body):
    assert posted(here, body, signed()).json()["code"] == "bad_frames"


def test_a_hold_that_the_site_did_not_make_is_refused(here):
    headers = signed() | {"Meta-Livepush-Hold": "nonsense", "Meta-Livepush-At": "a-1"}
    assert posted(here, b"PONG\r\n", headers).json()["code"] == "bad_link"


@pytest.mark.parametrize("body", [b"CLOSE 2\r\n\x11\x33\r\n", b"DISCONNECT\r\n"])
def test_the_end_of_a_websocket_that_was_refused_is_no_refusal(here, body):
    answer = posted(here, body, signed())
    assert (answer.status_code, answer.content) == (200, body)


@pytest.mark.parametrize(
    ("error", "reason", "code"),
    [
        (WireError("throttled", "Too many.", 429, Close.TOO_MANY), "throttled", 4429),
        (WireError("refused", "We are away.", 503, Close.FORBIDDEN), "unavailable", 4503),
    ],
)
def test_a_client_that_is_refused_for_a_while_is_told_when_to_come_back(here, error, reason, code):
    error.retry = 2.0
    told = Told(None, edge())
    told.refuse(error)
    bye, close = parse(told.body())
    assert json.loads(bye.content) == {"type": "livepush.bye", "retry": 2000, "reason": reason}
    assert close.content == code.to_bytes(2, "big") + error.code.encode()


def test_a_pong_takes_one_query_if_there_is_nothing_new(here, django_assert_num_queries):
    opened = posted(here, b"OPEN\r\n", signed())
    kept = {f"Meta-{name}": opened[f"Set-Meta-{name}"] for name in ("Livepush-Hold", "Livepush-At")}
    with django_assert_num_queries(1):
        again = posted(here, b"PONG\r\n", signed() | kept)
    assert again.content == b""
    assert 0 < int(again["Keep-Alive-Interval"]) <= 30


def test_after_a_lost_history_no_floor_of_the_old_one_hides_an_event(here):
    def go_on(body):
        kept = {f"Meta-{name}": answers[-1][f"Set-Meta-{name}"] for name in ("Livepush-Hold", "Livepush-At")}
        answers.append(posted(here, body, signed() | kept))
        said = [
            json.loads(frame.content)
            for frame in parse(answers[-1].content)
            if frame.kind == "TEXT" and not frame.content.startswith(b"c:")
        ]
        return [frame for frame in said if frame["type"] != "livepush.position"]

    log.make_head("default")
    LogHead.objects.update(position=1000)
    answers = [posted(here, b"OPEN\r\n", signed())]
    epoch = LogHead.objects.get().epoch
    command = json.dumps({"command": "subscribe", "groups": ["order:1"], "since": f"{epoch}-500"}).encode()
    [reply] = go_on(Frame("TEXT", command).encoded())
    assert (reply["ok"], reply["groups"]) == (True, ["order:1"])
    LogHead.objects.update(position=900, epoch="anew")
    [reset] = go_on(b"PONG\r\n")
    assert (reset["type"], reset["reason"], reset["position"]) == ("livepush.reset", "epoch", "anew-900")
    livepush.send("board", "later")
    [event] = go_on(b"PONG\r\n")
    assert (event["type"], event["id"]) == ("later", "anew-901")


def test_a_body_is_what_it_was_made_of():
    frames = [Frame("OPEN"), Frame("TEXT", "ä\r\n".encode()), Frame("CLOSE", b"\x03\xe8"), Frame("PONG")]
    body = b"".join(frame.encoded() for frame in frames)
    assert body == b"OPEN\r\nTEXT 4\r\n\xc3\xa4\r\n\r\nCLOSE 2\r\n\x03\xe8\r\nPONG\r\n"
    assert parse(body) == frames
    with pytest.raises(WireError, match="Pushpin"):
        parse(body + b"TEXT -1\r\n")
