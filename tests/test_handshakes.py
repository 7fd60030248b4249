"""Who may shake hands: the origin of a WebSocket."""

from __future__ import annotations

import json
from collections import defaultdict
from io import BytesIO

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.routing import URLRouter
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import resolve
from django.utils import translation

from livepush import routing
from livepush.access import authenticating, handshakes, identity, origins
from livepush.notes import Rarely
from livepush.wire import Close, WireError
from tests import asking
from tests.asgi import application
from tests.patience import PATIENCE


def scope(scheme="ws", host="shop.test", **headers):
    """Return the scope of a WebSocket's handshake; a header's name is written as an argument."""
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in {"host": host, **headers}.items()]
    return {"type": "websocket", "path": "/livepush/ws/", "scheme": scheme, "headers": named, "query_string": b""}


def refused(found):
    try:
        origins.check_origin(identity.request_of(found))
    except WireError as error:
        return (error.code, error.close) == ("bad_origin", Close.FORBIDDEN)
    return False


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("ws", "shop.test", "http://shop.test"),
        ("ws", "shop.test:8000", "http://shop.test:8000"),
        ("wss", "shop.test", "https://shop.test"),
        ("wss", "shop.test:443", "https://shop.test"),
        ("ws", "Shop.Test:80", "http://shop.test"),
        ("ws", "shop.test", "https://shop.test"),  # a proxy ends TLS and does not tell
    ],
)
def test_a_page_of_the_same_host_may_open_a_websocket(scheme, host, origin):
    assert not refused(scope(scheme, host, origin=origin))


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("wss", "shop.test", "http://shop.test"),
        ("wss", "shop.test", "http://shop.test:443"),
        ("wss", "shop.test:8443", "https://shop.test"),
        ("wss", "shop.test", "https://shop.test:8443"),
        ("ws", "shop.test", "http://elsewhere.test"),
        ("ws", "shop.test", "ftp://shop.test"),
        ("ws", "shop.test", "chrome-extension://shop.test"),
        ("ws", "shop.test", "//shop.test"),
        ("ws", "shop.test", "shop.test"),
        ("ws", "shop.test", "null"),
        ("ws", "shop.test", ""),
        ("ws", "shop.test", "http://ann@shop.test"),
    ],
)
def test_a_page_over_another_scheme_or_port_or_of_another_host_may_not(scheme, host, origin):
    assert refused(scope(scheme, host, origin=origin))


def test_the_proxys_word_for_tls_counts(settings):
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert refused(scope("ws", origin="http://shop.test", x_forwarded_proto="https"))
    assert not refused(scope("ws", origin="https://shop.test", x_forwarded_proto="https"))
    assert refused(scope("ws", origin="http://shop.test", x_forwarded_proto="https"))
    assert not refused(scope("ws", origin="http://shop.test", x_forwarded_proto="http"))


def test_a_trusted_origin_is_trusted_with_its_scheme(settings):
    settings.CSRF_TRUSTED_ORIGINS = ["https://*.shop.test", "http://old.test"]
    for origin in ("https://eu.shop.test", "http://old.test"):
        assert not refused(scope("wss", origin=origin))
    for origin in ("http://eu.shop.test", "https://old.test"):
        assert refused(scope("wss", origin=origin))


def test_a_client_without_an_origin_is_no_browser():
    assert not refused(scope("wss"))


@pytest.mark.parametrize("root", [None, "/app", "/app/"])
async def test_channels_own_router_finds_the_endpoints_under_force_script_name(settings, root):
    settings.FORCE_SCRIPT_NAME = root
    router = URLRouter(routing.http_urlpatterns())
    for prefix in ("", (root or "").rstrip("/")):
        found = {
            "type": "http",
            "method": "GET",
            "path": f"{prefix}/livepush/sse/",
            "headers": [],
            "query_string": b"group=",
        }
        assert await statuses(router, found) == [400]


async def statuses(application, found):
    told = []

    async def send(message):
        told.append(message)

    await application(found, None, send)
    return [message["status"] for message in told if "status" in message]


