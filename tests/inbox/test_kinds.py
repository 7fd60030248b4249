"""Kinds of notifications: what may be registered, and what a reader is shown."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.utils import translation

import livepush
from livepush.exceptions import InvalidNotification, InvalidRule
from livepush.inbox import kinds
from livepush.inbox.kinds import Context, NotificationType, Snapshot, Wording
from livepush.inbox.models import Notification
from livepush.models import Event
from tests.conftest import ALIASES
from tests.inbox.conftest import inbox_on
from tests.shop.models import Order

using = inbox_on(ALIASES[0])


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """No kinds but the test's own."""
    monkeypatch.setattr(kinds, "registry", {})
    return kinds.registry


def kind(name="Kind", bases=(NotificationType,), **attributes):
    """Return a new class, as a ``live.py`` would define it."""
    return type(name, bases, {"key": "test.kind", "title": lambda self, ctx: "A title", **attributes})


class Seen:
    """A kind's context, as it was when a notification was last worded."""

    def __init__(self, **attributes):
        self.contexts = []
        self.kind = livepush.notification(kind(title=self.title, **attributes))

    def title(self, ctx):
        self.contexts.append(ctx)
        return "A title"

    def of(self, notification):
        kinds.read(notification)
        return self.contexts[-1]


def only(reader, user):
    (entry,) = reader(user).inbox.page().entries
    return entry.notification


# Registration


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (object, "expected a subclass of NotificationType"),
        ("order.shipped", "expected a subclass of NotificationType"),
        (kind()(), "expected a subclass of NotificationType"),
        (kind(key=""), "Kind.key is '': expected something like 'order.shipped'"),
        (kind(key="two words"), "Kind.key is 'two words'"),
        (kind(key="k" * 101), "Kind.key is 'kkk"),
        (kind(title=NotificationType.title), r"Kind has no title\(self, ctx\)"),
        (kind(key=None), "Kind.key is None: expected something like 'order.shipped'"),
        (kind(title="Shipped"), r"Kind.title is 'Shipped': expected a method, title\(self, ctx\), which returns it"),
        (kind(url="/orders/"), r"Kind.url is '/orders/': expected a method, url\(self, ctx\)"),
        (kind(level="loud"), "Kind.level is 'loud': expected one of info, success, warning, error"),
    ],
)
def test_a_class_that_can_be_no_kind_is_refused(made, problem, registry):
    with pytest.raises(InvalidRule, match=problem):
        livepush.notification(made)
    assert registry == {}


def test_a_key_belongs_to_one_class(registry):
    first = livepush.notification(kind("First"))
    with pytest.raises(InvalidRule, match=r"'test.kind' is the key of First already"):
        livepush.notification(kind("Second"))
    assert isinstance(registry["test.kind"], first)


def test_a_class_that_is_loaded_again_takes_its_own_place(registry):
    livepush.notification(kind("Again"))
    again = livepush.notification(kind("Again"))
    assert type(registry["test.kind"]) is again


def test_a_class_that_inherits_its_title_is_a_kind(registry):
    base = kind("Base", key="")
    made = livepush.notification(type("Own", (base,), {"key": "own"}))
    assert type(registry["own"]) is made


def test_what_is_not_registered_can_not_be_notified(db):
    user = User.objects.create(username="ann")
    with pytest.raises(InvalidNotification, match=r"put @livepush\.notification above its class"):
        livepush.notify(user, kind())
    assert not Event.objects.exists()


@pytest.mark.parametrize("given", [{"body": "More"}, {"url": "/there/"}])
def test_a_kind_says_its_text_and_address_itself(db, given):
    user = User.objects.create(username="ann")
    with pytest.raises(InvalidNotification, match=r"'test.kind' says its text and address itself"):
        livepush.notify(user, livepush.notification(kind()), **given)


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"title": lambda self, ctx: " "}, "The title is empty"),
        ({"title": lambda self, ctx: "a\0b"}, "can't store in text"),
        ({"url": lambda self, ctx: "javascript:alert(1)"}, "expected a path that begins with '/'"),
        ({"icon": "javascript:alert(1)"}, "icon is 'javascript"),
        ({"category": "c" * 51}, "category is 51 characters long"),
    ],
)
def test_a_kind_that_says_what_can_not_be_said_is_found_when_it_is_sent(db, attributes, problem):
    user = User.objects.create(username="ann")
    with pytest.raises(InvalidNotification, match=problem):
        livepush.notify(user, livepush.notification(kind(**attributes)))
    assert not Event.objects.exists()


def test_what_a_kind_raises_when_it_is_sent_reaches_who_sends(db):
    user = User.objects.create(username="ann")
    with pytest.raises(KeyError, match="code"):
        livepush.notify(user, livepush.notification(kind(title=lambda self, ctx: ctx.data["code"])))
    assert not Event.objects.exists()


# Wording


