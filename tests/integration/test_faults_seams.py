"""Where one thing takes over from another, nothing falls between.

Page and stream, poll and stream, process and process, one life of the database and the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from tests.integration import clients
from tests.integration.audit import TRANSPORTS, Audit, Follower, Row, audit, committed, offered
from tests.integration.conftest import Figures, Scale
from tests.integration.test_delivery import die_after_commit, hubs_listen, page_position
from tests.patience import eventually
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import ROOT, Database, Databases
from tests.servers.processes import Publisher, Server

PROBE = "tests.servers.probe:application"
SILENT = {"TAIL_INTERVAL": 3600}
"""Settings of a server that looks at the log only when a client makes it."""


@contextlib.asynccontextmanager
async def following(followers: Iterable[Follower]) -> AsyncIterator[None]:
    """Run clients while the block runs."""
    tasks = [asyncio.create_task(each.run()) for each in followers]
    try:
        yield
        assert not [task.exception() for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def everyone(
    url: str, start: str, groups: Sequence[str] = ("board",), transports: Sequence[str] = TRANSPORTS, **more: Any
) -> list[Follower]:
    """Return a client of each transport."""
    return [Follower(url, groups, start, transport, pause=0.1, **more) for transport in transports]


async def come_to(followers: Iterable[Follower], number: int, seconds: float = 60) -> None:
    await asyncio.gather(*(each.until(number, seconds) for each in followers))


async def all_reset(followers: Sequence[Follower]) -> None:
    """Wait until each was told that its history is lost."""
    await eventually(lambda: all(each.resets for each in followers))


async def send(elsewhere: Publisher, count: int, group: str = "board", type: str = "moved") -> int:
    """Send some events; return the log's head."""
    for number in range(count):
        await asyncio.to_thread(elsewhere.send, group, type, number)
    return int((await asyncio.to_thread(elsewhere.position)).partition("-")[2])


async def send_from(server: Server, count: int = 1) -> None:
    """Send events to ``board`` from a server's own process, whose hub hears of them at once."""
    async with clients.http() as client:
        for _ in range(count):
            assert (await client.get(f"{server.url}/send/")).status_code == 200


def without_holes(rows: Sequence[Row], followers: Iterable[Follower]) -> bool:
    """Return whether each client had, before a reset too, everything from where it began to where it got."""
    for follower in followers:
        for segment in follower.segments[:-1]:
            expected = offered(rows, follower.groups, int(segment.start.partition("-")[2]))
            if list(segment.numbers) != expected[: len(segment.numbers)]:
                return False
    return True


def clean(rows: Sequence[Row], followers: Iterable[Follower], figures: Figures, **more: object) -> Audit:
    """Audit, note the result and return it."""
    found = audit(rows, followers)
    figures(audit=str(found), **more)
    assert found.clean, found
    return found


# A page and its stream


@pytest.mark.parametrize(
    ("renderer", "reader"),
    some(
        [
            ("a process whose hub is behind", "a hub that runs"),
            ("a process without a hub", "a hub that starts"),
            ("WSGI", "a hub that runs"),
        ]
    ),
)
async def test_a_page_and_its_stream_from_two_processes_leave_no_gap(
    renderer: str, reader: str, database: Database, elsewhere: Publisher, figures: Figures
) -> None:
    """Around it: events that it shows, one whose transaction is open, one without a position, and later ones."""
    kind, settings = (processes.WSGI, {}) if renderer == "WSGI" else ("uvicorn", {**SILENT, "HINT": "none"})
    with (
        processes.server(kind, database, settings) as pages,
        processes.server("uvicorn", database) as streams,
        processes.publisher(database) as open_one,
    ):
        if renderer.endswith("behind"):
            await clients.poll(pages.url, "board")
        if reader.endswith("runs"):
            await clients.poll(streams.url, "board")
        await send(elsewhere, 3, type="before")
        head = database.head()
        open_one.do("begin")
        open_one.send("board", "late")
        await asyncio.to_thread(die_after_commit, database, "unsettled")
        position = await page_position(pages.url)
        open_one.do("commit")
        last = await send(elsewhere, 3, type="after")
        followers = everyone(streams.url, position)
        async with following(followers):
            await come_to(followers, last)
    number = int(position.partition("-")[2])
    assert number in ((0,) if renderer.endswith("behind") else (head, head + 1))
    found = clean(committed(database), followers, figures, renderer=renderer, reader=reader)
    assert found.events == 5 * (last - number)
    assert found.resets == 0


