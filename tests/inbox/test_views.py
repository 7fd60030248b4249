"""The inbox as JSON: who is answered, with what, and what is refused."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone, translation

import livepush
from livepush import log
from livepush.inbox import kinds
from livepush.inbox.models import InboxState, Membership, Notification, NotificationState
from livepush.inbox.notifying import NOTIFICATION_TYPE
from livepush.models import Event
from livepush.wire import timestamp
from tests.conftest import ALIASES, append
from tests.inbox.conftest import inbox_on
from tests.shop.models import Order

using = inbox_on(ALIASES[0])
INBOX = "/livepush/inbox/"
ENTRIES, COUNTS = f"{INBOX}entries/", f"{INBOX}counts/"
HTML = {"Accept": "text/html,*/*;q=0.8"}


class Api:
    """A user's client."""

    def __init__(self, user, **more):
        self.client = Client(**more)
        self.client.force_login(user)

    def list(self, **query):
        return self.client.get(ENTRIES, query)

    def titles(self, **query):
        return [entry["title"] for entry in self.list(**query).json()["entries"]]

    def id(self, title):
        return next(entry["id"] for entry in self.list(limit=100).json()["entries"] if entry["title"] == title)

    def counts(self):
        answer = self.client.get(COUNTS).json()
        return answer["unseen"], answer["unread"]

    def mark(self, action, body, **more):
        return self.client.post(f"{INBOX}{action}/", body, content_type="application/json", **more)

    def form(self, action, body):
        return self.client.post(f"{INBOX}{action}/", body)


@pytest.fixture
def api(ann):
    return Api(ann)


@pytest.fixture
def abc(ann, api):
    """Ann's client, with three entries: a, b, c, in this order."""
    for title in "abc":
        livepush.notify(ann, title)
    return api


def told(answer):
    return answer.status_code, answer.json().get("code")


def stale(using, number=1):
    return f"x{log.state(using).position.epoch[1:]}x-{number}"


# Who is answered


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_no_browser_takes_an_answer_for_another_kind_of_page(abc, client, accept):
    for path in ("", "entries/", "counts/", "entries/?limit=x", "read/", "burn/"):
        for reader in (abc.client, client):
            for answer in (reader.get(f"{INBOX}{path}", headers={"Accept": accept}), reader.post(f"{INBOX}{path}")):
                assert answer["X-Content-Type-Options"] == "nosniff", (path, answer.status_code)


@pytest.mark.parametrize(
    ("method", "path"), [("get", ENTRIES), ("get", COUNTS), ("post", f"{INBOX}read/"), ("post", f"{INBOX}burn/")]
)
def test_who_is_not_logged_in_gets_a_401_and_a_browser_the_login(db, client, method, path):
    answer = getattr(client, method)(path)
    assert answer.json() == {
        "code": "unauthenticated",
        "message": "Nobody is logged in, so there is no inbox: log in first.",
    }
    assert (answer.status_code, answer["Cache-Control"]) == (401, "private, no-store")
    browser = getattr(client, method)(path, headers={"Accept": "text/html,*/*;q=0.8"})
    page = path if method == "get" else INBOX
    assert (browser.status_code, browser["Location"]) == (302, f"/accounts/login/?next={page}")


@pytest.mark.parametrize(
    ("method", "path"), [("get", ENTRIES), ("get", COUNTS), ("post", f"{INBOX}read/"), ("get", INBOX)]
)
def test_a_site_that_demands_a_login_everywhere_changes_no_answer(abc, ann, settings, method, path):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    anonymous = Client()
    assert told(getattr(anonymous, method)(path)) == (401, "unauthenticated")
    browser = getattr(anonymous, method)(f"{path}?tab=unread", headers=HTML)
    page = f"{path}%3Ftab%3Dunread" if method == "get" else INBOX
    assert (browser.status_code, browser["Location"]) == (302, f"/accounts/login/?next={page}")
    assert abc.titles() == ["c", "b", "a"]


def test_after_the_login_a_browser_is_on_the_page_that_it_pressed_a_button_on(db, client):
    said = {"id": "a-1", "next": "/livepush/inbox/?tab=unread"}
    answer = client.post(f"{INBOX}read/", said, headers=HTML)
    assert answer["Location"] == "/accounts/login/?next=/livepush/inbox/%3Ftab%3Dunread"
    away = client.post(f"{INBOX}read/", said | {"next": "https://elsewhere.example/"}, headers=HTML)
    assert away["Location"] == f"/accounts/login/?next={INBOX}"


