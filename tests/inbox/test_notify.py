"""notify: who gets what, when, and what is refused."""

from __future__ import annotations

import inspect
import re

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.db import connections, transaction

import livepush
from livepush import log, publish
from livepush.exceptions import InvalidGroup, InvalidKey, InvalidNotification
from livepush.inbox.marking import Action, mark
from livepush.inbox.models import Notification
from livepush.inbox.reading import Inbox
from livepush.models import ChannelGroup, Event
from tests.archive import models as archive
from tests.conftest import ALIASES, events_of
from tests.inbox.conftest import inbox_on
from tests.shop.models import Clerk, Driver, ExpressOrder, OpenOrder, Order, Team

using = inbox_on(ALIASES[0])
on_every_database = pytest.mark.django_db(transaction=True, databases=ALIASES)


def test_a_user_gets_an_entry_with_what_was_said(using, ann, reader):
    order = Order.objects.create(customer=ann)
    livepush.notify(
        ann, "Shipped", body="It is on its way", url="/orders/7/", icon="/static/box.svg", level="success",
        category="orders", actor=ann, target=order,
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


def test_proxies_and_children_of_a_recipient_are_the_recipient(using, ann, staff, reader):
    driver = Driver.objects.create(username="dan", licence=str(ann.pk))
    dan = User.objects.get(username="dan")
    staff.user_set.add(dan)
    livepush.join(driver, ExpressOrder(id=7))
    livepush.notify(driver, "by instance")
    livepush.notify(Driver.objects.all(), "by queryset")
    livepush.notify(Team.objects.get(), "by auth group")
    livepush.notify(OpenOrder(pk=7), "by group")
    livepush.notify([Clerk.objects.get(pk=ann.pk), *Clerk.objects.filter(pk=ann.pk)], "by proxy")
    livepush.notify(Clerk.objects.filter(pk=ann.pk), "by queryset of a proxy")
    assert reader(dan).titles() == ["by group", "by auth group", "by queryset", "by instance"]
    assert [entry.notification.title for entry in Inbox(driver).page().entries] == reader(dan).titles()
    assert reader(ann).titles() == ["by queryset of a proxy", "by proxy"]


def test_a_driver_who_joins_an_auth_group_joins_as_the_user(using, staff, reader):
    driver = Driver.objects.create(username="dan", licence="A7")
    livepush.notify(staff, "before")
    driver.groups.add(Team.objects.get())
    livepush.notify(staff, "as a member")
    assert reader(driver.user_ptr).titles() == ["as a member"]
    driver.groups.clear()
    driver.groups.add(staff)
    assert reader(driver.user_ptr).titles() == []


def test_an_auth_group_is_notified_whatever_other_models_are_called_group(using, ann, staff, reader):
    ann.groups.add(staff)
    livepush.notify(staff, "to an auth group")
    with pytest.raises(InvalidGroup, match=r"auth\.Group and archive\.Group would share"):
        livepush.notify(archive.Group(pk=staff.pk), "to another group")
    assert reader(ann).titles() == ["to an auth group"]


def test_an_actor_is_one_person_as_a_proxy_and_as_a_child_too(using, ann, reader):
    driver = Driver.objects.create(username="dan", licence="A7")
    for actor in (driver, Clerk.objects.get(pk=driver.id), User.objects.get(pk=driver.id)):
        livepush.notify(ann, "Liked", actor=actor, target=OpenOrder(pk=7), collapse="likes")
    (entry,) = reader(ann).inbox.page().entries
    assert entry.notification.people == [{"name": "dan", "id": str(driver.id), "model": "auth.user"}]
    assert entry.notification.details["target"]["model"] == "shop.order"


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


def test_a_queryset_may_pick_one_user_of_several_by_its_order(using, ann, ben, reader):
    if connections["default"].vendor != "postgresql":
        pytest.skip("only PostgreSQL picks by fields")
    User.objects.update(last_name="Li")
    for order in ("pk", "-pk"):
        livepush.notify(User.objects.order_by("last_name", order).distinct("last_name"), order)
    assert (reader(ann).titles(), reader(ben).titles()) == (["pk"], ["-pk"])


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


def test_who_is_addressed_twice_has_the_notification_once(using, ann, ben, staff, reader):
    livepush.join(ann, "order:7")
    ann.groups.add(staff)
    livepush.notify([ann, ben, "order:7", staff], "One")
    livepush.notify(ann, "Two")
    for count, inbox in ((2, reader(ann)), (1, reader(ben))):
        assert inbox.counts() == (count, count)
        assert len(inbox.titles()) == len(inbox.titles("unread")) == count
    entry = next(entry for entry in reader(ann).inbox.page().entries if entry.notification.title == "One")
    assert entry.notification.group == f"user:{ann.pk}"
    mark(ann, Action.READ, [entry.number])
    assert reader(ann).counts() == (1, 1)
    assert reader(ann).titles("unread") == ["Two"]
    mark(ann, Action.ARCHIVE, [entry.number])
    assert reader(ann).titles() == ["Two"]
    assert reader(ann).titles("archived") == ["One"]
    assert reader(ben).titles() == ["One"]


def test_who_leaves_has_nothing_of_it_and_who_comes_back_begins_anew(using, ann, staff, reader):
    livepush.join(ann, "order:7")
    livepush.join(ann, "order:7")
    ann.groups.add(staff)
    livepush.notify(["order:7", staff], "One")
    assert reader(ann).counts() == (1, 1)
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
    told = Event.objects.using(using).filter(group=f"user:{ann.pk}").order_by("position")
    told = told.values_list("group", "type", "data")
    since = log.state(using).position.epoch + "-0"
    assert list(told) == [
        (f"user:{ann.pk}", "inbox.membership", f'{{"group":"inbox:of:order:7","since":"{since}"}}'),
        (f"user:{ann.pk}", "inbox.membership", '{"group":"inbox:of:order:7","since":null}'),
    ]


@pytest.mark.parametrize("model", [User, Clerk])
def test_a_deleted_user_leaves_nothing(using, ann, ben, reader, model):
    livepush.join(ann, "order:7")
    livepush.notify([ann, ben], "Bye")
    reader(ann).do("read", "Bye")
    model.objects.get(pk=ann.pk).delete()
    assert [row.group for row in Notification.objects.using(using).all()] == [f"user:{ben.pk}"]
    for name in ("Membership", "NotificationState", "InboxState"):
        from livepush.inbox import models

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
        ({"data": [1]}, "data is [1]: expected a dict, such as {'order': 7}."),
        ({"data": "order"}, "data is 'order': expected a dict"),
        ({"data": []}, "data is []: expected a dict"),
        ({"data": 7}, "data is 7: expected a dict"),
        ({"body": None}, "body is None: expected a text"),
        ({"url": 7}, "url is 7: expected a text"),
        ({"icon": None}, "icon is None: expected a text"),
        ({"level": ["info"]}, "level is ['info']: expected one of"),
        ({"level": 7}, "level is 7: expected one of"),
        ({"category": None}, "category is None: expected a text"),
        ({"collapse": 7}, "collapse is 7: expected a text"),
        ({"actor": 7}, "actor or target is 7: expected a text"),
        ({"target": [1]}, "actor or target is [1]: expected a text"),
        ({"title": None}, "None is neither a text nor a registered kind"),
        ({"title": {}}, "{} is neither a text nor a registered kind"),
    ],
)
def test_what_can_not_be_said_is_refused_before_anything_is_written(db, arguments, problem):
    user = User.objects.create(username="ann")
    with pytest.raises(InvalidNotification, match=re.escape(problem)):
        livepush.notify(user, **{"title": "A title", **arguments})
    assert not Event.objects.exists()


