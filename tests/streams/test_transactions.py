"""Streams that are written inside the caller's transaction: nothing waits for what can't be stored before its end."""

from __future__ import annotations

import time

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import TestCase

from livepush import streams
from livepush.conf import get_settings
from livepush.streams import buffer, here, store, writing
from livepush.streams.models import Stream
from tests.patience import PATIENCE, wait_until

pytestmark = pytest.mark.usefixtures("streams_end")


@pytest.fixture
def database(using, settings, monkeypatch):
    """Each database as the one that livepush uses."""
    here.stop()
    settings.LIVEPUSH = {**settings.LIVEPUSH, "DATABASE": using}
    monkeypatch.setattr(writing, "PATIENCE", 30.0)
    yield using
    here.stop()


def only(using):
    return Stream.objects.using(using).get()


def text(using):
    return "".join(store.read(using, only(using).id, 0).pieces)


def test_a_stream_in_a_transaction_is_stored_at_the_latest_when_the_transaction_is_committed(database):
    with transaction.atomic(using=database):
        User.objects.using(database).create(username="ann")
        with streams.open("job:7") as log:
            log.write_line("hello")
    assert (only(database).state, text(database)) == ("finished", "hello\n")
    assert User.objects.using(database).exists()


def test_a_stream_in_a_transaction_that_is_rolled_back_is_stored_after_it(database):
    with pytest.raises(KeyError), transaction.atomic(using=database), streams.open("job:7") as log:
        User.objects.using(database).create(username="ann")
        log.write("this far")
        raise KeyError
    wait_until(lambda: Stream.objects.using(database).filter(state="failed").exists())
    assert text(database) == "this far"


def test_a_stream_can_be_finished_in_a_transaction(database):
    with streams.open("job:7") as log, transaction.atomic(using=database):
        log.write("x")
        log.finish({"rows": 1})
    assert (only(database).state, only(database).details) == ("finished", {"rows": 1})


def test_a_thread_that_is_started_in_a_transaction_writes_its_stream(database):
    with transaction.atomic(using=database):
        streams.start_in_thread("job:7", ["a", "b"])
    assert only(database).group == "job:7"  # as the page may ask for it now
    wait_until(lambda: only(database).state == "finished")
    assert text(database) == "ab"


def test_the_end_of_a_process_does_not_wait_for_what_is_stored_only_after_the_transaction(database):
    with transaction.atomic(using=database):
        User.objects.using(database).create(username="ann")
        with streams.open("job:7") as log:
            log.write("x")
        began = time.monotonic()
        here.interrupt_all(PATIENCE)
        assert time.monotonic() - began < PATIENCE / 2
    assert (only(database).state, text(database)) == ("finished", "x")


def test_much_text_in_a_transaction_waits_in_memory(database, monkeypatch):
    monkeypatch.setattr(buffer, "MAX_WAITING", 10)
    with transaction.atomic(using=database), streams.open("job:7") as log:
        for _ in range(10):
            log.write("ten times ")
    assert text(database) == "ten times " * 10


class Reaching(TestCase):
    """A project's test of code that writes a stream."""

    databases = "__all__"

    def check(self):
        with self.captureOnCommitCallbacks(using=get_settings().DATABASE, execute=True), streams.open("job:7") as log:
            log.write("x")
        assert log.offset == 1


def test_a_testcase_of_a_project_does_not_wait(database):
    found = Reaching("check").run()
    assert found is not None
    assert (found.failures, found.errors) == ([], [])
    wait_until(lambda: only(database).state == "finished")
