"""Asking again who clients are: each stays who it is, or is nobody, and none becomes somebody else."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from types import SimpleNamespace

import pytest
from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db.models import F
from django.test import Client, RequestFactory

import livepush
from livepush import process
from livepush.access import authenticating, identity, rules, tokens
from livepush.access.authenticating import Identity
from livepush.consumers.commands import Visitor
from livepush.hub import Waiter
from livepush.rights import Grant
from livepush.rights.questions import Question, ask_again
from tests.archive import models as archive
from tests.conftest import Thread
from tests.shop.models import Clerk, Driver, Order

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ann():
    return User.objects.create_user("ann", password="secret")


def asked_again(*known, groups=("board",)):
    view = identity.handshake(RequestFactory().get("/"))
    return ask_again([Question(each, view, groups, None) for each in known])


def named_by_a_middleware(user, **more):
    return authenticating.identify(RequestFactory().get("/"), {"user": user, **more})


@pytest.mark.parametrize(
    "make",
    [
        lambda user: archive.User(pk=user.pk),
        lambda user: Order(pk=user.pk),
        lambda user: Order(pk=user.pk + 1),
        lambda user: Session(pk="a key of another kind"),
    ],
    ids=["the same key", "the same key again", "the key of no user", "a key of another kind"],
)
def test_an_instance_of_another_model_becomes_no_user(ann, make):
    customer = make(ann)
    customer.is_authenticated = True
    [answer] = asked_again(named_by_a_middleware(customer), groups=(livepush.user_group(ann), "board"))
    assert answer.identity.user is customer
    assert set(answer.answers.granted) == {"board"}


def test_a_user_that_is_no_model_is_not_exchanged_for_others_of_that_name(ann, client):
    client.force_login(ann)
    full, limited = (SimpleNamespace(pk=ann.pk, is_authenticated=True, scopes=scopes) for scopes in ("all", "few"))
    session = authenticating.of_session(client.session.session_key)
    for known in permutations([named_by_a_middleware(full), named_by_a_middleware(limited), session]):
        for was, answer in zip(known, asked_again(*known), strict=True):
            now = answer.identity.user
            assert (type(now) is User and now == ann) if was is session else now is was.user


@pytest.mark.parametrize("end", [lambda user: Session.objects.all().delete(), lambda user: change_password(user)])
def test_a_user_that_is_no_model_is_known_for_as_long_as_the_session_that_names_it(ann, client, end):
    client.force_login(ann)
    member = SimpleNamespace(pk=ann.pk, is_authenticated=True)
    known = named_by_a_middleware(member, session=client.session)
    assert asked_again(known)[0].identity.user is member
    end(ann)
    assert asked_again(known)[0].identity.name is None


@pytest.mark.parametrize("kind", ["nobody", "no model", "no model, with a session"])
def test_a_client_that_stays_who_it_is_has_another_identity_by_which_presence_asks_again(ann, client, kind):
    client.force_login(ann)
    member = SimpleNamespace(pk=ann.pk, is_authenticated=True)
    known = {
        "nobody": Identity(authenticating.nobody()),
        "no model": named_by_a_middleware(member),
        "no model, with a session": named_by_a_middleware(member, session=client.session),
    }[kind]
    [answer] = asked_again(known)
    assert answer.identity == known
    assert answer.identity is not known


@pytest.mark.parametrize("has_session", [False, True])
def test_a_user_that_is_no_model_does_not_keep_the_groups_of_the_inbox_that_it_has_left(ann, client, has_session):
    client.force_login(ann)
    member = SimpleNamespace(pk=ann.pk, is_authenticated=True)
    known = named_by_a_middleware(member, **({"session": client.session} if has_session else {}))
    livepush.join(ann, "club")
    for granted in ({"inbox:of:club"}, set()):
        [answer] = asked_again(known, groups=("inbox:of:club",))
        assert answer.identity.user is member
        assert set(answer.answers.granted) == granted
        livepush.leave(ann, "club")


class Member(SimpleNamespace):
    is_authenticated = True


class OfMembers(BaseBackend):
    """Finds users of a kind of its own."""

    is_vip = True

    def get_user(self, user_id):
        return Member(pk=user_id, is_vip=self.is_vip)


def test_a_backend_s_own_kind_of_user_is_found_anew_and_so_is_the_end_of_its_session(
    ann, client, settings, monkeypatch
):
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.OfMembers"]
    client.force_login(ann, settings.AUTHENTICATION_BACKENDS[0])
    known = authenticating.of_session(client.session.session_key)
    assert known.user.is_vip
    monkeypatch.setattr(OfMembers, "is_vip", False)
    Session.objects.update(expire_date=F("expire_date") + timedelta(days=1))
    [answer] = asked_again(known)
    assert not answer.identity.user.is_vip
    assert answer.identity.ends > known.ends


@pytest.fixture
def visitor(ann, client, monkeypatch):
    """Return a function that makes the client of a WebSocket, which a middleware and its session have named."""

    async def in_thread(work, level=0):
        return Thread(work).join()

    client.force_login(ann)
    user = SimpleNamespace(pk=ann.pk, is_authenticated=True)
    scope = {
        "type": "websocket", "path": "/", "query_string": b"", "headers": [(b"host", b"testserver")],
        "user": user, "session": client.session,
    }  # fmt: skip
    request = identity.request_of(scope)
    known = authenticating.identify(request, scope)
    monkeypatch.setattr(process, "in_thread", in_thread)

    def enter():
        waiter = Waiter(["board"])
        return Visitor(scope, None, None, Grant(known, identity.handshake(request), waiter, waiter.revoke))

    return enter


async def test_a_command_of_a_websocket_is_a_matter_of_the_middleware_s_own_user(visitor, monkeypatch):
    asked = []
    monkeypatch.setattr(rules, "rules", [])
    livepush.can_read("board")(lambda user: asked.append(user) or True)
    client = visitor()
    admission = await client.admit(("board",))
    assert admission.granted == ("board",)
    assert [user is client.scope["user"] for user in asked] == [True]


def change_password(user):
    user.set_password("another")
    user.save()


class OfClerks(ModelBackend):
    def get_user(self, user_id):
        return Clerk.objects.get(pk=user_id)


def test_users_of_two_backends_are_not_exchanged_for_each_other(ann, settings):
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", f"{__name__}.OfClerks"]
    known = []
    for backend in settings.AUTHENTICATION_BACKENDS:
        client = Client()
        client.force_login(ann, backend)
        known.append(authenticating.of_session(client.session.session_key))
    assert [type(answer.identity.user) for answer in asked_again(*known)] == [User, Clerk]
    assert [type(answer.identity.user) for answer in asked_again(*reversed(known))] == [Clerk, User]


def logged_in(*backends):
    """Return the identities of new users, each known by a session of a backend."""
    found = []
    for number, backend in enumerate(backends):
        client = Client()
        client.force_login(User.objects.create(username=f"u{number}"), backend)
        found.append(authenticating.of_session(client.session.session_key))
    return found


def test_a_backend_that_finds_one_user_at_a_time_makes_no_queries_for_sessions_of_another(
    settings, django_assert_max_num_queries
):
    model, clerks = settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        f"{__name__}.OfClerks",
    ]
    known = logged_in(clerks, *[model] * 9)
    with django_assert_max_num_queries(5):
        answers = asked_again(*known)
    assert [answer.identity.name for answer in answers] == [each.name for each in known]


class ForPermissionsOnly:
    """Knows no users, as django-guardian's backend does not."""

    def authenticate(self, request, **credentials):
        return None


