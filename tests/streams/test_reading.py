"""Readers get a stream exactly, by offset: live, late, in other processes, and under WSGI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.integration.clients import http
from tests.patience import eventually
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import Database, Databases
from tests.servers.processes import Publisher, Server
from tests.streams.readers import address, begin, get, poll, reading, stop
from tests.streams.site import words

DATABASES = ["postgresql", "sqlite", "mariadb"]


@pytest.fixture(params=some(DATABASES))
def database(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Database]:
    with databases.fresh(request.param) as found:
        yield found


@pytest.fixture
def server(database: Database) -> Iterator[Server]:
    with processes.server("uvicorn", database) as found:
        yield found


@pytest.fixture
def elsewhere(database: Database) -> Iterator[Publisher]:
    with processes.publisher(database) as found:
        yield found


async def test_a_stream_is_read_live_by_several_readers_and_again_after_its_end(server):
    id = await begin(server.url, words=30, pause=0.02)

    async def whole(after: int) -> tuple[str, str, int]:
        async with reading(server.url, id, after) as found:
            return await found.to_end(), found.text, found.offset

    expected = words(30)
    length = len(expected)
    live = await asyncio.gather(whole(0), whole(0), whole(7), whole(100))
    assert live == [("finished", expected[after:], length) for after in (0, 0, 7, 100)]
    assert await whole(0) == ("finished", expected, length)
    assert await whole(length) == ("finished", "", length)
    assert (await get(server.url, id, format="text", after=6)).text == expected[6:]
    assert await poll(server.url, id, 150) == {
        "offset": length,
        "parts": [expected[150:]],
        "state": "finished",
        "error": "",
        "metadata": {"of": "test"},
    }


async def test_the_bytes_of_livepush_s_own_format(server, elsewhere):
    id = elsewhere.do("open_stream", group="room:1", metadata={"a": 1})
    elsewhere.do("write", stream=id, text="Hé\n")
    elsewhere.do("write", stream=id, data={"n": 1})
    elsewhere.do("finish", stream=id)
    response = await get(server.url, id, format="livepush")
    assert response.text == (
        ":\n"
        'id: 4\ndata: {"offset":4,"parts":["Hé\\n",[{"n":1}]]}\n\n'
        'id: end\ndata: {"offset":4,"parts":[],"state":"finished","error":"","metadata":{"a":1}}\n\n'
    )
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    resumed = await get(server.url, id, headers={"Last-Event-ID": "3"}, format="livepush")
    assert resumed.text.split("\n")[2] == 'data: {"offset":4,"parts":[[{"n":1}]]}'
    assert (await get(server.url, id, headers={"Last-Event-ID": "end"}, format="livepush")).status_code == 204
    assert (await get(server.url, id)).text == "Hé\n"


async def test_a_reader_resumes_from_the_offset_that_it_has(server):
    id = await begin(server.url, words=60, pause=0.02)
    text, after, ending = "", 0, "cut"
    while ending == "cut":
        async with reading(server.url, id, after) as found:
            for _ in range(5):
                await found.next()
                if "state" in found.last:
                    ending = found.last["state"]
                    break
            text, after = text + found.text, found.offset
    assert (ending, text) == ("finished", words(60))


@pytest.mark.parametrize("layer", some(["none", "pubsub"]))
async def test_a_stream_of_another_process_is_read_as_it_is_written(database, layer):
    with processes.valkey() as redis:
        env = {"LIVEPUSH_TEST_LAYER": layer, "LIVEPUSH_TEST_REDIS": redis}
        with (
            processes.publisher(database, **env) as elsewhere,
            processes.server("uvicorn", database, env=env) as server,
        ):
            id = elsewhere.do("open_stream", group="room:1")
            async with reading(server.url, id) as found:
                expected = ""
                for number in range(20):
                    elsewhere.do("write", stream=id, text=f"{number} ")
                    expected += f"{number} "
                    if number % 5 == 0:
                        await found.until(expected)
                elsewhere.do("finish", stream=id)
                assert (await found.to_end(), found.text) == ("finished", expected)


async def test_a_request_to_stop_reaches_a_producer_elsewhere_and_needs_the_right_to_send(server, elsewhere):
    cookie = {"Cookie": elsewhere.session("ann"), "X-CSRFToken": "x" * 32}
    cookie["Cookie"] += f"; csrftoken={'x' * 32}"
    id = elsewhere.do("open_stream", group="room:1")
    refused = await stop(server.url, id)
    assert (refused.status_code, refused.json()["code"]) == (403, "csrf")
    refused = await stop(server.url, id, {"Cookie": f"csrftoken={'x' * 32}", "X-CSRFToken": "x" * 32})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert not elsewhere.do("stop_requested", stream=id)
    assert (await stop(server.url, id, cookie)).status_code == 204
    await eventually(lambda: elsewhere.do("stop_requested", stream=id))
    elsewhere.do("finish", stream=id)
    assert (await poll(server.url, id))["state"] == "stopped"


async def test_a_stream_is_read_by_whom_its_group_s_rule_lets_in(server, elsewhere):
    elsewhere.do("session", username="ann")
    elsewhere.do("change", username="ann", what="role given", role="crew")
    cookie = {"Cookie": elsewhere.session("ann")}
    id = elsewhere.do("open_stream", group="role:crew")
    elsewhere.do("write", stream=id, text="secret")
    for query in ({}, {"wait": 0}, {"format": "text"}):
        refused = await get(server.url, id, **query)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    unknown = await get(server.url, "unknown")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_stream")
    async with reading(server.url, id, headers=cookie) as found:
        await found.until("secret")
        elsewhere.do("change", username="ann", what="role taken", role="crew")
        assert await found.to_end() == "cut"
    assert (await get(server.url, id, headers=cookie)).status_code == 403
    elsewhere.do("finish", stream=id)


async def test_a_held_poll_is_told_to_come_back_after_a_logout(server, elsewhere):
    cookie = elsewhere.session("ann")
    elsewhere.do("change", username="ann", what="role given", role="crew")
    id = elsewhere.do("open_stream", group="role:crew")
    held = asyncio.create_task(get(server.url, id, headers={"Cookie": cookie}, after=0, wait=25))
    await eventually(lambda: asyncio.to_thread(lambda: server.holds() == 1))
    elsewhere.do("end_session", cookie=cookie, how="logout")
    told = await held
    assert (told.status_code, told.json()["code"]) == (503, "unavailable")
    elsewhere.do("finish", stream=id)


@pytest.mark.long
async def test_a_long_poll_waits_for_text_and_for_the_end(server, elsewhere):
    id = elsewhere.do("open_stream", group="room:1")
    assert await poll(server.url, id, wait=0) == {
        "offset": 0, "parts": [], "state": "running", "error": "", "metadata": {},
    }  # fmt: skip
    held = asyncio.create_task(poll(server.url, id))
    await eventually(lambda: asyncio.to_thread(lambda: server.holds() == 1))
    elsewhere.do("write", stream=id, text="at last")
    assert (await held)["parts"] == ["at last"]
    held = asyncio.create_task(poll(server.url, id, 7))
    await eventually(lambda: asyncio.to_thread(lambda: server.holds() == 1))
    elsewhere.do("finish", stream=id)
    assert (await held)["state"] == "finished"


@pytest.mark.long
async def test_an_offset_past_the_end_gets_the_end_whatever_the_transport(server, elsewhere):
    """A client may have seen what a killed producer did not store any more."""
    id = elsewhere.do("open_stream", group="room:1")
    elsewhere.do("write", stream=id, text="text")
    elsewhere.do("finish", stream=id)
    for after in (5, 2**63 - 1):
        for wait in (0, 5):
            found = await poll(server.url, id, after, wait)
            assert (found["offset"], found["parts"], found["state"]) == (4, [], "finished")
        async with reading(server.url, id, after) as stream:
            assert (await stream.to_end(), stream.text, stream.offset) == ("finished", "", 4)


@pytest.mark.long
async def test_an_offset_that_is_still_to_come_is_waited_for(server, elsewhere):
    id = elsewhere.do("open_stream", group="room:1")
    elsewhere.do("write", stream=id, text="abc")
    async with reading(server.url, id, 5) as found:
        elsewhere.do("write", stream=id, text="defg")
        elsewhere.do("finish", stream=id)
        assert (await found.to_end(), found.text, found.offset) == ("finished", "fg", 7)


@pytest.mark.long
async def test_a_malformed_request_says_what_is_wrong(server):
    for query, code in (
        ({"after": "x"}, "bad_offset"),
        ({"after": "-1"}, "bad_offset"),
        ({"after": 10**30}, "bad_offset"),
        ({"format": "xml"}, "bad_format"),
        ({"wait": "soon"}, "bad_wait"),
    ):
        refused = await get(server.url, "any", **query)
        assert (refused.status_code, refused.json()["code"]) == (400, code)
    async with http() as client:
        assert (await client.post(address(server.url, "any"))).status_code == 405


@pytest.mark.long
async def test_a_view_s_response_streams_in_its_format_and_outlives_its_reader(server):
    async with http() as client:
        response = await client.get(f"{server.url}/streams/answer/?words=5")
        assert (response.text, response.headers["content-type"]) == (words(5), "text/plain; charset=utf-8")
        async with client.stream("GET", f"{server.url}/streams/answer/?words=40&pause=0.02&group=room:9") as response:
            await anext(response.aiter_raw())
        async with http() as again:
            found = await again.get(f"{server.url}/streams/chat/9/stream/")
    assert found.text == words(40)


async def test_a_failure_is_told_without_its_detail(database):
    with processes.server("uvicorn", database, may_fail=True) as server:
        id = await begin(server.url, words=5, fail=3)
        async with reading(server.url, id) as found:
            assert await found.to_end() == "failed"
            assert (found.text, found.last["error"]) == (words(3), "The stream failed.")
        assert "the model is gone" in server.log()


@pytest.mark.long
async def test_wsgi_serves_polls_and_streams_that_have_ended(database, elsewhere):
    with processes.server(processes.WSGI, database) as server:
        id = elsewhere.do("open_stream", group="room:1")
        elsewhere.do("write", stream=id, text="one ")
        await eventually(lambda: has_text(server.url, id))
        running = await get(server.url, id, format="text")
        assert (running.status_code, running.json()["code"]) == (501, "needs_asgi")
        assert (await get(server.url, id, format="livepush")).json()["state"] == "running"
        elsewhere.do("write", stream=id, text="two")
        elsewhere.do("finish", stream=id)
        assert (await get(server.url, id)).text == "one two"
        assert (await get(server.url, id, format="openai")).text.endswith("data: [DONE]\n\n")
        async with http() as client:
            assert (await client.get(f"{server.url}/streams/plain/{id}/")).text == "one two"
        found = await poll(server.url, id, 4)
        assert (found["parts"], found["state"], json.dumps(found["metadata"])) == (["two"], "finished", "{}")


async def has_text(url: str, id: str) -> bool:
    return bool((await poll(url, id, wait=0))["parts"])
