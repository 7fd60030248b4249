"""Floods of handshakes, bad ones and expensive ones, and of messages: a good client hardly notices any."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration import clients
from tests.integration.conftest import Figures, Scale
from tests.patience import PATIENCE, eventually
from tests.scale import some
from tests.servers import faults, processes
from tests.servers.fresh import ROOT, Database
from tests.servers.processes import Publisher, Server

MIB = 1_048_576


@contextmanager
def flood(kind: str, server: Server, cookies: str) -> Iterator[subprocess.Popen[str]]:
    """Flood a server from another process."""
    command = [sys.executable, "-m", "tests.servers.flood", kind, "127.0.0.1", str(server.port), cookies]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


async def polls(server: Server, headers: dict[str, str], count: int) -> list[float]:
    """Return how long each of some polls took, in order of size."""
    took = []
    async with clients.http() as client:
        for _ in range(count):
            begin = time.perf_counter()
            async with asyncio.timeout(PATIENCE):
                answer = await client.get(clients.address(server.url, "poll", "board"), headers=headers)
            took.append(time.perf_counter() - begin)
            assert answer.status_code == 200, answer.text
            await asyncio.sleep(0.01)
    return sorted(took)


def milliseconds(took: list[float]) -> dict[str, float]:
    return {name: round(1000 * took[int((len(took) - 1) * share)], 1) for name, share in SHARES.items()}


def is_over(server: Server) -> bool:
    """Return whether nothing of a flood is left in a server."""
    stats = server.stats()
    return stats["tasks"] < 20 and stats["subscribers"] == 0


SHARES = {"p50": 0.5, "p99": 0.99}


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", some(["leave", "bad", "stay", "raise", "write", "post"]))
async def test_a_good_client_hardly_notices_a_flood(
    kind: str, database: Database, elsewhere: Publisher, scale: Scale, figures: Figures
) -> None:
    headers, others = {"Cookie": elsewhere.session("ann")}, elsewhere.session("flooding")
    count, site = scale(40, 1500 if kind == "bad" else 500), "tests.servers.limited:application"
    with processes.server("uvicorn", database, application=site, may_fail=kind == "raise") as server:
        await polls(server, headers, 20)
        quiet = await polls(server, headers, count)
        began, said = time.monotonic(), len(server.log())
        with flood(kind, server, others) as flooding:
            await polls(server, headers, 20)
            before = faults.rss(server.pid)
            busy = await polls(server, headers, count)
            after = faults.rss(server.pid)
            made, _ = await asyncio.to_thread(flooding.communicate, "")
        await eventually(lambda: asyncio.to_thread(is_over, server))
        lines = [line for line in server.log()[said:].splitlines() if not line.startswith("INFO:")]
    seconds = time.monotonic() - began
    stored = int(database.query("SELECT count(*) FROM livepush_event")[0][0])
    mib = round((after - before) / MIB, 1)
    figures(kind=kind, requests=int(made), stored=stored, lines=len(lines), grown_mib=mib)
    figures(kind=kind, quiet_ms=milliseconds(quiet), busy_ms=milliseconds(busy))
    assert int(made) >= 10
    assert busy[len(busy) // 2] < 1
    assert after - before < 24 * MIB
    assert stored <= 30 + 11 * seconds
    assert len(lines) < 200 + 100 * seconds