@pytest.mark.long
async def test_a_cached_page_is_brought_up_to_date_or_told_that_it_is_too_old(
    database: Database, elsewhere: Publisher, figures: Figures
) -> None:
    """By a server that was started since."""
    with processes.server("uvicorn", database) as server:
        await send(elsewhere, 3)
        position = await page_position(server.url)
    last = await send(elsewhere, 300)
    with processes.server("uvicorn", database) as server:
        followers = everyone(server.url, position)
        async with following(followers):
            await come_to(followers, last)
        assert clean(committed(database), followers, figures).resets == 0
    await asyncio.to_thread(elsewhere.do, "prune")
    with processes.server("uvicorn", database) as server:
        followers = everyone(server.url, position)
        async with following(followers):
            await all_reset(followers)
            await come_to(followers, await send(elsewhere, 3))
        assert clean(committed(database), followers, figures).resets == len(followers)


# Groups that come and go

LEAD = 2000
"""How many events the client may lack before the writers wait: else a slow machine falls behind further and further."""


class Listener:
    """A WebSocket client whose groups come and go; what lies before each subscription it polls for."""

    def __init__(self, url: str, socket: ClientConnection, start: str) -> None:
        self.url = url
        self.socket = socket
        self.stream: list[int] = []
        """What the connection brought, of all groups."""
        self.got: dict[str, list[int]] = defaultdict(list)
        """What came for each group, by either way."""
        self.had: dict[str, str] = defaultdict(lambda: start)
        """Up to where each group was had when it was dropped."""
        self.groups: set[str] = set()
        self.polled = 0
        self.sent = 0
        """How many events were sent to the groups that come and go."""
        self._replies: dict[int, tuple[asyncio.Future[dict[str, Any]], set[str]]] = {}
        self._refs = itertools.count(1)
        self._epoch = start.partition("-")[0]

    async def read(self) -> None:
        """Take what comes until cancelled."""
        try:
            while True:
                found = json.loads(await self.socket.recv())
                for envelope in found if isinstance(found, list) else [found]:
                    self._take(envelope)
        finally:
            for reply, _ in self._replies.values():
                reply.cancel()

    async def subscribe(self, group: str) -> None:
        """Add a group, and fetch what lies between where it was dropped and where it begins."""
        self.groups.add(group)
        reply = await self._command("subscribe", group)
        begin, since = _number(reply["position"]), self.had[group]
        while _number(since) < begin:
            answer = (await clients.poll(self.url, group, since=since)).json()
            assert not answer["reset"]
            before = [_number(event["id"]) for event in answer["events"] if _number(event["id"]) <= begin]
            self.got[group] += before
            self.polled += len(before)
            since = answer["position"]
        self.had[group] = reply["position"]

    async def unsubscribe(self, group: str) -> None:
        """Drop a group; its events end before the answer."""
        await self._command("unsubscribe", group)
        self.had[group] = f"{self._epoch}-{max(_number(self.had[group]), *self.got[group], 0)}"

    async def _command(self, name: str, group: str) -> dict[str, Any]:
        ref = next(self._refs)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._replies[ref] = future, {group} if name == "unsubscribe" else set()
        await self.socket.send(json.dumps({"command": name, "groups": [group], "ref": ref}))
        async with asyncio.timeout(60):
            reply = await future
        assert reply["ok"], reply
        return reply

    def _take(self, envelope: dict[str, Any]) -> None:
        if envelope["type"] == "livepush.reply":
            reply, dropped = self._replies.pop(envelope["ref"])
            self.groups -= dropped  # from here on none of its events may come
            reply.set_result(envelope)
        elif not envelope["type"].startswith("livepush."):
            assert envelope["group"] in self.groups, envelope
            self.stream.append(_number(envelope["id"]))
            self.got[envelope["group"]].append(_number(envelope["id"]))


