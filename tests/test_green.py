"""Under gevent and eventlet no event loop runs: what needs one is refused, and everything else works."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from django.test import Client

import livepush
from livepush import green, notes
from livepush.access import rules
from livepush.consumers import answering
from livepush.receiving import handlers

pytestmark = pytest.mark.django_db(transaction=True)
SENTENCE = "livepush runs no async functions, since the ORM would fail in all other green threads meanwhile"


@pytest.fixture(params=green.PATCHES, ids=lambda patch: patch[0].partition(".")[0], autouse=True)
def package(request, monkeypatch):
    """The package whose threads this process has, as it seems."""
    module, function, _ = request.param
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{function: lambda name: True}))
    monkeypatch.setattr(green, "async_to_sync", None)
    monkeypatch.setattr(notes, "_noted", set())
    monkeypatch.setattr(answering, "failures", notes.Rarely())
    monkeypatch.setattr(rules, "rules", [])
    monkeypatch.setattr(handlers, "handlers", [])
    livepush.can_read("board")(lambda user: True)
    livepush.can_send("desk")(lambda user: True)
    return module.partition(".")[0]


async def yes(*args, **kwargs):
    return True


def poll():
    return Client().get("/livepush/poll/?group=board&group=async").json()


def send(**more):
    message = {"group": "desk", "type": "count", **more}
    return Client().post("/livepush/send/", message, "application/json", headers={"Origin": "http://testserver"}).json()


def test_an_async_rule_denies_and_says_why(package, caplog):
    livepush.can_read("async")(yes)
    assert [poll()["refused"] for _ in range(2)] == [["async"]] * 2
    (record,) = [each for each in caplog.records if SENTENCE in each.message]
    assert record.message.startswith(f"An async rule denies. Under {package}")


@pytest.mark.parametrize("setting", ["AUTHENTICATORS", "HANDSHAKE"])
def test_nobody_gets_past_an_async_authenticator_or_check_and_the_log_says_why(settings, caplog, setting):
    settings.LIVEPUSH = {setting: ["tests.test_green.yes"]}
    assert poll()["code"] == "unavailable"
    assert SENTENCE in caplog.text


def test_an_async_handler_fails_and_the_log_says_why(caplog):
    livepush.receive("desk", "count")(yes)
    assert send()["code"] == "failed"
    assert SENTENCE in caplog.text


def test_a_sync_handler_outside_of_a_transaction_works():
    given = []

    @livepush.receive("desk", "count", atomic=False)
    def count(user, data):
        given.append(data)
        if data == "bad":
            raise ValueError("no")
        return len(given)

    assert send(data="bad")["code"] == "failed"
    assert send(data="good") == {"ok": True, "reply": 2}
