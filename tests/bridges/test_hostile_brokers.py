"""What brokers, and the targets of webhooks, may send to a relay: nothing of it stops the relay or shows a secret."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
import time

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.urls import reverse

import livepush
from livepush import tenants
from livepush.bridges.relays.config import relay
from livepush.bridges.relays.mapping import Message
from livepush.bridges.relays.models import DeadLetter, RelayCursor
from livepush.bridges.relays.outwards.running import Sender
from livepush.bridges.relays.running import Runner
from livepush.bridges.relays.taking import begin_at, offset_of, take
from livepush.models import Event
from tests.bridges.test_outward_relays import run_until
from tests.bridges.test_relays import configured, message, numbers, relaying
from tests.bridges.test_webhooks import SECRET, run
from tests.bridges.test_webhooks import configured as hooked
from tests.conftest import events_of
from tests.patience import PATIENCE, eventually
from tests.servers import processes
from tests.servers.brokers import BROKERS
from tests.servers.receivers import receiver

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("group", ["livepush:rights", "livepush:x", "inbox:all", "inbox:user:1"])
def test_no_message_becomes_an_event_of_livepushs_own_groups(settings, group):
    orders = configured(settings, "default", GROUP="{group}", TYPE="status")
    assert take([message(1, group=group), message(2, group="user:1")], orders) == 2
    assert [event.groups for event in events_of("default")] == [("user:1",)]
    assert DeadLetter.objects.get().reason == f"Only livepush itself sends to {group!r}."


def test_no_field_of_a_message_stands_for_its_subject(settings):
    own = configured(settings, "default", URL="mqtt://x", STREAM="devices/#", GROUP="device:{subject}", TYPE="t")
    take([Message("", {"subject": "8"}, "7")], own)
    assert [event.groups for event in events_of("default")] == [("device:7",)]


def deep(depth):
    found = []
    for _ in range(depth):
        found = [found]
    return found


def test_what_is_nested_too_deeply_holds_up_no_other_message(settings):
    orders = configured(settings, "default", TYPE="t")
    assert take([message(1, x=deep(100_000)), message(2)], orders) == 2
    assert [event.groups for event in events_of("default")] == [("order:2",)]
    assert offset_of(orders) == "1-2"
    assert "recursion" in DeadLetter.objects.get().reason


@pytest.mark.long
@pytest.mark.parametrize("kind", ["redis"])
async def test_an_entry_that_only_looks_like_faststreams_holds_up_no_other(databases, kind):
    with (
        databases.fresh("postgresql") as database,
        BROKERS[kind]() as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()  # the log begins
        bad = [
            {"__data__": json.dumps({"data": json.dumps({"id": 1, "n": n}), "headers": n})} for n in ([1], "x", None)
        ]
        await broker.publish("orders", {"id": 1, "n": "1"}, *bad, {"id": 1, "n": "2"})
        with relaying(database, broker):
            await eventually(lambda: "2" in numbers(elsewhere))
        assert numbers(elsewhere) == ["1", [1], "x", None, "2"]


@pytest.fixture
def nobodys_port():
    with processes.closed_port() as port:
        yield port


@pytest.mark.parametrize("kind", ["in", "in again", "out"])
def test_a_relay_stops_though_its_broker_is_away_and_its_client_goes_on_trying(settings, kind, nobodys_port):
    url, begun = f"nats://127.0.0.1:{nobodys_port}", time.monotonic()
    if kind.startswith("in"):
        made = Runner(configured(settings, "default", URL=url, TYPE="t"))
        if kind == "in again":
            begin_at(relay("orders"), "5")
    else:
        settings.LIVEPUSH = {"RELAYS": {"out": {"DIRECTION": "out", "URL": url, "STREAM": "s", "SUBJECT": "s.{type}"}}}
        made = Sender(relay("out"))
    run_until(made, lambda: time.monotonic() - begun > 0.5)
    assert time.monotonic() - begun < 30  # NATS's client would try for two minutes


def test_a_broker_that_never_answers_is_told_of(settings, monkeypatch, nobodys_port):
    monkeypatch.setattr("livepush.bridges.relays.looping.PATIENCE", 0.1)
    url = f"nats://127.0.0.1:{nobodys_port}"
    settings.LIVEPUSH = {"RELAYS": {"out": {"DIRECTION": "out", "URL": url, "STREAM": "s", "SUBJECT": "s.{type}"}}}
    run_until(Sender(relay("out")), lambda: RelayCursor.objects.filter(error__startswith="TimeoutError").exists())


def test_nothing_shows_what_a_relay_logs_in_with(settings):
    assert "s3cret" not in repr(configured(settings, "default", URL="redis://u:s3cret@h"))
    given = {"DIRECTION": "out", "URL": "redis://u:s3cret@h", "STREAM": "s"}
    settings.LIVEPUSH = {"RELAYS": {"out": given}}
    assert "s3cret" not in repr(relay("out"))
    kafka = {"URL": "kafka://h:9092", "STREAM": "t", "OPTIONS": {"sasl.password": "s3cret"}}
    settings.LIVEPUSH = {"RELAYS": {"in": {**kafka, "GROUP": "a"}, "out": {**kafka, "DIRECTION": "out"}}}
    for name in ("in", "out"):
        assert relay(name).options
        assert "s3cret" not in repr(relay(name))
    settings.LIVEPUSH = {"RELAYS": {"out": {**given, "URL": "https://h/?token=s3cret", "SECRET": SECRET, "STREAM": 5}}}
    with pytest.raises(ImproperlyConfigured) as raised:
        relay("out")
    assert "s3cret" not in str(raised.value)


# Webhooks


@pytest.fixture
def target():
    with receiver() as found:
        yield found


def test_what_a_target_answers_writes_no_lines_and_stops_nothing(settings, target, caplog):
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.request.recv(65536)
            self.request.sendall(b"HT\0TP\x1b[2J\r[ERROR] forged\r\n")

    livepush.send("order:1", "status")
    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        target.url = f"http://127.0.0.1:{server.server_address[1]}/"
        run(hooked(settings, target), lambda: RelayCursor.objects.filter(error__contains="BadStatusLine").exists())
        server.shutdown()
    told = [RelayCursor.objects.get().error, *(record.getMessage() for record in caplog.records)]
    assert any("forged" in text for text in told[1:])
    assert all(text.isprintable() for text in told)


def test_an_answer_that_comes_a_byte_at_a_time_is_none_in_time(settings, target):
    end = time.monotonic() + PATIENCE

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError):
                while time.monotonic() < end:
                    self.request.sendall(b"H")
                    time.sleep(0.05)

    livepush.send("order:1", "status")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        target.url = f"http://127.0.0.1:{server.server_address[1]}/"
        rows = RelayCursor.objects.filter(error__contains="no whole answer within")
        run(hooked(settings, target, TIMEOUT=0.3), rows.exists)
        server.shutdown()


def test_what_is_deleted_while_a_slow_target_takes_a_page_does_not_go_out(settings, target, monkeypatch):
    monkeypatch.setattr("livepush.bridges.relays.outwards.running.FRESH", 0.0)
    for _ in range(3):
        livepush.send(["user:7"], "private")
    livepush.send(["board"], "public")

    def forget(request):
        Event.objects.filter(group="user:7").delete()
        connections.close_all()  # this is the receiver's thread
        return 204

    target.answer = forget
    run(hooked(settings, target), lambda: len(target.requests) == 2)
    assert [json.loads(each.body)["type"] for each in target.requests] == ["private", "public"]


def test_the_dead_letters_of_a_forgotten_user_are_deleted(settings, target, django_user_model):
    ann = django_user_model.objects.create_user("ann")
    livepush.send([livepush.user_group(ann)], "private")
    livepush.send([livepush.user_group(ann), "board"], "shared")
    livepush.send(["board"], "public")
    target.answer = lambda request: 410
    run(hooked(settings, target), lambda: DeadLetter.objects.count() == 3)
    assert [json.loads(row["content"])["type"] for row in livepush.export(ann)["dead letters"]] == ["private"]
    assert livepush.forget(ann)["dead letters"] == 1
    assert [json.loads(letter.content)["type"] for letter in DeadLetter.objects.order_by("pk")] == ["shared", "public"]


def test_who_may_only_look_at_letters_can_not_send_them(settings, target, client, django_user_model):
    livepush.send("board", "status")
    target.answer = lambda request: 410
    run(hooked(settings, target), lambda: DeadLetter.objects.exists())
    watcher = django_user_model.objects.create_user("watcher", is_staff=True)
    watcher.user_permissions.add(Permission.objects.get(codename="view_deadletter"))
    client.force_login(watcher)
    address, seen = reverse("admin:livepush_deadletter_changelist"), len(target.requests)
    data = {"action": "try_again", "_selected_action": [DeadLetter.objects.get().pk]}
    assert client.get(address).status_code == 200
    client.post(address, data, follow=True)
    assert len(target.requests) == seen


# Tenants


def test_the_admin_shows_a_tenant_no_letters_of_another(settings, admin_client):
    common = {"URL": "redis://x", "STREAM": "s", "GROUP": "a"}
    settings.LIVEPUSH = {
        "TENANT": "tests.shop.subdomains.Subdomains",
        "RELAYS": {name: {**common, "TENANT": name} for name in ("acme", "globex")},
    }
    for name in ("acme", "globex", "gone"):
        DeadLetter.objects.create(relay=name, offset="1", content=f'"{name}"', reason="r")
        RelayCursor.objects.create(relay=name, position=0)
    for model in ("deadletter", "relaycursor"):
        with tenants.active("acme"):
            text = admin_client.get(reverse(f"admin:livepush_{model}_changelist")).text
        assert ("acme" in text, "globex" in text, "gone" in text) == (True, False, False)
        with tenants.active("globex"):
            letter = DeadLetter.objects.get(relay="acme")
            address = reverse("admin:livepush_deadletter_change", args=[letter.pk])
            assert admin_client.get(address).status_code == 302