def _number(position: str) -> int:
    return int(position.partition("-")[2])


async def write(
    elsewhere: Publisher, groups: Sequence[str], seed: int, listener: Listener, done: asyncio.Event
) -> None:
    """Send to one group after the other, several events a transaction, until told to stop."""
    choose = random.Random(seed)
    while not done.is_set():
        group, count = choose.choice(groups), choose.choice((1, 3, 8))
        await asyncio.to_thread(elsewhere.do, "send_many", groups=group, type="moved", count=count)
        listener.sent += count
        while listener.sent - sum(map(len, listener.got.values())) > LEAD and not done.is_set():
            await asyncio.sleep(0.01)


@pytest.mark.long
@pytest.mark.parametrize("subprotocols", some([["livepush.v1"], None]))
@pytest.mark.parametrize("buffer", some(["holds two events", "is large"]))
async def test_groups_come_and_go_while_events_flow(
    buffer: str,
    subprotocols: list[str] | None,
    database: Database,
    elsewhere: Publisher,
    scale: Scale,
    figures: Figures,
) -> None:
    """Four writers; where the buffer holds two events, most transactions make the connection a reader of the log."""
    rooms = [f"room:{name}" for name in "abcd"]
    settings = {"COMMANDS_PER_SECOND": 1000, **({"BUFFER_BYTES": 300} if buffer == "holds two events" else {})}
    choose, done = random.Random(20_26), asyncio.Event()
    with processes.server("uvicorn", database, settings) as server, contextlib.ExitStack() as stack:
        writers = [stack.enter_context(processes.publisher(database)) for _ in range(4)]
        start = await asyncio.to_thread(elsewhere.position)
        async with clients.websocket(server.url, "board", since=start, subprotocols=subprotocols) as socket:
            listener = Listener(server.url, socket, start)
            listener.groups.add("board")
            tasks = [
                asyncio.create_task(write(each, ["board", *rooms], n, listener, done)) for n, each in enumerate(writers)
            ]
            reading = asyncio.create_task(listener.read())
            toggles = 0
            while toggles < scale(40, 1000) or len(listener.stream) < scale(200, 5000):
                toggles += 1
                room = choose.choice(rooms)
                await (listener.unsubscribe if room in listener.groups else listener.subscribe)(room)
                await asyncio.sleep(choose.choice((0, 0, 0.01, 0.05)))
            done.set()
            await asyncio.gather(*tasks)
            for room in rooms:
                if room not in listener.groups:
                    await listener.subscribe(room)
            last = await send(elsewhere, 1, type="end")
            await eventually(lambda: reading.done() or listener.stream[-1:] == [last])
            assert not reading.done(), reading
            reading.cancel()
    rows = committed(database)
    assert listener.stream == sorted(set(listener.stream))
    for group in ("board", *rooms):
        assert sorted(listener.got[group]) == [row.number for row in rows if row.group == group]
    assert listener.polled > 0
    figures(
        buffer=buffer, protocol=subprotocols, events=len(rows), by_stream=len(listener.stream), by_poll=listener.polled
    )


# The first clients of a server


@contextlib.contextmanager
def scribes(database: Database, groups: Sequence[str], count: int, rate: float, **env: str) -> Any:
    """Run processes that write until the block ends, in transactions of varying size, some of them rolled back."""
    plans = [{"seed": number, "groups": list(groups), "rate": rate} for number in range(count)]
    with contextlib.ExitStack() as stack:
        running = []
        for plan in plans:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.servers.scribe", json.dumps(plan)],
                env=processes.settings_env(database, None, **env),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            running.append(stack.enter_context(process))
            stack.callback(process.kill)
        yield
        for process in running:
            process.communicate(timeout=60)