def test_the_login_ends_with_the_session(abc):
    assert abc.list().status_code == 200
    abc.client.logout()
    assert told(abc.list()) == (401, "unauthenticated")


def test_the_session_is_found_without_any_middleware(abc, settings):
    settings.MIDDLEWARE = []
    api = Api(User.objects.get())
    assert api.titles() == ["c", "b", "a"]
    assert Client().get(ENTRIES).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [
        ("post", ENTRIES, "GET"),
        ("put", COUNTS, "GET"),
        ("get", f"{INBOX}read/", "POST"),
        ("head", f"{INBOX}read/", "POST"),
    ],
)
def test_the_wrong_method_is_told_the_right_one(db, client, method, path, right):
    answer = getattr(client, method)(path)
    assert (answer.status_code, answer["Allow"]) == (405, right)


def test_a_head_request_is_answered_as_a_get_without_its_body(abc):
    answer = abc.client.head(COUNTS)
    assert (answer.status_code, answer.content) == (200, b"")


def test_no_cache_may_keep_an_answer_or_give_it_to_another(abc):
    for answer in (abc.list(), abc.client.get(COUNTS), abc.list(tab="x")):
        assert answer["Cache-Control"] == "private, no-store"
        assert {"Cookie", "Accept", "Accept-Language"} <= set(answer["Vary"].split(", "))


# Lists


def test_an_entry_is_told_with_all_there_is(using, ann, api):
    order = Order.objects.create(customer=ann)
    more = {
        "body": "It is yours", "url": "/orders/7/", "icon": "/box.svg", "category": "orders", "target": order,
        "collapse": "o7", "data": {"code": "A7"},
    }  # fmt: skip
    livepush.notify(ann, "Shipped", level="success", actor=ann, **more)
    livepush.notify(ann, "Delivered", level="info", actor="A robot", **more)
    first, last = Event.objects.using(using).filter(type=NOTIFICATION_TYPE).order_by("position")
    position = f"{log.state(using).position.epoch}-{last.position}"
    assert api.list().json() == {
        "entries": [{
            "id": position, "kind": "", "category": "orders", "level": "info", "title": "Delivered",
            "body": "It is yours", "url": "/orders/7/", "icon": "/box.svg", "time": timestamp(last.created),
            "first": timestamp(first.created), "count": 2,
            "actors": [{"name": "A robot"}, {"name": "Ann Li", "id": str(ann.pk), "model": "auth.user"}],
            "target": {"name": str(order), "id": str(order.pk), "model": "shop.order"}, "data": {"code": "A7"},
            "seen": False, "read": False, "archived": False,
        }],
        "next": None, "unseen": 1, "unread": 1, "version": 0, "position": position, "reader": str(ann.pk),
        "group": f"user:{ann.pk}",
    }  # fmt: skip


def test_a_browser_with_the_cookie_gets_a_token_that_a_change_takes(ann):
    client = Client(enforce_csrf_checks=True)
    client.force_login(ann)
    assert "csrf" not in client.get(COUNTS).json()
    client.get(INBOX, headers=HTML)
    for address in (COUNTS, ENTRIES):
        said = client.get(address).json()
        sent = {"id": said["position"], "csrfmiddlewaretoken": said["csrf"]}
        assert client.post(f"{INBOX}read/", sent).status_code == 200


def test_what_is_not_there_is_empty(ann, api):
    livepush.notify(ann, "Hello")
    (entry,) = api.list().json()["entries"]
    assert [entry[name] for name in ("kind", "body", "url", "icon", "actors", "target", "data")] == (
        ["", "", "", "", [], None, {}]
    )


def test_pages_follow_each_other(using, ann, api):
    for number in range(5):
        livepush.notify(ann, str(number))
    pages, before = [], ""
    while before is not None:
        answer = api.list(limit=2, before=before).json()
        pages.append([entry["title"] for entry in answer["entries"]])
        before = answer["next"]
    assert pages == [["4", "3"], ["2", "1"], ["0"]]


