"""Processes that are killed, stopped, or have the wrong time: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.audit import TRANSPORTS, Audit, Follower, Row, audit, running
from tests.integration.conftest import Figures, Scale
from tests.patience import eventually
from tests.scale import some
from tests.servers import processes, warm
from tests.servers.dying import POINTS
from tests.servers.fresh import Database, Databases
from tests.servers.processes import Publisher, settings_env
from tests.servers.senders import senders

GROUPS = ["board", "room:a", "room:b", "room:c"]


@pytest.fixture
def fresh(request: pytest.FixtureRequest, databases: Databases) -> Any:
    """A fresh database of the kind that the test is parametrised with."""
    with databases.fresh(request.param) as found:
        yield found


def on(*kinds: str, long: Sequence[str] = ()) -> pytest.MarkDecorator:
    """Parametrise a test with databases; on some of them it is long."""
    return pytest.mark.parametrize("fresh", some([*kinds, *long], len(kinds)), indirect=True)


@pytest.fixture
def other(fresh: Database) -> Any:
    """Another process on that database, which sends when told to."""
    with processes.publisher(fresh) as found:
        yield found


@contextlib.asynccontextmanager
async def following(urls: Sequence[str] | str, start: str, each: int, **more: Any) -> AsyncIterator[list[Follower]]:
    """Run so many followers of every transport."""
    followers = [Follower(urls, GROUPS, start, name, pause=0.05, **more) for name in TRANSPORTS for _ in range(each)]
    async with running(followers):
        yield followers


def rows(database: Database) -> list[Row]:
    """Return the settled events, in order."""
    group = "`group`" if database.kind == "mariadb" else '"group"'
    sql = f"SELECT position, {group} FROM livepush_event WHERE position > 0 ORDER BY position"
    return [Row(*row) for row in database.query(sql)]


async def caught_up(database: Database, other: Publisher, followers: Sequence[Follower]) -> Audit:
    """Send a last event, wait until everybody is there, and audit."""
    await asyncio.to_thread(other.send, "board", "end")
    await eventually(lambda: not database.unsettled())
    last = database.head()
    while (number := min(each.number for each in followers)) < last:
        slowest = min(followers, key=lambda each: each.number)
        try:
            await slowest.until(number + 1)
        except TimeoutError:
            places = Counter((each.transport, each.number, each.open) for each in followers)
            raise AssertionError(f"{places} of {last}, {slowest.said}, {slowest.troubles}") from None
    return audit(rows(database), followers)


def contiguous(database: Database) -> bool:
    """Return whether the positions are those from 1 on, without a hole."""
    return list(dict.fromkeys(row.number for row in rows(database))) == list(range(1, database.head() + 1))


def start_dying(database: Database, type: str, point: str, name: str = "SIGKILL", **env: str) -> warm.Started:
    words = ("tests.servers.dying", "board", type, point, name)
    return warm.start(*words, env=settings_env(database, **env), stderr=subprocess.DEVNULL)


# Publishers


@on("postgresql", long=("mariadb", "sqlite"))
async def test_a_publisher_that_dies_at_any_point_of_a_send_leaves_all_of_it_or_nothing(
    fresh: Database, other: Publisher, scale: Scale, figures: Figures
) -> None:
    turns = [point for point in POINTS for _ in range(scale(1, 10))]
    random.Random(3).shuffle(turns)
    start = other.position()
    with processes.server("uvicorn", fresh) as server:
        async with following(server.url, start, scale(1, 4)) as followers:
            process = start_dying(fresh, "died", ",".join(turns))
            assert await asyncio.to_thread(process.wait, 120) == 0
            found = await caught_up(fresh, other, followers)
    there = [type for (type,) in fresh.query("SELECT type FROM livepush_event ORDER BY id")]
    assert list(dict.fromkeys(there)) == [f"died-{number}" for number, turn in enumerate(turns) if turn != "insert"] + [
        "end"
    ]
    assert contiguous(fresh)
    figures(deaths=len(turns), audit=found)
    assert found.clean, found
    assert found.resets == 0


@pytest.mark.long
@on("postgresql", long=("mariadb", "sqlite"))
async def test_publishers_killed_at_random_times_lose_nothing_that_was_committed(
    fresh: Database, other: Publisher, scale: Scale, figures: Figures
) -> None:
    choose = random.Random(4)
    start = other.position()
    with processes.server("uvicorn", fresh) as server, senders(fresh, GROUPS) as sending:
        async with following(server.url, start, scale(1, 4)) as followers:
            sending.start(pause=0.01)
            for _ in range(scale(1, 20)):
                victims = [sending.start(pause=0.002) for _ in range(scale(2, 3))]
                for victim in victims:
                    await eventually(lambda victim=victim: len(victim.reports) > 3 or victim.ended)
                    await asyncio.sleep(choose.uniform(0, 0.3))
                    victim.kill()
            await asyncio.to_thread(sending.stop)
            found = await caught_up(fresh, other, followers)
            counts = sending.account()
    assert contiguous(fresh)
    figures(kills=scale(2, 60), sends=counts, audit=found)
    assert found.clean, found
    assert found.resets == 0
    assert set(counts) <= {"sent", "undone", "committed by a sender that was killed before it said so"}, counts


@pytest.mark.long
@on("postgresql", long=("mariadb",))
async def test_settles_that_race_give_each_event_one_position(
    fresh: Database, other: Publisher, scale: Scale, figures: Figures
) -> None:
    start = other.position()
    with processes.server("uvicorn", fresh, {"TAIL_INTERVAL": 0.05}) as server, senders(fresh, GROUPS) as sending:
        async with following(server.url, start, scale(1, 4)) as followers:
            for _ in range(scale(4, 16)):
                sending.start(count=scale(60, 1500), together=0.2)
            for sender in sending.all:
                await asyncio.to_thread(sender.wait, 400)
            found = await caught_up(fresh, other, followers)
            counts = sending.account()
    assert contiguous(fresh)
    figures(sends=counts, audit=found)
    assert found.clean, found
    assert found.resets == 0
    assert set(counts) <= {"sent", "undone"}, counts


# Servers


@pytest.mark.long
async def test_servers_killed_while_they_stream_lose_nothing(
    database: Database, elsewhere: Publisher, scale: Scale, figures: Figures
) -> None:
    choose = random.Random(5)
    start = elsewhere.position()
    with (
        processes.server("uvicorn", database, may_fail=True) as a,
        processes.server("uvicorn", database, may_fail=True) as b,
        senders(database, GROUPS) as sending,
    ):
        async with following([a.url, b.url], start, scale(2, 40)) as followers:
            sending.start(pause=0.005)
            for turn in range(scale(2, 30)):
                head = database.head()
                await asyncio.gather(*(each.until(head) for each in followers))
                await asyncio.sleep(choose.uniform(0, 0.2))
                await asyncio.to_thread(restart, (a, b)[turn % 2])
            await asyncio.to_thread(sending.stop)
            found = await caught_up(database, elsewhere, followers)
            counts = sending.account()
    figures(kills=scale(2, 30), sends=counts, audit=found, connects=sum(len(each.connects) for each in followers))
    assert found.clean, found
    assert found.resets == 0
    assert all(len(each.connects) > 1 for each in followers if each.transport != "poll")


@pytest.mark.long
async def test_a_server_killed_during_replays_is_taken_over_by_its_successor(
    database: Database, elsewhere: Publisher, scale: Scale, figures: Figures
) -> None:
    """The replays are long and come from the log; each time some have begun and none is done."""
    start, count = elsewhere.position(), scale(2000, 20_000)
    elsewhere.do("send_many", groups="board", type="moved", count=count)
    elsewhere.position()
    limits = {"WINDOW_EVENTS": 10, "BUFFER_BYTES": scale(4096, 65_536)}
    interrupted = 0
    with processes.server("uvicorn", database, limits, may_fail=True) as server:
        async with following(server.url, start, scale(2, 20)) as followers:
            for _ in range(scale(2, 20)):
                before = [each.number for each in followers]
                await eventually(lambda before=before: moved(followers, before))
                interrupted += sum(each.open and 0 < each.number < count for each in followers)
                await asyncio.to_thread(restart, server)
            found = await caught_up(database, elsewhere, followers)
    figures(kills=scale(2, 20), replays_interrupted=interrupted, audit=found)
    assert interrupted, "every replay was done before the server was killed, so this proved nothing"
    assert found.clean, found
    assert found.resets == 0


def moved(followers: Sequence[Follower], before: Sequence[int]) -> bool:
    """Return whether somebody got on, or all are at the end."""
    return any(each.number > number for each, number in zip(followers, before, strict=True)) or (
        min(each.number for each in followers) == max(each.number for each in followers) > 0
    )


def restart(server: processes.Server) -> None:
    server.kill()
    server.start()


# Clocks

DAY = 86_400
CLOCKS = {"right": 0, "8 days ahead": 8 * DAY, "11 years behind": -4000 * DAY, "11 years ahead": 4000 * DAY}


@pytest.mark.long
@on("postgresql", long=("mariadb",))
async def test_hosts_with_the_wrong_time_neither_lose_events_nor_misdate_them(
    fresh: Database, other: Publisher, scale: Scale, figures: Figures
) -> None:
    """Every host has another time, and prunes again and again with a retention of seven days."""
    start = other.position()
    with contextlib.ExitStack() as stack:
        hosts = [
            stack.enter_context(
                processes.server(
                    "uvicorn",
                    fresh,
                    {"PRUNE_INTERVAL": 0.1},
                    application="tests.servers.astray:application",
                    env={"LIVEPUSH_TEST_CLOCK": str(CLOCKS[name])},
                )
            )
            for name in ("8 days ahead", "11 years behind")
        ]
        sending = stack.enter_context(senders(fresh, GROUPS))
        async with following([host.url for host in hosts], start, scale(1, 4)) as followers:
            for offset in list(CLOCKS.values())[1:]:
                sending.start({"LIVEPUSH_TEST_CLOCK": str(offset)}, pause=0.05, count=scale(30, 1000))
            for sender in sending.all:
                await asyncio.to_thread(sender.wait, 200)
            found = await caught_up(fresh, other, followers)
            counts = sending.account()
    figures(clocks=list(CLOCKS)[1:], sends=counts, audit=found)
    assert found.clean, found
    assert found.resets == 0
    assert contiguous(fresh)
    for (created,) in fresh.query("SELECT created FROM livepush_event"):
        moment = created if created.tzinfo else created.replace(tzinfo=UTC)
        assert abs(datetime.now(UTC) - moment) < timedelta(hours=1)


# Settle's lock


@pytest.mark.long
@on("postgresql", long=("mariadb",))
async def test_others_settle_where_a_process_dies_or_stops_under_the_lock(
    fresh: Database, other: Publisher, scale: Scale, figures: Figures
) -> None:
    limit = scale(1000, 10_000)
    start = other.position()
    waits: dict[str, list[float]] = {"SIGKILL": [], "SIGSTOP": []}
    with processes.server("uvicorn", fresh) as server:
        async with following(server.url, start, scale(1, 4)) as followers:
            for how in list(waits) * scale(1, 3):
                env = {"LIVEPUSH_TEST_TIME_LIMIT_MS": str(limit)}
                holder = await holding(fresh, how, **env)
                began = time.monotonic()
                await asyncio.to_thread(other.send, "board", "another")
                await eventually(lambda: not fresh.unsettled())
                await asyncio.gather(*(each.until(fresh.head()) for each in followers))
                waits[how].append(round(time.monotonic() - began, 1))
                if how == "SIGSTOP":
                    holder.send_signal(signal.SIGCONT)
                    assert await asyncio.to_thread(holder.wait, 60) == 0
            found = await caught_up(fresh, other, followers)
    figures(limit_ms=limit, waits=waits, audit=found)
    assert found.clean, found
    assert contiguous(fresh)
    assert fresh.query("SELECT count(*) FROM livepush_event WHERE type = 'held'")[0][0] >= 2 * scale(1, 3)


async def holding(database: Database, how: str, **env: str) -> warm.Started:
    """Return a process that a signal has met as it held settle's lock."""
    while True:
        process = start_dying(database, "held", "positions", how, **env)
        await eventually(lambda: at_rest(process))
        if process.returncode != 0:  # else the hub was there first, and left it nothing to settle
            return process


