"""A project with several databases: which log an event goes to, and what is refused."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group, User
from django.core import checks
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.test import TestCase, override_settings
from django.test.utils import CaptureQueriesContext

import livepush
from livepush import log, notes
from livepush.exceptions import NotAtomic
from livepush.inbox.models import Membership
from livepush.models import Event
from tests.conftest import ALIASES, events_of
from tests.shop.models import Order

OTHER = ALIASES[-1]
pytestmark = [
    pytest.mark.django_db(transaction=True, databases=[DEFAULT_DB_ALIAS, OTHER]),
    pytest.mark.skipif(DEFAULT_DB_ALIAS == OTHER, reason="the run has one database"),
]


@pytest.fixture
def ann():
    return User.objects.create_user("ann")


SENDS = {
    "send": lambda user, **more: livepush.send("board", "t", **more),
    "asend": lambda user, **more: async_to_sync(livepush.asend)("board", "t", **more),
    "an ephemeral send": lambda user, **more: livepush.send("board", "t", ephemeral=True, **more),
    "notify": lambda user, **more: livepush.notify(user, "Hello", **more),
    "join": lambda user, **more: livepush.join(user, "room:1", **more),
    "leave": lambda user, **more: livepush.leave(user, "room:1", **more),
    "revoke": lambda user, **more: livepush.revoke(user, "room:1", **more),
    "arevoke": lambda user, **more: async_to_sync(livepush.arevoke)(user, "room:1", **more),
    "recheck": lambda user, **more: livepush.recheck(user, **more),
    "arecheck": lambda user, **more: async_to_sync(livepush.arecheck)(user, **more),
    "forget": lambda user, **more: livepush.forget(user, **more),
    "send_for": lambda user, **more: livepush.send_for([Order(pk=7)], **more),
}


@pytest.mark.parametrize("call", SENDS.values(), ids=SENDS)
def test_a_send_in_another_databases_transaction_is_refused_unless_its_log_is_named(call, ann):
    with transaction.atomic(using=OTHER):
        with pytest.raises(NotAtomic, match=f"add using='{DEFAULT_DB_ALIAS}' if it shall go out in any case"):
            call(ann)
        assert not Event.objects.exists()
        call(ann, using=DEFAULT_DB_ALIAS)


@pytest.mark.parametrize("call", SENDS.values(), ids=SENDS)
def test_a_send_within_a_transaction_of_the_log_is_allowed_whatever_else_is_open(call, ann):
    with transaction.atomic(using=OTHER), transaction.atomic():
        call(ann)
    with transaction.atomic(), transaction.atomic(using=OTHER):
        call(ann)


@pytest.mark.parametrize("name", ["send", "notify", "join"])
def test_a_send_within_a_transaction_of_the_log_is_undone_with_it(name, ann):
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=OTHER), transaction.atomic():
        SENDS[name](ann)
        assert Event.objects.exists() or Membership.objects.exists()
        raise ZeroDivisionError
    assert not Event.objects.exists()
    assert not Membership.objects.exists()


class InATestCase(TestCase):
    databases = {DEFAULT_DB_ALIAS, OTHER}

    def test_the_tests_own_transactions_hide_nothing(self):
        livepush.send("board", "t")
        with transaction.atomic(using=OTHER), pytest.raises(NotAtomic):
            livepush.send("board", "t")


class Replica:
    """Reads from another database."""

    def db_for_read(self, model, **hints):
        return OTHER

    def db_for_write(self, model, **hints):
        return DEFAULT_DB_ALIAS


@pytest.mark.parametrize("routers", [[Replica()], []], ids=["routed", "named"])
def test_events_for_rows_of_a_replica_go_to_the_log_that_is_written(routers):
    Order.objects.using(OTHER).bulk_create([Order(status="new")])
    with override_settings(DATABASE_ROUTERS=routers):
        assert livepush.send_for(Order.objects.using(OTHER)) == 1
    assert [event.type for event in events_of(DEFAULT_DB_ALIAS)] == ["order.updated"]
    assert not Event.objects.using(OTHER).exists()


class Sharded:
    """Writes an order where it is."""

    def db_for_write(self, model, instance=None, **hints):
        return instance._state.db if isinstance(instance, Order) else None


@override_settings(DATABASE_ROUTERS=[Sharded()])
def test_a_router_that_looks_at_the_instance_is_asked_about_it():
    Order.objects.using(OTHER).bulk_create([Order(status="new")])
    livepush.send_for(Order.objects.using(OTHER))
    assert [event.type for event in events_of(OTHER)] == ["order.updated"]


@pytest.fixture(params=[OTHER])
def without_log(request):
    """Takes the log's table out of a database."""
    table, connection = Event._meta.db_table, connections[request.param]
    with connection.schema_editor() as editor:
        editor.alter_db_table(Event, table, f"{table}_away")
    log.epochs._known_until.clear()
    yield
    with connection.schema_editor() as editor:
        editor.alter_db_table(Event, f"{table}_away", table)
    log.epochs._known_until.clear()


@pytest.mark.parametrize("without_log", [DEFAULT_DB_ALIAS], indirect=True)
def test_a_migration_before_livepushs_own_may_load_users_with_groups_and_registered_models(without_log):
    with transaction.atomic():
        ann = User.objects.create_user("ann")
        ann.groups.add(Group.objects.create(name="staff"))
        Order.objects.create(status="new")
    assert (ann.groups.count(), Order.objects.count()) == (1, 1)


