"""What the browser's tests share: a site, a Chromium, and groups of their own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import chromium
from tests.browser.demo import Demo, Visit, running, visitors
from tests.browser.readers import Reader
from tests.browser.site import Site
from tests.servers import processes
from tests.servers.fresh import Databases
from tests.streams.nodes import node_clients  # noqa: F401 (a fixture)

_numbers = itertools.count(1)
_names = (f"reader{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Site]:
    """A site of the module's own; its ``SETTINGS`` are livepush's, its ``ENV`` is the server's environment."""
    settings = {"DRAIN": 0.2, **getattr(request.module, "SETTINGS", {})}
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database) as elsewhere,
        processes.server(
            "uvicorn",
            database,
            settings,
            env=getattr(request.module, "ENV", None),
            may_fail=getattr(request.module, "MAY_FAIL", False),
        ) as server,
    ):
        yield Site(database, elsewhere, server)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def group() -> str:
    """A group of the test's own, readable by anyone."""
    return f"room:{next(_numbers)}"


@pytest.fixture
def new_reader(site: Site, browser: Browser) -> Iterator[Callable[[], Reader]]:
    """Makes readers; no console may say a thing."""
    readers: list[Reader] = []

    def make() -> Reader:
        readers.append(Reader(next(_names), site, browser, [], []))
        site.elsewhere.session(readers[-1].name)
        return readers[-1]

    yield make
    for reader in readers:
        for context in reader.contexts:
            context.unroute_all(behavior="ignoreErrors")  # a library may be fetching what nobody waits for
            context.close()
    assert [line for reader in readers for lines in reader.said for line in lines] == []


@pytest.fixture
def reader(new_reader: Callable[[], Reader]) -> Reader:
    return new_reader()


@pytest.fixture(scope="module")
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo, the module's own; where the module says ``QUIET``, parcels move only when a test moves them."""
    with running(tmp_path_factory.mktemp("demo"), getattr(request.module, "QUIET", False)) as found:
        yield found
        assert found.interrupt() == 0
        assert "Traceback" not in found.printed(), found.printed()


@pytest.fixture
def visitor(demo: Demo, browser: Browser) -> Iterator[Callable[[], Visit]]:
    """Makes visitors with cookies of their own, who open pages of the demo; no console may say a thing."""
    with visitors(demo, browser) as found:
        yield found
