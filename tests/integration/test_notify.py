"""PostgreSQL's NOTIFY brings events to other processes within milliseconds, with no layer."""

from __future__ import annotations

import asyncio

from tests.integration import clients
from tests.integration.test_layers import ONLY_HINTS
from tests.patience import PATIENCE
from tests.servers import processes
from tests.servers.fresh import Database


async def test_events_reach_another_process_by_notify_alone(database: Database) -> None:
    with (
        processes.publisher(database) as elsewhere,
        processes.server("uvicorn", database, ONLY_HINTS) as server,
    ):
        async with clients.sse(server.url, "board") as stream:
            await stream.fields()
            heard = asyncio.create_task(stream.until(event="here"))
            async with asyncio.timeout(PATIENCE):
                while not heard.done():
                    await asyncio.to_thread(elsewhere.send, "board", "here", ephemeral=True)
                    await asyncio.wait([heard], timeout=0.2)
            for number in range(20):
                elsewhere.send("board", "durable", number)
            rows = [row["id"] for row in elsewhere.rows(["board"])]
            assert [(await stream.until(event="durable"))["id"] for _ in range(20)] == rows
