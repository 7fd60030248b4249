"""The position of a page: none of its events is lost, and a request without livepush pays nothing."""

from __future__ import annotations

import asyncio
import gc
import re
from unittest import mock
from weakref import ref

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_started
from django.db import connection, connections, transaction
from django.http import HttpResponse
from django.template import engines
from django.test import RequestFactory
from django.urls import include, path

import livepush
from livepush import log, process
from livepush.page import positions
from tests.conftest import Thread
from tests.patience import eventually

pytestmark = pytest.mark.django_db(transaction=True)
meanwhile = []
"""What is done between a page's query and its tag."""


def tag(request):
    return HttpResponse(engines["django"].from_string("{% load livepush %}{% livepush 'board' %}").render({}, request))


def page(request):
    User.objects.count()
    for work in meanwhile:
        work()
    return tag(request)


@transaction.atomic
def atomic_page(request):
    with connection.cursor() as cursor:
        cursor.execute(
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE" if connection.vendor == "postgresql" else "SELECT 1"
        )
    return page(request)


async def async_page(request):
    await User.objects.acount()
    for work in meanwhile:
        await sync_to_async(work)()
    return await sync_to_async(tag)(request)


def healthy(request):
    return HttpResponse("ok")


def names(request):
    return HttpResponse(", ".join(User.objects.values_list("username", flat=True)))


urlpatterns = [
    path("page/", page),
    path("atomic/", atomic_page),
    path("async/", async_page),
    path("healthy/", healthy),
    path("names/", names),
    path("livepush/", include("livepush.urls")),
]


@pytest.fixture(autouse=True)
def urls(settings, monkeypatch):
    settings.ROOT_URLCONF = __name__
    monkeypatch.setitem(globals(), "meanwhile", [])


def position_in(response):
    return re.search('data-position="([^"]+)"', response.content.decode())[1]


@pytest.mark.parametrize("parts", ["{% livepush_bell %}", "{% livepush_bell %}{% livepush request.user %}"])
def test_a_page_with_a_bell_begins_before_its_first_query_too(client, monkeypatch, parts):
    ann = User.objects.create_user("ann")
    client.force_login(ann)
    livepush.notify(ann, "Hello")
    before = str(log.state("default").position)

    def tag(request):
        page = engines["django"].from_string("{% load livepush %}" + parts)
        return HttpResponse(page.render({"request": request}))

    monkeypatch.setitem(globals(), "tag", tag)
    meanwhile.append(lambda: Thread(livepush.send, ann, "order.paid").join())
    found = re.findall('data-position="([^"]+)"', client.get("/page/").text)
    assert set(found) == {before}


def test_a_page_that_shows_who_is_there_begins_before_its_first_query_too(client, monkeypatch):
    def tag(request):
        page = engines["django"].from_string("{% load livepush %}{% livepush_presence 'lobby:a' %}")
        return HttpResponse(page.render({"request": request}))

    monkeypatch.setitem(globals(), "tag", tag)
    client.force_login(User.objects.create_user("ann"))
    before = str(log.state("default").position)
    meanwhile.append(lambda: Thread(livepush.send, "lobby:a", "said").join())
    assert position_in(client.get("/page/")) == before


def another_sends():
    """Another process's send, as far as this one can tell."""
    Thread(livepush.send, "board", "news").join()


@pytest.mark.parametrize("address", ["/page/", "/atomic/", "/async/"])
def test_a_page_begins_before_its_first_query(client, address):
    if address == "/atomic/" and connection.vendor == "sqlite":
        pytest.skip("one writer at a time")
    another_sends()
    before = str(log.state("default").position)
    meanwhile.append(another_sends)
    assert position_in(client.get(address)) == before


async def test_an_async_page_begins_before_its_first_query(async_client):
    before = await position()
    meanwhile.append(another_sends)
    assert position_in(await async_client.get("/async/")) == str(before)
    await sync_to_async(connections.close_all)()


async def position():
    """Return the log's position from async code."""
    return await asyncio.to_thread(lambda: Thread(lambda: log.state("default").position).join())


async def test_each_of_several_pages_at_once_begins_before_its_own_first_query():
    """Django's own ASGI handler: each request has its own thread and connection."""
    meanwhile.append(another_sends)
    before = (await position()).number
    found = await asyncio.gather(*(asgi_get("/page/") for _ in range(5)))
    after = (await position()).number
    assert after == before + 5
    assert all(int(each.partition("-")[2]) < after for each in found)


