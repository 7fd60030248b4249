"""Rights that end are announced, however Django or the project ends them."""

from __future__ import annotations

import json

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import alogin, alogout, get_user_model, login, logout
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.db import DatabaseError, connections, transaction
from django.http import HttpRequest

from livepush.access.authenticating import Identity
from livepush.access.identity import Handshake
from livepush.models import Event
from livepush.rights import announcing
from livepush.rights.grants import digest, session_of
from livepush.wire import RIGHTS
from tests.shop.models import Clerk, Driver, Team

pytestmark = pytest.mark.django_db(transaction=True)
User = get_user_model()


@pytest.fixture
def ann():
    return User.objects.create(username="ann")


@pytest.fixture
def announced():
    """A function that tells what was announced since it was called last."""
    last = 0

    def told():
        nonlocal last
        rows = list(Event.objects.filter(group=RIGHTS, pk__gt=last).order_by("pk"))
        last = rows[-1].pk if rows else last
        return [change for row in rows if isinstance(change := json.loads(row.data), dict)]

    return told


def request_of(user):
    request = HttpRequest()
    request.session, request.user = SessionStore(), user
    return request


def test_a_logout_says_which_session_has_ended(ann, announced):
    request = request_of(AnonymousUser())
    login(request, ann, "django.contrib.auth.backends.ModelBackend")
    key = request.session.session_key
    announced()
    logout(request)
    assert [(change["session"], change["reason"]) for change in announced()] == [(digest(key), "logout")]


def test_a_client_is_known_by_the_session_that_names_its_user_whatever_cookie_comes_with_it(ann):
    view = Handshake({}, "localhost", "cookie", "/")
    assert session_of(Identity(ann, session="token"), view) == digest("token")
    assert session_of(Identity(ann, session="cookie"), view) == digest("cookie")
    assert session_of(Identity(AnonymousUser()), view) == digest("cookie")


async def test_an_async_logout_says_which_session_has_ended(ann, announced):
    request = request_of(AnonymousUser())
    await alogin(request, ann, "django.contrib.auth.backends.ModelBackend")
    key = request.session.session_key
    await sync_to_async(announced)()
    await alogout(request)
    told = await sync_to_async(announced)()
    assert [(change["session"], change["reason"]) for change in told] == [(digest(key), "logout")]
    await sync_to_async(connections.close_all)()


async def test_an_async_login_of_another_user_says_that_the_session_has_ended(ann, announced):
    request = request_of(AnonymousUser())
    await alogin(request, ann, "django.contrib.auth.backends.ModelBackend")
    key = request.session.session_key
    await sync_to_async(announced)()
    bob = await User.objects.acreate(username="bob")
    await alogin(request, bob, "django.contrib.auth.backends.ModelBackend")
    assert digest(key) in [change.get("session") for change in await sync_to_async(announced)()]
    await sync_to_async(connections.close_all)()


@pytest.mark.parametrize("through", [User, Clerk, Driver])
def test_a_user_who_is_saved_is_announced_once_whatever_model_saves(announced, through):
    more = {"licence": "A7"} if through is Driver else {}
    user = through.objects.create(username="dan", **more)
    announced()
    user.set_password("another")
    user.save()
    key = str(user.user_ptr_id if through is Driver else user.pk)
    assert [(change["user"], change["reason"]) for change in announced()] == [(key, "user")]


def test_a_child_that_is_made_of_a_known_user_may_change_the_user(ann, announced):
    announced()
    Driver(user_ptr=ann, licence="A7", username="ann", is_active=False).save()
    assert [change["user"] for change in announced()] == [str(ann.pk)]


def test_a_deleted_child_is_announced_once(announced):
    driver = Driver.objects.create(username="dan", licence="A7")
    key = str(driver.user_ptr_id)
    announced()
    driver.delete()
    assert [change["user"] for change in announced() if change["reason"] == "user"] == [key]


def test_an_announcement_that_fails_after_the_commit_is_logged_and_not_raised(ann, monkeypatch, caplog):
    def unreachable(*given, **more):
        raise DatabaseError("the database is gone")

    monkeypatch.setattr(announcing.publish, "send_own", unreachable)
    ann.save()
    with transaction.atomic():
        ann.save()
    logged = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert logged == ["Livepush could not do what it does after a commit."] * 2


def renamed(thing):
    setattr(thing, "codename" if isinstance(thing, Permission) else "name", "former")
    thing.save()


@pytest.mark.parametrize("change", [renamed, lambda thing: thing.delete()], ids=["renamed", "deleted"])
@pytest.mark.parametrize("model", [Group, Team, Permission])
def test_a_role_or_permission_that_changes_may_concern_anybody(announced, model, change):
    fields = {"codename": "special", "content_type_id": ContentType.objects.first().pk} if model is Permission else {}
    thing = model.objects.create(name="editors", **fields)
    assert announced() == []
    change(thing)
    assert announced() == [{"user": None, "reason": "permission", "ask": True}]
