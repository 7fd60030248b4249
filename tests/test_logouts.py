"""The end of a session is announced whatever the engine is, and whatever becomes of the transaction."""

from __future__ import annotations

import json
from importlib import import_module

import pytest
from django.contrib.auth import get_user_model, login, logout
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from livepush.models import Event
from livepush.rights import logouts
from livepush.rights.grants import digest, sessions_of
from livepush.wire import RIGHTS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.test_logouts")]
User = get_user_model()


def ends_half(request: HttpRequest, how: str) -> HttpResponse:
    """Fail after the end of a session, as an account's deletion may."""
    with transaction.atomic():
        if how == "logout":
            logout(request)
        elif how == "flush":
            request.session.flush()
        else:
            login(request, User.objects.create(username="ben"), "django.contrib.auth.backends.ModelBackend")
        raise RuntimeError("too late")


def puts_in_cart(request: HttpRequest) -> HttpResponse:
    request.session["cart"] = 1
    return HttpResponse()


def logs_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse()


urlpatterns = [path("half/<how>/", ends_half), path("cart/", puts_in_cart), path("out/", logs_out)]


@pytest.fixture
def use(settings, monkeypatch, tmp_path):
    """A function that has sessions kept by an engine."""

    def used(engine: str) -> None:
        settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
        settings.SESSION_FILE_PATH = str(tmp_path)
        store = import_module(settings.SESSION_ENGINE).SessionStore
        for name in ("flush", "aflush"):
            monkeypatch.setattr(store, name, getattr(store, name))
        logouts.connect()

    return used


@pytest.fixture
def browser():
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create(username="ann"))
    return client


def told() -> list[tuple[str | None, str]]:
    changes = [json.loads(data) for data in Event.objects.filter(group=RIGHTS).values_list("data", flat=True)]
    return [(change["session"], change["reason"]) for change in changes if "session" in change]


@pytest.mark.parametrize("how", ["logout", "flush", "login"])
@pytest.mark.parametrize("engine", ["cache", "file"])
def test_a_session_that_ends_in_a_transaction_that_rolls_back_is_announced(use, request, engine, how):
    use(engine)
    browser = request.getfixturevalue("browser")
    session, key = browser.session, browser.session.session_key
    assert browser.get(f"/half/{how}/").status_code == 500
    assert not session.exists(key)
    assert told() == [(digest(key), "logout")]


def test_a_session_that_a_rollback_keeps_is_not_announced(use, request):
    use("db")
    browser = request.getfixturevalue("browser")
    session = browser.session
    assert browser.get("/half/logout/").status_code == 500
    assert session.exists(session.session_key)
    assert told() == []


def test_what_a_tests_transaction_takes_back_is_announced_by_no_later_request(use, request):
    use("cache")
    browser = request.getfixturevalue("browser")
    with transaction.atomic():
        browser.get("/out/")
        connection.set_rollback(True)
    browser.get("/cart/")
    assert told() == []


@pytest.mark.parametrize("ending", ["/out/", "/half/logout/"])
def test_a_logout_ends_all_sessions_of_a_user_whose_cookie_changes_with_what_it_holds(use, request, ending):
    use("signed_cookies")
    browser = request.getfixturevalue("browser")
    browser.get("/cart/")
    browser.get(ending)
    assert told() == [(sessions_of(str(User.objects.get().pk)), "logout")]


def test_nobody_who_logs_out_is_not_announced(use):
    use("signed_cookies")
    Client().get("/out/")
    assert told() == []
