"""Tests of a project that count queries, or callbacks, find none of what livepush does by itself."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

import livepush
from livepush.inbox.models import Membership, Notification
from livepush.models import Event
from livepush.wire import RIGHTS

OWN = ("livepush", "SAVEPOINT")


def queries_of(work):
    """Do some work; return the queries of livepush's that are counted."""
    with CaptureQueriesContext(connections[DEFAULT_DB_ALIAS]) as queries:
        work()
    return [query["sql"] for query in queries if any(word in query["sql"] for word in OWN)]


CHANGES = {
    "save": lambda user, group: user.save(),
    "a group is added": lambda user, group: user.groups.add(group),
    "a user is added": lambda user, group: group.user_set.add(user),
    "groups are set": lambda user, group: user.groups.set([group]),
    "groups are cleared": lambda user, group: user.groups.clear(),
    "a permission goes": lambda user, group: group.permissions.clear(),
    "the group is deleted": lambda user, group: group.delete(),
    "the user is deleted": lambda user, group: user.delete(),
}


class InATestCase(TestCase):
    def test_changes_of_users_cost_no_query_and_leave_no_callback(self):
        for name, change in CHANGES.items():
            user, group = User.objects.create(username=f"ann {name}"), Group.objects.create(name=name)
            user.groups.add(Group.objects.create(name=f"{name}, another"))
            with self.subTest(name), self.captureOnCommitCallbacks() as callbacks:
                self.assertEqual(queries_of(lambda change=change, to=(user, group): change(*to)), [])
            self.assertEqual(callbacks, [])

    def test_what_a_deleted_user_was_sent_is_deleted_all_the_same(self):
        user = User.objects.create(username="ann")
        livepush.notify(user, "Hello")
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            user.delete()
        self.assertEqual(len(callbacks), 1)
        self.assertFalse(Notification.objects.exists() or Event.objects.exclude(group=RIGHTS).exists())

    def test_a_group_that_is_given_is_noted(self):
        user, group = User.objects.create(username="ann"), Group.objects.create(name="staff")
        livepush.notify(group, "Before")
        user.groups.add(group)
        self.assertEqual(Membership.objects.get().reader, str(user.pk))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("in_block", [False, True], ids=["at once", "in a block"])
@pytest.mark.parametrize("name", CHANGES)
def test_changes_that_are_committed_cost_no_query_and_are_announced(name, in_block):
    user, group = User.objects.create(username="ann"), Group.objects.create(name="staff")
    if name != "a group is added":
        user.groups.add(Group.objects.create(name="another"))
    before = Event.objects.count()

    def change():
        if in_block:
            with transaction.atomic():
                CHANGES[name](user, group)
        else:
            CHANGES[name](user, group)

    assert queries_of(change) == []
    assert Event.objects.filter(group=RIGHTS).count() > before
    assert not Event.objects.filter(position=None).exists()
