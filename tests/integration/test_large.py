"""Events and requests that are larger than a server's own limits."""

from __future__ import annotations

import pytest

from tests.integration import clients
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import Database

LARGE = {"MAX_EVENT_BYTES": 4 * 1_048_576, "MAX_GROUPS": 2000}


@pytest.mark.parametrize("subprotocols", some([None, ["livepush.v1"]]))
async def test_an_event_over_daphnes_limit_sends_its_client_to_another_transport(
    subprotocols: list[str] | None, database: Database
) -> None:
    with (
        processes.publisher(database, LARGE) as elsewhere,
        processes.server("daphne", database, LARGE) as server,
    ):
        start = elsewhere.position()
        elsewhere.send("board", "small", 1)
        elsewhere.send("board", "large", "x" * 1_100_000)
        elsewhere.send("board", "small", 2)
        for _ in range(2):
            async with clients.websocket(server.url, "board", since=start, subprotocols=subprotocols) as socket:
                _, close = await clients.until_closed(socket)
            assert close is not None
            assert close[0] == 4413
        assert server.log().count("daphne accepts no WebSocket message of more than 1048576 bytes") == 1
        async with clients.sse(server.url, "board", since=start) as stream:
            assert len((await stream.until(event="large"))["data"]) > 1_100_000
            assert (await stream.until(event="small"))["data"] == "2"


@pytest.mark.long
async def test_an_event_under_daphnes_limit_goes_through(database: Database) -> None:
    with (
        processes.publisher(database, LARGE) as elsewhere,
        processes.server("daphne", database, LARGE) as server,
    ):
        start = elsewhere.position()
        elsewhere.send("board", "large", "x" * 1_040_000)
        async with clients.websocket(server.url, "board", since=start) as socket:
            await clients.frame(socket)
            assert len((await clients.frame(socket))["data"]) == 1_040_000


@pytest.mark.long
async def test_more_than_a_thousand_groups_can_be_asked_for(database: Database) -> None:
    groups = [f"room:{number}" for number in range(2000)]
    with processes.server("uvicorn", database, LARGE) as server:
        assert (await clients.poll(server.url, groups)).json()["refused"] == []
        assert (await clients.poll(server.url, [*groups, "board"])).json()["code"] == "too_many_groups"