@pytest.mark.parametrize("active", ["en", "de"])
async def test_the_endpoints_are_under_the_prefix_of_every_language(settings, active):
    settings.ROOT_URLCONF = "tests.localized"
    settings.LANGUAGES = [("en", "English"), ("de", "German"), ("fr", "French"), ("pt-br", "Portuguese")]
    settings.LANGUAGE_CODE = "en"
    with translation.override(active):
        application = routing.Application(URLRouter([]))
        router = URLRouter(routing.http_urlpatterns())
        assert {path for kind, path in routing.endpoints() if kind == "websocket"} == {
            "/livepush/ws/",
            "/de/livepush/ws/",
            "/fr/livepush/ws/",
            "/pt-br/livepush/ws/",
        }
        for prefix in ("", "/de", "/fr", "/pt-br"):
            found = {
                "type": "http",
                "method": "GET",
                "path": f"{prefix}/livepush/sse/",
                "headers": [],
                "query_string": b"group=",
            }
            assert await statuses(application, found) == [400]
            assert await statuses(router, found) == [400]


def test_a_site_without_languages_in_its_addresses_has_one_prefix(settings):
    assert routing.prefixes() == ["/livepush/"]
    settings.USE_I18N = False
    assert routing.prefixes() == ["/livepush/"]


def test_cookies_that_come_in_headers_of_their_own_are_all_there():
    cookies = [(b"cookie", b"a=1"), (b"cookie", b"sessionid=x"), (b"cookie", b"b=2")]
    found = {**scope("https"), "type": "http", "http_version": "2", "headers": [(b"host", b"shop.test"), *cookies]}
    assert identity.request_of(found).COOKIES == {"a": "1", "sessionid": "x", "b": "2"}


RAW = [b"group=\xff", "group=€".encode(), b"group=board&\xff=1"]
"""Queries with bytes that no browser sends as they are, and that HTTP/2 lets through."""


@pytest.mark.parametrize("allowed", [[], ["https://app.example.com"]])
@pytest.mark.parametrize("query", RAW)
@pytest.mark.parametrize("path", ["sse/", "poll/", f"streams/{'a' * 22}/"])
async def test_raw_bytes_in_a_query_are_refused(settings, path, query, allowed):
    settings.LIVEPUSH = {"ALLOWED_ORIGINS": allowed}
    status, body = await asking.ask(f"/livepush/{path}", query, {"Origin": "https://app.example.com"})
    assert (status, json.loads(body)["code"]) == (400, "bad_query")


@pytest.mark.parametrize("query", RAW)
async def test_raw_bytes_in_the_query_of_a_websocket_are_refused(query):
    socket = ApplicationCommunicator(application, {**scope(), "query_string": query})
    await socket.send_input({"type": "websocket.connect"})
    assert (await socket.receive_output(PATIENCE))["type"] == "websocket.accept"
    assert await socket.receive_output(PATIENCE) == {"type": "websocket.close", "code": 4400, "reason": "bad_query"}
    await socket.wait(PATIENCE)


@pytest.mark.parametrize(
    ("written", "offered", "chosen"),
    [
        ([b"chat, livepush.v1"], ["chat", "livepush.v1"], "livepush.v1"),
        ([b"chat", b"livepush.token.a-b_c"], ["chat", "livepush.token.a-b_c"], "livepush.token.a-b_c"),
        ([b"livepush.token.a, livepush.v1"], ["livepush.token.a", "livepush.v1"], "livepush.v1"),
        ([b"livepush%2Ev1"], ["livepush.v1"], None),  # of daphne, which unquotes them
        ([b"chat%2Clivepush.v1"], ["chat", "livepush.v1"], None),
        ([b"livepush.token.%41"], ["livepush.token.A"], None),
        ([b"livepush.token.\xff"], ["livepush.token.\xff"], None),
        ([b"livepush.token.\xff"], ["livepush.token.\udcff"], None),  # of uvicorn, before release 17 of websockets
        ([b"livepush.v1", b"chat"], ["chat"], None),  # of hypercorn, which heeds the last header
        ([], ["chat", "livepush.token.a-b_c"], "livepush.token.a-b_c"),  # of wsproto, which takes the header away
        ([], [], None),
    ],
)
async def test_a_websocket_is_accepted_with_a_subprotocol_that_the_client_wrote_as_it_stands(written, offered, chosen):
    found = {**scope(), "subprotocols": offered, "query_string": RAW[0]}
    found["headers"] += [(b"sec-websocket-protocol", each) for each in written]
    socket = ApplicationCommunicator(application, found)
    await socket.send_input({"type": "websocket.connect"})
    assert await socket.receive_output(PATIENCE) == {"type": "websocket.accept", "subprotocol": chosen}
    assert (await socket.receive_output(PATIENCE))["code"] == 4400
    await socket.wait(PATIENCE)


