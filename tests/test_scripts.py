"""Where pages find the scripts that the client imports."""

from __future__ import annotations

import re

import pytest
from django.template import Context, Template
from django.test import RequestFactory

from livepush.page import scripts

pytestmark = pytest.mark.django_db(transaction=True)
ELSEWHERE = "https://cdn.example/static/"


def addresses(request=None):
    text = Template("{% load livepush %}{% livepush 'board' %}").render(Context({"request": request}))
    return dict(re.findall(r'data-(send|fallback|attributes)="([^"]*)"', text))


def test_they_are_static_files_where_the_page_s_own_host_has_those(settings):
    request = RequestFactory().get("/", headers={"host": "shop.example"})
    settings.ALLOWED_HOSTS = ["shop.example"]
    for url in ("/static/", "//shop.example/static/", "https://shop.example/static/"):
        settings.STATIC_URL = url
        assert addresses(request) == {
            name: f"{url}livepush/livepush-{name}.js" for name in ("send", "fallback", "attributes")
        }


def test_they_come_from_the_page_s_own_host_where_another_one_has_the_static_files(settings, client):
    settings.STATIC_URL = ELSEWHERE
    for name, address in addresses(RequestFactory().get("/")).items():
        assert re.fullmatch(rf"http://testserver/livepush/scripts/livepush-{name}\.js\?v=[0-9a-f]{{12}}", address)
        answer = client.get(address)
        assert answer.content == (scripts.FOLDER / f"livepush-{name}.js").read_bytes()
        assert answer["Content-Type"] == "text/javascript; charset=utf-8"
        assert answer["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert "Vary" not in answer


def test_without_a_request_they_are_static_files(settings):
    settings.STATIC_URL = ELSEWHERE
    assert addresses()["send"] == f"{ELSEWHERE}livepush/livepush-send.js"


@pytest.mark.parametrize(
    "file", ["livepush.js", "livepush-streams.js", "livepush-send.js.map", "send", "livepush-%2e%2e%2finbox.js", "x"]
)
def test_no_other_file_is_served(client, file):
    assert client.get(f"/livepush/scripts/{file}").status_code == 404


def test_they_need_no_login(client, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert client.get("/livepush/scripts/livepush-send.js").status_code == 200
    assert client.post("/livepush/scripts/livepush-send.js").status_code == 405


def test_the_addresses_follow_the_site_s_prefix(settings):
    settings.STATIC_URL, settings.ROOT_URLCONF = ELSEWHERE, "tests.elsewhere"
    assert addresses(RequestFactory().get("/"))["send"].startswith(
        "http://testserver/api/live/scripts/livepush-send.js"
    )
