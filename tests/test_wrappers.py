"""Wrappers of queries that a project, or a package of its, puts around what livepush runs."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import connections, transaction

import livepush
from livepush import log
from livepush.publish import pipeline
from tests.conftest import ALIASES, Thread, kind

on_postgresql = pytest.mark.parametrize("concurrent", [a for a in ALIASES if kind(a) == "postgresql"], indirect=True)


def read_to_the_end(execute, sql, params, many, context):
    """Return the cursor at its last result, as django-pghistory's and django-pgtrigger's wrappers do."""
    cursor = execute(sql, params, many, context)
    while cursor is not None and cursor.nextset():
        pass
    return cursor


def with_a_variable(execute, sql, params, many, context):
    """Run the query after another one in the same string, as these packages do."""
    injected = "SELECT set_config('tests.variable', %s, true); " + sql
    return read_to_the_end(execute, injected, ["x", *(params or ())], many, context)


def send_in_each_way(using, user):
    livepush.send("board", "t", using=using)
    livepush.send(["board", "desk"], "t", using=using)
    livepush.send("board", "t", key="k", using=using)
    with transaction.atomic(using=using):
        livepush.send("room", "t", using=using)
    livepush.send("board", "t", using=using)
    livepush.notify(user, "Hi", using=using)


@on_postgresql
@pytest.mark.parametrize("options", [{}, {"isolation_level": 3}], ids=["read committed", "repeatable read"])
@pytest.mark.parametrize("wrapper", [read_to_the_end, with_a_variable])
def test_a_wrapper_may_read_a_querys_results_to_the_end(concurrent, settings, monkeypatch, wrapper, options):
    settings.LIVEPUSH = {"DATABASE": concurrent}
    user = User.objects.using(concurrent).create(username="ann")
    batches = []
    monkeypatch.setattr(pipeline, "on_settled", [lambda using, batch: batches.append(batch), *pipeline.on_settled])

    def work():
        connection = connections[concurrent]
        monkeypatch.setitem(connection.settings_dict, "OPTIONS", {**connection.settings_dict["OPTIONS"], **options})
        with connection.execute_wrapper(wrapper):
            send_in_each_way(concurrent, user)
            return log.state(concurrent)

    assert not Thread(work).join().waiting
    numbers = [event.number for batch in batches for event in batch.events if event.number is not None]
    assert numbers[:5] == [1, 2, 3, 4, 5]
    assert sorted(numbers) == list(range(1, log.state(concurrent).position.number + 1))
