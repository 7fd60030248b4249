"""Whoever comes later reads nothing older over any transport: the streams give what the inbox shows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone

import livepush
from livepush import log
from livepush.inbox import recipients
from livepush.publish import deliver
from livepush.wire import Floor
from tests.inbox.conftest import Reader

pytestmark = pytest.mark.long_on("mariadb")

AUDIENCES = {
    "everyone": (livepush.everyone, "inbox:all"),
    "an auth group": ("role", "inbox:auth:{pk}"),
    "a livepush group": ("members", "inbox:of:members"),
}


def polled(client, group, since):
    answer = client.get("/livepush/poll/", {"group": [group, "board"], "since": since})
    assert answer.status_code == 200, answer.content
    return [event["data"]["title"] if group in event["group"] else event["data"] for event in answer.json()["events"]]


@pytest.mark.parametrize("audience", AUDIENCES)
def test_a_newcomer_gets_what_the_inbox_shows(using, client, audience, django_capture_on_commit_callbacks):
    role = Group.objects.create(name="role")
    recipient, group = AUDIENCES[audience]
    recipient = role if recipient == "role" else recipient
    group = group.format(pk=role.pk)
    old = User.objects.create_user("old", date_joined=timezone.now() - timedelta(days=400))
    old.groups.add(role)
    livepush.join(old, "members", using=using)
    deliver(using)
    start = str(log.state(using).position)
    livepush.notify(recipient, "before", using=using)
    livepush.send("board", "moved", "b", using=using)
    deliver(using)
    new = User.objects.create_user("new")
    new.groups.add(role)
    livepush.join(new, "members", using=using)
    livepush.notify(recipient, "after", using=using)
    deliver(using)
    for user, titles in ((old, ["before", "after"]), (new, ["after"])):
        client.force_login(user)
        assert [each for each in polled(client, group, start) if each != "b"] == titles
        assert "b" in polled(client, group, start)
        assert Reader(user).titles() == titles[::-1]


def test_a_role_that_no_signal_tells_of_begins_when_the_user_came(using, client):
    role = Group.objects.create(name="role")
    start = str(log.state(using).position)
    livepush.notify(role, "before", using=using)
    deliver(using)
    user = User.objects.create_user("ann")
    User.groups.through.objects.bulk_create([User.groups.through(user=user, group=role)])
    livepush.notify(role, "after", using=using)
    deliver(using)
    client.force_login(user)
    assert polled(client, f"inbox:auth:{role.pk}", start) == ["after"]
    assert Reader(user).titles() == ["after"]


def test_one_who_leaves_and_comes_back_begins_anew(using, client):
    user = User.objects.create_user("ann")
    start = str(log.state(using).position)
    livepush.join(user, "members", using=using)
    livepush.notify("members", "first", using=using)
    livepush.leave(user, "members", using=using)
    livepush.notify("members", "missed", using=using)
    livepush.join(user, "members", using=using)
    livepush.notify("members", "second", using=using)
    deliver(using)
    client.force_login(user)
    assert polled(client, "inbox:of:members", start) == ["second"]


def test_a_user_model_that_does_not_say_when_somebody_came_gets_everything(using, ann):
    user = User.objects.get(pk=ann.pk)
    user.date_joined = None
    assert recipients.inbox(user, "all") == Floor()
    user = User.objects.get(pk=ann.pk)
    assert recipients.inbox(user, "all").time
