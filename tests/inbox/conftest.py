from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone

import livepush
from livepush.conf import get_settings
from livepush.inbox.marking import Action, mark
from livepush.inbox.models import InboxHead, Notification
from livepush.inbox.reading import Inbox, Tab
from livepush.models import LogHead
from tests.conftest import ALIASES, kind


def inbox_on(*aliases):
    """Return the fixture ``using``: some databases in turn, each as the inbox's."""

    @pytest.fixture(params=aliases, ids=kind)
    def using(request, transactional_db, settings):
        settings.LIVEPUSH = {"DATABASE": request.param}
        return request.param

    return using


using = inbox_on(*ALIASES)
"""Every database; a module whose subject is not what is stored takes one alone, ``using = inbox_on(ALIASES[0])``."""


@pytest.fixture
def ann(using):
    return User.objects.create_user("ann", first_name="Ann", last_name="Li")


@pytest.fixture
def ben(using):
    return User.objects.create_user("ben")


@pytest.fixture
def staff(using):
    return Group.objects.create(name="staff")


class Reader:
    """A user's inbox, opened anew for each question."""

    def __init__(self, user):
        self.user = user

    @property
    def inbox(self):
        return Inbox(User.objects.get(pk=self.user.pk))

    def titles(self, tab="all", **more):
        return [entry.notification.title for entry in self.inbox.page(Tab(tab), **more).entries]

    def number(self, title):
        return Notification.objects.using(get_settings().DATABASE).filter(title=title).latest("position").position

    def counts(self):
        return tuple(self.inbox.counts())

    def do(self, action, *titles):
        return mark(self.user, Action(action), [self.number(title) for title in titles])

    def upto(self, action, title, **more):
        return mark(self.user, Action(action), upto=self.number(title), **more)

    def all(self, action):
        return mark(self.user, Action(action), upto=self.inbox.position.number)

    def undo(self, outcome):
        return mark(self.user, Action.UNDO, version=outcome.version)


@pytest.fixture
def reader():
    return Reader


def fill(using, reader, count, category=lambda number: ""):
    """Give a reader many entries at once, past the log."""
    livepush.notify(User.objects.get(pk=reader.user.pk), "0", category=category(0))
    first, now = reader.inbox.position.number, timezone.now()
    Notification.objects.using(using).bulk_create(
        (
            Notification(
                position=first + number, group=f"user:{reader.user.pk}", title=str(number), category=category(number),
                first=now, created=now,
            )
            for number in range(1, count)
        ),
        batch_size=2_000,
    )  # fmt: skip
    for head in (LogHead, InboxHead):
        head.objects.using(using).update(position=first + count - 1)
