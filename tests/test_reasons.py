"""Under DEBUG the log says why a client has no right to a group; elsewhere it says nothing and nothing is looked up."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import User
from django.test import Client

import livepush
from livepush import process, tallies
from livepush.access import reasons, rules
from livepush.notes import OnceEach
from livepush.receiving import handlers
from tests.asgi import application
from tests.patience import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)

NO_PATTERN = "No rule of can_read has a pattern for 'oder:1', so nobody may read it."
POLL = "/livepush/poll/"


@pytest.fixture(autouse=True)
def own(monkeypatch, settings):
    """Rules and reasons of the test's own, in a site under development."""
    settings.DEBUG = True
    monkeypatch.setattr(rules, "rules", list(rules.rules))
    monkeypatch.setattr(handlers, "handlers", [])
    monkeypatch.setattr(reasons, "_told", OnceEach(100))


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "livepush"]


def test_a_group_without_a_rule_is_said_once_although_others_are_granted(client, caplog):
    for _ in range(2):
        assert client.get(POLL, {"group": ["board", "oder:1"]}).json()["refused"] == ["oder:1"]
    assert said(caplog) == [NO_PATTERN]


def test_it_is_said_where_all_are_refused_too(client, caplog):
    assert client.get(POLL, {"group": "oder:1"}).status_code == 403
    assert said(caplog) == [NO_PATTERN]


def test_a_rule_that_says_no_is_told_for_each_user(client, caplog):
    ann = User.objects.create_user("ann")
    ask = {"group": ["board", "order:5000"]}
    client.get(POLL, ask)
    client.force_login(ann)
    client.get(POLL, ask)
    assert said(caplog) == [
        "The rule of can_read for 'order:5000' does not let somebody who is not logged in read it.",
        f"The rule of can_read for 'order:5000' does not let user {ann.pk} read it.",
    ]


def test_a_group_that_a_token_does_not_have_is_told(caplog):
    ann = User.objects.create_user("ann")
    headers = {"Authorization": f"Bearer {livepush.token(ann, ['board'])}"}
    Client().get(POLL, {"group": ["board", "order:7"]}, headers=headers)
    assert said(caplog) == [f"A token of user {ann.pk} has other groups than 'order:7', so its client may not read it."]


def test_livepushs_own_groups_are_opened_by_no_pattern(client, caplog):
    livepush.can_read("<path:name>")(lambda user, name: True)
    client.get(POLL, {"group": "livepush:rights"})
    assert said(caplog) == [NO_PATTERN.replace("oder:1", "livepush:rights")]


def test_a_message_without_a_rule_and_one_of_a_wrong_type_are_told(client, caplog):
    livepush.can_send("hall:<slug:name>", types=("chat",))(lambda user, name: user.is_authenticated)
    livepush.can_send("counter:<slug:name>")(lambda user, name: True)
    for group, type in (("nopattern:a", "chat"), ("hall:a", "chatt"), ("counter:a", "chat"), ("hall:a", "chat")):
        body = {"group": group, "type": type, "data": 1}
        headers = {"Origin": "http://testserver"}
        assert client.post("/livepush/send/", body, content_type="application/json", headers=headers).status_code == 403
    more = "name it in the rule's types, or add a handler with @livepush.receive."
    assert said(caplog) == [
        "No rule of can_send has a pattern for 'nopattern:a', so nobody may send to it.",
        f"No rule of can_send for 'hall:a' takes messages of the type 'chatt': {more}",
        f"No rule of can_send for 'counter:a' takes messages of the type 'chat': {more}",
        "The rule of can_send for 'hall:a' does not let somebody who is not logged in send to it.",
    ]
    denied = [record.getMessage() for record in caplog.records if record.name == "livepush.audit"]
    assert [line.partition("type=")[2].split(" ")[0] for line in denied] == ["chat", "chatt", "chat", "chat"]


def test_only_so_many_reasons_are_told(client, caplog, monkeypatch):
    monkeypatch.setattr(reasons, "_told", OnceEach(2))
    client.get(POLL, {"group": [f"oder:{number}" for number in range(5)]})
    assert len(said(caplog)) == 2


def test_in_production_nothing_is_looked_up(client, caplog, settings, monkeypatch):
    settings.DEBUG = False
    monkeypatch.setattr(reasons, "reason_of", None)
    assert client.get(POLL, {"group": ["board", "oder:1"]}).json()["refused"] == ["oder:1"]
    assert said(caplog) == []


@asynccontextmanager
async def websocket(query):
    """Open a WebSocket; yield what sends a command and returns the text of its reply."""
    headers = [(b"host", b"testserver"), (b"origin", b"http://testserver")]
    scope = {
        "type": "websocket", "path": "/livepush/ws/", "query_string": query, "headers": headers,
        "scheme": "ws", "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2), "subprotocols": [],
    }  # fmt: skip
    socket = ApplicationCommunicator(application, scope)

    async def reply_to(command):
        await socket.send_input({"type": "websocket.receive", "text": json.dumps({"ref": 1, **command})})
        while "livepush.reply" not in (text := (await socket.receive_output(PATIENCE)).get("text", "")):
            pass
        return text

    try:
        await socket.send_input({"type": "websocket.connect"})
        assert (await socket.receive_output(PATIENCE))["type"] == "websocket.accept"
        yield reply_to
    finally:
        await socket.send_input({"type": "websocket.disconnect", "code": 1000})
        await socket.wait(PATIENCE)
        await process.stop()


async def test_a_websockets_groups_and_messages_are_told(caplog):
    async with websocket(b"group=board&group=oder:1") as reply_to:
        await reply_to({"command": "subscribe", "groups": ["oder:2"]})
        await reply_to({"command": "send", "group": "board", "type": "chat", "data": 1})
    assert said(caplog) == [
        NO_PATTERN,
        NO_PATTERN.replace("oder:1", "oder:2"),
        "No rule of can_send has a pattern for 'board', so nobody may send to it.",
    ]
    assert any(
        line.startswith("denied ") and " groups=board type=chat code=forbidden" in line
        for line in (record.getMessage() for record in caplog.records)
    )


@pytest.mark.parametrize(("anonymous", "remedy"), [(0, "ask for fewer."), (2, "ask for fewer, or log in.")])
async def test_a_websocket_that_asks_for_too_many_groups_hears_what_to_do_and_is_counted(
    settings, monkeypatch, anonymous, remedy
):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "MAX_GROUPS": 2 + (anonymous > 0), "MAX_GROUPS_ANONYMOUS": anonymous}
    monkeypatch.setattr(tallies, "counts", Counter())
    async with websocket(b"group=board") as reply_to:
        reply = json.loads(await reply_to({"command": "subscribe", "groups": ["hall", "yard"]}))
    assert reply["code"] == "too_many_groups"
    assert reply["message"] == f"A connection may have 2 groups, and would have 3: {remedy}"
    assert tallies.counts["refused", "websocket", "too_many_groups"] == 1
