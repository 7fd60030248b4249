"""What the groups of instances are called: each row has one group, and no two models share theirs."""

from __future__ import annotations

import uuid

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.contrib.auth import models as auth
from django.core.management import CommandError, call_command
from django.db import models
from django.test import override_settings
from django.test.utils import isolate_apps
from django.utils.functional import SimpleLazyObject

import livepush
from livepush import testing
from livepush.access import rules
from livepush.access.authenticating import Identity
from livepush.exceptions import InvalidGroup
from livepush.publish import names
from tests.archive import models as archive
from tests.shop.models import Clerk, Driver, ExpressOrder, OpenOrder, Order, Tag


@pytest.mark.parametrize(
    ("instance", "group"),
    [
        (Order(pk=7), "order:7"),
        (OpenOrder(pk=7), "order:7"),
        (ExpressOrder(id=7, order_ptr_id=7), "order:7"),
        (auth.User(pk=7), "user:7"),
        (Clerk(pk=7), "user:7"),
        (Driver(id=7, user_ptr_id=7, licence="3"), "user:7"),
        (SimpleLazyObject(lambda: Clerk(pk=7)), "user:7"),
    ],
    ids=["model", "proxy", "child", "user", "proxy of the user", "child of the user with its own key", "lazy"],
)
def test_proxies_and_children_mean_the_group_of_the_row_that_they_are(instance, group):
    assert livepush.group_name(instance) == group


def test_deferred_and_stored_instances_mean_the_same_group(db, django_assert_num_queries):
    child = ExpressOrder.objects.create()
    found = [
        Order.objects.only("status").get(pk=child.pk),
        ExpressOrder.objects.only("courier").get(),
        OpenOrder.objects.defer("note").get(),
    ]
    with django_assert_num_queries(0):
        assert {livepush.group_name(each) for each in [child, *found]} == {f"order:{child.pk}"}


def test_an_instance_that_was_not_saved_has_no_group():
    for unsaved in (Order(), OpenOrder(), ExpressOrder(), Driver(licence="3")):
        with pytest.raises(InvalidGroup, match="save it first"):
            livepush.group_name(unsaved)
    with pytest.raises(InvalidGroup, match="no saved user"):
        livepush.user_group(Driver(licence="3"))


@isolate_apps("tests.shop")
def test_grandchildren_mean_the_group_of_their_topmost_parent():
    class Base(models.Model):
        class Meta:
            abstract = True
            app_label = "shop"

    class Top(Base):
        class Meta:
            app_label = "shop"

    class OpenTop(Top):
        class Meta:
            proxy = True
            app_label = "shop"

    class Middle(OpenTop):
        class Meta:
            app_label = "shop"

    class Bottom(Middle):
        class Meta:
            app_label = "shop"

    assert livepush.group_name(Bottom(id=7, top_ptr_id=7, middle_ptr_id=7)) == "top:7"


@isolate_apps("tests.shop")
def test_a_user_model_that_is_a_child_is_the_root_of_its_own_children(settings):
    class Person(models.Model):
        class Meta:
            app_label = "shop"

    class Member(Person):
        class Meta:
            app_label = "shop"

    class Guest(Member):
        class Meta:
            app_label = "shop"

    settings.AUTH_USER_MODEL = "shop.Member"
    assert livepush.group_name(Person(id=7)) == "person:7"
    assert livepush.group_name(Member(id=7, person_ptr_id=7)) == "user:7"
    assert livepush.group_name(Guest(id=7, person_ptr_id=7, member_ptr_id=7)) == "user:7"


def test_a_users_group_is_no_other_models():
    assert livepush.user_group(Clerk(pk=7)) == livepush.user_group(Driver(id=7, licence="3")) == "user:7"
    for stranger in (Order(pk=7), archive.User(pk=7)):
        with pytest.raises(InvalidGroup, match=r"is no user: expected an instance of auth\.User, or its primary key"):
            livepush.user_group(stranger)


