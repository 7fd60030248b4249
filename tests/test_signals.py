"""Model signals become events."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import pickle
import re
import unittest
from datetime import date

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core import mail, serializers
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connections, models, transaction
from django.db.models import F
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save
from django.test import TestCase
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.utils.functional import SimpleLazyObject

import livepush
from livepush import exceptions, log
from livepush.publish import model_events, model_signals
from livepush.testing import capture_events, silenced
from tests.shop.live import OrderLive
from tests.shop.models import (
    Array,
    Driver,
    ExpressOrder,
    Invoice,
    Money,
    OpenOrder,
    Order,
    Person,
    Picture,
    Row,
    Shelf,
    Tag,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def order():
    return Order.objects.create()


def summary(events):
    return [(sent.type, sent.groups) for sent in events]


def test_created_is_sent_with_the_registered_data():
    with capture_events() as events:
        order = Order.objects.create(status="new")
    assert summary(events) == [("order.created", (f"order:{order.pk}",))]
    assert events[0].payload == {"id": order.pk, "status": "new", "count": 0}


def test_updated_says_which_fields_changed(order):
    order.status, order.eta, order.note = "sent", date(2026, 2, 1), "x"
    with capture_events() as events:
        order.save()
    assert events.types() == ["order.updated"]
    assert events[0].payload == {"changed": ["status", "eta"], "id": order.pk, "status": "sent", "count": 0}


def test_an_update_of_other_fields_sends_nothing(order):
    order.note = "x"
    with capture_events() as events:
        order.save()
    assert events == []


def test_the_stored_row_counts_not_what_the_instance_was_loaded_with(order):
    Order.objects.filter(pk=order.pk).update(status="sent")
    order.status = "sent"
    with capture_events() as events:
        order.save()
    assert events == []


def test_a_value_of_another_type_that_is_stored_the_same_is_no_change(order):
    order.count, order.eta = "0", None
    with capture_events() as events:
        order.save()
    assert events == []


def test_fields_left_out_of_update_fields_are_not_stored_and_not_told(order):
    order.status, order.count = "sent", 3
    with capture_events() as events:
        order.save(update_fields=["count"])
    assert events[0].payload["changed"] == ["count"]


def test_an_expression_is_told_as_the_number_that_it_became(order):
    order.count = F("count") + 5
    with capture_events() as events:
        order.save()
    assert events[0].payload == {"changed": ["count"], "id": order.pk, "status": "new", "count": 5}


def test_a_queryset_on_an_instance_is_no_saved_value(order, monkeypatch):
    monkeypatch.setattr(handler(), "data", lambda order, action: {"by": order.by})
    order.by, order.found = "ann", Tag.objects.all()
    order.status = "sent"
    with capture_events() as events:
        order.save()
    assert events[0].payload == {"changed": ["status"], "by": "ann"}


def test_saving_an_unsaved_instance_of_a_stored_row_is_an_update(order):
    with capture_events() as events:
        Order(pk=order.pk, status="sent").save()
    assert events.types() == ["order.updated"]
    assert events[0].payload["changed"] == ["status"]


def test_several_saves_in_one_transaction_each_send(order):
    with capture_events() as events, transaction.atomic():
        for status in ("a", "b", "c"):
            order.status = status
            order.save()
    assert [sent.payload["status"] for sent in events] == ["a", "b", "c"]


def test_a_rolled_back_savepoint_sends_nothing(order):
    with capture_events() as events:
        with pytest.raises(RuntimeError), transaction.atomic():
            order.status = "sent"
            order.save()
            raise RuntimeError
        order.status = "kept"
        order.save()
    assert [sent.payload["status"] for sent in events] == ["kept"]


def test_deleted_is_sent_with_the_primary_key_that_is_gone(order):
    pk = order.pk
    with capture_events() as events:
        order.delete()
    assert [(sent.type, sent.groups, sent.payload["id"]) for sent in events] == [
        ("order.deleted", (f"order:{pk}",), pk)
    ]


def test_a_cascade_sends_deleted_for_each(order):
    user = User.objects.create(username="ann")
    Order.objects.create(customer=user)
    Order.objects.create(customer=user)
    with capture_events() as events:
        user.delete()
    assert events.types() == ["order.deleted", "order.deleted"]


def test_a_send_of_the_project_s_own_takes_deletions_too(order, monkeypatch):
    pk, taken = order.pk, []
    monkeypatch.setattr(handler(), "send", lambda *given: taken.append(given))
    with capture_events() as events:
        order.delete()
    assert events == []
    assert taken == [(order, "deleted", [f"order:{pk}"], "default")]


def test_a_deletion_that_a_send_of_the_project_s_own_passes_on_has_the_data_of_before(order, monkeypatch):
    order.tags.create(name="x")
    send = handler().send
    monkeypatch.setattr(handler(), "data", lambda instance, action: {"tags": instance.tags.count()})
    monkeypatch.setattr(handler(), "send", lambda order, action, groups, using: send(order, action, ["board"], using))
    with capture_events() as events:
        order.delete()
    assert [(sent.type, sent.groups, sent.payload) for sent in events] == [("order.deleted", ("board",), {"tags": 1})]


@pytest.mark.parametrize("action", ["created", "updated", "deleted"])
def test_a_send_of_the_project_s_own_may_pass_on_a_plain_string(action, order, monkeypatch):
    send = handler().send
    monkeypatch.setattr(handler(), "send", lambda order, _, groups, using: send(order, action, groups, using))
    order.status = "archived"
    with capture_events() as events:
        order.save()
    assert events.types() == [f"order.{action}"]


def test_the_groups_that_an_instance_leaves_hear_removed(order):
    ann, bob = User.objects.create(username="ann"), User.objects.create(username="bob")
    order.customer = ann
    order.save()
    order.customer = bob
    with capture_events() as events:
        order.save()
    assert summary(events) == [
        ("order.removed", (f"user:{ann.pk}",)),
        ("order.updated", (f"order:{order.pk}", f"user:{bob.pk}")),
    ]


@pytest.mark.parametrize("fields", [("status",), ()])
def test_a_save_asks_for_the_groups_before_and_after_it_once_each(order, monkeypatch, fields):
    asked = []

    def groups(instance):
        asked.append(instance.status)
        return [f"watcher:{instance.status}:{number}" for number in range(50)]

    monkeypatch.setattr(handler(), "groups", groups)
    monkeypatch.setattr(handler(), "fields", fields)
    for status in ("new", "sent"):
        asked.clear()
        order.status = status
        order.save()
        assert asked == ["new", status]


def test_fixtures_send_nothing(order):
    data = serializers.serialize("json", [order])
    Order.objects.all().delete()
    with capture_events() as events:
        for loaded in serializers.deserialize("json", data):
            loaded.save()
    assert events == []


def test_a_failing_save_leaves_nothing_behind(order):
    order.customer_id = None
    order.status = None
    with pytest.raises(IntegrityError), transaction.atomic():
        order.save()
    order.status = "sent"
    with capture_events() as events:
        order.save()
    assert events[0].payload["changed"] == ["status"]


def test_many_to_many_changes_are_sent_when_asked_for(order):
    tag, other = Tag.objects.create(name="x"), Tag.objects.create(name="y")
    with capture_events() as events:
        order.tags.add(tag, other)
        order.tags.add(tag)
        order.tags.remove(tag)
        order.tags.clear()
    assert [sent.payload["changed"] for sent in events] == [["tags"]] * 3


def test_many_to_many_changes_from_the_other_side_are_sent_for_each_instance(order):
    tag, other = Tag.objects.create(name="x"), Order.objects.create()
    with capture_events() as events:
        tag.order_set.add(order, other)
        tag.order_set.clear()
    assert sorted(sent.payload["id"] for sent in events) == sorted([order.pk, other.pk] * 2)


@pytest.fixture
def tagged(order, monkeypatch):
    """An order that sends to the groups of its tags too, and two tags of it."""
    monkeypatch.setattr(handler(), "groups", lambda order: [order, *(f"tag:{tag.name}" for tag in order.tags.all())])
    return order, *(order.tags.create(name=name) for name in "xy")


@pytest.mark.parametrize(
    "leave",
    [
        lambda order, x, y: order.tags.remove(x),
        lambda order, x, y: order.tags.set([y]),
        lambda order, x, y: x.order_set.remove(order),
        lambda order, x, y: x.order_set.set([]),
        lambda order, x, y: x.order_set.clear(),
    ],
    ids=["remove", "set", "remove from the other side", "set from the other side", "clear from the other side"],
)
def test_the_groups_that_an_instance_leaves_by_a_many_to_many_change_hear_removed(tagged, leave):
    order, x, y = tagged
    with capture_events() as events:
        leave(order, x, y)
    assert summary(events) == [
        ("order.removed", ("tag:x",)),
        ("order.updated", (f"order:{order.pk}", "tag:y")),
    ]


def test_all_groups_of_a_many_to_many_field_that_is_cleared_hear_removed(tagged):
    order = Order.objects.prefetch_related("tags").get()
    with capture_events() as events:
        order.tags.clear()
    assert summary(events) == [("order.removed", ("tag:x", "tag:y")), ("order.updated", (f"order:{order.pk}",))]


def test_a_group_that_an_instance_leaves_as_something_is_added_hears_removed(order, monkeypatch):
    def groups(order):
        found = list(order.tags.values_list("name", flat=True))
        return [f"tag:{name}" for name in found] or "untagged"

    monkeypatch.setattr(handler(), "groups", groups)
    with capture_events() as events:
        order.tags.create(name="x")
    assert summary(events) == [("order.removed", ("untagged",)), ("order.updated", ("tag:x",))]


def test_what_an_instance_remembers_of_its_relations_is_asked_after_the_change(order, monkeypatch):
    def groups(order):
        if not hasattr(order, "known"):
            order.known = [f"tag:{tag.name}" for tag in order.tags.all()]
        return order.known

    monkeypatch.setattr(handler(), "groups", groups)
    with capture_events() as events:
        order.tags.create(name="x")
    assert summary(events) == [("order.updated", ("tag:x",))]


def test_query_sets_fire_no_signals_and_send_for_does_it_by_hand(order):
    Order.objects.create()
    with capture_events() as events:
        Order.objects.update(status="sent")
        assert livepush.send_for(Order.objects.order_by("pk"), changed=["status"]) == 2
    assert [sent.payload["status"] for sent in events] == ["sent", "sent"]
    assert events[0].payload["changed"] == ["status"]


def test_send_for_takes_what_bulk_create_returns():
    with capture_events() as events:
        livepush.send_for(Order.objects.bulk_create([Order(), Order()]), "created")
    assert events.types() == ["order.created"] * 2


def test_send_for_tells_each_instance_which_fields_changed():
    Order.objects.bulk_create([Order(), Order()])
    with capture_events() as sent:
        livepush.send_for(Order.objects.all(), changed=(name for name in ["status"]))
    assert [each.payload["changed"] for each in sent] == [["status"], ["status"]]
    with pytest.raises(exceptions.InvalidRule, match=r"changed is 'status': expected the names of fields in a list"):
        livepush.send_for(Order.objects.all(), changed="status")


def test_send_for_takes_one_instance(order):
    with capture_events() as events:
        assert livepush.send_for(order) == 1
    assert summary(events) == [("order.updated", (f"order:{order.pk}",))]


class Default:
    """A router that writes all to the default database."""

    def db_for_write(self, model, **hints):
        assert model._meta.model_name
        return "default"


@pytest.mark.parametrize("routers", [[], [Default()]], ids=["no router", "a router"])
def test_send_for_takes_a_lazy_instance(order, settings, routers):
    settings.DATABASE_ROUTERS = routers
    lazy = SimpleLazyObject(lambda: Order.objects.get(pk=order.pk))
    with capture_events() as events:
        assert livepush.send_for([lazy]) == livepush.send_for(lazy) == 1
    assert summary(events) == [("order.updated", (f"order:{order.pk}",))] * 2
    with pytest.raises(exceptions.InvalidRule, match="Tag sends no events"):
        livepush.send_for([SimpleLazyObject(lambda: Tag.objects.create(name="x"))])


ONE_OR_NONE = {
    "a name": (lambda order: f"status:{order.status}", lambda pk, status: [f"status:{status}"]),
    "an instance": (lambda order: order, lambda pk, status: [f"order:{pk}"]),
    "none": (lambda order: None, lambda pk, status: []),
}


@pytest.mark.parametrize("name", ONE_OR_NONE)
def test_groups_may_return_one_group_or_none_at_all(order, monkeypatch, name):
    returned, told = ONE_OR_NONE[name]
    monkeypatch.setattr(handler(), "groups", returned)
    pk = order.pk
    with capture_events() as events:
        order.status = "sent"
        order.save()
        livepush.send_for(order)
        order.tags.create(name="x")
        order.delete()
    assert {group for sent in events if sent.type != "order.removed" for group in sent.groups} == set(told(pk, "sent"))
    assert events.types() == (["order.removed"] if name == "a name" else []) + len(told(pk, "sent")) * (
        ["order.updated"] * 3 + ["order.deleted"]
    )


def test_send_for_refuses_what_is_not_registered():
    with pytest.raises(exceptions.InvalidRule, match=r"Tag sends no events: add @livepush\.register"):
        livepush.send_for([Tag.objects.create(name="x")])
    with pytest.raises(exceptions.InvalidRule, match="'moved' is not an action"):
        livepush.send_for([], "moved")


def test_registering_a_field_that_is_not_there_is_refused():
    with pytest.raises(exceptions.InvalidRule, match="names a field that is not there"):

        @livepush.register(Tag)
        class TagLive(livepush.ModelEvents):
            fields = ("nmae",)


class Bare:
    fields = ("name",)


class TagLive(livepush.ModelEvents):
    pass


def live(**attributes):
    return type("TagLive", (livepush.ModelEvents,), attributes)


@pytest.mark.parametrize(
    ("register", "message"),
    [
        (lambda: livepush.register(TagLive), r"TagLive is registered for no model: write @livepush.register\(Order\)"),
        (lambda: livepush.register(Bare), "Bare is registered for no model: write @livepush.register"),
        (lambda: livepush.register(), "There is no model to register: write @livepush.register"),
        (lambda: livepush.register("shop.Tag"), "'shop.Tag' is no model: expected the model's class itself"),
        (lambda: livepush.register(Tag()), "is no model: expected the model's class itself"),
        (lambda: livepush.register([Tag]), "is no model: expected the model's class itself"),
        (
            lambda: livepush.register(Tag)(Bare),
            r"write class Bare\(livepush.ModelEvents\)",
        ),
        (lambda: livepush.register(Tag)(len), "len is no ModelEvents class"),
        (
            lambda: livepush.register(Tag)(live(fields="name")),
            r"is 'name': expected a tuple such as \('name',\)",
        ),
        (lambda: livepush.register(Tag)(live(m2m="name")), r"m2m is 'name': expected a tuple such as \('name',\)"),
        (
            lambda: livepush.register(Tag)(live(fields=None)),
            "fields is None: expected a tuple with the names",
        ),
        (lambda: livepush.register(Tag)(live(fields=(7,))), r"fields is \(7,\): expected a tuple with the names"),
        (lambda: livepush.register(Tag)(live(m2m=("name",))), "'name', which is no many-to-many field"),
        (lambda: livepush.register(Tag)(live(m2m=("order",))), "'order', which is no many-to-many field"),
        (lambda: livepush.register(Tag)(live(fields=("order",))), "'order', which Tag does not store itself"),
        (lambda: livepush.register(ExpressOrder)(live(fields=("tags",))), "many-to-many field 'tags': put it into m2m"),
        (lambda: livepush.register(Tag)(live(groups=("tags",))), r"TagLive.groups is \('tags',\): expected a method"),
        (lambda: livepush.register(Tag)(live(type="tag")), "TagLive.type is 'tag': expected a method"),
    ],
)
def test_what_can_send_no_events_of_a_model_is_refused_with_a_sentence(register, message):
    before = dict(model_events.registry)
    with pytest.raises(exceptions.InvalidRule, match=message):
        register()
    assert model_events.registry == before


def test_a_model_has_one_class_for_its_events():
    with pytest.raises(exceptions.InvalidRule, match="sends events already, with OrderLive"):

        @livepush.register(Order)
        class Another(livepush.ModelEvents):
            pass


def test_the_defaults_need_no_methods():
    events = model_events.ModelEvents(Tag)
    tag = Tag.objects.create(name="x")
    with capture_events() as sent:
        events.send(tag, model_events.Action("updated", ["name"]), events.groups(tag), None)
    assert (sent[0].type, sent[0].groups) == ("tag.updated", (f"tag:{tag.pk}",))
    assert json.loads(sent[0].data) == {"changed": ["name"], "id": tag.pk}


def test_the_default_groups_of_a_proxy_or_a_child_are_those_of_the_row_that_they_are():
    child = ExpressOrder.objects.create()
    events = model_events.ModelEvents(ExpressOrder)
    with capture_events() as sent:
        events.send(child, model_events.Action("created"), events.groups(child), None)
    assert (sent[0].type, sent[0].groups) == ("expressorder.created", (f"order:{child.pk}",))


# What is remembered between two signals


def handler(model=Order):
    return model_events.registry[model]


@pytest.mark.parametrize("fails", [False, True])
def test_instances_carry_nothing_of_what_signals_remembered(order, fails):
    order.status = None if fails else "sent"
    with contextlib.suppress(IntegrityError), transaction.atomic():
        order.save()
    assert [name for name in vars(order) if "livepush" in name] == []
    assert b"livepush" not in pickle.dumps(order)


def test_what_failed_saves_left_goes_with_the_instance(order):
    order.status = None
    for _ in range(50):
        with contextlib.suppress(IntegrityError), transaction.atomic():
            order.save()
    assert len(handler()._rows._kept[id(order)][1]) == model_signals.MAX_NESTED
    order.status = "sent"
    with capture_events() as events:
        order.save()
    assert events[0].payload["changed"] == ["status"]


def test_memories_of_an_instance_go_with_it():
    memory, order = model_signals.Memory(), Order()
    memory.remember(order, "a row")
    del order
    gc.collect()
    assert memory._kept == {}


def test_saves_within_each_other_each_compare_with_what_was_stored(order):
    def save_again(sender, instance, **kwargs):
        if instance.count == 1:
            instance.count = 2
            instance.save()

    order.count = 1
    with connected(post_save, save_again, Order), capture_events() as events:
        order.save()
    assert [sent.payload["changed"] for sent in events] == [["count"], ["count"]]
    assert id(order) not in handler()._rows._kept


# Signals that others send


@contextlib.contextmanager
def connected(signal, receiver, sender):
    signal.connect(receiver, sender=sender)
    yield
    signal.disconnect(receiver, sender=sender)


def subsets(**arguments):
    """Return each choice of some arguments."""
    names = list(arguments)
    chosen = itertools.chain.from_iterable(itertools.combinations(names, count) for count in range(len(names) + 1))
    return [{name: arguments[name] for name in choice} for choice in chosen]


@pytest.mark.parametrize(
    "given",
    subsets(created=False, raw=False, using="default", update_fields=["status"]),
    ids=lambda given: "-".join(given) or "none",
)
@pytest.mark.parametrize("signal", [pre_save, post_save, pre_delete, post_delete], ids=lambda each: "")
def test_whoever_sends_a_signal_may_leave_out_anything(order, signal, given):
    signal.send(sender=Order, **given)
    signal.send(sender=Order, instance=object(), **given)
    signal.send(sender=Order, instance=None, **given)
    with capture_events() as events:
        signal.send(sender=Order, instance=order, **given)
    assert events.types() == {post_save: ["order.updated"], post_delete: ["order.deleted"]}.get(signal, [])


@pytest.mark.parametrize("action", [None, "pre_add", "post_add", "post_remove", "pre_clear", "post_clear", "else"])
@pytest.mark.parametrize("side", [Order, Tag])
@pytest.mark.parametrize("through", [Order.tags.through, User.groups.through])
def test_whoever_sends_a_many_to_many_signal_may_leave_out_anything(action, side, through):
    instance = side.objects.create()
    for given in subsets(instance=instance, action=action, reverse=side is Tag, pk_set={1}, using="default"):
        m2m_changed.send(sender=through, **given)
    m2m_changed.send(sender=through, instance=User.objects.create(), action=action)


def test_a_many_to_many_signal_without_a_set_of_keys_is_a_change(order):
    with capture_events() as events:
        m2m_changed.send(sender=Order.tags.through, instance=order, action="post_add")
    assert events[0].payload["changed"] == ["tags"]


def test_a_user_whose_deletion_is_told_again_is_no_error():
    user = User.objects.create(username="ann")
    post_delete.send(sender=User, instance=User())
    post_delete.send(sender=User)
    post_delete.send(sender=User, instance=user)


def test_a_deletion_that_is_told_only_afterwards_sends_what_there_is_then(order):
    order.customer = User.objects.create(username="ann")
    with capture_events() as events:
        post_delete.send(sender=Order, instance=order, using="default")
    assert summary(events) == [("order.deleted", (f"order:{order.pk}", f"user:{order.customer_id}"))]


# What goes wrong


@pytest.fixture(params=["groups", "data", "type"])
def failing(request, monkeypatch):
    def fail(*args):
        raise ZeroDivisionError("the project's own mistake")

    monkeypatch.setattr(handler(), request.param, fail)


@pytest.mark.parametrize("wanted", ["auto", "raise"])
def test_a_mistake_in_a_projects_class_is_raised_in_tests(order, failing, settings, wanted):
    settings.LIVEPUSH = {"MODEL_EVENT_ERRORS": wanted}
    order.status = "sent"
    for change in (order.save, order.delete, lambda: order.tags.create(name="x")):
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            change()


@pytest.mark.parametrize("wanted", ["auto", "log"])
def test_a_mistake_in_a_projects_class_is_logged_in_production(order, failing, settings, monkeypatch, caplog, wanted):
    if wanted == "auto":
        monkeypatch.delattr(mail, "outbox")
    settings.LIVEPUSH = {"MODEL_EVENT_ERRORS": wanted}
    order.status = "sent"
    with capture_events() as events:
        order.save()
        order.tags.create(name="x")
        order.delete()
        Order.objects.create()
    assert events == []
    assert not Order.objects.filter(status="sent").exists()
    assert "tests.shop.live.OrderLive failed, so an event of 'Order' was not sent." in caplog.text
    assert "the project's own mistake" in caplog.text


def test_with_debug_it_is_raised(order, failing, settings, monkeypatch):
    monkeypatch.delattr(mail, "outbox")
    settings.DEBUG = True
    with pytest.raises(ZeroDivisionError):
        order.delete()


@pytest.mark.parametrize("what", [["a b"], [None], [object()], 7])
def test_groups_that_are_none_are_a_mistake_too(order, settings, monkeypatch, caplog, what):
    settings.LIVEPUSH = {"MODEL_EVENT_ERRORS": "log"}
    monkeypatch.setattr(handler(), "groups", lambda instance: what)
    order.status = "sent"
    order.save()
    assert "OrderLive failed" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_an_error_of_the_database_ends_a_transaction_and_is_raised_in_it(order, settings, monkeypatch, caplog):
    """To go on would be to commit the row without its event, if the transaction can be committed at all."""
    settings.LIVEPUSH = {"MODEL_EVENT_ERRORS": "log"}

    def fail(*args, **kwargs):
        raise DatabaseError("the table is gone")

    monkeypatch.setattr(log, "append_settled", fail)
    order.status = "sent"
    with pytest.raises(DatabaseError, match="the table is gone"), transaction.atomic():
        order.save()
    order.save()  # stored by the time that the event fails
    assert Order.objects.get().status == "sent"
    assert "OrderLive failed" in caplog.text


# Silence


def test_in_a_silenced_block_signals_send_nothing_and_cost_nothing(order, django_assert_num_queries):
    order.status = "sent"
    with capture_events() as events, silenced(), silenced():
        with django_assert_num_queries(1):
            order.save()
        order.tags.create(name="x")
        order.delete()
        livepush.send("board", "t")
        assert livepush.send_for(Order.objects.bulk_create([Order()]), "created") == 1
    assert events.types() == ["t", "order.created"]
    with capture_events() as events:
        Order.objects.create()
    assert events.types() == ["order.created"]


@silenced()
def test_a_function_may_be_silenced():
    with capture_events() as events:
        Order.objects.create()
    assert events == []


@pytest.mark.django_db(transaction=True)
@silenced()
async def test_an_async_function_may_be_silenced():
    with capture_events() as events:
        await Order.objects.acreate()
    assert events == []
    await sync_to_async(connections.close_all)()


@silenced()
class SilencedTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        with capture_events() as events:
            Order.objects.create()
        cls.events_before = list(events)

    def test_its_data_are_silenced_too(self):
        self.assertEqual(self.events_before, [])

    def test_a_class_may_be_silenced(self):
        with capture_events() as events:
            Order.objects.create()
        self.assertEqual(events, [])

    async def test_its_async_tests_too(self):
        with capture_events() as events:
            await Order.objects.acreate()
        self.assertEqual(events, [])


def test_a_silenced_class_is_silent_until_it_ends_however_that_is():
    @silenced()
    class Broken(unittest.TestCase):
        @classmethod
        def setUpClass(cls):
            assert model_signals.is_silent()
            raise ZeroDivisionError

        def test(self):
            assert model_signals.is_silent()

    class Child(Broken):
        @classmethod
        def setUpClass(cls):
            with contextlib.suppress(ZeroDivisionError):
                super().setUpClass()

        @classmethod
        def tearDownClass(cls):
            assert model_signals.is_silent()

    for case, errors in ((Broken, 1), (Child, 0)):
        outcome = unittest.defaultTestLoader.loadTestsFromTestCase(case).run(unittest.TestResult())
        assert len(outcome.errors) == errors
        assert not model_signals.is_silent()


def test_a_setting_switches_them_off(order, settings, django_assert_num_queries):
    settings.LIVEPUSH = {"MODEL_EVENTS": False}
    order.status = "sent"
    with capture_events() as events, django_assert_num_queries(1):
        order.save()
    assert events == []


# Saves of some fields


def test_a_save_of_fields_that_concern_nobody_costs_no_query(order, django_assert_num_queries):
    order.note = "x"
    with capture_events() as events, django_assert_num_queries(1):
        order.save(update_fields=["note"])
    assert events == []


def test_a_forced_update_with_a_key_that_has_a_default_says_who_is_left(order, monkeypatch):
    ann, bob = User.objects.create(username="ann"), User.objects.create(username="bob")
    Order.objects.update(customer=ann)
    monkeypatch.setattr(Order._meta.pk, "default", 7)
    with capture_events() as events:
        Order(pk=order.pk, customer=bob).save(force_update=True)
    left, updated = events
    assert (left.type, left.groups) == ("order.removed", (f"user:{ann.pk}",))
    assert (updated.type, updated.groups) == ("order.updated", (f"order:{order.pk}", f"user:{bob.pk}"))
    assert updated.payload["changed"] == []


def test_a_new_instance_whose_key_has_a_default_costs_no_look_for_an_old_one(monkeypatch):
    monkeypatch.setattr(Order._meta.pk, "default", 7)
    with capture_events() as events, CaptureQueriesContext(connections["default"]) as queries:
        Order(pk=5).save()
    assert events.types() == ["order.created"]
    assert not [query for query in queries if query["sql"].startswith("SELECT") and "shop_order" in query["sql"]]


@pytest.mark.parametrize("name", ["customer", "customer_id"])
def test_a_save_of_a_field_that_groups_hang_on_still_says_who_is_left(order, name, django_assert_num_queries):
    ann, bob = User.objects.create(username="ann"), User.objects.create(username="bob")
    order.customer = ann
    order.save()
    order.customer = bob
    with capture_events() as events:
        order.save(update_fields=[name])
    assert summary(events) == [
        ("order.removed", (f"user:{ann.pk}",)),
        ("order.updated", (f"order:{order.pk}", f"user:{bob.pk}")),
    ]
    assert order.customer is bob


@pytest.mark.skipif(not hasattr(models, "FETCH_RAISE"), reason="needs Django 6.1")
def test_livepush_looks_at_the_stored_row_where_the_projects_own_code_may_fetch_nothing(order):
    ann, bob = User.objects.create(username="ann"), User.objects.create(username="bob")
    Order.objects.update(customer=ann)
    order = Order.objects.fetch_mode(models.FETCH_RAISE).get()
    order.customer = bob
    with capture_events() as events:
        order.save(update_fields=["customer"])
    assert summary(events) == [
        ("order.removed", (f"user:{ann.pk}",)),
        ("order.updated", (f"order:{order.pk}", f"user:{bob.pk}")),
    ]


def test_a_save_of_some_fields_of_a_row_that_is_gone_fails_as_ever(order):
    Order.objects.all().delete()
    with pytest.raises(DatabaseError, match="did not affect any rows"), transaction.atomic():
        order.save(update_fields=["customer"])


# Proxies and children


def test_a_registered_model_hears_its_proxies_and_children_once_each(order):
    proxy = OpenOrder.objects.get()
    with capture_events() as events:
        proxy.status = "sent"
        proxy.save()
        proxy.delete()
        child = ExpressOrder.objects.create(courier="x")
        child.status = "sent"
        child.save()
        pk = child.pk
        child.tags.create(name="x")
        child.delete()
    assert events.types() == ["order.updated", "order.deleted", "order.created"] + ["order.updated"] * 2 + [
        "order.deleted"
    ]
    assert [sent.payload["id"] for sent in events] == [order.pk] * 2 + [pk] * 4
    assert events[1].groups == (f"order:{order.pk}",)


@pytest.mark.parametrize("parent", [Order, User])
def test_deleting_children_and_parents_tells_each_once(parent, monkeypatch):
    user = User.objects.create(username="ann")
    for _ in range(3):
        ExpressOrder.objects.create(customer=user)
    with capture_events() as events:
        parent.objects.all().delete()
    assert events.types() == ["order.deleted"] * 3


def test_a_child_that_is_made_of_a_parent_is_an_update_of_the_parent(order):
    child = ExpressOrder(order_ptr=order, courier="x", status="sent")
    with capture_events() as events:
        child.save()
    assert (events.types(), events[0].payload["changed"]) == (["order.updated"], ["status"])


def test_a_child_that_goes_and_leaves_its_parent_is_no_deletion():
    child = ExpressOrder.objects.create()
    with capture_events() as events:
        child.delete(keep_parents=True)
    assert events == []


def test_a_child_with_a_primary_key_of_its_own_is_told_by_its_parents(registered):
    registered(User, fields=("first_name",), groups=lambda self, user: [user])
    with capture_events() as events:
        driver = Driver.objects.create(username="dan", licence="A7")
        driver.first_name = "Dan"
        driver.save()
        pk = driver.user_ptr_id
        driver.delete()
    assert summary(events) == [(f"user.{action}", (f"user:{pk}",)) for action in ("created", "updated", "deleted")]
    assert events[1].payload == {"changed": ["first_name"], "id": pk, "first_name": "Dan"}


def test_a_class_of_its_own_for_a_child_is_heard_beside_the_parents(registered):
    registered(ExpressOrder, fields=("courier",))
    registered(OpenOrder)
    with capture_events() as events:
        child = ExpressOrder.objects.create(courier="x")
        child.tags.create(name="x")
        child.delete()
        OpenOrder.objects.create().delete()
    assert sorted(events.types()) == [
        "expressorder.created", "expressorder.deleted", "openorder.created", "openorder.deleted",
        *["order.created"] * 2, *["order.deleted"] * 2, "order.updated",
    ]  # fmt: skip


def test_a_childs_many_to_many_events_are_not_sent_for_its_parents(registered, order):
    registered(ExpressOrder, m2m=("tags",))
    with capture_events() as events:
        tag = order.tags.create(name="x")
        tag.order_set.clear()
    assert events.types() == ["order.updated"] * 2


def test_send_for_takes_proxies_and_children(order):
    with capture_events() as events:
        assert livepush.send_for(OpenOrder.objects.all()) == 1
        livepush.send_for([ExpressOrder.objects.create()])
    assert events.types() == ["order.updated", "order.created", "order.updated"]


@isolate_apps("tests.shop")
def test_a_proxy_that_is_defined_later_is_heard_too():
    class LateOrder(Order):
        class Meta:
            proxy = True
            app_label = "shop"

    with capture_events() as events:
        LateOrder.objects.create().delete()
    assert events.types() == ["order.created", "order.deleted"]


class Base(models.Model):
    class Meta:
        abstract = True
        app_label = "shop"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Base, "Base is abstract, so it has no instances: register its children."),
        (Order.tags.through, "is made by Django for a many-to-many field, which fires other signals: use m2m."),
    ],
)
def test_a_model_that_would_never_be_heard_is_refused(model, message):
    with pytest.raises(exceptions.InvalidRule, match=re.escape(message)):
        livepush.register(model)(type("Live", (livepush.ModelEvents,), {}))
    assert model not in model_events.registry


def test_a_model_that_is_swapped_is_refused(monkeypatch):
    monkeypatch.setitem(vars(Tag._meta), "swapped", "shop.Order")
    with pytest.raises(exceptions.InvalidRule, match=r"Tag is swapped for 'shop\.Order': register that one"):
        livepush.register(Tag)(type("Live", (livepush.ModelEvents,), {}))


def test_one_class_for_a_parent_and_its_child_would_be_heard_twice():
    with pytest.raises(exceptions.InvalidRule, match="OrderLive hears of ExpressOrder twice"):
        model_events._register(ExpressOrder, OrderLive)


@pytest.fixture
def registered():
    """A function that registers a model for the test."""
    found = []

    def register(model, **attributes):
        livepush.register(model)(type(f"{model.__name__}Live", (livepush.ModelEvents,), attributes))
        found.append(model)

    yield register
    for model in found:
        model_signals.connect(model_events.registry.pop(model), connect=False)


# Fields and keys of other kinds


@pytest.mark.parametrize("fields", [("total",), ("quantity", "total"), ()])
@pytest.mark.parametrize("update_fields", [None, ["quantity"]])
def test_a_field_that_the_database_computes_is_told_as_it_is_after_the_save(registered, fields, update_fields):
    registered(Row, fields=fields, data=lambda self, row, action: {"total": row.total})
    row = Row.objects.create(quantity=2, price=10)
    row.quantity = 3
    with capture_events() as events:
        row.save(update_fields=update_fields)
    assert [(sent.type, sent.payload["total"]) for sent in events] == [("row.updated", 30)]
    assert set(events[0].payload["changed"]) == {"quantity", "total"} & set(fields or ("quantity", "total"))


def test_a_computed_field_that_stays_the_same_sends_nothing(registered):
    registered(Row, fields=("total",))
    row = Row.objects.create(quantity=2, price=10)
    row.quantity, row.price = 4, 5
    with capture_events() as events:
        row.save()
    assert events == []


def test_what_the_project_has_put_on_an_instance_is_there_beside_a_computed_field(registered):
    registered(Row, fields=("total",), data=lambda self, row, action: {"by": row.by, "total": row.total})
    row = Row(quantity=1, price=1)
    row.by = "ann"
    row.save()
    row.price = 7
    with capture_events() as events:
        row.save()
    assert events[0].payload == {"changed": ["total"], "by": "ann", "total": 7}


@pytest.mark.parametrize(("vector", "changed"), [([1.0, 2.0], ["title"]), ([1.0, 3.0], ["vector", "title"])])
def test_values_that_compare_their_elements_are_compared(registered, vector, changed):
    registered(Picture)
    picture = Picture.objects.create(vector=Array([1.0, 2.0]))
    picture.vector, picture.title = Array(vector), "x"
    with capture_events() as events:
        picture.save()
    assert [sent.payload["changed"] for sent in events] == [changed]


def test_a_value_that_is_no_json_is_sent_as_its_fields_text(registered, settings):
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"}}
    registered(Invoice, fields=("file",))
    with capture_events() as events:
        invoice = Invoice.objects.create(file=ContentFile(b"1", "one.txt"), price=Money(1, "EUR"))
        invoice.save()
        invoice.file = ContentFile(b"2", "two.txt")
        invoice.save()
        invoice.delete()
    one, two = {"id": 1, "file": "invoices/one.txt"}, {"id": 1, "file": "invoices/two.txt"}
    assert [(sent.type, {**sent.payload, "id": 1}) for sent in events] == [
        ("invoice.created", one),
        ("invoice.updated", {"changed": ["file"], **two}),
        ("invoice.deleted", two),
    ]


@pytest.mark.parametrize(("price", "count"), [(Money(1, "EUR"), 0), (Money(1, "USD"), 1), (Money(2, "EUR"), 1)])
def test_a_part_of_a_value_that_its_field_drops_is_compared_too(registered, price, count):
    registered(Invoice, fields=("price",))
    invoice = Invoice.objects.create(price=Money(1, "EUR"))
    invoice.price = price
    with capture_events() as events:
        invoice.save()
    assert [sent.payload["changed"] for sent in events] == [["price"]] * count


def test_a_model_whose_key_has_several_fields_needs_groups_of_its_own(registered):
    with pytest.raises(
        exceptions.InvalidRule, match=r"Shelf has a key of several fields .*: give ShelfLive groups\(\)"
    ):
        registered(Shelf)
    with pytest.raises(exceptions.InvalidGroup, match="name the group, such as 'shelf:7:42'"):
        livepush.send(Shelf(hall=1, number=2), "t")


def test_a_model_whose_key_has_several_fields_is_told(registered):
    registered(Shelf, groups=lambda self, shelf: [f"shelf:{shelf.hall}:{shelf.number}"])
    with capture_events() as events:
        shelf = Shelf.objects.create(hall=1, number=2)
        shelf.label = "x"
        shelf.save()
        shelf.delete()
    assert summary(events) == [(f"shelf.{action}", ("shelf:1:2",)) for action in ("created", "updated", "deleted")]
    assert [sent.payload["id"] for sent in events] == [[1, 2]] * 3


@pytest.mark.parametrize("field", ["friends", "follows"])
def test_both_sides_of_a_symmetrical_relation_are_told_once(registered, field):
    registered(Person, m2m=(field,))
    ann, bob, cleo = (Person.objects.create() for _ in range(3))
    changes = [
        lambda: getattr(ann, field).add(bob, cleo),
        lambda: getattr(ann, field).remove(bob),
        lambda: getattr(ann, field).set([bob]),
        lambda: getattr(ann, field).clear(),
    ]
    told = []
    for change in changes:
        with capture_events() as events:
            change()
        told.append(sorted(name for sent in events for name in sent.groups))
    a, b, c = (f"person:{each.pk}" for each in (ann, bob, cleo))
    if field == "friends":  # set() removes Cleo, then adds Bob
        assert told == [[a, b, c], [a, b], sorted([a, a, b, c]), [a, b]]
    else:
        assert told == [[a], [a], [a, a], [a]]


def test_a_relation_to_oneself_is_told_once(registered):
    registered(Person, m2m=("friends",))
    ann = Person.objects.create()
    with capture_events() as events:
        ann.friends.add(ann)
    assert summary(events) == [("person.updated", (f"person:{ann.pk}",))]


# Fixtures


def test_fixtures_send_nothing_of_their_many_to_many_fields(order, tmp_path):
    order.tags.add(Tag.objects.create(name="x"), Tag.objects.create(name="y"))
    (tmp_path / "orders.json").write_text(serializers.serialize("json", [order, *Tag.objects.all()]))
    order.tags.clear()
    with capture_events() as events:
        call_command("loaddata", tmp_path / "orders.json", verbosity=0)
    assert events == []
    assert order.tags.count() == 2
    with capture_events() as events:
        for loaded in serializers.deserialize("json", (tmp_path / "orders.json").read_text()):
            loaded.save()
            if isinstance(loaded.object, Order):
                loaded.object.tags.clear()  # not the fixture's doing
    assert [sent.payload["changed"] for sent in events] == [["tags"]]
