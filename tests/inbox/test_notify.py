"""notify: who gets what, when, and what is refused."""

from __future__ import annotations

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.db import connections, transaction

import livepush
from livepush import log
from livepush.exceptions import InvalidGroup, InvalidNotification
from livepush.inbox.reading import Inbox
from livepush.models import ChannelGroup, Event, Notification
from tests.conftest import ALIASES
from tests.inbox.conftest import inbox_on
from tests.shop.models import Order

using = inbox_on(ALIASES[0])


def test_a_user_gets_an_entry_with_what_was_said(using, ann, reader):
    order = Order.objects.create(customer=ann)
    livepush.notify(
        ann, "Shipped", "It is on its way", "/orders/7/", "/static/box.svg", "success", "orders", ann, order,
    )  # fmt: skip
    (entry,) = reader(ann).inbox.page().entries
    row = entry.notification
    assert (row.title, row.body, row.url, row.icon, row.level, row.category, row.key, row.count) == (
        "Shipped", "It is on its way", "/orders/7/", "/static/box.svg", "success", "orders", "", 1,
    )  # fmt: skip
    assert row.people == [{"name": "Ann Li", "id": str(ann.pk), "model": "auth.user"}]
    assert row.details["target"] == {"name": str(order), "id": str(order.pk), "model": "shop.order"}
    assert (entry.seen, entry.read, entry.archived) == (False, False, False)
    assert row.position == Event.objects.using(using).get(type="inbox.notification").position


def test_nothing_is_notified_by_a_transaction_that_is_rolled_back(using, ann, reader):
    with pytest.raises(RuntimeError), transaction.atomic(using=using):
        livepush.notify(ann, "Never")
        raise RuntimeError
    livepush.notify(ann, "Always")
    assert reader(ann).titles() == ["Always"]


def test_nobody_sees_it_before_the_commit(using, ann, reader):
    with transaction.atomic(using=using):
        livepush.notify(ann, "Later")
        assert not Notification.objects.using(using).exists()
    assert reader(ann).titles() == ["Later"]


def test_each_kind_of_recipient(using, ann, ben, staff, reader):
    ann.groups.add(staff)
    livepush.join(ben, "order:7")
    livepush.notify(ann, "to ann")
    livepush.notify(User.objects.filter(username="ben"), "to a queryset")
    livepush.notify(staff, "to an auth group")
    livepush.notify("order:7", "to members")
    livepush.notify(livepush.everyone, "to everyone")
    livepush.notify([ann, ben, ann], "to both")
    livepush.notify(f"user:{ann.pk}", "to ann by name")
    assert reader(ann).titles() == ["to ann by name", "to both", "to everyone", "to an auth group", "to ann"]
    assert reader(ben).titles() == ["to both", "to everyone", "to members", "to a queryset"]
    assert reader(User.objects.create(username="new")).titles() == []


def test_a_model_instance_is_its_group_and_so_is_a_channel_group(using, ann, reader):
    order = Order.objects.create(pk=7)
    livepush.join(ann, order)
    livepush.send("order:7", "status")
    livepush.notify(order, "by instance")
    livepush.notify(ChannelGroup.objects.using(using).get(name="order:7"), "by channel group")
    assert reader(ann).titles() == ["by channel group", "by instance"]


def test_everyone_and_groups_take_one_row_however_many_they_are(using, ann, ben, staff, django_assert_num_queries):
    User.objects.bulk_create([User(username=f"user{number}") for number in range(300)])
    staff.user_set.set(User.objects.all())
    livepush.notify(livepush.everyone, "All")
    livepush.notify(staff, "Staff")
    assert Event.objects.using(using).filter(type="inbox.notification").count() == 2
    assert Notification.objects.using(using).count() == 2


def test_a_queryset_of_many_is_sent_in_parts_and_all_or_none(using, ann, reader, monkeypatch):
    monkeypatch.setattr("livepush.inbox.notifying.CHUNK", 7)
    User.objects.bulk_create([User(username=f"user{number}") for number in range(30)])
    livepush.notify(User.objects.all(), "All")
    assert Notification.objects.using(using).count() == 31
    assert reader(ann).titles() == ["All"]
    with pytest.raises(RuntimeError), transaction.atomic(using=using):
        livepush.notify(User.objects.all(), "None")
        raise RuntimeError
    assert not Event.objects.using(using).filter(data__contains="None").exists()


def test_everyone_makes_up_for_all_others(using, ann, reader):
    livepush.notify([ann, livepush.everyone, "order:7"], "All")
    assert reader(ann).titles() == ["All"]


def test_a_queryset_may_be_sliced(using, ann, ben, reader):
    livepush.notify(User.objects.order_by("-pk")[:1], "The last one")
    assert (reader(ann).titles(), reader(ben).titles()) == ([], ["The last one"])


def test_an_empty_queryset_notifies_nobody(using):
    livepush.notify(User.objects.none(), "Nobody")
    assert not Event.objects.using(using).exists()


