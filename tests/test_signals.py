"""Model signals become events."""

from __future__ import annotations

import json
from datetime import date

import pytest
from django.contrib.auth.models import User
from django.core import serializers
from django.db import IntegrityError, transaction
from django.db.models import F

import livepush
from livepush import exceptions
from livepush.publish import model_events
from livepush.testing import capture_events
from tests.shop.models import ExpressOrder, Order, Tag

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


def test_query_sets_fire_no_signals_and_send_for_does_it_by_hand(order):
    Order.objects.create()
    with capture_events() as events:
        Order.objects.update(status="sent")
        assert events == []
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


def test_instances_keep_nothing_of_what_signals_remembered(order):
    order.status = "sent"
    order.save()
    assert [name for name in vars(order) if "livepush" in name] == []
