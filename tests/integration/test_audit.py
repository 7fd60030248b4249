"""The followers and their audit can fail: they find what is missing, repeated, out of order and unexpected."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.audit import TRANSPORTS, Audit, Follower, Row, audit, committed, offered
from tests.patience import eventually
from tests.servers import faults, processes
from tests.servers.fresh import Database
from tests.servers.processes import Publisher

ROWS = [Row(1, "a"), Row(2, "a"), Row(2, "b"), Row(4, "b"), Row(5, "c")]


def had(*numbers: int, groups: tuple[str, ...] = ("a", "b"), since: str = "e-0") -> Follower:
    follower = Follower("http://nowhere", groups, since)
    follower.numbers.extend(numbers)
    return follower


def test_each_send_is_offered_once() -> None:
    assert offered(ROWS, ["a", "b"], 0) == [1, 2, 4]
    assert offered(ROWS, ["b"], 0) == [2, 4]
    assert offered(ROWS, ["a", "b"], 2) == [4]


def test_the_audit_counts_what_is_wrong() -> None:
    assert audit(ROWS, [had(1, 2, 4), had(4, since="e-2")]) == Audit(2, 4, 0, 0, 0, 0, 0)
    assert audit(ROWS, [had(1, 4)]).missing == 1
    assert audit(ROWS, [had(1, 2, 2, 4)]).repeated == 1
    assert audit(ROWS, [had(1, 4, 2)]).disordered == 1
    assert audit(ROWS, [had(1, 2, 4, 5)]).unexpected == 1
    assert not audit(ROWS, [had(1)]).clean


@pytest.mark.long
async def test_followers_of_every_transport_come_back_and_miss_nothing(
    database: Database, elsewhere: Publisher
) -> None:
    with processes.server("uvicorn", database) as server, faults.line(server.port) as line:
        start = elsewhere.position()
        followers = [Follower(line.url, ["board", "room:a"], start, each, pause=0.05) for each in TRANSPORTS]
        tasks = [asyncio.create_task(each.run()) for each in followers]
        for number in range(60):
            await asyncio.to_thread(elsewhere.send, ["board", "room:a"] if number % 2 else "board", "moved", number)
            if number % 20 == 10:
                await eventually(lambda: all(each.open for each in followers if each.transport != "poll"))
                await asyncio.to_thread(line.cut)
        head = database.head()
        await asyncio.gather(*(each.until(head) for each in followers))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        found = audit(committed(database), followers)
        assert found.clean, found
        assert (found.clients, found.events) == (5, 5 * 60)
        assert all(len(each.connects) > 1 for each in followers if each.transport != "poll")