class Base(BaseBackend):
    pass


@pytest.mark.parametrize("other", ["ForPermissionsOnly", "Base", "OfClerks"])
def test_sessions_that_have_ended_are_found_out_at_once_whatever_backends_there_are(
    settings, django_assert_max_num_queries, other
):
    model, _ = settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        f"{__name__}.{other}",
    ]
    known = logged_in(*[model] * 10)
    with django_assert_max_num_queries(2):
        answers = asked_again(*known)
    assert [answer.identity.name for answer in answers] == [each.name for each in known]
    Session.objects.all().delete()
    with django_assert_max_num_queries(1):
        answers = asked_again(*known)
    assert [answer.identity.name for answer in answers] == [None] * 10


def is_deleted(user):
    user.delete()


def becomes_inactive(user):
    User.objects.filter(pk=user.pk).update(is_active=False)


def gets_another_password(user):
    again = User.objects.get(pk=user.pk)
    again.set_password("another")
    again.save()


@pytest.mark.parametrize("ends", [is_deleted, becomes_inactive, gets_another_password])
def test_a_user_that_a_middleware_has_named_is_logged_out_once_the_login_has_ended(ann, ends):
    known = named_by_a_middleware(User.objects.get(pk=ann.pk))
    assert asked_again(known)[0].identity.name == str(ann.pk)
    ends(ann)
    assert asked_again(known)[0].identity.name is None


@pytest.mark.parametrize("owner", ["ann", "ben", None])
def test_a_session_in_the_scope_counts_if_it_names_the_user(ann, client, owner):
    users = {"ann": ann, "ben": User.objects.create_user("ben")}
    if owner is not None:
        client.force_login(users[owner])
    session = client.session
    known = named_by_a_middleware(ann, session=session)
    assert (known.name, known.session) == (str(ann.pk), session.session_key if owner == "ann" else None)
    assert asked_again(known)[0].identity.name == str(ann.pk)
    session.flush()
    assert asked_again(known)[0].identity.name == (None if owner == "ann" else str(ann.pk))


def test_a_session_of_another_framework_in_the_scope_does_not_count(ann):
    assert named_by_a_middleware(ann, session={"cart": [1]}).session is None


def test_a_child_of_the_user_model_is_known_by_the_user_models_key():
    driver = Driver.objects.create(username="dan", licence="A7")
    group, known = livepush.user_group(driver), named_by_a_middleware(driver)
    assert group == f"user:{known.name}"
    by_token = authenticating.of_token(tokens.parse(livepush.token(driver)))
    by_authenticator = Identity(driver, again=lambda: driver)
    for answer in asked_again(known, by_token, by_authenticator, groups=(group,)):
        assert (answer.identity.name, set(answer.answers.granted)) == (known.name, {group})
