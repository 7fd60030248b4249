from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache, partial

import pytest
from django.conf import settings
from django.contrib.auth.management import create_permissions
from django.contrib.contenttypes.management import create_contenttypes
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models.signals import post_migrate
from django.utils import translation

from livepush import log, process, wire
from livepush.publish import pipeline
from livepush.streams import here
from tests.patience import PATIENCE
from tests.servers import warm
from tests.servers.fresh import Databases

ALIASES = list(settings.DATABASES)


def kind(alias: str) -> str:
    return {"postgresql": "postgresql", "mysql": "mariadb"}.get(connections[alias].vendor, "sqlite")


@pytest.fixture(params=ALIASES, ids=kind)
def using(request, transactional_db):
    """Each database in turn, emptied after the test."""
    return request.param


@pytest.fixture(params=[alias for alias in ALIASES if kind(alias) != "sqlite"], ids=kind)
def concurrent(request, transactional_db):
    """Each database that can hold several open writers in turn; SQLite can't."""
    return request.param


@pytest.fixture(autouse=True)
def language():
    """Leave no language active that a request has chosen."""
    yield
    translation.deactivate()


def pytest_collection_modifyitems(items):
    """Give a test with ``using`` or ``concurrent`` that database and the default one; they alone are emptied."""
    for item in items:
        given = {"using", "concurrent"} & set(getattr(item, "fixturenames", ()))
        if given and item.get_closest_marker("django_db") is None:
            params = (item.callspec.params[name] for name in given)
            aliases = {DEFAULT_DB_ALIAS, *(each for each in params if each in ALIASES)}  # none: the test is skipped
            item.add_marker(pytest.mark.django_db(transaction=True, databases=sorted(aliases)))
        later = [kind for marker in item.iter_markers("long_on") for kind in marker.args]
        if any(item.callspec.params[name] in ALIASES and kind(item.callspec.params[name]) in later for name in given):
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """Makes fresh databases on the run's servers; what a test starts on them starts warm."""
    with warm.helper():
        found = Databases(tmp_path_factory.mktemp("databases"))
        yield found
        found.close()


KEPT = ("auth_permission", "django_content_type")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """The databases. A flush after a test leaves permissions and content types, which take longer to make again than
    all else. It deletes from the tables that have rows: a question is sooner asked than a table emptied."""
    post_migrate.disconnect(dispatch_uid=f"{create_permissions.__module__}.create_permissions")
    post_migrate.disconnect(create_contenttypes)
    for alias in ALIASES:
        connection = connections[alias]
        connection.introspection.django_table_names = cache(connection.introspection.django_table_names)
        connection.ops.sql_flush = partial(flush, connection, connection.ops.sql_flush)
    yield
    with (
        django_db_blocker.unblock()
    ):  # a thread that still had a session would keep PostgreSQL from dropping the database
        here.stop()
        process.stop_all()


def flush(connection, usual, style, tables, **options):
    quote = connection.ops.quote_name
    tables = [table for table in tables if table not in KEPT]
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(f"EXISTS(SELECT 1 FROM {quote(table)})" for table in tables))
        tables = [table for table, has_rows in zip(tables, cursor.fetchone(), strict=True) if has_rows]
    if connection.vendor == "postgresql":  # TRUNCATE takes longer
        return [f"DELETE FROM {quote(table)}" for table in tables]
    return usual(style, tables, **options) if tables else []


def events_of(using, groups=None, after=0):
    """Return the settled events of some groups."""
    head = log.state(using).position.number
    wanted = None if groups is None else sorted(groups)
    return log.read(using, wanted, after, head, limit=100_000).events


def settle(using):
    """Settle everything; return the events."""
    return [event for batch in log.settle(using) for event in batch.events]


def append(using, *groups, type="t", data="1", key=None):
    log.append(log.Content(groups or ("a",), type, data), key, using)


class Thread(threading.Thread):
    """A thread with database connections of its own, closed at its end, whose exception is raised by ``join``."""

    def __init__(self, work, *args):
        super().__init__(daemon=True)
        self.work, self.args_, self.error, self.result = work, args, None, None
        self.start()

    def run(self):
        try:
            self.result = self.work(*self.args_)
        except BaseException as error:
            self.error = error
        finally:
            connections.close_all()

    def join(self, timeout=PATIENCE):
        super().join(timeout)
        assert not self.is_alive(), "the thread is stuck"
        if self.error is not None:
            raise self.error
        return self.result


@pytest.fixture
async def busy_executor() -> AsyncIterator[None]:
    """The project's code has all threads of the event loop's executor until the end of the test."""
    loop, go_on = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    held = loop.run_in_executor(None, go_on.wait)
    yield
    go_on.set()
    await held


@pytest.fixture
def announced(monkeypatch):
    """The batches that this process announces."""
    found: list[wire.Batch] = []
    monkeypatch.setattr(pipeline, "announce", found.append)
    return found


@pytest.fixture
def no_descriptors():
    """A block in which this process has no descriptor left."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def all_taken():
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        held = [os.open(os.devnull, os.O_RDONLY)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (held[0] + 1, hard))
        try:
            with suppress(OSError):
                while True:
                    held.append(os.open(os.devnull, os.O_RDONLY))
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for each in held:
                os.close(each)

    return all_taken
