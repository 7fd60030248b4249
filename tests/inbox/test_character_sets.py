"""Any text is stored, whatever character set a MariaDB database has."""

from __future__ import annotations

import sys

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import OperationalError, connections
from django.test import override_settings

import livepush
from livepush.bridges.publishing.models import ApiKey
from livepush.bridges.relays.models import DeadLetter, RelayCursor
from livepush.inbox.models import Notification
from livepush.inbox.reading import Inbox
from tests.conftest import ALIASES, kind

PARTY = "Party \U0001f389 tonight"
pytestmark = pytest.mark.django_db(transaction=True, databases=ALIASES)


@pytest.fixture
def mariadb():
    aliases = [alias for alias in ALIASES if kind(alias) == "mariadb"]
    if not aliases:
        pytest.skip("MariaDB is not among this run's databases")
    with override_settings(LIVEPUSH={"DATABASE": aliases[0]}):
        yield aliases[0]


@pytest.fixture
def old_charset(mariadb, monkeypatch):
    """A migrated database whose own character set has no emoji, as the log's."""
    connection = connections[mariadb]
    name = f"{connection.settings_dict['NAME']}_utf8mb3"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb3")
    connection.close()
    with monkeypatch.context() as there:
        there.setitem(connection.settings_dict, "NAME", name)
        there.setattr(connection.introspection, "django_table_names", lambda *args, **options: [])
        try:
            call_command("migrate", "livepush", database=mariadb, verbosity=0)
            yield mariadb
        finally:
            with connection.cursor() as cursor:
                cursor.execute(f"DROP DATABASE {name}")
            connection.close()


def test_every_text_is_stored_where_the_database_is_not_utf8mb4(old_charset):
    ann = User.objects.create_user("ann")
    livepush.notify(ann, PARTY, body=PARTY, url="/\U0001f389", icon="/\U0001f389")
    (entry,) = Inbox(ann).page().entries
    stored = entry.notification
    assert (stored.title, stored.body, stored.url, stored.icon) == (PARTY, PARTY, "/\U0001f389", "/\U0001f389")
    RelayCursor.objects.using(old_charset).create(relay="r", position=0, error=PARTY)
    DeadLetter.objects.using(old_charset).create(relay="r", offset="\U0001f389", content=PARTY, reason=PARTY)
    ApiKey.objects.using(old_charset).create(name=PARTY, prefix="p", groups=PARTY, types=PARTY, recipients=PARTY)
    assert Notification.objects.using(old_charset).filter(title__icontains="PARTY").exists(), "the admin searches so"


def test_every_column_of_any_text_says_its_character_set(old_charset):
    with connections[old_charset].cursor() as cursor:
        cursor.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE()"
            " AND table_name LIKE 'livepush%%' AND character_set_name <> 'utf8mb4'"
        )
        found = {name for (name,) in cursor.fetchall()}
    assert found == {"digest", "epoch", "fingerprint", "holder", "marker", "old_digest", "state"}, "ASCII in all"


@pytest.mark.parametrize("driver", ["PyMySQL", "mysqlclient"])
def test_a_text_that_no_column_takes_holds_up_no_other(mariadb, monkeypatch, driver):
    if driver == "mysqlclient":
        monkeypatch.setitem(sys.modules["pymysql.err"].error_map, 1366, sys.modules["pymysql.err"].OperationalError)
        with connections[mariadb].cursor() as cursor, pytest.raises(OperationalError):
            cursor.execute("SIGNAL SQLSTATE '22007' SET MYSQL_ERRNO = 1366")
    ann = User.objects.create_user("ann")
    change = "ALTER TABLE livepush_notification MODIFY title longtext CHARACTER SET {} NOT NULL"
    with connections[mariadb].cursor() as cursor:
        cursor.execute(change.format("utf8mb3"))
    try:
        for title in ("First", PARTY, "Third"):
            livepush.notify(ann, title)
        assert [entry.notification.title for entry in Inbox(ann).page().entries] == ["Third", "First"]
    finally:
        with connections[mariadb].cursor() as cursor:
            cursor.execute("DELETE FROM livepush_notification")
            cursor.execute(change.format("utf8mb4 COLLATE utf8mb4_unicode_ci"))
