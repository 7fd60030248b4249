"""What each transport answers to what it can't serve: all of it from one server, from the others what they carry each
in a way of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.integration import clients
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import Database, Databases

TRANSPORTS = ("sse", "websocket", "poll", "poll (WSGI)")

ANSWERS: dict[tuple[str, str], str] = {
    ("unknown group", "sse"): "403 forbidden",
    ("unknown group", "websocket"): "close 4401 forbidden",
    ("unknown group", "poll"): "403 forbidden",
    ("unknown group", "poll (WSGI)"): "403 forbidden",
    ("denied group", "sse"): "403 forbidden",
    ("denied group", "websocket"): "close 4401 forbidden",
    ("denied group", "poll"): "403 forbidden",
    ("denied group", "poll (WSGI)"): "403 forbidden",
    ("denied group, logged in", "sse"): "403 forbidden",
    ("denied group, logged in", "websocket"): "close 4403 forbidden",
    ("denied group, logged in", "poll"): "403 forbidden",
    ("denied group, logged in", "poll (WSGI)"): "403 forbidden",
    ("no group", "sse"): "400 no_group",
    ("no group", "websocket"): "close 4400 no_group",
    ("no group", "poll"): "400 no_group",
    ("no group", "poll (WSGI)"): "400 no_group",
    ("malformed group", "sse"): "400 bad_group",
    ("malformed group", "websocket"): "close 4400 bad_group",
    ("malformed group", "poll"): "400 bad_group",
    ("malformed group", "poll (WSGI)"): "400 bad_group",
    ("too many groups", "sse"): "400 too_many_groups",
    ("too many groups", "websocket"): "close 4400 too_many_groups",
    ("too many groups", "poll"): "400 too_many_groups",
    ("too many groups", "poll (WSGI)"): "400 too_many_groups",
    ("malformed query", "sse"): "400 bad_query",
    ("malformed query", "websocket"): "close 4400 bad_query",
    ("malformed query", "poll"): "400 bad_query",
    ("malformed query", "poll (WSGI)"): "400 bad_query",
    ("malformed wait", "sse"): "400 bad_wait",
    ("malformed wait", "websocket"): "close 4400 bad_wait",
    ("malformed wait", "poll"): "400 bad_wait",
    ("malformed wait", "poll (WSGI)"): "400 bad_wait",
    ("malformed position", "sse"): "400 bad_position",
    ("malformed position", "websocket"): "close 4400 bad_position",
    ("malformed position", "poll"): "400 bad_position",
    ("malformed position", "poll (WSGI)"): "400 bad_position",
    ("position of another epoch", "sse"): "200, then livepush.reset epoch",
    ("position of another epoch", "websocket"): "open, then livepush.reset epoch",
    ("position of another epoch", "poll"): "200 with reset",
    ("position of another epoch", "poll (WSGI)"): "200 with reset",
    ("foreign last event id", "sse"): "200, then livepush.reset epoch",
    ("foreign last event id", "websocket"): "open, then livepush.reset epoch",
    ("foreign last event id", "poll"): "200 with reset",
    ("foreign last event id", "poll (WSGI)"): "200 with reset",
    ("position that was never given", "sse"): "200, then livepush.reset ahead",
    ("position that was never given", "websocket"): "open, then livepush.reset ahead",
    ("position that was never given", "poll"): "200 with reset",
    ("position that was never given", "poll (WSGI)"): "200 with reset",
    ("pruned position", "sse"): "200, then livepush.reset pruned",
    ("pruned position", "websocket"): "open, then livepush.reset pruned",
    ("pruned position", "poll"): "200 with reset",
    ("pruned position", "poll (WSGI)"): "200 with reset",
    ("oversized body", "sse"): "413 too_large",
    ("oversized body", "websocket"): "open, then livepush.reply too_large",
    ("oversized body", "poll"): "413 too_large",
    ("oversized body", "poll (WSGI)"): "413 too_large",
    ("wrong method", "sse"): "405 bad_method",
    ("wrong method", "websocket"): "405 bad_method",
    ("wrong method", "poll"): "405 bad_method",
    ("wrong method", "poll (WSGI)"): "405 bad_method",
    ("no upgrade", "websocket"): "426 upgrade_required",
    ("foreign origin", "websocket"): "close 4403 bad_origin",
    ("foreign host", "sse"): "400 bad_host",
    ("foreign host", "websocket"): "close 4403 bad_host",
    ("foreign host", "poll"): "400 bad_host",
    ("foreign host", "poll (WSGI)"): "400 from Django, which answers first",
}
"""What is wrong with a request, and the transport, with the answer: the status and the ``code`` of its JSON, or the
close code and its reason, or where the answer is a reset, how it comes. For a WebSocket the body is a message."""

BY_SERVER = [
    ("denied group", "sse"),
    ("denied group, logged in", "websocket"),
    ("pruned position", "sse"),
    ("pruned position", "websocket"),
    ("oversized body", "sse"),
    ("oversized body", "websocket"),
    ("oversized body", "poll"),
    ("wrong method", "websocket"),
    ("no upgrade", "websocket"),
    ("foreign host", "poll"),
    ("foreign host", "websocket"),
]
"""What a server has a part in: statuses, close codes and their reasons, the frames that follow an upgrade, bodies and
messages that are too large, upgrades that are none, and the host."""

NO_RESET = {
    "no position": None,
    "the position of the floor": "{epoch}-3",
    "a position that is retained": "{epoch}-4",
    "the last position": "{epoch}-5",
}

WITHOUT_REASONS = ("daphne",)
"""Servers that close a WebSocket with a code alone."""


@dataclass
class Log:
    """A log that was pruned up to 3 and goes up to 5, in the group ``board``."""

    database: Database
    epoch: str
    cookie: str


@pytest.fixture(scope="module")
def log(databases: Databases) -> Iterator[Log]:
    with databases.fresh("postgresql") as database, processes.publisher(database) as elsewhere:
        for number in (1, 2, 3):
            elsewhere.send("board", "moved", number)
        assert elsewhere.do("prune") == 3
        for number in (4, 5):
            elsewhere.send("board", "moved", number)
        epoch, _, number = elsewhere.position().partition("-")
        assert number == "5"
        yield Log(database, epoch, elsewhere.session("ann"))


@pytest.fixture(scope="module")
def asgi(log: Log) -> Iterator[processes.Server]:
    """A server, started after the log was pruned, so that its memory does not reach back."""
    with processes.server("uvicorn", log.database) as found:
        yield found


@pytest.fixture(scope="module", params=some(["daphne", "hypercorn", "granian"]))
def other(request: pytest.FixtureRequest, log: Log) -> Iterator[processes.Server]:
    """Each of the other ASGI servers in turn."""
    with processes.server(request.param, log.database) as found:
        yield found


@pytest.fixture(scope="module")
def wsgi(log: Log) -> Iterator[processes.Server]:
    with processes.server(processes.WSGI, log.database) as found:
        yield found


def request_of(problem: str, log: Log) -> tuple[str, str, bytes, dict[str, str]]:
    """Return the method, query, body and headers of a request that has a problem."""
    method, query, body, headers = "GET", "group=board", b"", {}
    match problem:
        case "unknown group":
            query = "group=nowhere:1"
        case "denied group":
            query = "group=order:5000"
        case "denied group, logged in":
            query, headers = "group=order:5000", {"Cookie": log.cookie}
        case "no group":
            query = ""
        case "malformed group":
            query = "group=a%20b"
        case "too many groups":
            query = "&".join(f"group=order:{number}" for number in range(101))
        case "malformed query":
            query = "group=%FF"
        case "malformed wait":
            query += "&wait=soon"
        case "malformed position":
            query += "&since=yesterday"
        case "position of another epoch":
            query += "&since=00000000-4"
        case "foreign last event id":
            headers = {"Last-Event-ID": "board:17,user:4"}
        case "position that was never given":
            query += f"&since={log.epoch}-6"
        case "pruned position":
            query += f"&since={log.epoch}-2"
        case "oversized body":
            body = b"x" * 70_000
        case "wrong method":
            method = "POST"
        case "foreign origin":
            headers = {"Origin": "https://elsewhere.example"}
        case "foreign host":
            headers = {"Host": "elsewhere.example"}
    return method, query, body, headers


async def ask(url: str, endpoint: str, problem: str, log: Log) -> str:
    """Return the answer of an HTTP endpoint in the words of the table."""
    method, query, body, headers = request_of(problem, log)
    address = f"{url}/livepush/{endpoint}/?{query}"
    async with clients.http() as client, client.stream(method, address, content=body, headers=headers) as response:
        if response.status_code == 200 and endpoint == "sse":
            stream = clients.SSE(response)
            hello, found = await stream.fields(), await stream.fields()
            assert hello["event"] == "livepush.hello"
            assert hello["id"] == found["id"] == f"{log.epoch}-5"
            return f"200, then {found['event']} {json.loads(found['data'])['reason']}"
        await response.aread()
        return said(response, log)


def said(response: httpx.Response, log: Log) -> str:
    if response.headers["content-type"].startswith("text/html"):
        return f"{response.status_code} from Django, which answers first"
    answer = response.json()
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "private, no-store, no-transform"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert (response.headers.get("allow") == "GET") == (response.status_code == 405)
    if response.status_code == 200:
        assert answer == {"events": [], "position": f"{log.epoch}-5", "reset": True, "refused": []}
        return "200 with reset"
    assert answer.keys() == {"code", "message"}
    return f"{response.status_code} {answer['code']}"


async def ask_websocket(server: processes.Server, problem: str, log: Log) -> str:
    """Return the answer of the WebSocket endpoint in the words of the table."""
    if problem in ("wrong method", "no upgrade"):
        return await ask(server.url, "ws", problem, log)
    _, query, body, headers = request_of(problem, log)
    address = f"{server.ws_url}/livepush/ws/?{query}"
    host = headers.pop("Host", None)
    if host is not None:
        address = f"ws://{host}/livepush/ws/?{query}"
    async with clients.connected(address, server.port, headers) as socket:
        if body:
            await clients.text(socket)
            await socket.send(body.decode())
        if ANSWERS[problem, "websocket"].startswith("open"):
            if body:
                reply = await clients.frame(socket)
                return f"open, then {reply['type']} {reply['code']}"
            hello, found = await clients.frame(socket), await clients.frame(socket)
            assert hello["type"] == "livepush.hello"
            assert hello["id"] == found["id"] == f"{log.epoch}-5"
            return f"open, then {found['type']} {found['reason']}"
        told, close = await clients.until_closed(socket)
        assert told == []
        assert close is not None
        return f"close {close[0]} {close[1]}".strip()


@pytest.mark.parametrize(
    ("problem", "transport"), [key for key in ANSWERS if key[1] != "poll (WSGI)"], ids=lambda value: value
)
async def test_the_answer(asgi: processes.Server, log: Log, problem: str, transport: str) -> None:
    await answers(asgi, log, problem, transport)


@pytest.mark.parametrize(("problem", "transport"), BY_SERVER, ids=lambda value: value)
async def test_the_answer_of_another_server(other: processes.Server, log: Log, problem: str, transport: str) -> None:
    await answers(other, log, problem, transport)


@pytest.mark.parametrize("offered", ["livepush%2Ev1", "livepush.token.%41"])
async def test_a_quoted_subprotocol_is_no_obstacle_to_an_answer(other: processes.Server, offered: str) -> None:
    async with clients.websocket(other.url, [], subprotocols=[offered]) as socket:
        assert socket.subprotocol in (None, offered)
        told, close = await clients.until_closed(socket)
    assert (told, close and close[0]) == ([], 4400)


async def answers(server: processes.Server, log: Log, problem: str, transport: str) -> None:
    """Check what a server answers against the table."""
    expected = ANSWERS[problem, transport]
    if transport != "websocket":
        assert await ask(server.url, transport, problem, log) == expected
        return
    answer = await ask_websocket(server, problem, log)
    if expected.count(" ") == 1 or server.kind in WITHOUT_REASONS:  # a code whose reason is a sentence, or none
        assert answer.split(" ")[:2] == expected.split(" ")[:2]
    else:
        assert answer == expected


@pytest.mark.parametrize("problem", [problem for problem, transport in ANSWERS if transport == "poll (WSGI)"])
async def test_the_answer_under_wsgi(wsgi: processes.Server, log: Log, problem: str) -> None:
    assert await ask(wsgi.url, "poll", problem, log) == ANSWERS[problem, "poll (WSGI)"]


@pytest.mark.parametrize("endpoint", ["sse", "ws"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_streams_need_asgi(wsgi: processes.Server, endpoint: str, method: str) -> None:
    async with clients.http() as client:
        answer = await client.request(method, f"{wsgi.url}/livepush/{endpoint}/?group=board")
    assert (answer.status_code, answer.json()["code"]) == (501, "needs_asgi")


@pytest.mark.parametrize("since", NO_RESET.values(), ids=NO_RESET.keys())
async def test_no_reset_where_the_log_goes_on(
    asgi: processes.Server, wsgi: processes.Server, log: Log, since: str | None
) -> None:
    position = None if since is None else since.format(epoch=log.epoch)
    expected = list(range(int(since[-1]) + 1, 6)) if since else []
    for url in (asgi.url, wsgi.url):
        answer = (await clients.poll(url, "board", since=position)).json()
        assert not answer["reset"]
        assert answer["position"] == f"{log.epoch}-5"
        assert [event["data"] for event in answer["events"]] == expected
    hello = position or f"{log.epoch}-5"
    async with (
        clients.sse(asgi.url, "board", since=position) as stream,
        clients.websocket(asgi.url, "board", since=position) as socket,
    ):
        assert (await stream.fields())["id"] == (await clients.frame(socket))["id"] == hello
        for number in expected:
            assert (await stream.fields())["data"] == str(number)
            assert (await clients.frame(socket))["data"] == number
        await socket.send('{"command":"ping","ref":1}')  # nothing is on its way any more
        assert (await clients.frame(socket))["type"] == "livepush.reply"


async def test_a_command_that_is_malformed_or_too_large_is_answered_and_the_stream_goes_on(
    asgi: processes.Server,
) -> None:
    longest = "語" * 200
    largest = {"command": "send", "ref": longest, "group": "board", "type": "moved", "data": "x" * 65_534}
    async with clients.websocket(asgi.url, "board") as socket:
        await clients.text(socket)
        for command, code in (
            ("no json", "bad_command"),
            ('{"command":"dance","ref":1}', "bad_command"),
            ('{"command":"subscribe","groups":["a b"],"ref":2}', "bad_group"),
            ('{"command":"subscribe","groups":["nowhere:1"],"ref":3}', "forbidden"),
            ('{"command":"send","group":"board","type":"moved","data":1,"ref":4}', "forbidden"),
            (json.dumps({**largest, "key": longest}, ensure_ascii=False), "forbidden"),
            ("x" * 70_000, "too_large"),
        ):
            await socket.send(command)
            reply = await clients.frame(socket)
            assert (reply["type"], reply["ok"], reply["code"]) == ("livepush.reply", False, code)
        await socket.send('{"command":"ping","ref":5}')
        assert await clients.frame(socket) == {"type": "livepush.reply", "ref": 5, "ok": True}