def test_each_reader_is_told_in_the_readers_language(using, ann, reader):
    def title(self, ctx):
        return {"de": "Guten Tag, {}", "fr": "Bonjour, {}"}[translation.get_language()].format(ctx.data["name"])

    def body(self, ctx):
        return translation.gettext_lazy("Yes")

    with translation.override("de"):
        livepush.notify(ann, livepush.notification(kind(title=title, body=body)), data={"name": "Ann"})
    row = only(reader, ann)
    assert (row.title, row.body) == ("Guten Tag, Ann", "Ja")
    assert row.details["lang"] == "de"
    with translation.override("fr"):
        assert kinds.read(row) == Wording("Bonjour, Ann", "Oui", "")
    with translation.override("de"):
        assert kinds.read(row) == Wording("Guten Tag, Ann", "Ja", "")


def test_what_has_no_kind_is_told_as_it_was_sent(using, ann, reader):
    with translation.override("de"):
        livepush.notify(ann, translation.gettext_lazy("Yes"), url="/there/")
    with translation.override("fr"):
        assert kinds.read(only(reader, ann)) == Wording("Ja", "", "/there/")


def test_a_kinds_own_settings_can_be_overruled_when_it_is_sent(using, ann, reader):
    made = livepush.notification(kind(category="orders", level="success", icon="/box.svg"))
    livepush.notify(ann, made)
    row = only(reader, ann)
    assert (row.key, row.category, row.level, row.icon) == ("test.kind", "orders", "success", "/box.svg")
    row.delete()
    livepush.notify(ann, made, category="late", level="error", icon="/late.svg")
    row = only(reader, ann)
    assert (row.key, row.category, row.level, row.icon) == ("test.kind", "late", "error", "/late.svg")


def test_the_context_holds_who_did_what_to_what(using, ann, ben, reader):
    seen = Seen()
    order = Order.objects.create(customer=ann)
    for actor in (ann, "A robot", ben, ann):
        livepush.notify(ann, seen.kind, actor=actor, target=order, collapse="c", data={"code": "A7", "when": 1.5})
    who = Snapshot("Ann Li", str(ann.pk), "auth.user"), Snapshot("ben", str(ben.pk), "auth.user"), Snapshot("A robot")
    assert seen.of(only(reader, ann)) == Context(
        actor=who[0],
        actors=who,
        count=4,
        target=Snapshot(str(order), str(order.pk), "shop.order"),
        data={"code": "A7", "when": 1.5},
    )
    assert f"{who[2]} and {who[1]}" == "A robot and ben"


def test_the_context_is_empty_where_nothing_was_given(using, ann, reader):
    seen = Seen()
    livepush.notify(ann, seen.kind)
    assert seen.contexts == [Context()]
    assert seen.of(only(reader, ann)) == Context(None, (), 1, None, {})


def test_a_kind_is_worded_when_it_is_sent_with_what_it_will_be_read_with(using, ann, reader):
    seen = Seen()
    livepush.notify(ann, seen.kind, actor=ann, target="A thing", data={"code": "A7"})
    assert seen.contexts[0] == seen.of(only(reader, ann))


def test_it_leads_to_its_target_unless_the_kind_says_otherwise(using, ann, reader, monkeypatch):
    monkeypatch.setattr(Order, "get_absolute_url", lambda self: f"/orders/{self.pk}/", raising=False)
    order = Order.objects.create()
    livepush.notify(ann, livepush.notification(kind()), target=order)
    assert kinds.read(only(reader, ann)).url == f"/orders/{order.pk}/"


UNSAFE = ("javascript:alert(1)", "JavaScript:alert(1)", "//elsewhere.example", "data:text/html,x", " /there/")


@pytest.mark.parametrize("url", UNSAFE)
def test_a_snapshot_with_an_unsafe_address_is_refused(url):
    with pytest.raises(InvalidNotification, match=r"The url of a Snapshot is .*: expected a path that begins with '/'"):
        Snapshot("Ann", url=url)


@pytest.mark.parametrize("given", [{"name": None}, {"name": "a\0b"}, {"name": "Ann", "id": 7}, {"name": "\ud800"}])
def test_a_snapshot_holds_texts_that_databases_can_store(given):
    with pytest.raises(InvalidNotification, match="of a Snapshot"):
        Snapshot(**given)


@pytest.mark.parametrize("url", UNSAFE)
def test_an_unsafe_address_that_is_stored_all_the_same_is_not_shown(url):
    stored = json.dumps({"name": "Ann", "url": url})
    row = Notification(title="Sent", url=url, actors=f"[{stored}]", context=f'{{"target": {stored}}}')
    assert (kinds.read(row).url, row.people, row.details["target"]) == ("", [{"name": "Ann"}], {"name": "Ann"})
    assert kinds.context_of(row).target == Snapshot("Ann")


def test_an_unsafe_address_of_a_target_is_not_kept(using, ann, reader, monkeypatch):
    monkeypatch.setattr(Order, "get_absolute_url", lambda self: "javascript:alert(1)", raising=False)
    seen = Seen()
    livepush.notify(ann, seen.kind, target=Order.objects.create())
    row = only(reader, ann)
    assert (seen.of(row).target.url, kinds.read(row).url) == ("", "")


# What becomes of it