def test_newcomers_see_nothing_that_is_older(using, ann, ben, staff, reader):
    livepush.join(ann, "order:7")
    ann.groups.add(staff)
    for recipient in ("order:7", staff, livepush.everyone):
        livepush.notify(recipient, f"old to {recipient}")
    livepush.join(ben, "order:7")
    staff.user_set.add(ben)
    User.objects.filter(pk=ben.pk).update(date_joined=Notification.objects.using(using).latest("created").created)
    livepush.notify("order:7", "new")
    assert len(reader(ann).titles()) == 4
    assert reader(ben).titles() == ["new", "old to inbox:all"]  # not before, but in the same moment
    assert reader(User.objects.create_user("carl")).titles() == []


def test_who_leaves_has_nothing_of_it_and_who_comes_back_begins_anew(using, ann, staff, reader):
    livepush.join(ann, "order:7")
    livepush.join(ann, "order:7")
    ann.groups.add(staff)
    livepush.notify(["order:7", staff], "One")
    assert reader(ann).counts() == (2, 2)
    livepush.leave(ann, "order:7")
    staff.user_set.remove(ann)
    assert reader(ann).counts() == (0, 0)
    assert reader(ann).titles() == []
    livepush.join(ann, "order:7")
    ann.groups.add(staff)
    assert reader(ann).titles() == []
    ann.groups.clear()
    staff.user_set.add(ann)
    staff.user_set.clear()
    livepush.notify(["order:7", staff], "Two")
    assert reader(ann).titles() == ["Two"]


def test_joining_and_leaving_are_told_to_open_pages(using, ann):
    livepush.join(ann, "order:7")
    livepush.leave(ann, "order:7")
    livepush.leave(ann, "order:7")
    told = Event.objects.using(using).order_by("position").values_list("group", "type", "data")
    since = log.state(using).position.epoch + "-0"
    assert list(told) == [
        (f"user:{ann.pk}", "inbox.membership", f'{{"group":"inbox:of:order:7","since":"{since}"}}'),
        (f"user:{ann.pk}", "inbox.membership", '{"group":"inbox:of:order:7","since":null}'),
    ]


def test_a_deleted_user_leaves_nothing(using, ann, ben, reader):
    livepush.join(ann, "order:7")
    livepush.notify([ann, ben], "Bye")
    reader(ann).do("read", "Bye")
    ann.delete()
    assert [row.group for row in Notification.objects.using(using).all()] == [f"user:{ben.pk}"]
    for name in ("Membership", "NotificationState", "InboxState"):
        from livepush import models

        assert not getattr(models, name).objects.using(using).exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"title": ""}, "The title is empty"),
        ({"title": " \n"}, "The title is empty"),
        ({"title": 7}, "neither a text nor a registered kind"),
        ({"title": object}, "neither a text nor a registered kind"),
        ({"title": "a\0b"}, "can't store in text"),
        ({"body": b"x"}, "body is b'x': expected a text"),
        ({"level": "loud"}, "level is 'loud': expected one of info, success, warning, error"),
        ({"url": "javascript:alert(1)"}, "expected a path that begins with '/'"),
        ({"url": "//elsewhere.example"}, "expected a path that begins with '/'"),
        ({"url": "/\\elsewhere.example"}, "expected a path that begins with '/'"),
        ({"url": "java\nscript:x"}, "expected a path that begins with '/'"),
        ({"icon": "data:image/svg+xml,x"}, "icon is"),
        ({"category": "c" * 51}, "category is 51 characters long"),
        ({"collapse": "c" * 101}, "collapse is 101 characters long"),
    ],
)
def test_what_can_not_be_said_is_refused_before_anything_is_written(db, arguments, problem):
    user = User.objects.create(username="ann")
    with pytest.raises(InvalidNotification, match=problem.replace("(", r"\(")):
        livepush.notify(user, **{"title": "A title", **arguments})
    assert not Event.objects.exists()


@pytest.mark.parametrize("nobody", [None, AnonymousUser(), User(), "inbox:of:x", "a b", "inbox:auth:1", 7])
def test_nobody_can_not_be_notified(db, nobody):
    with pytest.raises(InvalidGroup):
        livepush.notify(nobody, "Hello")
    assert not Event.objects.exists()


def test_types_of_the_inbox_are_for_the_inbox_alone(db):
    from livepush.exceptions import InvalidType

    with pytest.raises(InvalidType, match="livepush's own"):
        livepush.send("user:1", "inbox.notification", {"title": "Forged"})


async def test_the_async_twins(transactional_db):
    user = await User.objects.acreate(username="ann")
    await livepush.ajoin(user, "order:7")
    await livepush.anotify("order:7", "One")
    await livepush.aleave(user, "order:7")
    await livepush.anotify("order:7", "Two")
    try:
        assert await sync_to_async(lambda: Inbox(user).page().entries)() == []
        assert await Notification.objects.acount() == 2
    finally:
        await sync_to_async(connections.close_all)()
