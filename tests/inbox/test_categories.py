"""Which categories the list offers as a filter, and what it costs to find them."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import livepush
from livepush.inbox import categories as module
from livepush.inbox.categories import MAX_CATEGORIES, categories
from livepush.inbox.models import Notification
from livepush.inbox.reading import Inbox
from tests.conftest import kind
from tests.inbox.conftest import fill


def of(user):
    return categories(Inbox(User.objects.get(pk=user.pk)))


def test_they_are_those_of_all_entries_of_every_audience(using, ann, ben, staff):
    ann.groups.add(staff)
    livepush.join(ann, "order:7")
    for recipient, category in (
        (ann, "own"), (ann, ""), (ann, "Own"), (livepush.everyone, "news"), (staff, "team"), ("order:7", "order"),
        (ann, "news"), (ben, "ben's"), (ann, 'a "b" & ü 🎉'),
    ):  # fmt: skip
        livepush.notify(recipient, "x", category=category)
    assert of(ann) == sorted(["own", "Own", "news", "team", "order", 'a "b" & ü 🎉'])
    assert of(ben) == ["ben's", "news"]


def test_what_was_sent_before_the_reader_came_does_not_count(using, ann, reader):
    livepush.join(ann, "order:7")
    for category in ("a", "b"):
        livepush.notify("order:7", "x", category=category)
        livepush.notify(livepush.everyone, "x", category=f"all {category}")
    Notification.objects.using(using).update(created=timezone.now() - timedelta(hours=1))
    User.objects.update(date_joined=timezone.now() - timedelta(hours=2))
    late = User.objects.create_user("late")
    livepush.join(late, "order:7")
    assert of(late) == []
    livepush.notify("order:7", "x", category="b")
    livepush.notify(livepush.everyone, "x", category="all a")
    assert of(late) == ["all a", "b"]
    assert of(ann) == ["a", "all a", "all b", "b"]


@pytest.mark.long
def test_there_are_fifty_at_most(using, ann):
    for number in range(MAX_CATEGORIES + 10):
        livepush.notify([ann, livepush.everyone][number % 2], "x", category=f"{number:02}")
    assert of(ann) == [f"{number:02}" for number in range(MAX_CATEGORIES)]


def test_many_audiences_take_several_statements_at_most(using, ann, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 2)
    for number in range(5):
        livepush.join(ann, f"order:{number}")
        livepush.notify(f"order:{number}", "x", category=str(number))
    assert of(ann) == list("01234")


def rows_read(using, call):
    """Return how many rows of notifications the database reads for a call, through which index or none."""
    connection = connections[using]
    database = kind(using)
    with CaptureQueriesContext(connection) as captured:
        if database == "mariadb":
            with connection.cursor() as cursor:
                cursor.execute("FLUSH STATUS")
        call()
        if database == "mariadb":
            with connection.cursor() as cursor:
                cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
                return sum(int(count) for _, count in cursor.fetchall())
    (query,) = [asked["sql"] for asked in captured]
    with connection.cursor() as cursor:
        if database == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {query}")
            plan = [line[-1] for line in cursor.fetchall()]
            searches = [line for line in plan if " n " in line]
            assert all("USING COVERING INDEX livepush_category" in line for line in searches), plan
            return len(searches)
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}")
        found = cursor.fetchone()[0]
    return sum(
        node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        for node in nodes((json.loads(found) if isinstance(found, str) else found)[0]["Plan"])
        if node.get("Relation Name") == Notification._meta.db_table
    )


def nodes(plan):
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


@pytest.mark.long_on("mariadb", "sqlite")
def test_finding_them_reads_a_few_rows_of_many(using, ann, reader):
    livepush.notify(livepush.everyone, "x", category="news")
    mine = reader(ann)
    fill(using, mine, 5_000, lambda number: f"c{number % 4}")
    with connections[using].cursor() as cursor:  # databases plan by statistics, and renew them some time after inserts
        cursor.execute("ANALYZE TABLE livepush_notification" if kind(using) == "mariadb" else "ANALYZE")
        cursor.fetchall() if kind(using) == "mariadb" else None
    inbox = mine.inbox
    assert categories(inbox) == ["c0", "c1", "c2", "c3", "news"]
    assert rows_read(using, lambda: categories(inbox)) < 200