def at_rest(process: warm.Started) -> bool:
    """Return whether a process has ended or is stopped."""
    if process.poll() is not None:
        return True
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ends just now: the next look tells
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False


@pytest.mark.long
@on("sqlite")
async def test_on_sqlite_sends_fail_while_a_stopped_process_holds_the_lock_and_all_goes_on_when_it_ends(
    fresh: Database, other: Publisher, scale: Scale, figures: Figures
) -> None:
    """SQLite's one write lock is a lock on a file, which nobody can take from a process that is stopped."""
    options = {"timeout": 1, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}
    database = fresh.through(OPTIONS=options)
    start = other.position()
    with processes.server("uvicorn", database, may_fail=True) as server, senders(database, GROUPS) as sending:
        async with following(server.url, start, scale(1, 4)) as followers:
            for last in (signal.SIGCONT, signal.SIGKILL):
                holder = await holding(fresh, "SIGSTOP")
                sender = sending.start(count=2, together=0.0)
                await asyncio.to_thread(sender.wait)
                assert [report["outcome"] for report in sender.reports] == ["OperationalError"] * 2
                holder.send_signal(last)
                await asyncio.to_thread(holder.wait, 60)
                await asyncio.to_thread(other.send, "board", "another")
            found = await caught_up(fresh, other, followers)
            counts = sending.account()
    figures(sends=counts, audit=found)
    assert found.clean, found
    assert found.resets == 0
    assert counts == {"OperationalError": 4}


