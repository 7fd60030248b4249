"""Responses of views, and their readers: they say what there is, in any context, and end when they must."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, suppress

import pytest
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.middleware.gzip import GZipMiddleware
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory
from django.urls import path
from django.utils import timezone
from django.utils.deprecation import MiddlewareMixin

import livepush
from livepush import process, streams
from livepush.access import rules
from livepush.rights import rights_of
from livepush.streams import endpoint, store
from livepush.streams.feeds import feeds_of, look_up
from livepush.streams.models import Stream, StreamChunk, StreamProducer
from livepush.streams.reader import Reader
from livepush.streams.responding import StreamResponse
from tests.patience import PATIENCE, eventually, wait_until

pytestmark = [pytest.mark.usefixtures("streams_end"), pytest.mark.django_db(transaction=True)]


def answer(request: HttpRequest, id: str) -> StreamResponse:
    return StreamResponse(id, "text")


async def async_answer(request: ASGIRequest, id: str) -> StreamResponse:
    return StreamResponse(id, "text")


urlpatterns = [path("sync/<str:id>/", answer), path("async/<str:id>/", async_answer)]


class Louder(MiddlewareMixin):
    """Wraps what a response streams, as Django's own middleware does: in a thread if the server is async."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        content = response.streaming_content
        if response.is_async:

            async def louder():
                async for part in content:
                    yield part.upper()

            response.streaming_content = louder()
        else:
            response.streaming_content = (part.upper() for part in content)
        return response


def written(*texts: str, format: str = "text") -> str:
    with streams.open("room:1", format=format) as stream:
        for text in texts:
            stream.write(text)
    return stream.id


def written_elsewhere() -> str:
    """Begin a stream of another process."""
    Stream.objects.create(id="far", group="room:1", format="livepush", producer="far", created=timezone.now())
    StreamProducer.objects.create(name="far")
    StreamChunk.objects.create(stream="far", start=0, end=5, body='["hello"]')
    return "far"


def joined(response: HttpResponse) -> str:
    """Return all that a response streams, read by async code."""

    async def read() -> bytes:
        try:
            return b"".join([part async for part in response])
        finally:
            await livepush.stop()

    return asyncio.run(read()).decode()


def test_a_response_shows_its_content_to_a_project_s_tests():
    id = written("hello")
    response = streams.get(id).response()
    assert b"".join(response.streaming_content) == b"hello"
    assert response.getvalue() == b"hello"
    assert b"".join(response) == b"hello"
    assert joined(response) == "hello"


@pytest.mark.urls("tests.streams.test_responding")
@pytest.mark.parametrize("view", ["sync", "async"])
@pytest.mark.parametrize(
    ("middleware", "expected"),
    [
        ([], b"hello"),
        (["tests.streams.test_responding.Louder"], b"HELLO"),
        (["django.middleware.gzip.GZipMiddleware"], b"hello"),
    ],
)
def test_django_s_clients_get_what_middleware_makes_of_a_response(settings, view, middleware, expected):
    settings.MIDDLEWARE = middleware
    address = f"/{view}/{written('hello')}/"

    async def read() -> bytes:
        try:
            response = await AsyncClient().get(address, headers={"accept-encoding": "gzip"})
            return b"".join([part async for part in response.streaming_content])
        finally:
            await livepush.stop()

    assert asyncio.run(read()) == expected
    assert Client().get(address, headers={"accept-encoding": "gzip"}).getvalue() == expected


def test_a_compressing_middleware_leaves_a_response_as_it_is():
    response = streams.get(written("hello " * 100)).response()
    request = RequestFactory().get("/", headers={"accept-encoding": "gzip"})
    assert GZipMiddleware(lambda request: response)(request).getvalue() == b"hello " * 100


async def test_async_middleware_gets_an_async_iterator():
    response = StreamResponse("any", "text")
    louder = Louder(lambda request: response).process_response(AsyncRequestFactory().get("/"), response)
    assert louder.is_async
    assert hasattr(louder.streaming_content, "__aiter__")