def test_tabs_and_categories_filter(ann, api):
    for title, category in (("a", "x"), ("b", "y"), ("c", "x")):
        livepush.notify(ann, title, category=category)
    api.mark("archive", {"id": api.id("a")})
    api.mark("read", {"id": api.id("b")})
    assert api.titles() == api.titles(tab="") == api.titles(tab="all") == ["c", "b"]
    assert (api.titles(tab="unread"), api.titles(tab="archived")) == (["c"], ["a"])
    assert (api.titles(category="x"), api.titles(category="X")) == (["c"], [])


def test_entries_that_are_named_come_alone(abc, ben):
    livepush.notify(ben, "ben's")
    named = [abc.id("c"), abc.id("a"), abc.id("a"), Api(ben).id("ben's"), abc.id("a").replace("-", "-99")]
    assert abc.titles(id=named) == ["c", "a"]
    assert abc.list(id=named).json()["next"] is None


def test_what_is_in_the_log_and_was_not_settled_is_there(using, ann, api):
    append(using, f"user:{ann.pk}", type=NOTIFICATION_TYPE, data='{"title": "Late", "level": "info"}')
    assert api.titles() == ["Late"]
    assert api.counts() == (1, 1)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("tab=seen", "bad_query"),
        ("tab=ALL", "bad_query"),
        ("limit=0", "bad_query"),
        ("limit=101", "bad_query"),
        ("limit=", "bad_query"),
        ("limit=ten", "bad_query"),
        ("limit=1.0", "bad_query"),
        ("limit=-1", "bad_query"),
        ("limit=%D9%A3", "bad_query"),
        ("limit=00000000000000000001999", "bad_query"),
        (f"category={'c' * 51}", "bad_query"),
        ("category=%00", "bad_query"),
        ("before=x", "bad_position"),
        ("before=7", "bad_position"),
        ("before=a-9223372036854775808", "bad_position"),
        ("id=", "bad_position"),
        ("id=a-1&id=b", "bad_position"),
        ("id=a-1%00", "bad_position"),
    ],
)
def test_a_malformed_query_is_refused(db, query, code):
    answer = Api(User.objects.create(username="ann")).client.get(f"{ENTRIES}?{query}")
    assert told(answer) == (400, code)
    assert answer.json()["message"]


def test_a_position_of_another_life_of_the_database_is_refused(using, abc):
    assert told(abc.list(before=stale(using))) == (409, "stale_id")
    assert told(abc.list(id=[abc.id("a"), stale(using)])) == (409, "stale_id")
    assert told(abc.mark("read", {"id": [stale(using)]})) == (409, "stale_id")
    assert told(abc.mark("read", {"upto": stale(using)})) == (409, "stale_id")
    assert abc.counts() == (3, 3)
    known = abc.id("a")
    log.begin_epoch(using)
    assert told(abc.mark("read", {"id": known})) == (409, "stale_id")
    assert abc.mark("read", {"id": abc.id("a")}).status_code == 200


def test_a_page_of_older_entries_of_another_life_of_the_database_is_the_first_page(using, abc):
    page = abc.client.get(INBOX, {"before": stale(using)})
    assert page.status_code == 200
    assert "before=" not in re.search(r'data-url="([^"]+)"', page.text)[1]
    assert [page.text.count(f">{title}<") for title in "abc"] == [1, 1, 1]


# Marks


def test_entries_are_marked_by_their_ids(ann, abc):
    position = abc.list().json()["position"]
    answer = abc.mark("read", {"id": [abc.id("a"), abc.id("c")]}).json()
    assert answer == {
        "changed": True, "unseen": 1, "unread": 1, "version": 1, "position": position, "reader": str(ann.pk),
        "group": f"user:{ann.pk}",
    }  # fmt: skip
    assert {entry["title"]: (entry["seen"], entry["read"]) for entry in abc.list().json()["entries"]} == {
        "a": (True, True), "b": (False, False), "c": (True, True),
    }  # fmt: skip
    abc.mark("unread", {"id": abc.id("a")})
    assert abc.titles(tab="unread") == ["b", "a"]
    abc.mark("archive", {"id": [abc.id("a")]})
    assert abc.list(tab="archived").json()["entries"][0]["archived"] is True


