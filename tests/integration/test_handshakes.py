"""The project's own checks of a handshake, on each transport, under ASGI and WSGI."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration import clients
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import Database, Databases

CHECKS = [f"tests.shop.gates.{name}" for name in ("gate", "async_gate", "Unused", "Gate", "AsyncGate")]
KINDS = ("X-Sync", "X-Async", "X-Middleware", "X-Async-Middleware")

ANSWERS = {
    "no": ("403 refused", "close 4403 refused"),
    "denied": ("403 refused", "close 4403 refused"),
    "broken": ("403 refused", "close 4403 refused"),
    "odd": ("403 refused", "close 4403 refused"),
    "page": ("403 refused", "close 4403 refused"),
    "moved": ("302 refused", "close 4403 refused"),
    "away": ("503 refused", "close 4503 refused"),
    "busy": ("429 refused", "close 4503 refused"),
}
"""What a check says, with the answer to HTTP and to a WebSocket."""


@pytest.fixture(scope="module", params=["uvicorn", processes.WSGI])
def server(request: pytest.FixtureRequest, databases: Databases) -> Iterator[processes.Server]:
    settings = {"HANDSHAKE": CHECKS, "RETRY": 2}
    with (
        databases.fresh("postgresql") as database,
        processes.server(request.param, database, settings, may_fail=True) as found,
    ):
        yield found


async def ask(server: processes.Server, endpoint: str, headers: dict[str, str]) -> str:
    """Return the answer to a handshake: ``open``, ``bye``, or how it was refused."""
    if endpoint == "websocket":
        async with clients.websocket(server.url, "board", headers=headers) as socket:
            if not headers:
                assert (await clients.frame(socket))["type"] == "livepush.hello"
                return "open"
            _, close = await clients.until_closed(socket)
            assert close is not None
            return f"close {close[0]} {close[1]}"
    async with (
        clients.http() as client,
        client.stream("GET", clients.address(server.url, endpoint, "board"), headers=headers) as response,
    ):
        if response.status_code == 200 and endpoint == "sse":
            fields = await clients.SSE(response).fields()
            return {"livepush.hello": "open", "livepush.bye": "bye"}[fields["event"]]
        await response.aread()
        if response.status_code == 200:
            return "open"
        found = response.json()
        assert response.headers["content-type"] == "application/json"
        if response.status_code == 302:
            assert response.headers["location"] == "https://shop.test/"
        if response.status_code == 503:
            assert response.headers["retry-after"] == "7"
        if "denied" in headers.values():
            assert found["message"] == "Not from here."
        return f"{response.status_code} {found['code']}"


def endpoints_of(server: processes.Server) -> tuple[str, ...]:
    return ("poll",) if server.kind == processes.WSGI else ("poll", "sse", "websocket")


@pytest.mark.parametrize("endpoint", ["send", "token"])
@pytest.mark.parametrize("kind", KINDS)
async def test_who_may_not_come_in_may_not_send_or_get_a_token_either(
    server: processes.Server, endpoint: str, kind: str
) -> None:
    async with clients.http() as client:
        codes = []
        for headers in ({}, {kind: "no"}):
            response = await client.post(f"{server.url}/livepush/{endpoint}/", json={}, headers=headers)
            codes.append(response.json()["code"])
        assert codes[0] != "refused"
        assert codes[1] == "refused"


async def test_checks_that_say_yes_or_nothing_let_in(server: processes.Server) -> None:
    for endpoint in endpoints_of(server):
        assert await ask(server, endpoint, {}) == "open"
    assert await ask(server, "poll", {"X-Sync": "yes", "X-Async": "yes"}) == "open"


SAID = [
    (kind, said)
    for kind in KINDS
    for said in ANSWERS
    if (kind, said) != ("X-Middleware", "odd") and (kind != "X-Async-Middleware" or said == "no")
]


@pytest.mark.parametrize(("kind", "said"), SAID)
async def test_a_check_that_refuses_is_obeyed_on_every_transport(
    server: processes.Server, kind: str, said: str
) -> None:
    for endpoint in endpoints_of(server):
        answer, close = ANSWERS[said]
        if endpoint == "sse" and said in ("away", "busy"):
            answer = "bye"  # an EventSource would give up for good
        assert await ask(server, endpoint, {kind: said}) == (close if endpoint == "websocket" else answer)


async def test_the_first_check_that_refuses_decides(server: processes.Server) -> None:
    assert await ask(server, "poll", {"X-Sync": "away", "X-Async": "no"}) == "503 refused"
    assert await ask(server, "poll", {"X-Sync": "no", "X-Async": "away"}) == "403 refused"


async def test_a_check_that_fails_is_logged(server: processes.Server) -> None:
    await ask(server, "poll", {"X-Async": "broken"})
    assert "The handshake's check async_gate raised, so it refuses." in server.log()


async def test_no_check_is_asked_about_a_host_that_is_not_allowed(server: processes.Server) -> None:
    async with clients.http() as client:
        address = clients.address(server.url, "poll", "board")
        answer = await client.get(address, headers={"Host": "elsewhere.example", "X-Sync": "no"})
    assert answer.status_code == 400


async def test_a_command_of_a_websocket_asks_no_check_again(server: processes.Server) -> None:
    if "websocket" not in endpoints_of(server):
        return
    async with clients.websocket(server.url, "board") as socket:
        await clients.text(socket)
        await socket.send(json.dumps({"command": "subscribe", "groups": ["room:1"], "ref": 1}))
        assert (await clients.frame(socket))["ok"]


@pytest.mark.parametrize(
    "prefix", some(["/app", ""]), ids=["a proxy passes the prefix on", "a proxy strips the prefix"]
)
async def test_the_endpoints_are_under_force_script_name_without_a_root_path(database: Database, prefix: str) -> None:
    with processes.server("uvicorn", database, env={"LIVEPUSH_TEST_SCRIPT_NAME": "/app"}) as server:
        base = f"{server.url}{prefix}"
        async with clients.sse(base, "board") as stream, clients.websocket(base, "board") as socket:
            assert (await stream.fields())["event"] == "livepush.hello"
            assert (await clients.frame(socket))["type"] == "livepush.hello"
        assert (await clients.poll(base, "board")).status_code == 200
        async with clients.http() as client:
            page = await client.get(f"{base}/page/")
        assert 'data-url="/app/livepush/"' in page.text