@pytest.mark.parametrize("without_log", [DEFAULT_DB_ALIAS], indirect=True)
def test_a_process_that_started_before_the_migration_sends_soon_after_it(without_log, monkeypatch):
    assert not log.exists(DEFAULT_DB_ALIAS)
    monkeypatch.setattr(log.epochs.time, "monotonic", lambda: float("1e9"))
    assert not log.exists(DEFAULT_DB_ALIAS)
    with connections[DEFAULT_DB_ALIAS].schema_editor() as editor:
        editor.alter_db_table(Event, f"{Event._meta.db_table}_away", Event._meta.db_table)
    assert not log.exists(DEFAULT_DB_ALIAS)  # not asked with every save
    monkeypatch.setattr(log.epochs.time, "monotonic", lambda: float("1e9") + 11)
    assert log.exists(DEFAULT_DB_ALIAS)
    with connections[DEFAULT_DB_ALIAS].schema_editor() as editor:  # as the fixture takes it back
        editor.alter_db_table(Event, Event._meta.db_table, f"{Event._meta.db_table}_away")


@pytest.mark.parametrize("wanted", ["raise", "log"])
def test_a_save_where_there_is_no_log_goes_on_and_is_noted_once(without_log, settings, monkeypatch, caplog, wanted):
    settings.LIVEPUSH = {"MODEL_EVENT_ERRORS": wanted}
    monkeypatch.setattr(notes, "_noted", set())
    order = Order(status="new")
    order.save(using=OTHER)
    with transaction.atomic(using=OTHER), CaptureQueriesContext(connections[OTHER]) as queries:
        order.status = "sent"
        order.save(using=OTHER)
    order.tags.create(name="x")
    assert len(queries) == 1
    assert Order.objects.using(OTHER).get().status == "sent"
    order.delete(using=OTHER)
    assert [record.message for record in caplog.records if record.name == "livepush"] == [
        f"The database '{OTHER}' has no log of livepush, so what is saved there sends nothing."
    ]


def test_a_save_where_there_is_another_log_is_in_that_one():
    Order(status="new").save(using=OTHER)
    assert [event.type for event in events_of(OTHER)] == ["order.created"]


# Users in another database than the log


def since_of(user):
    """The position from which a user who is in an auth group gets its notifications; ``None`` without a note of it."""
    return Membership.objects.using(OTHER).filter(reader=str(user.pk)).values_list("joined", flat=True).first()


CHANGES = {
    "add": lambda user, group: user.groups.add(group),
    "add, the other side": lambda user, group: group.user_set.add(user),
    "remove": lambda user, group: user.groups.remove(group),
    "remove, the other side": lambda user, group: group.user_set.remove(user),
    "clear": lambda user, group: user.groups.clear(),
    "clear, the other side": lambda user, group: group.user_set.clear(),
}


@pytest.mark.parametrize("commits", [True, False], ids=["committed", "rolled back"])
@pytest.mark.parametrize("name", CHANGES)
@override_settings(LIVEPUSH={"DATABASE": OTHER})
def test_auth_groups_in_another_database_are_followed_when_their_change_is_committed(name, commits, ann):
    group = Group.objects.create(name="staff")
    livepush.notify(group, "before she came")
    if not name.startswith("add"):
        ann.groups.add(group)
    before = since_of(ann)
    livepush.notify(group, "later")
    with transaction.atomic():
        CHANGES[name](ann, group)
        assert since_of(ann) == before
        transaction.set_rollback(not commits)
    if not commits:
        assert since_of(ann) == before
    else:
        assert since_of(ann) == (2 if name.startswith("add") else None)


# What manage.py check says


class Apart:
    """Keeps livepush's tables, or those of the shop, in another database."""

    def __init__(self, app, allows=True):
        self.app, self.allows = app, allows

    def db_for_write(self, model, **hints):
        return OTHER if model._meta.app_label == self.app else None

    def allow_migrate(self, db, app_label, **hints):
        return self.allows or app_label != "livepush" or db == DEFAULT_DB_ALIAS


class Kept:
    """Keeps livepush's tables out of the database that the hubs read."""

    def allow_migrate(self, db, app_label, **hints):
        return app_label != "livepush" or db != DEFAULT_DB_ALIAS


def found(*routers):
    with override_settings(DATABASE_ROUTERS=routers):
        return {message.id: message.msg for message in checks.run_checks(tags=["livepush"])}


READ = f"the hubs read the log of LIVEPUSH['DATABASE'], '{DEFAULT_DB_ALIAS}'."


def test_a_log_that_is_routed_away_from_the_hubs_is_an_error():
    assert found(Apart("livepush")) == {
        "livepush.E011": f"DATABASE_ROUTERS write livepush's tables to '{OTHER}', but {READ}"
    }
    assert found(Kept())["livepush.E011"] == f"DATABASE_ROUTERS keep livepush's tables out of it, but {READ}"


def test_a_model_whose_database_has_no_log_is_an_error_and_one_whose_log_nobody_reads_a_warning():
    where = f"shop.Order is written to the database '{OTHER}'"
    assert found(Apart("shop", allows=False))["livepush.E012"] == (
        f"{where}, where DATABASE_ROUTERS allow no log, so its events are not sent; {READ}"
    )
    assert found(Apart("shop"))["livepush.W008"] == f"{where}, so its events go to the log there; {READ}"


def test_a_replica_and_a_log_that_is_routed_where_the_hubs_read_are_in_order():
    assert found(Replica()) == {}