def test_all_up_to_a_position_are_marked(abc):
    position = abc.list().json()["position"]
    assert abc.mark("read", {"upto": abc.id("b")}).json()["unread"] == 1
    assert abc.mark("seen", {"upto": position}).json()["unseen"] == 0
    assert abc.titles(tab="unread") == ["c"]
    assert abc.mark("archive", {"upto": position}).json()["changed"] is True
    assert abc.titles(tab="archived") == ["c", "b", "a"]


def test_up_to_a_position_that_is_still_to_come_is_up_to_now(using, ann, abc):
    epoch = log.state(using).position.epoch
    assert abc.mark("read", {"upto": f"{epoch}-{2**63 - 1}"}).json()["unread"] == 0
    livepush.notify(ann, "d")
    assert abc.titles(tab="unread") == ["d"]


def test_a_form_says_the_same_as_json(abc):
    abc.form("read", {"id": [abc.id("a"), abc.id("b")]})
    assert abc.titles(tab="unread") == ["c"]
    version = abc.form("archive", {"upto": abc.id("b")}).json()["version"]
    assert abc.titles() == ["c"]
    assert abc.form("undo", {"version": version}).json()["changed"] is True
    assert abc.titles() == ["c", "b", "a"]


def test_the_last_mark_is_undone_by_its_version(abc):
    first = abc.mark("read", {"id": abc.id("a")}).json()["version"]
    second = abc.mark("archive", {"id": abc.id("b")}).json()["version"]
    assert abc.mark("undo", {"version": first}).json()["changed"] is False
    assert abc.mark("undo", {"version": str(second)}).json()["changed"] is True
    assert abc.mark("undo", {"version": second}).json()["changed"] is False
    assert abc.titles(tab="unread") == ["c", "b"]


@pytest.mark.parametrize(
    ("action", "what"),
    [("read", "id"), ("archive", "id"), ("unarchive", "id"), ("seen", "upto"), ("read", "upto"), ("archive", "upto")],
)
def test_the_same_mark_again_changes_nothing_and_tells_nobody(using, abc, action, what):
    entry = abc.id("b")
    if action == "unarchive":
        abc.mark("archive", {"id": entry})
    states = Event.objects.using(using).filter(type="inbox.state")
    before = states.count()
    once, twice = (abc.mark(action, {what: entry}).json() for _ in range(2))
    assert (once.pop("changed"), twice.pop("changed")) == (True, False)
    assert (twice["version"], twice["unread"]) == (once["version"], once["unread"])
    assert states.count() == before + 1


def test_the_entries_of_others_can_be_neither_read_nor_marked(using, ann, ben, abc):
    livepush.join(ann, "order:7")
    livepush.notify("order:7", "members'")
    other = Api(ben)
    ids = [abc.id(title) for title in ("a", "members'")]
    assert other.titles() == other.titles(id=ids) == []
    for action in ("read", "unread", "archive", "unarchive"):
        assert other.mark(action, {"id": ids}).json() == {
            "changed": False, "unseen": 0, "unread": 0, "version": 0, "position": abc.list().json()["position"],
            "reader": str(ben.pk), "group": f"user:{ben.pk}",
        }  # fmt: skip
    other.mark("archive", {"upto": ids[1]})
    assert abc.titles(tab="unread") == ["members'", "c", "b", "a"]
    assert not NotificationState.objects.using(using).exists()


