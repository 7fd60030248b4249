"""The tag, and the position that a page carries."""

from __future__ import annotations

import html
import json
import re

import django
import pytest
from csp.constants import NONCE
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.core.signals import request_started
from django.db import transaction
from django.template import Context, Template
from django.test import RequestFactory, override_settings

import livepush
from livepush import exceptions, log
from livepush.access import rules
from livepush.notes import OnceEach
from livepush.page import groups, positions
from tests.conftest import append
from tests.shop.models import Clerk, ExpressOrder, Order

pytestmark = pytest.mark.django_db(transaction=True)


def render(tag, **context):
    return Template("{% load livepush %}" + tag).render(Context(context))


def attributes(text):
    return {name: html.unescape(value) for name, value in re.findall(r'([a-z-]+)="([^"]*)"', text)}


def test_the_tag_is_one_deferred_script_without_code_in_the_page():
    epoch = log.state("default").position.epoch
    assert render("{% livepush 'board' %}") == (
        '<script defer src="/static/livepush/livepush.js" data-livepush data-url="/livepush/" '
        f'data-groups="[&quot;board&quot;]" data-position="{epoch}-0" data-tabs="" data-most="100" '
        'data-send="/static/livepush/livepush-send.js" data-fallback="/static/livepush/livepush-fallback.js" '
        'data-attributes="/static/livepush/livepush-attributes.js"></script>'
    )


def test_the_tag_says_whether_clients_may_send_to_one_of_its_groups(monkeypatch):
    monkeypatch.setattr(rules, "rules", [])
    livepush.can_read("board")(lambda user: True)
    livepush.can_send("room:<slug:name>", types=("chat",))(lambda user, name: False)
    assert 'data-sends=""' not in render("{% livepush 'board' %}")
    assert 'data-sends=""' in render("{% livepush 'board' 'room:lobby' %}")


def test_the_tag_says_how_many_groups_its_own_user_may_ask_for(client):
    def most():
        return attributes(client.get("/page/").text)["data-most"]

    user = User.objects.create_user("ann")
    with override_settings(LIVEPUSH={"MAX_GROUPS_ANONYMOUS": 10}):
        assert most() == "10"
        client.force_login(user)
        assert most() == "100"
        assert 'data-most="10"' in render("{% livepush 'board' %}")
    with override_settings(LIVEPUSH={"MAX_GROUPS": 5, "MAX_GROUPS_ANONYMOUS": 10}):
        client.logout()
        assert most() == "5"


def test_the_tabs_of_a_session_and_no_others_share_a_connection(client):
    names = []
    for name in ("ann", "ann", "bob"):
        client.force_login(User.objects.get_or_create(username=name)[0])
        first, second = client.get("/page/"), client.get("/page/")
        assert attributes(first.text)["data-tabs"] == attributes(second.text)["data-tabs"]
        assert first["Vary"] == "Cookie"
        names.append(attributes(first.text)["data-tabs"])
    ann, ann_again, bob = names
    assert ann == ann_again != bob
    assert client.cookies["sessionid"].value not in bob
    assert all(names)


def test_a_page_for_nobody_in_particular_does_not_vary(client):
    page = client.get("/page/")
    assert attributes(page.text)["data-tabs"] == ""
    assert "Vary" not in page


def test_a_page_that_sends_varies_with_its_login(client, monkeypatch):
    monkeypatch.setattr(rules, "rules", [])
    livepush.can_read("board")(lambda user: True)
    livepush.can_send("board", types=("chat",))(lambda user: True)
    page = client.get("/page/")
    assert attributes(page.text)["data-tabs"] == ""
    assert page["Vary"] == "Cookie"


def test_groups_may_be_instances_and_absent_ones_are_left_out():
    order, user = Order.objects.create(), User.objects.create(username="ann")
    text = render("{% livepush 'board' order user nobody '' %}", order=order, user=user, nobody=AnonymousUser())
    assert json.loads(attributes(text)["data-groups"]) == ["board", f"order:{order.pk}", f"user:{user.pk}"]


def test_a_variable_that_the_context_does_not_have_is_said_once_under_debug(settings, caplog, monkeypatch):
    monkeypatch.setattr(groups, "_told", OnceEach(100))
    tags = "{% livepush odrer %}{% livepush_sse odrer %}{% livepush_stream odrer %}{% livepush order %}"
    for debug in (False, True, True):
        settings.DEBUG = debug
        render(tags, order=None)
    assert [record.getMessage().partition(" in ")[0] for record in caplog.records if record.name == "livepush"] == [
        "{% livepush %}",
        "{% livepush_sse %}",
        "{% livepush_stream %}",
    ]


def test_a_proxy_and_a_child_ask_for_the_group_of_the_row_that_they_are():
    child, clerk = ExpressOrder.objects.create(), Clerk.objects.create(username="ann")
    text = render("{% livepush child clerk %}", child=child, clerk=clerk)
    assert json.loads(attributes(text)["data-groups"]) == [f"order:{child.pk}", f"user:{clerk.pk}"]


def test_a_malformed_group_is_an_error():
    with pytest.raises(exceptions.InvalidGroup):
        render("{% livepush 'a b' %}")


def test_the_page_carries_the_position_of_its_requests_start(client):
    before = log.state("default").position
    request = RequestFactory().get("/")
    request_started.send(sender=None, environ=request.environ)
    livepush.send("board", "t")
    assert attributes(render("{% livepush 'board' %}", request=request))["data-position"] == str(before)


