"""The admin: to browse, and to send a test event."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

import livepush
from livepush.models import ChannelGroup, Event
from livepush.testing import capture_events

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def group():
    livepush.send("board", "status", {"n": 1}, key="k1")
    return ChannelGroup.objects.get(name="board")


@pytest.mark.parametrize("model", ["event", "channelgroup"])
def test_rows_are_listed_searched_and_shown(admin_client, group, model):
    url = reverse(f"admin:livepush_{model}_changelist")
    assert "board" in admin_client.get(url).text
    assert "board" in admin_client.get(url, {"q": "board"}).text
    assert "board" not in admin_client.get(url, {"q": "nothing"}).text
    pk = {"event": Event, "channelgroup": ChannelGroup}[model].objects.get().pk
    assert "board" in admin_client.get(reverse(f"admin:livepush_{model}_change", args=[pk])).text


@pytest.mark.parametrize("model", ["event", "channelgroup"])
def test_nothing_can_be_added_changed_or_deleted(admin_client, group, model):
    pk = {"event": Event, "channelgroup": ChannelGroup}[model].objects.get().pk
    assert admin_client.get(reverse(f"admin:livepush_{model}_add")).status_code == 403
    assert admin_client.post(reverse(f"admin:livepush_{model}_change", args=[pk]), {}).status_code == 403
    assert admin_client.post(reverse(f"admin:livepush_{model}_delete", args=[pk]), {"post": "yes"}).status_code == 403


def send_test_event(client, group):
    data = {"action": "send_test_event", "_selected_action": [group.pk]}
    return client.post(reverse("admin:livepush_channelgroup_changelist"), data, follow=True)


def test_the_action_sends_a_test_event(admin_client, group):
    with capture_events() as events:
        answer = send_test_event(admin_client, group)
    assert [(sent.groups, sent.type, sent.payload) for sent in events] == [
        (("board",), "test", {"sent_by": "admin"}),
    ]
    assert "A test event went to 1 group." in answer.text


def test_who_may_only_look_can_not_send(client, group):
    user = User.objects.create_user("looker", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_channelgroup"))
    client.force_login(user)
    with capture_events() as events:
        send_test_event(client, group)
    assert events == []