@pytest.mark.parametrize("after", [0, 3, 5, 9])
def test_sync_and_async_code_continue_a_stream_with_the_same_bytes(client, after):
    id = written("hello", " you", format="ai-sdk")
    response = streams.get(id).response(after=after)
    expected = joined(response)
    assert ("text-start" in expected) == (after == 0)
    assert b"".join(response).decode() == expected
    assert client.get(f"/livepush/streams/{id}/?after={after}&format=ai-sdk").getvalue().decode() == expected


@pytest.mark.parametrize("after", [0, 9, 12])
def test_a_stream_that_has_ended_says_where_in_any_code(client, after):
    id = written("hello", " you")
    response = streams.get(id).response(after, "livepush")
    expected = joined(response)
    assert '"offset":9,"parts":[],"state":"finished"' in expected
    assert b"".join(response).decode() == expected
    assert client.get(f"/livepush/streams/{id}/?after={after}&format=livepush").getvalue().decode() == expected


def test_a_long_stream_that_has_ended_is_answered_a_page_at_a_time_under_wsgi(client):
    id = written(*("x" * 100_000 for _ in range(8)))
    response = client.get(f"/livepush/streams/{id}/")
    assert "X-Accel-Buffering" not in response  # a proxy may take all of it at once
    parts = list(response.streaming_content)
    assert max(map(len, parts)) <= store.PAGE
    assert b"".join(parts) == b"x" * 800_000


def test_a_stream_of_one_page_that_has_ended_is_answered_at_once_under_wsgi(client):
    response = client.get(f"/livepush/streams/{written('hello')}/")
    assert (response.streaming, response.content, response["Content-Length"]) == (False, b"hello", "5")
    assert "X-Accel-Buffering" not in response


@pytest.mark.parametrize("count", [1, 8])
def test_django_s_own_asgi_answers_with_a_stream_that_has_ended_without_a_hub(count, monkeypatch):
    id = written(*["x" * 100_000] * count)
    monkeypatch.setattr(process, "get_hub", None)

    async def read() -> bytes:
        try:
            response = await AsyncClient().get(f"/livepush/streams/{id}/")
            return b"".join([part async for part in response]) if response.streaming else response.content
        finally:
            await sync_to_async(connections.close_all)()

    assert asyncio.run(read()) == b"x" * 100_000 * count


def test_a_response_that_begins_while_the_server_ends_is_sent_away():
    id = written_elsewhere()

    async def read() -> list[bytes]:
        (await process.get_hub()).drain()
        try:
            async with asyncio.timeout(PATIENCE):
                return [part async for part in StreamResponse(id, "livepush")]
        finally:
            await livepush.stop()

    begin, bye = asyncio.run(read())
    assert begin == b":\n"
    assert bye.startswith(b"retry: ")
    Stream.objects.update(state="finished", length=5)
    assert b'"parts":["hello"]' in b"".join(asyncio.run(read()))  # it ends by itself


def test_after_a_deploy_the_readers_of_one_stream_come_back_at_times_of_their_own():
    id = written_elsewhere()

    async def told() -> list[int | None]:
        hub = await process.get_hub()
        feeds = feeds_of(hub)
        feed = feeds.open(await process.in_thread(lambda: look_up("default", id)))
        try:
            with ExitStack() as stack:
                early = [stack.enter_context(Reader(feeds, feed, 0, "livepush")) for _ in range(20)]
                hub.drain()
                late = [stack.enter_context(Reader(feeds, feed, 0, "livepush")) for _ in range(20)]
                return [reader.retry for reader in (*early, *late)]
        finally:
            await livepush.stop()

    times = asyncio.run(told())
    assert len(set(times)) > 30
    assert 0 <= min(times) <= max(times) <= 5000


ERROR = "The response was cut before the end of the stream."


@pytest.mark.parametrize(
    ("format", "last"),
    [
        ("openai", f'data: {{"error":{{"message":"{ERROR}","type":"server_error"}}}}\n\n'),
        ("ai-sdk", f'data: {{"type":"error","errorText":"{ERROR}"}}\n\n'),
        ("text", None),
    ],
)
@pytest.mark.parametrize("why", ["the server ends", "it is deleted"])
def test_a_response_that_is_cut_does_not_look_whole(format, last, why):
    id, found = written_elsewhere(), []

    async def read() -> None:
        hub = await process.get_hub()
        try:
            async with asyncio.timeout(PATIENCE):
                async for part in StreamResponse(id, format):
                    if b"hello" in part:
                        hub.drain() if why == "the server ends" else await Stream.objects.all().adelete()
                    found.append(part.decode())
        finally:
            await livepush.stop()
            await sync_to_async(connections.close_all)()

    if last is None:
        with pytest.raises(ConnectionAbortedError, match="before the end"):
            asyncio.run(read())
        assert found == ["hello"]
    else:
        asyncio.run(read())
        assert found[-1] == last