def test_it_survives_the_actor_and_the_target(using, ann, ben, reader):
    order = Order.objects.create()
    name = str(order)
    made = kind(title=lambda self, ctx: f"{ctx.actor} shipped {ctx.target}")
    livepush.notify(ann, livepush.notification(made), actor=ben, target=order)
    order.delete()
    ben.delete()
    assert kinds.read(only(reader, ann)).title == f"ben shipped {name}"


def test_it_survives_its_class(using, ann, reader, registry):
    made = kind(title=lambda self, ctx: f"Title of {ctx.count}", body=lambda self, ctx: "More", category="orders")
    livepush.notify(ann, livepush.notification(made), target="A thing")
    registry.clear()
    row = only(reader, ann)
    assert kinds.read(row) == Wording("Title of 1", "More", "")
    assert row.category == "orders"


def test_a_class_that_came_back_words_it_again(using, ann, reader, registry):
    livepush.notify(ann, livepush.notification(kind()))
    registry.clear()
    row = only(reader, ann)
    livepush.notification(kind("New", title=lambda self, ctx: "A new title"))
    assert kinds.read(row).title == "A new title"


@pytest.mark.parametrize("method", ["title", "body", "url"])
def test_a_kind_that_fails_is_told_as_it_was_sent_and_logged(db, registry, method, caplog):
    def fail(self, ctx):
        raise RuntimeError("a kind that fails")

    row = Notification(key="test.kind", title="Sent", body="Text", url="/sent/", position=1)
    livepush.notification(kind(**{method: fail}))
    assert kinds.read(row) == Wording("Sent", "Text", "/sent/")
    (record,) = caplog.records
    assert record.getMessage() == "The kind 'test.kind' raised, so its notification is shown as it was sent."
    assert "a kind that fails" in str(record.exc_info[1])


@pytest.mark.parametrize("url", ["javascript:alert(1)", "//elsewhere.example", "data:text/html,x", "there", " /there/"])
def test_an_unsafe_address_of_a_kind_gives_way_to_the_one_that_was_sent(registry, url):
    row = Notification(key="test.kind", title="Sent", url="/sent/", position=1)
    livepush.notification(kind(url=lambda self, ctx: url))
    assert kinds.read(row) == Wording("A title", "", "/sent/")


@pytest.mark.parametrize("url", ["/there/", "https://shop.test/?a=1#b", "mailto:ann@shop.test", "?page=2", "#top", ""])
def test_a_safe_address_of_a_kind_is_taken(registry, url):
    row = Notification(key="test.kind", title="Sent", url="/sent/", position=1)
    livepush.notification(kind(url=lambda self, ctx: url))
    assert kinds.read(row).url == url


# Names that are empty


@pytest.fixture
def nameless(monkeypatch):
    """A user and an order whose texts are empty."""
    monkeypatch.setattr(Order, "__str__", lambda self: "")
    monkeypatch.setattr(User, "__str__", lambda self: "")
    return User.objects.create_user("nameless"), Order.objects.create()


def test_what_has_an_empty_text_is_an_actor_and_a_target(using, ann, reader, nameless):
    seen, (user, order) = Seen(), nameless
    livepush.notify(ann, seen.kind, actor=user, target=order)
    context = seen.of(only(reader, ann))
    assert context.actor == Snapshot("", str(user.pk), "auth.user")
    assert context.target == Snapshot("", str(order.pk), "shop.order")
    data = json.loads(Event.objects.using(using).get(type="inbox.notification").data)
    assert (data["actor"]["name"], data["target"]["name"]) == ("", "")


def test_what_was_stored_without_a_name_is_read(using, ann, registry, caplog):
    seen = Seen()
    row = Notification(key="test.kind", actors='[{"id":"1"}]', context='{"target":{"id":"2"}}')
    assert seen.of(row) == Context(Snapshot("", "1"), (Snapshot("", "1"),), 1, Snapshot("", "2"))
    assert caplog.text == ""


def test_the_admin_shows_an_actor_without_a_name(using, ann, nameless, admin_client):
    livepush.notify(ann, "Hello", actor=nameless[0], target=nameless[1], collapse="c")
    row = Notification.objects.using(using).get()
    address = f"/admin/livepush/notification/{row.pk}/change/"
    for actors in (row.actors, '[{"id":"1"},{"name":"Ann"}]'):
        Notification.objects.using(using).update(actors=actors)
        assert admin_client.get(address).status_code == 200


# Data


def test_a_kind_gets_the_same_data_when_it_is_sent_as_when_it_is_read(using, ann, reader):
    seen = Seen()
    livepush.notify(ann, seen.kind, data={"when": date(2026, 3, 1), 7: ("a", Decimal("1.50"))})
    sent = seen.contexts[0].data
    assert sent == {"when": "2026-03-01", "7": ["a", "1.50"]}
    assert seen.of(only(reader, ann)).data == sent


def test_a_kind_that_takes_its_data_for_what_json_does_not_bring_back_is_found_when_it_is_sent(using, ann):
    due = livepush.notification(kind(title=lambda self, ctx: f"Due {ctx.data['when']:%d %B}"))
    with pytest.raises(ValueError, match="Invalid format specifier"):
        livepush.notify(ann, due, data={"when": date(2026, 3, 1)})
    assert not Event.objects.using(using).exists()
