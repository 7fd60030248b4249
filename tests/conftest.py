from __future__ import annotations

import threading

import pytest
from django.conf import settings
from django.db import connections

from livepush import log, publishing, wire

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


def pytest_collection_modifyitems(items):
    for item in items:
        if {"using", "concurrent"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.django_db(transaction=True, databases=ALIASES))


def events_of(using, groups=None, after=0):
    """Return the settled events of some groups."""
    head = log.state(using).position.number
    return log.read(using, groups, after, head, limit=100_000).events


def settle(using):
    """Settle everything; return the events."""
    return [event for batch in log.settle(using) for event in batch.events]


def append(using, *groups, type="t", data="1", key=None):
    log.append(groups or ("a",), type, data, key, using)


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

    def join(self, timeout=30):
        super().join(timeout)
        assert not self.is_alive(), "the thread is stuck"
        if self.error is not None:
            raise self.error
        return self.result


@pytest.fixture
def announced(monkeypatch):
    """The batches that this process announces."""
    found: list[wire.Batch] = []
    monkeypatch.setattr(publishing, "announce", found.append)
    return found
