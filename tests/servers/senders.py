"""Processes that send in a loop, may be killed, and are held to account for what they said."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from tests.patience import PATIENCE
from tests.servers import warm
from tests.servers.fresh import Database
from tests.servers.processes import settings_env, whole


class Sender:
    """A process that sends in a loop; see ``tests.servers.sender``."""

    def __init__(self, database: Database, name: str, seed: int, groups: list[str], env: dict[str, str], **more: Any):
        self.name = name
        plan = {"name": name, "seed": seed, "groups": groups, **more}
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._complained = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = warm.start(
            "tests.servers.sender",
            json.dumps(plan),
            env=settings_env(database, **env),
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=self._complained,
        )

    @property
    def reports(self) -> list[dict[str, Any]]:
        """What became of each send, as far as it came to say so."""
        return [json.loads(line) for line in whole(self._said).splitlines()[1:] if line.endswith("}")]

    @property
    def log(self) -> str:
        """What it printed as errors."""
        return whole(self._complained)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> None:
        """Wait until it ends by itself."""
        assert self._process.wait(seconds) == 0, self.log

    def stop(self, seconds: float = PATIENCE) -> None:
        """Have it end after the send that it is at."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self.wait(seconds)

    def close(self) -> None:
        """End it, if it has not ended, and forget what it said."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if not self.ended:
            self.kill()
        self._said.close()
        self._complained.close()


class Senders:
    """Some senders on one database."""

    def __init__(self, database: Database, groups: list[str]) -> None:
        self._database = database
        self._groups = groups
        self.all: list[Sender] = []

    def start(self, env: dict[str, str] | None = None, database: Database | None = None, **more: Any) -> Sender:
        """Start another one, with a name and a seed of its own."""
        number = len(self.all)
        found = Sender(database or self._database, f"writer-{number}", number, self._groups, env or {}, **more)
        self.all.append(found)
        return found

    @property
    def running(self) -> list[Sender]:
        return [each for each in self.all if not each.ended]

    def stop(self) -> None:
        """Have those that run end after the send that each is at."""
        for each in self.running:
            each.stop()

    def account(self) -> Counter[str]:
        """Count what was sent and what failed; nothing may be half done, and nothing that was sent may be missing."""
        return account(self._database, self.all)


@contextlib.contextmanager
def senders(database: Database, groups: list[str]) -> Iterator[Senders]:
    """Run senders, and end them all."""
    found = Senders(database, groups)
    try:
        yield found
    finally:
        for each in found.all:
            each.close()


def account(database: Database, all: Iterable[Sender]) -> Counter[str]:
    """Compare what senders said with what is committed, send by send: events and the project's rows alike."""
    rows: Counter[tuple[str, int]] = Counter()
    for (data,) in database.query("SELECT data FROM livepush_event WHERE type = 'moved'"):
        sent = json.loads(data)
        rows[sent["writer"], sent["number"]] += 1
    orders = {note for (note,) in database.query("SELECT note FROM shop_order")}
    found: Counter[str] = Counter()
    for sender in all:
        reports = sender.reports
        for report in reports:
            there = rows.pop((sender.name, report["number"]), 0)
            ordered = f"{sender.name} {report['number']}" in orders
            assert there in (0, report["rows"]), (sender.name, report, there)
            assert ordered == (report["order"] and there > 0), (sender.name, report, there, ordered)
            if report["outcome"] == "sent":
                assert there, (sender.name, report)
            elif report["outcome"] == "undone":
                assert not there, (sender.name, report)
            elif there:
                found["failed, but committed"] += 1
            found[report["outcome"]] += 1
        if rows.pop((sender.name, len(reports) + 1), 0):
            found["committed by a sender that was killed before it said so"] += 1
    assert not rows, rows
    return found
