"""The admin of streams: the list, the text, and who may stop and delete."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from livepush import streams
from livepush.streams import store
from livepush.streams.admin import PREVIEW
from livepush.streams.models import Stream, StreamChunk
from tests.patience import wait_until

pytestmark = [pytest.mark.usefixtures("streams_end"), pytest.mark.django_db(transaction=True)]
LIST = "admin:livepush_stream_changelist"


def written(group="room:1", text="text", data=None):
    with streams.open(group) as stream:
        stream.write(text)
        if data is not None:
            stream.write(data=data)
    return stream.id


def page_of(client, id):
    return client.get(reverse("admin:livepush_stream_change", args=[id]))


def act(client, action, *ids, **more):
    return client.post(reverse(LIST), {"action": action, "_selected_action": ids, **more}, follow=True)


def staff(client, *permissions):
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


def test_streams_are_listed_with_what_they_are(admin_client):
    id = written("room:1", "x" * 321)
    with streams.open("job:7") as running:
        running.write("y" * 123)
        wait_until(lambda: store.ends("default", [running.id]))
        page = admin_client.get(reverse(LIST)).text
        assert [bool(re.search(rf">\s*{each}\s*<", page)) for each in (321, 123)] == [True, True]
        for said in (id, running.id, "room:1", "job:7", "Finished", "Running"):
            assert said in page
        assert running.id not in admin_client.get(reverse(LIST), {"q": "room:1"}).text
        assert id not in admin_client.get(reverse(LIST), {"state__exact": "running"}).text


def test_the_list_costs_the_same_for_many_running_streams(admin_client):
    def counted():
        with CaptureQueriesContext(connection) as found:
            assert admin_client.get(reverse(LIST)).status_code == 200
        return len(found)

    def add(count):
        made = [Stream(id=f"{count}-{n}", group="a", format="text", created="2026-01-01T00:00Z") for n in range(count)]
        Stream.objects.bulk_create(made)

    add(2)
    few = counted()
    add(40)
    assert counted() == few


def test_the_text_is_shown_and_never_becomes_html(admin_client):
    page = page_of(admin_client, written(text="<script>alert(1)</script>", data={"n": "<b>"})).text
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page
    assert "{&quot;n&quot;: &quot;&lt;b&gt;&quot;}" in page
    assert "<textarea" not in page


def test_of_a_long_text_the_newest_is_shown(admin_client):
    page = page_of(admin_client, written(text="begin" + "x" * PREVIEW + "end")).text
    assert "begin" not in page.partition("The newest 20000 characters:")[2]
    assert "xend" in page


def test_a_running_stream_is_stopped(admin_client):
    with streams.open("room:1") as stream:
        answer = act(admin_client, "stop", stream.id, written())
        assert "1 stream was asked to stop." in answer.text
        wait_until(lambda: stream.stop_requested)
    assert Stream.objects.get(id=stream.id).state == "stopped"


def test_streams_are_deleted_with_their_text(admin_client):
    kept, one, two = written(), written(), written()
    assert "Are you sure" in act(admin_client, "delete_selected", one).text
    act(admin_client, "delete_selected", one, post="yes")
    admin_client.post(reverse("admin:livepush_stream_delete", args=[two]), {"post": "yes"})
    assert list(Stream.objects.values_list("id", flat=True)) == [kept]
    assert set(StreamChunk.objects.values_list("stream", flat=True)) == {kept}


def test_who_may_only_look_stops_and_deletes_nothing(client):
    client = staff(client, "view_stream")
    id = written()
    with streams.open("room:1") as stream:
        act(client, "stop", stream.id)
        act(client, "delete_selected", id, post="yes")
        assert client.post(reverse("admin:livepush_stream_delete", args=[id]), {"post": "yes"}).status_code == 403
        assert not Stream.objects.filter(stopping=True).exists()
    assert Stream.objects.count() == 2
    assert page_of(client, id).status_code == 200


def test_nobody_adds_or_changes_a_stream(admin_client):
    id = written()
    assert admin_client.get(reverse("admin:livepush_stream_add")).status_code == 403
    assert admin_client.post(reverse("admin:livepush_stream_change", args=[id]), {"error": "x"}).status_code == 403
    assert Stream.objects.get().error == ""


def test_to_stop_needs_the_right_to_change(client):
    client = staff(client, "view_stream", "change_stream")
    with streams.open("room:1") as stream:
        act(client, "stop", stream.id)
        assert Stream.objects.get(id=stream.id).stopping
    assert "Delete" not in page_of(client, stream.id).text
