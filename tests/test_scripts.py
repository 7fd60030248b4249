"""Where pages find the scripts that the client imports."""

from __future__ import annotations

import re

import pytest
from django.http import HttpRequest
from django.template import Context, Template
from django.test import RequestFactory

from livepush.page import scripts

pytestmark = pytest.mark.django_db(transaction=True)
ELSEWHERE = "https://cdn.example/static/"


def addresses(request=None):
    text = Template("{% load livepush %}{% livepush 'board' %}").render(Context({"request": request}))
    return dict(re.findall(r'data-(send|fallback|attributes)="([^"]*)"', text))


def test_they_are_static_files_where_the_page_s_own_host_has_those(settings):
    settings.STATIC_URL = "/files/"
    expected = {name: f"/files/livepush/livepush-{name}.js" for name in ("send", "fallback", "attributes")}
    assert addresses(RequestFactory().get("/")) == expected
    assert addresses(RequestFactory().get("/", headers={"host": "not.allowed"})) == expected
    assert addresses(HttpRequest()) == expected


def test_they_come_from_the_page_s_own_host_where_another_one_has_the_static_files(settings, client):
    settings.STATIC_URL = ELSEWHERE
    for name, address in addresses(RequestFactory().get("/", headers={"host": "not.allowed"})).items():
        assert re.fullmatch(rf"/livepush/scripts/livepush-{name}\.js\?v=[0-9a-f]{{12}}", address)
        answer = client.get(address)
        assert answer.content == (scripts.FOLDER / f"livepush-{name}.js").read_bytes()
        assert answer["Content-Type"] == "text/javascript; charset=utf-8"
        assert answer["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert "Vary" not in answer


@pytest.mark.parametrize("query", ["", "?v=", "?v=000000000000"])
def test_a_page_of_another_release_keeps_no_script_of_this_one(client, query):
    assert client.get(f"/livepush/scripts/livepush-send.js{query}")["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "file",
    [
        "livepush.js",
        "livepush-streams.js",
        "livepush-send.js.map",
        "send",
        "livepush-%2e%2e%2finbox.js",
        "livepush-.js",
        "x",
    ],
)
def test_no_other_file_is_served(client, file):
    assert client.get(f"/livepush/scripts/{file}").status_code == 404


def test_they_need_no_query(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert client.get("/livepush/scripts/livepush-send.js").status_code == 200


def test_they_need_no_login(client, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert client.get("/livepush/scripts/livepush-send.js").status_code == 200
    assert client.post("/livepush/scripts/livepush-send.js").status_code == 405


def test_the_addresses_follow_the_site_s_prefix(settings):
    settings.STATIC_URL, settings.ROOT_URLCONF = ELSEWHERE, "tests.elsewhere"
    assert addresses(RequestFactory().get("/"))["send"].startswith("/api/live/scripts/livepush-send.js")