@pytest.mark.parametrize(
    ("action", "body", "status", "code"),
    [
        ("burn", {"id": ["a-1"]}, 404, "bad_mark"),
        ("READ", {"id": ["a-1"]}, 404, "bad_mark"),
        ("read", {}, 400, "bad_mark"),
        ("read", {"id": []}, 400, "bad_mark"),
        ("read", {"id": ["a-1"], "upto": "a-1"}, 400, "bad_mark"),
        ("seen", {"id": ["a-1"]}, 400, "bad_mark"),
        ("unread", {"upto": "a-1"}, 400, "bad_mark"),
        ("unarchive", {"upto": "a-1"}, 400, "bad_mark"),
        ("read", {"version": 1}, 400, "bad_mark"),
        ("read", {"id": "x"}, 400, "bad_position"),
        ("read", {"id": ["\ud800"]}, 400, "bad_body"),
        ("read", {"id": ["a-1"], "next": "/\ud800"}, 400, "bad_body"),
        ("read", {"upto": "a-99999999999999999999"}, 400, "bad_position"),
        ("read", {"id": ["a-1"] * 1001}, 400, "too_many_ids"),
        ("undo", {}, 400, "bad_query"),
        ("undo", {"version": -1}, 400, "bad_query"),
        ("undo", {"version": "9" * 30}, 400, "bad_query"),
        ("undo", {"version": True}, 400, "bad_body"),
        ("undo", {"version": 1.5}, 400, "bad_body"),
        ("undo", {"version": None}, 400, "bad_body"),
        ("read", {"id": [7]}, 400, "bad_body"),
        ("read", {"id": [["a-1"]]}, 400, "bad_body"),
        ("read", {"id": {"a-1": 1}}, 400, "bad_body"),
        ("read", ["a-1"], 400, "bad_body"),
        ("read", "{", 400, "bad_body"),
        ("read", "null", 400, "bad_body"),
        ("read", b"\xff", 400, "bad_body"),
        ("read", "[" * 200_000, 400, "bad_body"),
        ("read", '{"version": ' + "9" * 5_000 + "}", 400, "bad_body"),
    ],
)
def test_a_malformed_mark_is_refused_and_changes_nothing(db, action, body, status, code):
    user = User.objects.create(username="ann")
    answer = Api(user).mark(action, body)
    assert told(answer) == (status, code)
    assert not InboxState.objects.exists()


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_a_request_that_django_does_not_read_is_refused_in_the_client_s_own_form(ann, abc, settings, accept):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE, settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 2_000, 300
    ids = {"id": ["a-1"] * 1_001}
    json_body, form = {"content_type": "application/json"}, {"content_type": "application/x-www-form-urlencoded"}
    for answer, said in (
        (abc.client.get(ENTRIES, ids, headers={"Accept": accept}), (400, "bad_request")),
        (abc.client.post(f"{INBOX}read/", "id=1&" * 399, **form, headers={"Accept": accept}), (400, "bad_request")),
        (abc.client.post(f"{INBOX}read/", "x" * 3_000, **json_body, headers={"Accept": accept}), (413, "too_large")),
    ):
        if accept == "application/json":
            assert told(answer) == said
        else:
            assert answer.status_code in (400, 413)
            assert answer["Content-Type"].startswith("text/html")


def test_a_browser_is_sent_back_to_where_it_came_from_with_what_undoes_it(ann, abc):
    for back, found in (
        ("/here/", "/here/?undo={}"),
        ("/here/?page=2#top", "/here/?page=2&undo={}#top"),
        ("https://elsewhere.example/", f"{INBOX}?undo={{}}"),
        ("javascript:alert(1)", f"{INBOX}?undo={{}}"),
        ("", f"{INBOX}?undo={{}}"),
    ):
        livepush.notify(ann, "New")
        answer = abc.mark("read", {"id": abc.id("New"), "next": back}, headers={"Accept": "text/html"})
        version = abc.list().json()["version"]
        assert (answer.status_code, answer["Location"]) == (303, found.format(version))
    again = abc.mark("read", {"id": abc.id("New"), "next": "/here/"}, headers={"Accept": "text/html"})
    assert (again.status_code, again["Location"]) == (303, "/here/")


def test_each_answer_says_whose_inbox_it_is(ann, abc):
    answers = [abc.list(), abc.client.get(COUNTS), abc.mark("read", {"id": abc.id("a"), "reader": str(ann.pk)})]
    said = [(answer.json()["reader"], answer.json()["group"]) for answer in answers]
    assert said == [(str(ann.pk), f"user:{ann.pk}")] * 3
    page = abc.client.get(INBOX, headers=HTML).text
    counts = abc.client.get(COUNTS).json()
    assert counts.pop("csrf")
    assert json.loads(unescape(re.search(r'data-state="([^"]+)"', page)[1])) == counts


@pytest.mark.parametrize("action", ["seen", "read", "archive", "undo"])
@pytest.mark.parametrize("other", ["999", ""])
def test_the_tab_of_another_user_changes_nothing(ann, abc, action, other):
    version = abc.mark("read", {"id": abc.id("a")}).json()["version"]
    said = {"version": version} if action == "undo" else {"upto": abc.list().json()["position"]}
    said |= {"reader": other, "next": "/here/"}
    before = abc.list().json()
    for answer in (abc.mark(action, said), abc.form(action, said)):
        assert told(answer) == (409, "other_reader")
    browser = abc.client.post(f"{INBOX}{action}/", said, headers=HTML)
    assert (browser.status_code, browser["Location"]) == (303, INBOX)
    assert abc.list().json() == before


