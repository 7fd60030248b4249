"""Who may read a stream, and what of one a page shows: rules that say since when, tenants, retention, the tag."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.template import engines
from django.test import Client, RequestFactory
from django.utils import timezone

import livepush
from livepush import log, streams, tenants
from livepush.access import rules
from livepush.streams import connecting, leases, store
from livepush.streams.buffer import Ending
from livepush.streams.models import Stream, StreamChunk, StreamProducer, StreamState

pytestmark = [pytest.mark.usefixtures("streams_end"), pytest.mark.django_db(transaction=True)]


def written(group: str = "room:1", text: str = "text") -> str:
    with streams.open(group) as stream:
        stream.write(text)
    return stream.id


def status(client: Client, id: str) -> int:
    return client.get(f"/livepush/streams/{id}/?wait=0").status_code


def test_a_newcomer_reads_no_stream_from_before(client, monkeypatch):
    since = [True]
    monkeypatch.setattr(rules, "rules", [*rules.rules])
    livepush.can_read("late:<slug:name>")(lambda user, name: since[0])
    old = written("late:a")
    joined, position = timezone.now(), str(log.state("default").position)
    new = written("late:a")
    assert (status(client, old), status(client, new)) == (200, 200)
    for since[0] in (joined, position):
        assert (status(client, old), status(client, new)) == (403, 200)
    assert "text" in shown(new)
    assert "text" not in shown(old)


def test_whom_no_rule_lets_in_reads_and_stops_no_stream(client):
    id = written("secret:1")
    for query in ("?wait=0", "", "?format=text"):
        refused = client.get(f"/livepush/streams/{id}/{query}")
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert client.post(f"/livepush/streams/{id}/stop/").status_code == 403
    assert not Stream.objects.get(pk=id).stopping


def test_a_stream_is_unknown_to_another_tenant(settings):
    settings.MIDDLEWARE = ["tests.shop.subdomains.middleware", *settings.MIDDLEWARE]
    settings.LIVEPUSH = {"TENANT": "tests.shop.subdomains.Subdomains"}
    with tenants.active("acme"):
        id = written()
        assert streams.get(id) is not None
        assert streams.running("room:1") is None
    with tenants.active("globex"):
        assert streams.get(id) is None
    acme, globex = (Client(HTTP_HOST=f"{name}.shop.test") for name in ("acme", "globex"))
    assert (status(acme, id), status(globex, id)) == (200, 404)


def shown(id: str) -> str:
    request = RequestFactory().get("/")
    template = engines["django"].from_string("{% load livepush %}{% livepush_stream id %}{% livepush_stream id %}")
    return str(template.render({"id": id}, request))


def test_the_tag_escapes_the_text_and_brings_the_script_once():
    with streams.open("room:1") as stream:
        stream.write("<b>\n", progress=0.25)
        stream.write("🐦")
    element = (
        f'<livepush-stream src="/livepush/streams/{stream.id}/" data-after="6" state="finished" progress="0.25" '
        'aria-live="polite">&lt;b&gt;\n🐦</livepush-stream>'
    )
    script = '<script defer src="/static/livepush/livepush-streams.js"></script>'
    assert shown(stream.id) == element + script + element
    assert shown("") == ""
    assert 'state="refused"' in shown("unknown")


def test_pages_of_whom_no_rule_lets_in_show_nothing():
    assert "secret" not in shown(written("role:crew", "secret"))


def test_streams_past_their_retention_are_deleted_with_their_text(settings, capsys):
    old, new = written(), written()
    Stream.objects.filter(id=old).update(ended=timezone.now() - timedelta(days=8))
    assert connecting.prune("default") == 2
    assert list(Stream.objects.values_list("id", flat=True)) == [new]
    settings.LIVEPUSH = {"STREAM_RETENTION": 0.0001}
    call_command("livepush_prune")
    assert "2 rows of streams" in capsys.readouterr().out
    assert (Stream.objects.count(), StreamChunk.objects.count()) == (0, 0)


@pytest.mark.django_db(transaction=True, databases="__all__")
@pytest.mark.parametrize(("ended", "pruned"), [(0, 8), (-8, 0)], ids=["one is ahead", "one is behind"])
def test_streams_ended_when_the_databases_clock_says(concurrent, ended, pruned, monkeypatch):
    """Two hosts, one of which has the wrong time (in days)."""
    now, rows = timezone.now(), Stream.objects.using(concurrent)
    for id in ("finished", "interrupted"):
        rows.create(id=id, group="room:1", format="text", producer=id, created=now)
    monkeypatch.setattr(timezone, "now", lambda: now + timedelta(days=ended))
    assert store.end(concurrent, "finished", {"finished": (Ending(StreamState.FINISHED), 0)}) == set()
    assert [row.id for row in store.interrupt(concurrent, "interrupted")] == ["interrupted"]
    monkeypatch.setattr(timezone, "now", lambda: now + timedelta(days=pruned))
    assert connecting.prune(concurrent) == 0
    assert {row.id: row.state for row in rows.all()} == {"finished": "finished", "interrupted": "interrupted"}


def test_a_running_stream_without_a_producer_is_ended_when_hubs_prune():
    Stream.objects.create(id="orphan", group="room:1", format="text", producer="gone", created=timezone.now())
    StreamChunk.objects.create(stream="orphan", start=0, end=1, body='["a"]')
    with streams.open("room:2") as alive:
        alive.write("b")
        leases.end_orphans("default")
        assert Stream.objects.get(id="orphan").state == "interrupted"
    assert Stream.objects.get(id=alive.id).state == "finished"


def test_a_producer_that_begins_while_hubs_prune_is_left_alone(monkeypatch):
    producers, opened = store.producers, []

    def then_a_stream_begins(using):
        found = producers(using)
        if not opened:
            opened.append(streams.open("room:1"))
            opened[0].__enter__().write("a")
        return found

    monkeypatch.setattr(store, "producers", then_a_stream_begins)
    leases.end_orphans("default")
    opened[0].__exit__(None, None, None)
    assert Stream.objects.get().state == "finished"


def test_a_watcher_ends_what_a_dead_producer_wrote_and_tells_the_group(monkeypatch):
    Stream.objects.create(id="dead", group="room:1", format="text", producer="dead", created=timezone.now())
    StreamProducer.objects.create(name="dead")
    monkeypatch.setattr(leases, "LEASE", 0.0)
    leases.end_dead("default")
    assert Stream.objects.get(id="dead").state == "interrupted"
    assert store.producers("default") == {}
    assert not StreamProducer.objects.exists()