@pytest.mark.parametrize("format", ["openai", "ai-sdk", "text", "livepush"])
def test_sync_code_learns_that_a_stream_is_deleted(format):
    id = written_elsewhere()
    found = iter(StreamResponse(id, format))
    while b"hello" not in next(found):
        pass
    Stream.objects.all().delete()
    if format == "text":
        with pytest.raises(ConnectionAbortedError):
            next(found)
    else:
        rest = b"".join(found)
        assert (ERROR.encode() in rest) == (format != "livepush")


def test_a_quiet_stream_s_response_writes_under_wsgi_so_that_it_notices_that_its_reader_left(settings):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "HEARTBEAT": 0.2}
    found: list[bytes] = []
    with streams.open("room:1", format="livepush") as stream:
        stream.write("a")
        wait_until(lambda: store.ends("default", [stream.id]))

        def read() -> None:
            found.extend(stream.response())
            connections.close_all()

        reading = threading.Thread(target=read, daemon=True)
        reading.start()
        wait_until(lambda: found[2:4] == [b":\n", b":\n"])
    reading.join(PATIENCE)
    assert found[-1].startswith(b"id: end\n")


def test_a_reader_whose_right_ends_while_the_database_is_read_gets_nothing_more(monkeypatch):
    id = written_elsewhere()

    async def read() -> list[bytes | None]:
        feeds = feeds_of(await process.get_hub())
        feed = feeds.open(await process.in_thread(lambda: look_up("default", id)))
        page, is_asked, goes_on = feeds.page, asyncio.Event(), asyncio.Event()

        async def slow_page(*asked):
            found = await page(*asked)
            is_asked.set()
            await goes_on.wait()
            return found

        monkeypatch.setattr(feeds, "page", slow_page)
        try:
            with Reader(feeds, feed, 0, "livepush") as reader:
                begin = await reader.next()
                following = asyncio.create_task(reader.next())
                await eventually(is_asked.is_set)
                reader.revoke(["room:1"], "logout")
                goes_on.set()
                return [begin, await following, await reader.next()]
        finally:
            await livepush.stop()

    assert asyncio.run(read()) == [b":\n", None, None]


def test_a_right_that_ends_while_its_reader_is_let_in_brings_nothing_of_the_stream(monkeypatch):
    """The rule is slow, and what it has seen is true no more when it answers."""
    may_read, sent = [True], []

    def has_come() -> bool:
        return b"secret" in b"".join(message.get("body", b"") for message in sent)

    async def read() -> None:
        is_asked, goes_on = asyncio.Event(), asyncio.Event()

        async def slow_rule(user, pk):
            answer = may_read[0]
            if is_asked.is_set():  # the second time it takes as long as it takes to send something, if that is sent
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        while not has_come():
                            await asyncio.sleep(0.01)
            is_asked.set()
            await goes_on.wait()
            return answer

        monkeypatch.setattr(rules, "rules", [])
        livepush.can_read("late:<int:pk>")(slow_rule)

        async def send(message):
            sent.append(message)

        async with streams.open("late:1") as stream:
            await stream.write("secret")
        scope = AsyncRequestFactory()._base_scope(path=f"/livepush/streams/{stream.id}/")
        reading = asyncio.create_task(endpoint.stream(scope, asyncio.Event().wait, send))
        try:
            await eventually(is_asked.is_set)
            may_read[0] = False
            rights = rights_of(await process.get_hub())
            heard = rights.heard
            await process.in_thread(lambda: livepush.recheck(livepush.everyone))
            await eventually(lambda: rights.heard > heard)
            goes_on.set()
            await asyncio.wait({reading}, timeout=PATIENCE)
            reading.cancel()
        finally:
            await livepush.stop()

    asyncio.run(read())
    assert (sent[0]["status"], has_come()) == (403, False)
