"""What is a user's in streams goes with the user, and a deleted stream is gone, also while it is written."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import livepush
from livepush import log, streams
from livepush.exceptions import StreamLost
from livepush.models import Event
from livepush.streams import connecting, deleting, here
from livepush.streams.models import Stream, StreamChunk
from livepush.tenants import active
from tests.patience import wait_until

pytestmark = [pytest.mark.usefixtures("streams_end"), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def ann():
    return User.objects.create_user("ann")


@pytest.fixture
def ben():
    return User.objects.create_user("ben")


def written(group, text="text"):
    with streams.open(group, metadata={"of": 7}) as stream:
        stream.write(text, data={"n": 1})
    return stream.id


def left():
    """Return the streams that are there, and those that have text."""
    return set(Stream.objects.values_list("id", flat=True)), set(StreamChunk.objects.values_list("stream", flat=True))


@pytest.mark.parametrize(
    "way",
    [
        livepush.forget,
        lambda user: user.delete(),
        lambda user: call_command("livepush_forget", user.username, verbosity=0),
    ],
    ids=["forget", "delete", "the command"],
)
def test_a_user_s_streams_go_with_the_user_and_no_others(ann, ben, way):
    for group in (ann, f"user:{ann.pk}"):
        written(group)
    kept = {written(ben), written("room:1"), written(f"user:{ann.pk}0")}
    way(ann)
    assert left() == (kept, kept)


def test_forget_counts_them_and_happens_in_the_caller_s_transaction(ann):
    id = written(ann)
    with transaction.atomic():
        assert livepush.forget(ann)["streams"] == 1
        assert left() == (set(), set())
        transaction.set_rollback(True)
    assert left() == ({id}, {id})
    assert livepush.forget(ann)["streams"] == 1
    assert livepush.forget(ann)["streams"] == 0


def test_an_export_has_the_text_and_the_parts(ann, ben, capsys):
    written(ben, "of ben")
    id = written(ann, "Dear Ann")
    (found,) = livepush.export(ann)["streams"]
    assert (found["id"], found["state"], found["group"]) == (id, "finished", f"user:{ann.pk}")
    assert (found["parts"], found["metadata"]) == (["Dear Ann", [{"n": 1}]], {"of": 7})
    call_command("livepush_export", "ann")
    assert json.loads(capsys.readouterr().out)["streams"][0]["parts"] == ["Dear Ann", [{"n": 1}]]


def test_a_user_has_streams_in_every_tenant(ann, settings):
    settings.LIVEPUSH = {"TENANT": "tests.shop.subdomains.Subdomains"}
    for tenant in ("a", "b"):
        with active(tenant):
            written(ann)
            other = written("user:" + str(ann.pk + 1))
    while log.prune("default", timezone.now() + timedelta(minutes=1)):
        pass
    ann.delete()
    assert other in left()[0]
    assert not Stream.objects.filter(group__endswith=f"user:{ann.pk}").exists()


def test_the_producer_of_a_deleted_stream_is_stopped_and_leaves_nothing(ann):
    pk = ann.pk
    with pytest.raises(StreamLost, match="somebody has deleted it"), streams.open(ann) as stream:
        stream.write("secret")
        wait_until(StreamChunk.objects.exists)
        ann.delete()
        wait_until(lambda: stream.stop_requested)
        stream.write("more")
    connecting.prune("default")
    assert left() == (set(), set())
    assert here.gatherer().is_idle()
    assert not Event.objects.filter(group=f"user:{pk}").exists()


def test_the_end_of_a_stream_that_was_just_deleted_is_told_to_nobody(monkeypatch):
    monkeypatch.setattr("livepush.streams.gathering.LOOK", 3600.0)
    with pytest.raises(StreamLost), streams.open("room:1") as stream:
        stream.write("text")
        wait_until(StreamChunk.objects.exists)
        deleting.delete("default", [stream.id])
    types = Event.objects.filter(group="room:1").values_list("type", flat=True)
    assert list(types) == ["stream.started"]
    assert left()[0] == set()


def test_text_that_came_after_the_deletion_is_deleted_when_hubs_prune():
    id = written("room:1")
    StreamChunk.objects.create(stream="gone", start=0, end=4, body='["late"]')
    assert connecting.prune("default") == 1
    assert left() == ({id}, {id})


def test_a_look_for_late_text_reads_few_rows_and_the_next_ones_go_on(monkeypatch):
    monkeypatch.setattr(deleting, "LOOKED_AT", 2)
    monkeypatch.setattr(deleting, "_looked", {})
    kept = {written(f"room:{number}") for number in range(5)}
    text = StreamChunk.objects.create(stream="gone", start=0, end=4, body='["late"]')
    with CaptureQueriesContext(connections["default"]) as found:
        assert deleting.delete_late_text("default") == 0
    first, last = StreamChunk.objects.order_by("pk").values_list("pk", flat=True)[:2]
    assert f'"id" >= {first} AND' in found[-1]["sql"]
    assert f'"id" <= {last} AND' in found[-1]["sql"]
    assert [deleting.delete_late_text("default") for _ in range(4)] == [0, 1, 0, 0]
    assert not StreamChunk.objects.filter(pk=text.pk).exists()
    StreamChunk.objects.create(stream="gone", start=0, end=4, body='["late"]')
    assert sum(deleting.delete_late_text("default") for _ in range(4)) == 1, "it begins anew at the end"
    assert left() == (kept, kept)