def test_a_token_in_a_subprotocol_is_found_where_the_server_tells_it_without_its_header():
    found = {**scope(), "subprotocols": ["livepush.v1", "livepush.token.livepush_a"]}
    assert authenticating.token_of(identity.request_of(found)) == "livepush_a"
    found["headers"] += [(b"sec-websocket-protocol", b"livepush.token.livepush_b")]
    assert authenticating.token_of(identity.request_of(found)) == "livepush_b"


@pytest.mark.parametrize(
    ("said", "is_told", "close"), [("away", True, 4503), ("busy", False, 4503), ("no", False, 4403)]
)
async def test_a_websocket_is_told_when_to_come_back_if_the_check_that_refuses_says_when(
    settings, said, is_told, close
):
    settings.LIVEPUSH = {"HANDSHAKE": ["tests.shop.gates.async_gate"]}
    socket = ApplicationCommunicator(application, {**scope(x_async=said), "query_string": b"group=board"})
    await socket.send_input({"type": "websocket.connect"})
    assert (await socket.receive_output(PATIENCE))["type"] == "websocket.accept"
    if is_told:
        bye = json.loads((await socket.receive_output(PATIENCE))["text"])
        assert (bye["type"], bye["reason"]) == ("livepush.bye", "unavailable")
        assert 7000 <= bye["retry"] <= 7700
    assert await socket.receive_output(PATIENCE) == {"type": "websocket.close", "code": close, "reason": "refused"}
    await socket.wait(PATIENCE)


@pytest.mark.parametrize("path", ["poll/", "presence/", f"streams/{'a' * 22}/"])
def test_raw_text_in_the_query_of_a_plain_view_is_refused(path):
    request = ASGIRequest({**scope("https"), "method": "GET", "query_string": "group=€".encode()}, BytesIO())
    found = resolve(f"/livepush/{path}")
    answer = found.func(request, *found.args, **found.kwargs)
    assert (answer.status_code, json.loads(answer.content)["code"]) == (400, "bad_query")


async def staging(request):
    return HttpResponse(status=401, headers={"WWW-Authenticate": 'Basic realm="staging"'})


async def test_a_check_that_asks_for_another_kind_of_login_is_heard(settings):
    settings.LIVEPUSH = {"HANDSHAKE": [f"{__name__}.staging"]}
    found = await asking.request("/livepush/poll/", "group=board", {})
    start = await found.receive_output(PATIENCE)
    assert start["status"] == 401
    assert [value for name, value in start["headers"] if name == b"www-authenticate"] == [b'Basic realm="staging"']
    await found.wait(PATIENCE)


def broken(request):
    raise ValueError("a check that fails")


class Broken:
    def __init__(self, get_response):
        pass

    def __call__(self, request):
        raise ValueError("a middleware that fails")


@pytest.mark.parametrize("check", [broken, Broken])
def test_a_check_that_fails_for_every_client_refuses_each_and_is_logged_once_in_a_while(
    settings, caplog, monkeypatch, check
):
    settings.LIVEPUSH = {"HANDSHAKE": [check]}
    rarely = Rarely(every=600.0)
    monkeypatch.setattr(handshakes, "_raising", defaultdict(lambda: rarely))
    for every in (600.0,) * 50 + (0.0,):
        rarely.every = every
        with pytest.raises(WireError, match="does not let this client in"):
            handshakes.check_sync(RequestFactory().get("/"))
    said = f"The handshake's check {check.__name__} raised, so it refuses."
    assert [record.message for record in caplog.records] == [said, f"{said} It is the last of 50 times."]
    assert all(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("name", ["closing", "async_closing"])
def test_a_function_of_get_response_is_taken_for_a_middleware(settings, name):
    settings.LIVEPUSH = {"HANDSHAKE": [f"tests.shop.gates.{name}"]}
    handshakes.check_sync(RequestFactory().get("/"))
    with pytest.raises(WireError) as caught:
        handshakes.check_sync(RequestFactory().get("/", headers={"X-Closed": "1"}))
    assert (caught.value.code, caught.value.status) == ("refused", 503)