def test_the_right_readers_mark_is_taken(ann, abc):
    said = {"id": abc.id("a"), "reader": str(ann.pk)}
    assert abc.form("read", said).json()["changed"] is True
    assert told(abc.mark("read", said | {"reader": ann.pk})) == (400, "bad_body")


def test_a_mark_up_to_here_is_of_the_category_and_the_tab_that_are_shown(ann, api):
    for title, category in (("a", "x"), ("b", "y"), ("c", "x"), ("d", "x")):
        livepush.notify(ann, title, category=category)
    upto = api.id("c")
    assert api.mark("read", {"upto": upto, "category": "x", "tab": ""}).json()["unread"] == 2
    assert api.titles(tab="unread") == ["d", "b"]
    assert api.form("archive", {"upto": upto, "category": "", "tab": "unread"}).json()["changed"] is True
    assert (api.titles(), api.titles(tab="archived")) == (["d", "c", "a"], ["b"])


def test_the_fields_of_a_page_do_no_harm_where_entries_are_named_or_a_change_is_undone(abc):
    shown = {"category": "x", "tab": "archived"}
    version = abc.mark("read", {"id": abc.id("a"), **shown}).json()["version"]
    assert abc.titles(tab="unread") == ["c", "b"]
    assert abc.form("undo", {"version": version, **shown}).json()["changed"] is True


@pytest.mark.parametrize(
    ("version", "status"), [("1", 200), (1, 200), (1.0, 200), (1.5, 400), (True, 400), (1e300, 400)]
)
def test_a_version_is_a_number_however_json_writes_it(abc, version, status):
    abc.mark("read", {"id": abc.id("a")})
    assert abc.mark("undo", {"version": version}).status_code == status


@pytest.mark.parametrize(
    ("action", "more", "code"),
    [
        ("read", {"tab": "archived"}, "bad_mark"),
        ("archive", {"tab": "archived", "category": "x"}, "bad_mark"),
        ("seen", {"category": "x"}, "bad_mark"),
        ("read", {"tab": "seen"}, "bad_query"),
        ("read", {"category": "c" * 51}, "bad_query"),
        ("read", {"category": "\0"}, "bad_query"),
        ("read", {"category": 7}, "bad_body"),
    ],
)
def test_a_mark_of_what_is_never_shown_is_refused(abc, action, more, code):
    answer = abc.mark(action, {"upto": abc.id("c"), **more})
    assert told(answer) == (400, code)
    assert abc.counts() == (3, 3)


def test_numbers_for_scripts_have_no_commas(using, ann, abc, settings):
    settings.USE_THOUSAND_SEPARATOR = True
    Notification.objects.using(using).update(created=timezone.now() - timedelta(seconds=5_000))
    InboxState.objects.using(using).create(reader=str(ann.pk), version=1_233)
    abc.mark("read", {"id": abc.id("a")})
    page = abc.client.get(INBOX, {"undo": "1234"}, headers=HTML).text
    assert re.search(r'data-age="(\d+)"', page)
    assert "undo=1234" in page
    assert 'name="version" value="1234"' in page


def line(api, outcome, **query):
    """Return the line that says what was done, as the page shows it to a browser that was sent back."""
    page = api.client.get(INBOX, {"undo": outcome.json()["version"], **query}, headers=HTML).text
    found = re.search(r'<p part="undo">(.*?) <button', page)
    return found and unescape(found[1])


@pytest.mark.parametrize(
    ("prepare", "action", "one", "all_"),
    [
        ((), "archive", 'Archived: A <b> & "c"', "Archived."),
        ((), "read", 'Marked as read: A <b> & "c"', "Marked as read."),
        (("read",), "unread", 'Marked as unread: A <b> & "c"', "Marked as unread."),
        (("archive",), "unarchive", 'Back in the inbox: A <b> & "c"', "Back in the inbox."),
    ],
)
def test_the_page_says_what_was_done(ann, api, prepare, action, one, all_):
    titles = ('A <b> & "c"', "Another")
    for title in titles:
        livepush.notify(ann, title)
    ids = [api.id(title) for title in titles]
    for before in prepare:
        api.mark(before, {"id": ids})
    several = api.mark(action, {"id": ids})
    assert line(api, several) == all_
    api.mark("undo", {"version": several.json()["version"]})
    assert line(api, several) is None
    assert line(api, api.mark(action, {"id": ids[0]})) == one


