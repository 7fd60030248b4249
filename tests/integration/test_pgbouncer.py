"""Behind a real PgBouncer in transaction mode nothing is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import clients
from tests.integration.test_delivery import offered, readers
from tests.patience import wait_until
from tests.servers import processes
from tests.servers.fresh import Database
from tests.servers.pgbouncer import pgbouncer
from tests.servers.senders import senders

GROUPS = ["room:a", "room:b", "room:c"]
USERS = 300
"""More than a server-side cursor brings at once here."""


@pytest.fixture
def pooled(database: Database, tmp_path: Path) -> Iterator[Database]:
    """The database behind PgBouncer."""
    with pgbouncer(database, tmp_path) as found:
        yield found


@pytest.mark.long
async def test_what_many_processes_send_arrives_whole_and_in_order(database: Database, pooled: Database) -> None:
    with (
        processes.publisher(pooled) as elsewhere,
        processes.server("uvicorn", pooled) as one,
        processes.server("uvicorn", pooled) as two,
        senders(pooled, GROUPS) as writers,
    ):
        start = elsewhere.position()
        reading = asyncio.gather(*(readers(each.url, GROUPS, start, "end") for each in (one, two)))
        for _ in range(4):
            writers.start(count=150)
        for each in writers.all:
            await asyncio.to_thread(each.wait)
        counts = writers.account()
        assert counts.keys() == {"sent", "undone"}
        for number in range(2):
            elsewhere.send("room:a", "once", number, key="the same")
        elsewhere.send(GROUPS, "end")
        rows = elsewhere.rows()
        assert [row["type"] for row in rows[-2:]] == ["once", "end"]
        for by_transport in await reading:
            for transport, got in by_transport.items():
                assert got == offered(rows, GROUPS), transport
        assert database.unsettled() == 0


@pytest.mark.long
def test_a_queryset_of_users_is_notified(database: Database, pooled: Database) -> None:
    with processes.publisher(pooled) as elsewhere:
        elsewhere.session("ann")
        database.query(
            "INSERT INTO auth_user SELECT n, '', NULL, false, 'user' || n, '', '', '', false, true, now()"
            f" FROM generate_series(1000, {999 + USERS}) AS n"
        )
        elsewhere.do("notify_users", title="Hello")
        assert database.query("SELECT count(*) FROM livepush_event") == [(USERS + 1,)]


def test_a_hub_holds_no_transaction_open_and_prunes(database: Database, tmp_path: Path) -> None:
    """With a single connection behind PgBouncer, a transaction that stays open would stop everything else."""
    with (
        pgbouncer(database, tmp_path, size=1) as pooled,
        processes.publisher(pooled) as elsewhere,
        processes.server("uvicorn", pooled, {"RETENTION": 1, "PRUNE_INTERVAL": 0.2}) as server,
        contextlib.closing(asyncio.new_event_loop()) as loop,
    ):

        async def read() -> list[clients.Got]:
            follow = clients.follow_sse(server.url, ["board"], elsewhere.position())
            elsewhere.do("send_many", groups="board", type="n", count=50)
            elsewhere.send("board", "end")
            return await clients.take(follow, "end")

        assert [each["data"] for each in loop.run_until_complete(read())] == [*range(50), None]
        wait_until(lambda: database.query("SELECT count(*) FROM livepush_event") == [(0,)])