@pytest.mark.long
@on("postgresql", long=("mariadb", "sqlite"))
async def test_a_head_that_is_deleted_while_everything_runs_is_made_again_and_everybody_told(
    fresh: Database, other: Publisher, scale: Scale, figures: Figures
) -> None:
    start = other.position()
    with processes.server("uvicorn", fresh) as server, senders(fresh, GROUPS) as sending:
        async with following(server.url, start, scale(1, 4)) as followers:
            sender = sending.start(pause=0.01)
            epochs = {start.partition("-")[0]}
            for _ in range(scale(2, 10)):
                said = len(sender.reports)
                await eventually(lambda said=said: len(sender.reports) > said + 3)
                await asyncio.gather(*(each.until(fresh.head()) for each in followers))
                fresh.query("DELETE FROM livepush_loghead")
                await eventually(lambda: all(each.position.partition("-")[0] not in epochs for each in followers))
                epochs |= {each.position.partition("-")[0] for each in followers}
            await asyncio.to_thread(sending.stop)
            found = await caught_up(fresh, other, followers)
            counts = sending.account()
    figures(deletions=scale(2, 10), sends=counts, audit=found)
    assert found.clean, found
    assert found.resets == scale(2, 10) * len(followers)
    assert contiguous(fresh)
    assert set(counts) <= {"sent", "undone"}, counts