def test_the_text_everyone_is_not_taken_for_all_users(using, ann, reader):
    for recipients in ("everyone", [ann, "everyone"]):
        with pytest.raises(InvalidNotification, match=r"to notify all users, use livepush\.everyone"):
            livepush.notify(recipients, "Hello")
    assert reader(ann).titles() == []


@pytest.mark.parametrize("nobody", [None, AnonymousUser(), User(), "inbox:of:x", "a b", "inbox:auth:1", 7])
def test_nobody_can_not_be_notified(db, nobody):
    with pytest.raises(InvalidGroup):
        livepush.notify(nobody, "Hello")
    assert not Event.objects.exists()


def test_what_follows_the_title_is_named(db):
    with pytest.raises(TypeError, match="takes 2 positional arguments"):
        livepush.notify("user:1", "Shipped", "It is on its way")
    assert inspect.signature(livepush.anotify) == inspect.signature(livepush.notify)


def test_with_a_key_the_first_alone_comes_to_each_audience(using, ann, ben, reader):
    livepush.notify(ann, "First", key="payment-7")
    livepush.notify([ann, ben], "Second", key="payment-7")
    livepush.notify(livepush.everyone, "Third", key="payment-7")
    livepush.notify(ann, "Another", key="payment-8")
    assert reader(ann).titles() == ["Another", "Third", "First"]
    assert reader(ben).titles() == ["Third", "Second"]


