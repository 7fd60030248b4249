"""The audit of Pusher's webhooks: servers die between any two steps, and what arrived is held against the log."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
from typing import NamedTuple

import pytest
from websockets.exceptions import WebSocketException

from livepush.bridges.pusher import hooks
from livepush.wire import Event
from tests.bridges.pushers import APP, SETTINGS, Site, raw
from tests.bridges.test_pusher_webhooks import ALL, Receiver
from tests.patience import PATIENCE, eventually
from tests.scale import FULL
from tests.servers import dying_pusher, processes
from tests.servers.warm import ROOT

PUBLISH = """
import itertools, json, os, sys, time, django
django.setup()
from livepush import log, publish
sender = json.dumps({"id": "1", "name": "Ann", "socket": "1.1", "channel": "private-board"})
for number in itertools.count():
    if not os.path.exists(sys.argv[1]):
        break
    log.append(log.Content(("board",), "client-said", str(number), sender), None, "default")
    publish.deliver("default")
    time.sleep(0.02)
"""
"""It sends until a file is gone."""
ROUNDS = 8 if FULL else 1
AGAIN = 1000
"""How far back a request may begin: far more than one has."""


class Noting(Receiver):
    """A receiver that notes each request."""

    def __init__(self):
        super().__init__()
        self.requests = []

    def take(self, found):
        status = super().take(found)
        if status == 200:
            self.requests.append(found["events"])
        return status


class Audit(NamedTuple):
    """How what arrived differs from what the log says."""

    lost: int
    repeated: int
    out_of_order: int
    unexpected: int


def audit(requests, expected):
    """Hold requests against what was to be told. A request may tell again what came last, and go on from there."""
    upto = repeated = out_of_order = unexpected = lost = 0

    def found_at(said, places):
        return next((place for place in places if expected[place : place + len(said)] == said), None)

    for said in requests:
        start = found_at(said, range(upto, max(-1, upto - AGAIN), -1))
        if start is not None:
            repeated += min(len(said), upto - start)
            upto = max(upto, start + len(said))
            continue
        later = found_at(said, range(upto, len(expected)))
        if later is None:
            unexpected += len(said)
        else:
            out_of_order += 1
            lost += later - upto
            upto = later + len(said)
    return Audit(lost + len(expected) - upto, repeated, out_of_order, unexpected)


def told_by(database):
    """Return what the log says that webhooks tell."""
    rows = database.query('SELECT position, "group", type, data, sender FROM livepush_event ORDER BY position')
    events = [Event(number, (group,), type, data, "", sender) for number, group, type, data, sender in rows]
    return [said for event in events for said in hooks.said_of(event, ALL)]


def test_the_audit_counts_what_is_lost_repeated_and_out_of_order():
    expected = [{"n": number} for number in range(6)]
    assert audit([expected[:2], expected[2:]], expected) == (0, 0, 0, 0)
    assert audit([expected[:4], expected[2:]], expected) == (0, 2, 0, 0)
    assert audit([expected[:2], expected[:2], expected[2:5]], expected) == (1, 2, 0, 0)
    assert audit([expected[:2], expected[3:]], expected) == (1, 0, 1, 0)
    assert audit([expected, [{"n": 7}]], expected) == (0, 0, 0, 1)


@pytest.mark.long
async def test_servers_that_die_between_any_two_steps_lose_no_webhook_and_keep_the_order(databases, tmp_path, figures):
    chance = random.Random(2026)
    deaths = [point for _ in range(ROUNDS) for point in dying_pusher.POINTS]
    audited = [], []
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(Noting().serving())
        database = stack.enter_context(databases.fresh("postgresql"))
        elsewhere = stack.enter_context(processes.publisher(database))
        app = {**APP, "WEBHOOK": receiver.url, "WEBHOOK_EVENTS": ALL}
        settings = {**SETTINGS, "PUSHER": app, "PRESENCE_LEASE": 0.6}

        def serve(**env):
            return processes.server(
                "uvicorn", database, settings, application="tests.servers.dying_pusher:application", env=env,
                may_fail=True,
            )  # fmt: skip

        def is_all_told():
            nonlocal audited
            requests, expected = list(receiver.requests), told_by(database)
            # What came before a process took the place for the first time is not promised.
            audited = requests, expected[expected.index(requests[0][0]) :]
            return not audit(*audited).lost

        @contextlib.asynccontextmanager
        async def visited(server, number):
            """Subscribe to some channels until the block ends, again whenever the connection is lost."""
            over = asyncio.Event()
            visiting = asyncio.create_task(visit(Site(server, elsewhere, tmp_path), number, over))
            try:
                yield
            finally:
                over.set()  # a connection that is lost at this moment may hide that the task is cancelled
                visiting.cancel()
                await asyncio.wait({visiting})

        async def visit(site, number, over):
            while not over.is_set():
                with contextlib.suppress(OSError, WebSocketException):
                    async with raw(site) as client:
                        for name in ("board", f"room;{number}", "cache-room;news"):
                            await client.say("pusher:subscribe", {"channel": name})
                        await client.closed()
                await asyncio.sleep(0.05)

        with serve() as server:
            async with visited(server, 0):
                await eventually(lambda: {"channel": "board"} in receiver.of("channel_occupied"))
            server.kill()
        env = {**os.environ, **database.env}
        goes_on = tmp_path / "goes on"
        goes_on.touch()
        words = [sys.executable, "-c", PUBLISH, str(goes_on)]
        publishing = stack.enter_context(subprocess.Popen(words, cwd=ROOT, env=env))
        stack.callback(publishing.kill)
        for number, point in enumerate(deaths, 1):
            count = 1 if point == "occupied" else chance.randint(1, 3)
            with serve(LIVEPUSH_TEST_DIES=f"{point}:{count}") as server:
                async with visited(server, number):
                    await asyncio.to_thread(server.wait)
        goes_on.unlink()
        assert await asyncio.to_thread(publishing.wait, PATIENCE) == 0
        with serve() as server:
            async with visited(server, len(deaths) + 1):
                await eventually(lambda: asyncio.to_thread(is_all_told))
            server.kill()
        requests, expected = audited
        found = audit(requests, expected)
        figures(deaths=len(deaths), told=len(expected), requests=len(requests), audit=found._asdict())
        assert (found.lost, found.out_of_order, found.unexpected) == (0, 0, 0)
        assert found.repeated <= len(deaths) * 200
