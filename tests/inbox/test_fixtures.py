"""A whole site is dumped and loaded again, though livepush has rows there already."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.utils import timezone

import livepush
from livepush import log
from livepush.inbox.models import InboxHead, Membership, Notification
from livepush.inbox.reading import Inbox
from livepush.models import ChannelGroup, Event, LogHead
from tests.conftest import events_of

pytestmark = pytest.mark.long_on("mariadb")

NOT_DUMPED = ["contenttypes", "auth.permission", "sessions", "admin", "archive"]


@pytest.fixture
def dump(using, settings, tmp_path):
    """Dump a site with every kind of row, and empty it."""
    settings.LIVEPUSH = {"DATABASE": using}
    build("ann")
    path = tmp_path / "site.json"
    call_command("dumpdata", exclude=NOT_DUMPED, output=str(path), database=using, verbosity=0)
    for model in models():
        model._base_manager.using(using).all().delete()
    return path


def models():
    own = [*apps.get_app_config("auth").get_models(), *apps.get_app_config("livepush").get_models()]
    return [model for model in own if model._meta.label != "auth.Permission"]


def build(name):
    """Use livepush as a site does."""
    user, staff = User(username=name), Group(name=f"staff of {name}")
    using = livepush.conf.get_settings().DATABASE
    user.save(using=using)
    staff.save(using=using)
    user.groups.add(staff)
    livepush.join(user, "order:7")
    for recipient in (user, staff, "order:7", livepush.everyone):
        livepush.notify(recipient, "Hello")
    Inbox(user).counts()
    return user


def content(path):
    rows = json.loads(path.read_text().replace(".000Z", "Z"))  # a whole second is written in two ways
    return sorted(json.dumps(row, sort_keys=True) for row in rows if row["model"].startswith(("livepush.", "auth.")))


def load(path, using):
    call_command("loaddata", str(path), database=using, verbosity=0)


def again(path, using):
    target = path.with_name("again.json")
    call_command("dumpdata", exclude=NOT_DUMPED, output=str(target), database=using, verbosity=0)
    return target


def test_a_site_is_the_same_after_it_was_dumped_and_loaded(dump, using):
    load(dump, using)
    assert content(again(dump, using)) == content(dump)


def test_what_was_made_meanwhile_is_no_obstacle(dump, using):
    for name in ("ben", "cem", "dan"):
        build(name)
    load(dump, using)
    dumped = set(content(dump))
    kept = {line for line in dumped if "livepush.loghead" not in line and "livepush.inboxhead" not in line}
    assert kept <= set(content(again(dump, using)))
    load(dump, using)  # nor is what it loaded itself


def test_positions_go_on_after_a_load(dump, using):
    for name in ("ben", "cem", "dan"):
        build(name)
    before = log.state(using).position.number
    load(dump, using)
    assert log.state(using).position.number == before
    ann = User.objects.using(using).get(username="ann")
    livepush.notify(ann, "Later")
    livepush.send("order:7", "later")
    assert [event.type for event in events_of(using, after=before)][-1] == "later"
    assert log.state(using).position.number > before
    assert Inbox(ann).page().entries[0].notification.title == "Later"


def test_what_was_pruned_since_a_dump_is_not_passed_over_after_its_load(using, settings, tmp_path):
    settings.LIVEPUSH = {"DATABASE": using}
    livepush.send("order:7", "dumped")
    path = tmp_path / "site.json"
    call_command("dumpdata", "livepush", output=str(path), database=using, verbosity=0)
    livepush.send("order:7", "pruned")
    while log.prune(using, timezone.now() + timedelta(minutes=30)):
        pass
    livepush.send("order:7", "kept")
    before = log.state(using)
    load(path, using)
    assert log.state(using) == before  # so a client that has the first event alone is told that it missed some
    assert [event.type for event in events_of(using)] == ["kept"]


def test_users_without_their_memberships_are_newcomers(dump, using):
    """A fixture of users alone: they see nothing that their groups got before."""
    rows = [row for row in json.loads(dump.read_text()) if row["model"].startswith("auth.")]
    dump.write_text(json.dumps(rows))
    livepush.notify(livepush.everyone, "Old")
    load(dump, using)
    head = log.state(using).position.number
    assert head > 0
    assert [each.joined for each in Membership.objects.using(using)] == [head]


def test_an_ordinary_save_takes_nothing_away(dump, using):
    load(dump, using)
    for model in (Event, ChannelGroup, Membership, Notification, LogHead, InboxHead):
        count = model.objects.using(using).count()
        assert count
        model.objects.using(using).first().save()
        assert model.objects.using(using).count() == count