def test_a_key_that_was_rolled_back_is_free(using, ann, reader):
    with pytest.raises(RuntimeError), transaction.atomic(using=using):
        livepush.notify(ann, "Never", key="k")
        raise RuntimeError
    livepush.notify(ann, "Always", key="k")
    assert reader(ann).titles() == ["Always"]


@pytest.mark.parametrize("key", ["payment-7", "k" * 200], ids=["short", "as long as may be"])
def test_an_event_with_the_same_key_keeps_no_notification_back_and_the_other_way_round(using, ann, reader, key):
    livepush.send(ann, "paid", key=key, using=using)
    livepush.notify(ann, "Paid", key=key)
    livepush.send(ann, "paid", key=key, using=using)
    livepush.notify(ann, "Paid again", key=key)
    assert reader(ann).titles() == ["Paid"]
    assert [event.type for event in events_of(using, [f"user:{ann.pk}"])] == ["paid", "inbox.notification"]


@pytest.mark.parametrize("key", ["", 7, "x" * 201, "a\0"])
def test_a_malformed_key_is_refused(db, key):
    with pytest.raises(InvalidKey):
        livepush.notify("user:1", "Hello", key=key)
    assert not Event.objects.exists()


@on_every_database
def test_using_names_the_database_whose_transaction_it_belongs_to(using, ann, reader, monkeypatch):
    monkeypatch.setattr("livepush.inbox.notifying.CHUNK", 1)
    for other in ALIASES:
        with pytest.raises(RuntimeError), transaction.atomic(using=other):
            livepush.notify(ann, "Never", using=other)
            raise RuntimeError
        livepush.notify([ann, "order:7"], f"In {other}", using=other)
    titles = {alias: sorted({row.title for row in Notification.objects.using(alias)}) for alias in ALIASES}
    assert titles == {alias: [f"In {alias}"] for alias in ALIASES}
    assert reader(ann).titles() == [f"In {using}"]


@on_every_database
def test_a_part_that_fails_takes_the_others_back_on_the_database_it_is_sent_to(using, ann, ben, monkeypatch):
    monkeypatch.setattr("livepush.inbox.notifying.CHUNK", 1)
    send_own, other = publish.send_own, ALIASES[-1]

    def fail_for_ben(groups, *args):
        send_own(groups, *args)
        if groups == [f"user:{ben.pk}"]:
            raise RuntimeError

    monkeypatch.setattr(publish, "send_own", fail_for_ben)
    with pytest.raises(RuntimeError):
        livepush.notify([ann, ben], "None", using=other)
    assert not Event.objects.using(other).exists()


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
