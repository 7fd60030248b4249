from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scale import FULL
from tests.servers import databases as servers
from tests.servers import faults
from tests.servers.fresh import Database, Databases
from tests.servers.processes import Publisher, publisher


@pytest.fixture
def database(databases: Databases) -> Iterator[Database]:
    """A fresh PostgreSQL database."""
    with databases.fresh("postgresql") as found:
        yield found


@pytest.fixture
def elsewhere(database: Database) -> Iterator[Publisher]:
    """Another process, which sends when told to, with no layer."""
    with publisher(database) as found:
        yield found


class Scale:
    """How large a scenario runs: in its short form, or in full (``LIVEPUSH_TEST_SCALE=full``)."""

    full = FULL

    def __call__(self, short: int, full: int) -> int:
        """Return a number of clients, events or seconds."""
        return full if self.full else short


@pytest.fixture(scope="session")
def scale() -> Scale:
    """``scale(10, 100)``: 10 in the short form, 100 in the full one."""
    return Scale()


class Figures:
    """Writes down what a scenario counted, a line of JSON each, for the table in ``docs/reliability.md``."""

    def __init__(self, test: str) -> None:
        self._test = test

    def __call__(self, **figures: object) -> None:
        """Note figures; values are shown as they are."""
        print(self._test, figures)
        path = os.environ.get("LIVEPUSH_TEST_FIGURES")
        if path:
            with Path(path).open("a") as file:
                file.write(json.dumps({"test": self._test, **figures}, default=str) + "\n")


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Notes what a scenario counted."""
    return Figures(request.node.name)


@pytest.fixture(scope="module")
def own_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[faults.PostgreSQL, Databases]]:
    """A PostgreSQL server of the module's own, to be killed; fresh databases on it are of the kind ``own``."""
    with servers.postgresql_server() as server, pytest.MonkeyPatch.context() as patch:
        found = faults.PostgreSQL(server)
        options = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "postgres",
            "HOST": str(Path(found.socket).parent),
        }
        patch.setenv(servers.ENV, json.dumps({**json.loads(os.environ[servers.ENV]), "own": options}))
        yield found, Databases(tmp_path_factory.mktemp("own"))
