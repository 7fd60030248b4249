from __future__ import annotations

import mimetypes
import re
from pathlib import Path

from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import engines
from django.urls import include, path
from django.utils.translation import get_language

import livepush
from livepush.hub.registry import hubs


def page(request: HttpRequest) -> HttpResponse:
    template = engines["django"].from_string(
        "<!doctype html><title>page</title>{% load livepush %}<body>{% livepush 'board' %}</body>"
    )
    return HttpResponse(template.render({}, request))


def live(request: HttpRequest) -> HttpResponse:
    """A page under a strict policy, with a tag for each ``group`` of the query, from its ``position`` if given."""
    template = engines["django"].from_string(
        '<!doctype html><html lang="en"><title>live</title>'
        "{% load livepush %}{% for group in groups %}{% livepush group %}{% endfor %}"
    )
    html = template.render({"groups": request.GET.getlist("group")}, request)
    positions = iter(request.GET.getlist("position"))
    html = re.sub(r'(?<=data-position=")[^"]+', lambda own: next(positions, own[0]), html)
    policy = "default-src 'none'; script-src 'self'; connect-src 'self'; require-trusted-types-for 'script'"
    return HttpResponse(html, headers={"Content-Security-Policy": policy})


def bell(request: HttpRequest) -> HttpResponse:
    """A page with a bell, a field and toasts, under a strict policy; ``group`` asks for a tag of the page's own."""
    template = engines["django"].from_string(
        '<!doctype html><html lang="{{ lang }}" dir="{{ dir }}"><head><title>Shop</title>'
        '<link rel="icon" href="/static/livepush/bell.svg"></head><body>{% load livepush %}'
        "{% if early %}{% livepush early %}{% endif %}<header>{% livepush_bell %}</header>"
        '<main><h1>Shop</h1><label>Name <input id="field"></label> {% livepush_badge %}'
        "{% if list %}{% livepush_list %}{% endif %}</main>{% livepush_toasts %}"
        "{% if group %}{% livepush group %}{% endif %}</body></html>"
    )
    asked = {name: request.GET.get(name, "") for name in ("early", "group", "list")}
    names = {"lang": request.GET.get("lang", get_language()), "dir": request.GET.get("dir", "ltr")}
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; require-trusted-types-for 'script'"
    )
    return HttpResponse(template.render({**asked, **names}, request), headers={"Content-Security-Policy": policy})


def lobby(request: HttpRequest) -> HttpResponse:
    """A page that shows who is there, under a strict policy."""
    template = engines["django"].from_string(
        '<!doctype html><html lang="en"><head><title>Lobby</title><link rel="icon" href="/static/livepush/bell.svg">'
        '<meta name="viewport" content="width=device-width"></head><body>{% load livepush %}'
        "<main><h1>Lobby</h1>{% livepush_presence group %}</main></body></html>"
    )
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "require-trusted-types-for 'script'"
    )
    html = template.render({"group": request.GET.get("group", "lobby:a")}, request)
    return HttpResponse(html, headers={"Content-Security-Policy": policy})


def both(request: HttpRequest) -> HttpResponse:
    """A page with everything that a page may have, and no policy of its own."""
    template = engines["django"].from_string(
        "<!doctype html><title>both</title>{% load livepush %}{% livepush 'board' %}{% livepush_bell %}"
        "{% livepush_badge %}{% livepush_list %}{% livepush_toasts %}"
    )
    return HttpResponse(template.render({}, request))


def guarded(request: HttpRequest) -> HttpResponse:
    """A page with a tag and a bell, whose policy lets no script in but by the page's nonce."""
    template = engines["django"].from_string(
        '<!doctype html><html lang="en"><head><title>guarded</title></head><body>'
        "{% load livepush %}{% livepush group %}{% livepush_bell %}</body></html>"
    )
    policy = "default-src 'none'; script-src 'nonce-a1'; style-src *; img-src *; connect-src 'self'"
    html = template.render({"group": request.GET["group"], "csp_nonce": "a1"}, request)
    return HttpResponse(html, headers={"Content-Security-Policy": policy})


def static_file(request: HttpRequest, name: str) -> HttpResponse:
    """One of the apps' static files, which a plain ASGI server does not serve."""
    path = finders.find(name)
    assert path is not None
    return HttpResponse(Path(path).read_bytes(), content_type=mimetypes.guess_type(name)[0])


def worker(request: HttpRequest) -> HttpResponse:
    """A service worker that answers for all of the site but livepush, as the manual asks of one."""
    script = """
        self.addEventListener("install", () => self.skipWaiting());
        self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
        self.addEventListener("fetch", (event) => {
            if (new URL(event.request.url).pathname.startsWith("/livepush/")) return;
            event.respondWith(fetch(event.request));
        });
    """
    return HttpResponse(script, content_type="text/javascript")


async def send_async(request: HttpRequest) -> JsonResponse:
    await livepush.asend("board", "from-async", {"n": 1})
    return JsonResponse({})


def send_twice_and_fail(request: HttpRequest) -> HttpResponse:
    livepush.send("board", "never", 1)
    User.objects.create(username="never")
    raise RuntimeError("the request fails")


def send_in_request(request: HttpRequest) -> JsonResponse:
    livepush.send("board", "from-request", {"n": 2})
    return JsonResponse({})


def ready(request: HttpRequest) -> JsonResponse:
    """Say that the server answers, and how many clients it holds."""
    return JsonResponse({"subscribers": sum(len(hub.subscribers) for hub in hubs)})


urlpatterns = [
    path("admin/", admin.site.urls),
    path("livepush/", include("livepush.urls")),
    path("page/", page),
    path("both/", both),
    path("guarded/", guarded),
    path("lobby/", lobby),
    path("live/", live),
    path("bell/", bell),
    path("static/<path:name>", static_file),
    path("worker.js", worker),
    path("send-async/", send_async),
    path("send-fail/", send_twice_and_fail),
    path("send/", send_in_request),
    path("ready/", ready),
    path("streams/", include("tests.streams.site")),
]
