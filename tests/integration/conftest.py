from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.fresh import Database, Databases
from tests.servers.processes import Publisher, publisher


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """Makes fresh databases on the run's servers."""
    found = Databases(tmp_path_factory.mktemp("databases"))
    yield found
    found.close()


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