async def asgi_get(address):
    """Return the position in a page that Django's own ASGI handler makes."""
    scope = {
        "type": "http", "method": "GET", "path": address, "raw_path": address.encode(), "query_string": b"",
        "headers": [(b"host", b"testserver")], "http_version": "1.1", "scheme": "http", "server": ("testserver", 80),
    }  # fmt: skip
    body = []
    asked = asyncio.Event()

    async def receive():
        if not asked.is_set():
            asked.set()
            return {"type": "http.request", "body": b"", "more_body": False}
        return await asyncio.Event().wait()

    async def send(message):
        body.append(message.get("body", b""))

    await ASGIHandler()(scope, receive, send)
    return re.search(b'data-position="([^"]+)"', b"".join(body))[1].decode()


def test_requests_without_a_tag_ask_nothing_more(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert client.get("/healthy/").status_code == 200
        assert client.get("/missing/").status_code == 404
    with django_assert_num_queries(1):
        client.get("/names/")


def test_a_request_without_a_query_leaves_nothing_to_the_next_query(client, monkeypatch):
    """Else a thread's next query, whatever it is for, would open a connection to the log."""
    glances = []
    monkeypatch.setattr(log, "glance", glances.append)
    kept = client.get("/healthy/")
    User.objects.count()
    assert kept.wsgi_request is not None
    start(RequestFactory().get("/"))  # a request that is never finished, and freed
    User.objects.count()
    assert glances == []
    request = RequestFactory().get("/")
    start(request)
    User.objects.count()
    assert glances == ["default"]


def start(request):
    request_started.send(sender=None, environ=request.environ)


async def test_an_async_request_without_a_query_leaves_nothing_either(async_client, monkeypatch):
    await User.objects.acount()  # for requests of other tests in this thread that somebody still holds
    glances = []
    monkeypatch.setattr(log, "glance", glances.append)
    start = await start_of_a_request(async_client, "/healthy/")
    await eventually(lambda: gc.collect() >= 0 and start() is None)
    await User.objects.acount()
    assert glances == []
    await sync_to_async(connections.close_all)()


async def start_of_a_request(client, path):
    """Return a weak reference: the server's threads may hold the request for a moment longer than its answer."""
    response = await client.get(path)
    assert response.status_code == 200
    return ref(response.asgi_request.scope[positions.KEY])


def test_a_block_that_wraps_queries_takes_its_own_wrapper_away_though_it_connects():
    """A middleware's block may be where a thread connects; Django takes the last wrapper for the block's as it ends."""

    def counting(execute, *args):
        return execute(*args)

    connection.close()
    connection.execute_wrappers.remove(positions.before_query)  # as it is before the thread's first connection
    for _ in range(3):
        with connection.execute_wrapper(counting):
            User.objects.count()
        assert connection.execute_wrappers == [positions.before_query]
        connection.close()


def test_a_wrapper_that_reads_every_result_spoils_no_position(client):
    """As django-pghistory's, which a middleware of its puts around each POST."""

    def to_the_end(execute, *args):
        cursor = execute(*args)
        while connection.vendor == "postgresql" and cursor is not None and cursor.nextset():
            pass
        return cursor

    before = str(log.state("default").position)
    meanwhile.append(another_sends)
    with connection.execute_wrapper(to_the_end):
        assert position_in(client.get("/page/")) == before


def test_requests_that_ask_no_database_need_none(client, caplog):
    with (
        mock.patch.object(connection, "connection", None),
        mock.patch.object(connection, "connect", side_effect=OSError),
    ):
        assert client.get("/healthy/").text == "ok"
    assert caplog.text == ""


def test_a_hub_knows_the_position_at_no_cost(client, monkeypatch):
    def no_glance(using):
        raise AssertionError("the hub knows it")

    async def ask():
        hub = await process.get_hub()
        return str(hub.position), position_in(await asyncio.to_thread(Thread(client.get, "/page/").join))

    meanwhile.append(another_sends)
    monkeypatch.setattr(log, "glance", no_glance)
    before, got = asyncio.run(ask())
    assert got == before


@pytest.mark.parametrize("address", ["/page/", "/atomic/", "/names/"])
def test_a_log_that_can_not_be_read_breaks_no_page_and_no_transaction(client, address, monkeypatch, caplog):
    plain = log.dialects.base.Dialect.state_sql
    failures = iter(["SELECT nothing FROM nowhere"])
    monkeypatch.setattr(log.dialects.base.Dialect, "state_sql", lambda self: next(failures, None) or plain(self))
    User.objects.create(username="ann")
    caplog.set_level("INFO", "livepush")
    assert client.get(address).status_code == 200
    assert "Could not note the log's position for this request" in caplog.text
    assert next(failures, "used") == "used"