@pytest.mark.parametrize(
    "key",
    ["ann", "team:1", "7.5", "1_0", "+7", " 7", "007", "٧", "", 7.5, True, b"7", [7], uuid.UUID(int=7), "everyone"],
    ids=repr,
)
def test_what_can_be_no_primary_key_of_a_user_is_refused(key):
    with pytest.raises(InvalidGroup) as raised:
        livepush.user_group(key)
    assert str(raised.value).startswith(f"{key!r} is no primary key of auth.User: pass the user or its key.")
    assert ("livepush.everyone" in str(raised.value)) == (key == "everyone")


@pytest.mark.parametrize(
    ("field", "key", "group"),
    [
        (models.BigAutoField(), "7", "user:7"),
        (models.BigAutoField(), 7, "user:7"),
        (models.UUIDField(), uuid.UUID(int=7), f"user:{uuid.UUID(int=7)}"),
        (models.UUIDField(), uuid.UUID(int=7).hex, f"user:{uuid.UUID(int=7)}"),
        (models.CharField(), "ann", "user:ann"),
        (models.CharField(), 7, "user:7"),
    ],
)
def test_a_users_key_may_be_of_any_type(field, key, group, monkeypatch):
    monkeypatch.setattr(auth.User._meta, "pk", field)
    assert livepush.user_group(key) == group


@isolate_apps("tests.shop")
def test_an_instance_that_was_not_read_from_the_database_has_the_group_of_its_row():
    class Parcel(models.Model):
        id = models.UUIDField(primary_key=True, default=lambda: uuid.UUID(int=7).hex)

        class Meta:
            app_label = "shop"

    class Label(models.Model):
        parcel = models.OneToOneField(Parcel, models.CASCADE, primary_key=True)

        class Meta:
            app_label = "shop"

    parcel = Parcel()
    assert names.group_name(parcel) == f"parcel:{uuid.UUID(int=7)}"
    assert names.group_name(Label(parcel_id=parcel.pk)) == f"label:{uuid.UUID(int=7)}"
    assert names.group_name(Order(pk="7")) == "order:7"
    assert livepush.ModelEvents(Parcel).data(parcel, "created") == {"id": uuid.UUID(int=7)}


def test_a_user_that_was_not_read_from_the_database_is_the_same_user_everywhere(monkeypatch):
    key = str(uuid.UUID(int=7))
    user = auth.User(username="ann")
    monkeypatch.setattr(user, "id", uuid.UUID(key).hex)
    field = models.UUIDField(primary_key=True)
    field.set_attributes_from_name("id")
    monkeypatch.setattr(auth.User._meta, "pk", field)
    assert livepush.user_group(user) == f"user:{key}"
    assert livepush.public_user(user)["id"] == key
    assert Identity(user).name == key
    assert rules.own_group(user, key)


@pytest.mark.parametrize("key", ["ann", "sales/ann", "/", "ann@example.com", "a:b"])
def test_each_user_may_read_the_own_group_whatever_characters_of_a_group_its_key_has(key, monkeypatch):
    field = models.CharField(primary_key=True)
    field.set_attributes_from_name("id")
    monkeypatch.setattr(auth.User._meta, "pk", field)
    group = livepush.user_group(key)
    assert rules.ask_sync(auth.User(id=key), [group], None)[0].granted.keys() == {group}
    assert not rules.ask_sync(auth.User(id="ann/"), [group], None)[0].granted


@pytest.mark.parametrize(
    "refuse",
    [
        lambda: livepush.join("ann", "team:1"),
        lambda: livepush.leave("team:1", "ann"),
        lambda: livepush.notify("user:ann", "Hello"),
        lambda: livepush.notify([livepush.everyone, "user:ann"], "Hello"),
        lambda: livepush.revoke("ann"),
        lambda: livepush.recheck("ann"),
        lambda: livepush.forget("ann"),
        lambda: livepush.export("ann"),
        lambda: livepush.is_present("ann", "team:1"),
        lambda: async_to_sync(livepush.ajoin)("ann", "team:1"),
        lambda: async_to_sync(livepush.aleave)("ann", "team:1"),
        lambda: async_to_sync(livepush.anotify)("user:ann", "Hello"),
        lambda: async_to_sync(livepush.arevoke)("ann"),
        lambda: async_to_sync(livepush.arecheck)("ann"),
        lambda: async_to_sync(livepush.aforget)("ann"),
        lambda: async_to_sync(livepush.ais_present)("ann", "team:1"),
        lambda: testing.assert_notified("ann", "Hello"),
    ],
)
def test_a_username_is_taken_for_no_key_wherever_a_user_is_asked_for(db, refuse):
    with pytest.raises(InvalidGroup, match="is no primary key"):
        refuse()