@pytest.mark.long
@pytest.mark.parametrize("layer", some(["none", "pubsub"]))
async def test_the_first_clients_of_a_server_miss_nothing_while_events_flow(
    layer: str, database: Database, elsewhere: Publisher, scale: Scale, figures: Figures
) -> None:
    """They all come at once to a server whose hub has not begun, from positions old and new."""
    groups = [f"room:{name}" for name in "abcdef"]
    choose = random.Random(20_26)
    followers: list[Follower] = []
    env = {"LIVEPUSH_TEST_LAYER": layer}
    async with contextlib.AsyncExitStack() as stack:
        if layer != "none":
            env["LIVEPUSH_TEST_REDIS"] = stack.enter_context(processes.valkey())
        positions = [await asyncio.to_thread(elsewhere.position)]
        await send(elsewhere, 1, groups[0])
        with scribes(database, groups, 4, 20, **env):
            for _ in range(scale(2, 6)):
                server = stack.enter_context(processes.server("uvicorn", database, env=env))
                positions.append(await asyncio.to_thread(elsewhere.position))
                new = [
                    Follower(server.url, choose.sample(groups, 3), choose.choice(positions), transport, pause=0.2)
                    for transport in TRANSPORTS * scale(4, 20)
                ]
                await stack.enter_async_context(following(new))
                followers += new
                first = database.head()
                await eventually(lambda first=first: database.head() > first + 100)
        await asyncio.to_thread(elsewhere.position)
        first = database.head() + 1
        await asyncio.to_thread(elsewhere.send, groups, "end")
        await come_to(followers, first)
        found = clean(committed(database), followers, figures, layer=layer)
    assert found.resets == 0
    assert found.events > 30 * len(followers)


# Another life of the database


def run(database: Database, *command: str) -> None:
    """Run a management command."""
    subprocess.run([sys.executable, "-m", "django", *command], env=database.env, cwd=ROOT, check=True, timeout=60)


TABLES = ("livepush_event", "livepush_channelgroup", "livepush_loghead", "livepush_logfloor")


def dump(database: Database) -> None:
    """Put the log aside as it is now."""
    database.query("; ".join(f"CREATE TABLE dumped_{table} AS TABLE {table}" for table in TABLES))


def restore(database: Database) -> None:
    """Make the log what it was, in one transaction."""
    database.query("; ".join(f"TRUNCATE {table}; INSERT INTO {table} SELECT * FROM dumped_{table}" for table in TABLES))


def lose_tail(database: Database, last: int) -> None:
    """Forget the events behind a number, as a standby does that had not heard of them."""
    database.query(f"DELETE FROM livepush_event WHERE position > {last}; UPDATE livepush_loghead SET position = {last}")


@pytest.mark.long
@pytest.mark.parametrize("servers_are", some(["running", "down"]))
async def test_a_database_that_is_restored_resets_every_client(
    servers_are: str, database: Database, elsewhere: Publisher, figures: Figures
) -> None:
    with processes.server("uvicorn", database) as one, processes.server("granian", database) as other:
        start = await asyncio.to_thread(elsewhere.position)
        followers = [*everyone(one.url, start), *everyone(other.url, start)]
        async with following(followers):
            await send(elsewhere, 10)
            await asyncio.to_thread(dump, database)
            await come_to(followers, await send(elsewhere, 10))
            before = committed(database)
            if servers_are == "running":
                await asyncio.to_thread(restore, database)
                await all_reset(followers)
            else:
                for server in (one, other):
                    await asyncio.to_thread(server.stop)
                await asyncio.to_thread(restore, database)
                await asyncio.to_thread(run, database, "livepush_epoch", "--new")
                await send(elsewhere, 15)  # the head is beyond where the clients are
                for server in (one, other):
                    await asyncio.to_thread(server.start)
                await all_reset(followers)
            await come_to(followers, await send(elsewhere, 20))
        found = clean(committed(database), followers, figures, servers=servers_are)
    assert without_holes(before, followers)
    assert found.resets == len(followers)