def test_the_page_names_one_entry_only_if_it_is_still_the_same(ann, api):
    livepush.notify(ann, "One", category="x", collapse="c")
    livepush.notify(ann, "Two", category="y")
    done = api.mark("archive", {"upto": api.id("Two"), "category": "x"})
    assert line(api, done) == "Archived: One"
    livepush.notify(ann, "Three", collapse="c")
    assert line(api, done) == "Archived."
    assert line(api, api.mark("read", {"upto": api.id("Two")})) == "Marked as read."
    api.mark("seen", {"upto": api.id("Three")})
    assert line(api, done) is None


@pytest.mark.parametrize("version", ["", "0", "-1", "x", "٣", "9" * 30])
def test_a_page_that_asks_for_another_undo_says_nothing(abc, version):
    abc.mark("archive", {"id": abc.id("a")})
    assert 'part="undo"' not in abc.client.get(INBOX, {"undo": version}, headers=HTML).text


def test_a_refused_mark_says_what_the_action_takes(db):
    api = Api(User.objects.create(username="ann"))
    said = {action: api.mark(action, {}).json()["message"] for action in ("read", "seen", "unread")}
    assert said == {
        "read": "To mark as read, send id or upto.",
        "seen": "To mark as seen, send upto.",
        "unread": "To mark as unread, send id.",
    }


@pytest.mark.long
def test_a_thousand_entries_are_marked_at_once(using, ann, api):
    for _ in range(1000):
        append(using, f"user:{ann.pk}", type=NOTIFICATION_TYPE, data='{"title": "Many", "level": "info"}')
    position = api.list().json()["position"]
    epoch, _, last = position.partition("-")
    ids = [f"{epoch}-{number}" for number in range(int(last) - 999, int(last) + 1)]
    assert api.mark("read", {"id": ids}).json()["unread"] == 0


@pytest.mark.parametrize("middleware", [True, False])
def test_a_mark_needs_the_csrf_token(using, ann, settings, middleware):
    if not middleware:
        settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "Csrf" not in name]
    livepush.notify(ann, "a")
    api, token = Api(ann, enforce_csrf_checks=True), "t" * 32
    wanted = {"id": api.id("a")}
    assert told(api.mark("read", wanted)) == (403, "csrf")
    api.client.cookies["csrftoken"] = token
    assert told(api.mark("read", wanted)) == (403, "csrf")
    assert told(api.mark("read", wanted, headers={"X-CSRFToken": "x" * 32})) == (403, "csrf")
    browser = api.client.post(f"{INBOX}read/", wanted, headers=HTML)
    assert (browser.status_code, browser["Content-Type"]) == (403, "text/html; charset=utf-8")
    assert api.counts() == (1, 1)
    assert api.mark("read", wanted, headers={"X-CSRFToken": token}).json()["changed"] is True
    assert api.form("unread", wanted | {"csrfmiddlewaretoken": token}).json()["changed"] is True


def test_atomic_requests_keep_nobody_from_settling_and_marking(using, ann, api, monkeypatch, settings):
    settings.LIVEPUSH = {"DATABASE": using, "PAGE_POSITIONS": False}  # or that would settle as the request starts
    for alias in connections:
        monkeypatch.setitem(connections.settings[alias], "ATOMIC_REQUESTS", True)
    append(using, f"user:{ann.pk}", type=NOTIFICATION_TYPE, data='{"title": "Late", "level": "info"}')
    assert api.titles() == ["Late"]
    append(using, f"user:{ann.pk}", type=NOTIFICATION_TYPE, data='{"title": "Later", "level": "info"}')
    answer = api.mark("read", {"upto": api.id("Later")}).json()
    assert (answer["changed"], answer["unread"]) == (True, 0)
    assert Event.objects.using(using).get(type="inbox.state").position is not None


# Kinds


@pytest.fixture
def shipped(monkeypatch):
    """A kind that says the same in two languages."""
    monkeypatch.setattr(kinds, "registry", {})

    @livepush.notification
    class Shipped(livepush.NotificationType):
        key = "test.shipped"
        category = "orders"
        level = "success"

        def title(self, ctx):
            words = {"de": "{} wurde verschickt"}.get(translation.get_language(), "{} was shipped")
            return words.format(ctx.data["code"])

        def url(self, ctx):
            return f"/{translation.get_language()}/orders/"

    return Shipped