@pytest.mark.parametrize("command", ["livepush_revoke", "livepush_forget", "livepush_export"])
def test_a_command_says_that_a_username_is_no_key(db, command):
    with pytest.raises(CommandError, match="'ann' is no primary key"):
        call_command(command, pk="ann")


# Two models of one name


@pytest.mark.parametrize("group", [auth.Group(pk=7), archive.Group(pk=7)], ids=["one", "the other"])
def test_instances_of_two_models_of_one_name_have_no_group_before_they_are_told_apart(group):
    with pytest.raises(InvalidGroup) as raised:
        livepush.group_name(group)
    assert str(raised.value) == (
        "Group instances name no group. auth.Group and archive.Group would share the groups that begin with 'group:', "
        "and with them their readers: give a model another word, such as "
        "LIVEPUSH['GROUP_NAMES'] = {'archive.Group': 'archive-group'}, then rename its rules and event types."
    )


@pytest.mark.parametrize("instance", [archive.User(pk=7), archive.Inbox(pk=7)], ids=["user", "inbox"])
def test_no_model_shares_the_groups_of_users_or_of_livepush(instance):
    with pytest.raises(InvalidGroup, match=f"'{instance._meta.model_name}:', and with them their readers"):
        livepush.group_name(instance)


def test_a_model_called_user_keeps_no_group_from_the_user_model():
    assert livepush.group_name(auth.User(pk=7)) == "user:7"


def test_a_project_without_users_has_no_groups_of_users_either(settings):
    settings.AUTH_USER_MODEL = "nobody.User"
    with pytest.raises(InvalidGroup, match=r"archive\.User .*would share the groups that begin with 'user:'"):
        livepush.group_name(archive.User(pk=7))


@override_settings(LIVEPUSH={"GROUP_NAMES": {"archive.group": "archived-group", "archive.User": "archived-user"}})
def test_a_setting_tells_them_apart():
    assert livepush.group_name(archive.Group(pk=7)) == "archived-group:7"
    assert livepush.group_name(auth.Group(pk=7)) == "group:7"
    assert livepush.group_name(archive.User(pk=7)) == "archived-user:7"


@override_settings(LIVEPUSH={"GROUP_NAMES": {"archive.Group": "tag"}})
def test_a_word_that_is_another_models_tells_nothing_apart():
    for instance in (Tag(pk=7), archive.Group(pk=7)):
        with pytest.raises(InvalidGroup, match=r"shop\.Tag and archive\.Group would share"):
            livepush.group_name(instance)


@override_settings(LIVEPUSH={"GROUP_NAMES": {"shop.Order": "purchase"}})
def test_the_word_is_that_of_proxies_and_children_too():
    assert livepush.group_name(ExpressOrder(id=7)) == livepush.group_name(OpenOrder(pk=7)) == "purchase:7"


@override_settings(LIVEPUSH={"GROUP_NAMES": {"archive.User": "user"}})
def test_the_word_of_users_is_given_to_no_other_model():
    with pytest.raises(InvalidGroup, match=r"auth\.User and archive\.User would share"):
        livepush.group_name(archive.User(pk=7))


def test_models_of_livepushs_own_take_no_words_away():
    labels = {label for found in names.models_by_word().values() for label in found}
    assert "shop.Order" in labels
    assert labels.isdisjoint(model._meta.label for model in apps.get_app_config("livepush").get_models())