def test_a_page_of_the_site_carries_it_too(client):
    livepush.send("board", "t")
    assert attributes(client.get("/page/").text)["data-position"].endswith("-1")


def test_an_address_of_texts_begins_where_the_pages_request_began():
    order, before = Order.objects.create(), log.state("default").position
    request = RequestFactory().get("/")
    request_started.send(sender=None, environ=request.environ)
    livepush.send("board", "t")
    text = render('<i src="{% livepush_sse "board" order None "" %}">', request=request, order=order)
    assert text == (
        f'<i src="/livepush/sse/?format=text&amp;group=board&amp;group=order%3A{order.pk}&amp;since={before}">'
    )


def test_an_address_of_texts_needs_a_group():
    assert render("{% livepush_sse nobody %}", nobody=AnonymousUser()) == ""


def test_what_waits_is_settled_before_the_position_is_taken(client):
    append("default", "board")
    assert attributes(client.get("/page/").text)["data-position"].endswith("-1")


def test_a_request_costs_one_query(client, django_assert_num_queries):
    client.get("/page/")
    with django_assert_num_queries(1):
        client.get("/page/")


@override_settings(LIVEPUSH={"PAGE_POSITIONS": False})
def test_positions_can_be_left_to_the_tag(client, monkeypatch):
    asked = []
    plain = positions.current
    monkeypatch.setattr(positions, "current", lambda: asked.append(1) or plain())
    client.get("/page/")
    assert asked == [1]


@pytest.mark.parametrize("where", ["context", "request"])
def test_a_nonce_is_used_where_there_is_one(where):
    request = RequestFactory().get("/")
    if where == "request":
        request.csp_nonce = "abc"
    text = render("{% livepush 'board' %}", request=request, **({"csp_nonce": "abc"} if where == "context" else {}))
    assert attributes(text)["nonce"] == "abc"


@pytest.mark.parametrize("asked_by", [None, "Turbo-Frame", "HX-Request"])
def test_below_a_bell_a_tag_needs_a_script_only_in_what_may_become_a_part_of_a_page(asked_by):
    request = RequestFactory().get("/", headers={asked_by: "main"} if asked_by else {})
    request.user = User.objects.create_user("ann")
    text = render("{% livepush_bell %}{% livepush 'board' %}{% livepush_presence 'board' %}", request=request)
    scripts = re.findall(r"<script [^>]* data-livepush [^>]*>", text)
    loaded = [attributes(each).get("src", "").removeprefix("/static/livepush/") for each in scripts]
    assert loaded == ["inbox.js", *(["livepush.js"] * 2 if asked_by else ["", ""])]


@pytest.mark.parametrize("tag", ["bell", "toasts", "list", "presence 'board'"])
def test_whatever_a_tag_loads_has_the_nonce_of_the_views_context(tag):
    request = RequestFactory().get("/")
    request.user = User.objects.create_user("ann")
    text = render("{% livepush_" + tag + " %}", request=request, csp_nonce="abc")
    loaded = re.findall(r'<script[^>]* src=[^>]*>|<link rel="stylesheet"[^>]*>', text)
    assert loaded
    assert [attributes(each)["nonce"] for each in loaded] == ["abc"] * len(loaded)


def test_the_pages_first_inbox_tag_sets_the_icon_of_what_is_new():
    request = RequestFactory().get("/")
    request.user = User.objects.create_user("ann")
    text = render("{% livepush_inbox icon='/alert.svg' %}{% livepush_bell %}", request=request)
    assert attributes(text)["data-icon"] == "/alert.svg"


CSP = {
    "csp.middleware.CSPMiddleware": {
        "CONTENT_SECURITY_POLICY": {"DIRECTIVES": {name: [NONCE] for name in ("script-src", "style-src")}}
    }
}
if django.VERSION >= (6, 0):
    from django.utils.csp import CSP as SOURCES

    CSP["django.middleware.csp.ContentSecurityPolicyMiddleware"] = {
        "SECURE_CSP": {name: [SOURCES.NONCE] for name in ("script-src", "style-src")}
    }


@pytest.mark.parametrize("path", ["/page/", "/both/?list=1", "/livepush/inbox/"])
@pytest.mark.parametrize("middleware", CSP)
def test_whatever_a_page_loads_has_the_nonce_of_its_policy(client, middleware, path):
    client.force_login(User.objects.create_user("ann"))
    with override_settings(MIDDLEWARE=[middleware, *settings.MIDDLEWARE], **CSP[middleware]):
        response = client.get(path, headers={"accept": "text/html"})
    nonces = re.findall("'nonce-([^']+)'", response.headers["Content-Security-Policy"])
    loaded = re.findall(r'<script[^>]* src=[^>]*>|<link rel="stylesheet"[^>]*>', response.text)
    assert len(nonces) == 2
    assert loaded
    assert [attributes(each)["nonce"] for each in loaded] == [nonces[0]] * len(loaded)


@override_settings(ROOT_URLCONF="tests.elsewhere")
def test_the_prefix_is_where_the_urls_are_included():
    assert attributes(render("{% livepush 'board' %}"))["data-url"] == "/api/live/"


def test_a_tag_in_a_transaction_announces_nothing_that_is_not_committed(announced):
    before = log.state("default").position
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        livepush.send("board", "never")
        assert attributes(render("{% livepush 'board' %}"))["data-position"] == str(before)
        raise ZeroDivisionError
    assert announced == []


@pytest.mark.django_db(transaction=False)
def test_a_test_cases_requests_cost_no_query_of_ours(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        client.get("/livepush/sse/")