def test_a_kind_speaks_the_language_of_the_request(ann, api, shipped, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    livepush.notify(ann, shipped, data={"code": "A7"})
    for language, title in (("de", "A7 wurde verschickt"), ("en", "A7 was shipped")):
        answer = api.client.get(ENTRIES, headers={"Accept-Language": language})
        (entry,) = answer.json()["entries"]
        assert (entry["title"], entry["url"]) == (title, f"/{language}/orders/")
        assert (entry["kind"], entry["category"], entry["level"]) == ("test.shipped", "orders", "success")


def test_a_kind_that_is_gone_or_fails_leaves_what_was_sent(ann, api, shipped, monkeypatch, caplog):
    with translation.override("de"):
        livepush.notify(ann, shipped, data={"code": "A7"})
    assert api.titles() == ["A7 was shipped"]
    monkeypatch.setattr(shipped, "title", lambda self, ctx: ctx.data["gone"])
    assert api.titles() == ["A7 wurde verschickt"]
    assert "The kind 'test.shipped' raised" in caplog.text
    kinds.registry.clear()
    (entry,) = api.list().json()["entries"]
    assert (entry["title"], entry["url"], entry["kind"]) == ("A7 wurde verschickt", "/de/orders/", "test.shipped")


# What it costs


def queries(api, using, path, **query):
    """Return what a request asks the inbox's database, when nothing is left to be settled or filed."""
    api.client.get(path, query)
    with CaptureQueriesContext(connections[using]) as captured:
        assert api.client.get(path, query).status_code == 200
    return [asked["sql"] for asked in captured]


@pytest.mark.parametrize(
    ("path", "tab"), [(COUNTS, "all"), (ENTRIES, "all"), (ENTRIES, "unread"), (ENTRIES, "archived")]
)
def test_the_number_of_queries_does_not_grow(using, ann, api, path, tab):
    def grow(notifications, memberships):
        groups = [f"inbox:of:order:{number}" for number in range(memberships)]
        known = set(Membership.objects.using(using).values_list("group", flat=True))
        Membership.objects.using(using).bulk_create(
            Membership(group=group, reader=str(ann.pk), joined=0) for group in groups if group not in known
        )
        to = [f"user:{ann.pk}", *groups] * notifications
        for audience in to[:notifications]:
            append(using, audience, type=NOTIFICATION_TYPE, data='{"title": "One", "level": "info"}')
        append(using, "board")  # that there is no notification behind the last is one more question

    grow(10, 3)
    api.mark("archive", {"upto": api.list().json()["entries"][4]["id"]})
    api.mark("unarchive", {"id": api.list(tab="archived").json()["entries"][0]["id"]})
    few = queries(api, using, path, tab=tab)
    grow(490, 3)
    more = queries(api, using, path, tab=tab)
    grow(100, 50)
    most = queries(api, using, path, tab=tab)
    assert len(few) == len(more) == len(most)


@pytest.mark.parametrize(("path", "query"), [(COUNTS, {}), (ENTRIES, {}), (ENTRIES, {"tab": "archived"})])
def test_who_reads_writes_nothing(using, abc, path, query):
    abc.mark("read", {"id": abc.id("a")})
    with CaptureQueriesContext(connections["default"]) as default:
        asked = queries(abc, using, path, **query)
    asked += [each["sql"] for each in default]
    assert asked
    assert [sql for sql in asked if not sql.lstrip(" (").upper().startswith("SELECT")] == []


@pytest.mark.parametrize("use_tz", [True, False])
def test_the_list_says_when_each_was_sent_in_utc_and_how_old_it_is(api, ann, use_tz):
    with override_settings(USE_TZ=use_tz, TIME_ZONE="America/New_York"):
        livepush.notify(ann, "One")
        html = api.client.get(INBOX, headers={"accept": "text/html"}).text
    said, age = re.search(r'<time datetime="([^"]+)" data-age="(\d+)"', html).groups()
    assert abs((datetime.fromisoformat(said) - datetime.now(UTC)).total_seconds()) < 60
    assert int(age) < 60