@pytest.mark.long
@pytest.mark.parametrize("head", some(["before the hub's position", "behind it already"]))
async def test_a_failover_that_lost_the_tail_resets_every_client(
    head: str, database: Database, elsewhere: Publisher, figures: Figures
) -> None:
    with processes.server("uvicorn", database) as server:
        followers = everyone(server.url, await asyncio.to_thread(elsewhere.position))
        async with following(followers):
            await come_to(followers, await send(elsewhere, 20))
            before = committed(database)
            server.signal(signal.SIGSTOP)
            try:
                await asyncio.to_thread(lose_tail, database, 15)
                await send(elsewhere, 2 if head.startswith("before") else 10)
            finally:
                server.signal(signal.SIGCONT)
            await all_reset(followers)
            await come_to(followers, await send(elsewhere, 10))
        found = clean(committed(database), followers, figures, head=head)
    assert without_holes(before, followers)
    assert found.resets == len(followers)


@pytest.mark.long
async def test_a_failover_that_lost_the_tail_is_noticed_in_what_is_announced(
    database: Database, elsewhere: Publisher, figures: Figures
) -> None:
    """The hub hears of new events at its own position and behind it before it looks at the log again."""
    with processes.server("uvicorn", database, SILENT) as server:
        followers = everyone(server.url, await asyncio.to_thread(elsewhere.position))
        async with following(followers):
            await eventually(lambda: asyncio.to_thread(lambda: server.holds() >= 4))
            await send_from(server, 20)
            await come_to(followers, 20)
            before = committed(database)
            await asyncio.to_thread(lose_tail, database, 15)
            await send(elsewhere, 4)
            await send_from(server, 5)
            await all_reset(followers)
            await send_from(server, 5)
            await come_to(followers, database.head())
        clean(committed(database), followers, figures)
    assert without_holes(before, followers)


@pytest.mark.long
async def test_two_sites_on_one_redis_hear_nothing_of_each_other(databases: Databases, figures: Figures) -> None:
    """Their groups have the same names, and their events the same numbers."""
    groups = ["board", "room:a"]
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(processes.valkey())
        env = {"LIVEPUSH_TEST_LAYER": "pubsub", "LIVEPUSH_TEST_REDIS": redis}
        sites = [stack.enter_context(databases.fresh("postgresql")) for _ in range(2)]
        senders = [stack.enter_context(processes.publisher(site, **env)) for site in sites]
        running = [stack.enter_context(processes.server("uvicorn", site, env=env, application=PROBE)) for site in sites]
        starts = [await asyncio.to_thread(sender.position) for sender in senders]
        followers = [everyone(server.url, start, groups) for server, start in zip(running, starts, strict=True)]
        async with (
            following([*followers[0], *followers[1]]),
            clients.sse(running[0].url, groups) as here,
            clients.sse(running[1].url, groups) as there,
        ):
            for stream in (here, there):
                await stream.until(event="livepush.hello")
            for sender, server in zip(senders, running, strict=True):
                await hubs_listen([server], sender)
            for number in range(10):
                for place, sender in enumerate(senders):
                    await asyncio.to_thread(sender.send, groups[number % 2], f"of-{place}", number)
            senders[1].send("board", "typing", "of the other site", ephemeral=True)
            await there.until(event="typing")
            senders[0].send("board", "end")
            seen = []
            while not seen or seen[-1]["event"] != "end":
                seen.append(await here.fields())
            for place, sender in enumerate(senders):
                await come_to(followers[place], await send(sender, 1))
        for place, site in enumerate(sites):
            assert clean(committed(site), followers[place], figures, site=place).resets == 0
    assert not {"typing", "of-1"} & {fields["event"] for fields in seen}


# Pruned meanwhile


LARGE = "x" * 20_000
PRUNING = {"PRUNE_INTERVAL": 0.05, "WINDOW_EVENTS": 50, "BUFFER_BYTES": 16_384}


def age(database: Database, last: int) -> None:
    """Make events so old that the next pruning takes them."""
    database.query(f"UPDATE livepush_event SET created = created - interval '30 days' WHERE position <= {last}")


def floor(database: Database) -> int:
    return int(database.query("SELECT position FROM livepush_logfloor")[0][0])


