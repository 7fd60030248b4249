"""Filing of sends to very many audiences: in statements that every database takes."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from django.db import connections

import livepush
from livepush.inbox import entries, filing
from livepush.inbox.models import Notification
from livepush.log.dialects.base import STATEMENT_BYTES
from livepush.publish import pipeline


@contextmanager
def sizes_of_statements(using):
    """Collect the sizes (bytes) of the statements of a block, with their parameters."""
    found = []

    def note(execute, sql, params, many, context):
        found.append(len(sql) + sum(len(str(value).encode()) for value in params or ()))
        return execute(sql, params, many, context)

    with connections[using].execute_wrapper(note):
        yield found


def notify_twice(using, count, body):
    """Notify so many audiences twice; return the size of the largest statement."""
    everybody = [f"user:{number}" for number in range(count)]
    with sizes_of_statements(using) as sizes:
        for title in ("One", "Two"):
            livepush.notify(everybody, title, body=body, collapse="c", actor=title)
    return max(sizes)


@pytest.mark.long_on("postgresql", "sqlite")
def test_no_statement_is_too_large_and_what_is_collapsed_counts(using):
    assert notify_twice(using, 2_200, "x" * 2_000) <= STATEMENT_BYTES
    rows = Notification.objects.using(using).values_list("title", "count", "actors").distinct()
    assert list(rows) == [("Two", 2, '[{"name":"Two"},{"name":"One"}]')]
    assert Notification.objects.using(using).values("group").distinct().count() == 2_200


@pytest.mark.long
def test_a_send_of_the_largest_size_is_filed_whole(using):
    assert notify_twice(using, 10_000, "ä" * 2_000) <= STATEMENT_BYTES
    assert Notification.objects.using(using).filter(title="Two", count=2).count() == 10_000


def test_rows_of_very_different_sizes_are_written_in_statements_that_are_small_enough(using, monkeypatch):
    monkeypatch.setattr(pipeline, "on_settled", [])
    for number in range(60):
        livepush.notify(f"user:{number}", str(number), body="ä" * (30_000 if number % 7 == 0 else 1))
    monkeypatch.setattr(entries, "STATEMENT_BYTES", 200_000)
    with sizes_of_statements(using) as sizes:
        filing.file(using)
    assert max(sizes) <= 200_000
    titles = Notification.objects.using(using).order_by("position").values_list("title", flat=True)
    assert list(map(int, titles)) == [*range(60)]


def test_what_a_large_send_says_is_read_once(using, monkeypatch):
    monkeypatch.setattr(filing, "BATCH", 3)
    read, loads = [], json.loads
    monkeypatch.setattr(entries.json, "loads", lambda text: read.append(text) or loads(text))
    livepush.notify([f"user:{number}" for number in range(20)], "Hello", data={"n": 1})
    assert len([text for text in read if "Hello" in text]) == 1
    assert {row.context for row in Notification.objects.using(using).all()} == {'{"data":{"n":1}}'}


def test_an_entry_that_is_pruned_while_an_event_is_collapsed_into_it_is_not_lost(using, monkeypatch):
    livepush.notify("user:1", "One", collapse="c")
    collapsed = entries._collapsed

    def pruned(*given):
        found = collapsed(*given)
        Notification.objects.using(using).all().delete()
        return found

    monkeypatch.setattr(entries, "_collapsed", pruned)
    livepush.notify("user:1", "Two", collapse="c")
    assert [(row.title, row.count) for row in Notification.objects.using(using).all()] == [("Two", 2)]
