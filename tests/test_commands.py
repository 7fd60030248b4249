"""The management commands."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from livepush import log
from livepush.bridges.publishing import idempotency
from livepush.bridges.publishing.models import PublishReceipt
from livepush.models import Event, LogFloor
from livepush.receiving import once
from livepush.receiving.models import Receipt
from livepush.streams import deleting
from livepush.streams.leases import end_orphans
from livepush.streams.models import Stream, StreamChunk, StreamState
from tests.conftest import append, events_of, settle

pytestmark = pytest.mark.django_db(transaction=True)


def run(*args, **options):
    out = StringIO()
    call_command(*args, stdout=out, no_color=True, **options)
    return out.getvalue()


def test_send_sends_json():
    assert run("livepush_send", "board", "status", '{"a": 1}') == "Sent status to board.\n"
    assert [(event.type, event.data) for event in events_of("default")] == [("status", '{"a":1}')]


def test_send_takes_several_groups_and_a_key():
    for _ in range(2):
        run("livepush_send", "a,b", "status", key="k")
    assert [event.groups for event in events_of("default")] == [("a", "b")]


def test_send_does_not_speak_of_readers_where_a_relay_may_be_one(settings, capsys):
    settings.LIVEPUSH = {"RELAYS": {"shop": {"DIRECTION": "out", "URL": "https://example.com/"}}}
    run("livepush_send", "nosuch", "status")
    assert capsys.readouterr().err == ""


def test_send_says_that_no_rule_lets_anybody_read_a_group(capsys):
    run("livepush_send", "board,user:7,nosuch,nor:this", "status")
    said = "Nobody may read nosuch, nor:this: no rule of can_read has a pattern for it. See docs/rules.md.\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("a b", "t"), "'a b' is not a group"),
        (("a", "error"), "'error' is not a type"),
        (("a", "t", "{a:1}"), "The data is not JSON .* Quote it for the shell"),
        (("a", "t", "--ephemeral"), "nobody would get an ephemeral event: configure a Redis layer, keep"),
    ],
)
def test_send_says_what_is_wrong(args, message, settings):
    settings.LIVEPUSH = {"HINT": "none"}
    with pytest.raises(CommandError, match=message):
        run("livepush_send", *args)


def test_tail_prints_events_from_a_position_on():
    start = log.state("default").position
    for n in range(4):
        append("default", "ab"[n % 2], data=str(n))
    lines = run("livepush_tail", "a", since=str(start), count=2).splitlines()
    assert [line.split()[1:] for line in lines] == [
        [f"{start.epoch}-1", "a", "t", "0"],
        [f"{start.epoch}-3", "a", "t", "2"],
    ]


def test_tail_prints_envelopes():
    start = log.state("default").position
    append("default", "a", data='{"x":1}')
    settle("default")
    assert json.loads(run("livepush_tail", since=str(start), count=1, json=True)) == {
        "id": f"{start.epoch}-1",
        "group": "a",
        "type": "t",
        "data": {"x": 1},
        "time": events_of("default")[0].time,
    }


def test_tail_says_that_events_were_pruned_while_it_read_them(monkeypatch):
    start, read, said = log.state("default").position, log.read, StringIO()
    for _ in range(3):
        append("default")
    settle("default")

    def pruned_meanwhile(using, groups, after, upto):
        if after == 0:
            Event.objects.filter(position__lte=2).delete()
            LogFloor.objects.update(position=2)
        elif not Event.objects.filter(type="later").exists():
            append("default", type="later")
        return read(using, groups, after, upto)

    monkeypatch.setattr(log, "read", pruned_meanwhile)
    lines = run("livepush_tail", since=str(start), count=1, stderr=said).splitlines()
    assert said.getvalue() == f"The log begins anew at {start.epoch}-3.\n"
    assert [line.split()[3] for line in lines] == ["later"]


def test_tail_refuses_a_position_that_the_log_does_not_hold():
    with pytest.raises(CommandError, match="The log does not hold that position: it goes from"):
        run("livepush_tail", since="other-1")
    with pytest.raises(CommandError, match="The position is malformed"):
        run("livepush_tail", since="x")


@pytest.mark.parametrize("count", [0, -1])
def test_tail_refuses_a_count_with_which_it_would_never_end(count):
    with pytest.raises(CommandError, match="--count must be 1 or more"):
        run("livepush_tail", count=count)


def test_epoch_says_where_the_log_stands_and_begins_a_new_one():
    append("default")
    settle("default")
    epoch = log.state("default").position.epoch
    assert run("livepush_epoch") == f"The log goes from {epoch}-0 to {epoch}-1.\n"
    said = run("livepush_epoch", new=True)
    after = log.state("default").position
    assert after.epoch != epoch
    assert said == f"The log goes from {after.epoch}-0 to {after}, after {epoch}-1.\n"


def test_prune_deletes_what_is_past_its_retention():
    for _ in range(5):
        append("default")
    settle("default")
    Event.objects.filter(position__lte=3).update(created=timezone.now() - timedelta(days=8))
    others = "0 rows of inboxes, 0 rows of streams, 0 receipts and 0 dead letters"
    assert run("livepush_prune", batch=2) == f"Deleted 3 events, {others}.\n"
    assert run("livepush_prune", seconds=0) == f"Deleted 2 events, {others}.\n"
    for seconds in (-1, 1e11, float("inf"), float("nan")):
        with pytest.raises(CommandError, match="must be from 0 to a century"):
            run("livepush_prune", seconds=seconds)


def test_prune_deletes_the_receipts_of_handlers_and_of_publishing_too(monkeypatch):
    monkeypatch.setattr(once, "PRUNED_AT_ONCE", 2)
    monkeypatch.setattr(idempotency, "PRUNED_AT_ONCE", 2)
    old, now = timezone.now() - timedelta(days=8), timezone.now()
    Receipt.objects.bulk_create([Receipt(key=str(n), created=now if n == 0 else old) for n in range(4)])
    taken = [PublishReceipt(owner="o", key=str(n), fingerprint="", marker="", created=old) for n in range(3)]
    PublishReceipt.objects.bulk_create(taken)
    said = "Deleted 0 events, 0 rows of inboxes, 0 rows of streams, 6 receipts and 0 dead letters.\n"
    assert run("livepush_prune") == said
    assert [receipt.key for receipt in Receipt.objects.all()] == ["0"]


def test_prune_deletes_text_that_came_after_its_stream_was_deleted(monkeypatch):
    monkeypatch.setattr(deleting, "LOOKED_AT", 2)
    now = timezone.now()
    for id in ("a", "b", "c", "d", "e"):
        Stream.objects.create(id=id, group="room:1", state=StreamState.FINISHED, length=4, created=now, ended=now)
        StreamChunk.objects.create(stream=id, start=0, end=4, body='["text"]')
    for start in (0, 4):
        StreamChunk.objects.create(stream="gone", start=start, end=start + 4, body='["late"]')
    assert "2 rows of streams" in run("livepush_prune")
    assert sorted(StreamChunk.objects.values_list("stream", flat=True)) == ["a", "b", "c", "d", "e"]


def test_prune_knows_every_job_of_the_hubs():
    deleting = {"log.groups", "streams.connecting", "inbox.filing", "bridges.relays.forgetting", "receiving.once"}
    assert {f"livepush.{name}" for name in deleting} == {job.__module__ for job in log.jobs if job is not end_orphans}