async def fill(elsewhere: Publisher, count: int) -> tuple[str, int]:
    """Make a log that no socket's buffers hold; return its first and its last position."""
    start = await asyncio.to_thread(elsewhere.position)

    def write_all() -> None:
        for _ in range(count // 50):
            elsewhere.do("begin")
            for _ in range(50):
                elsewhere.send("board", "grew", LARGE)
            elsewhere.do("commit")

    await asyncio.to_thread(write_all)
    return start, _number(await asyncio.to_thread(elsewhere.position))


@pytest.mark.long
async def test_a_log_that_is_pruned_under_a_stopped_replay_ends_it_with_a_reset(
    database: Database, elsewhere: Publisher, figures: Figures
) -> None:
    """They stop in the midst of what they replay; when they read on, most of the rest is gone."""
    start, last = await fill(elsewhere, 600)
    before = committed(database)
    with processes.server("uvicorn", database, PRUNING, application=PROBE) as server:
        followers = everyone(server.url, start, small=True)
        for each in followers:
            each.reading.clear()
        async with following(followers):
            await eventually(lambda: asyncio.to_thread(lambda: server.stats()["states"].get("replaying") == 3))
            await eventually(lambda: all(each.connects for each in followers))
            await asyncio.to_thread(age, database, last - 50)
            await eventually(lambda: floor(database) == last - 50)
            for each in followers:
                each.reading.set()
            await all_reset(followers)
            await come_to(followers, await send(elsewhere, 5))
        rows = before + [row for row in committed(database) if row.number > last]
        found = clean(rows, followers, figures)
    assert without_holes(rows, followers)
    assert found.resets == len(followers)


@pytest.mark.long
async def test_a_log_that_is_pruned_while_it_is_replayed_is_served_whole_or_reset(
    database: Database, elsewhere: Publisher, scale: Scale, figures: Figures
) -> None:
    """The floor rises step by step while clients page on, some before it, some behind."""
    start, last = await fill(elsewhere, scale(300, 2000))
    before = committed(database)
    with processes.server("uvicorn", database, PRUNING, application=PROBE) as server:
        epoch = start.partition("-")[0]
        followers = [
            Follower(server.url, ["board"], f"{epoch}-{last * part // 10}", transport, pause=0.05, small=True)
            for transport in TRANSPORTS
            for part in range(0, 10, 3)
        ]
        async with following(followers):
            for number in range(last // 20, last, last // 20):
                await asyncio.to_thread(age, database, number)
                await eventually(lambda number=number: floor(database) >= number)
            await come_to(followers, await send(elsewhere, 5), 120)
        rows = before + [row for row in committed(database) if row.number > last]
        found = clean(rows, followers, figures, whole=sum(1 for each in followers if not each.resets))
    assert without_holes(rows, followers)
    assert found.resets > 0


# A process that is behind


@pytest.mark.long
@pytest.mark.parametrize("other_is", some(["behind", "stopped"]))
async def test_clients_that_move_to_a_process_that_knows_less_miss_nothing(
    other_is: str, database: Database, elsewhere: Publisher, figures: Figures
) -> None:
    settings = {**SILENT, "MAX_WAIT": 2} if other_is == "behind" else {}
    with (
        processes.server("uvicorn", database) as ahead,
        processes.server("uvicorn", database, settings) as other,
    ):
        start = await asyncio.to_thread(elsewhere.position)
        await clients.poll(other.url, "board")  # its hub begins here
        followers = everyone(ahead.url, start)
        if other_is == "stopped":
            other.signal(signal.SIGSTOP)
        try:
            async with following(followers):
                await come_to(followers, await send(elsewhere, 30))
            for each in followers:
                each.urls, each.connects = [other.url], []
            async with following(followers):
                await eventually(lambda: all(each.connects for each in followers))
                await send(elsewhere, 10)
                other.signal(signal.SIGCONT)
                await eventually(lambda: all(each.open for each in followers))
                await send_from(other, 3)
                await come_to(followers, database.head())
            for each in followers:
                each.urls = [ahead.url]
            async with following(followers):
                await come_to(followers, await send(elsewhere, 5))
        finally:
            other.signal(signal.SIGCONT)
        found = clean(committed(database), followers, figures, other_is=other_is)
    assert found.resets == 0
