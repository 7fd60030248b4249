"""Mercure's publishers and subscribers on livepush: libraries from npm and PyPI, as they are.

The cases of ``CONFORMANCE`` observe what the reference hub's conformance tests do, with an EventSource under node.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import async_playwright

from tests.bridges import mercures
from tests.bridges.mercures import Site, bearer, soon, token
from tests.docs_blocks import ROOT, blocks
from tests.patience import PATIENCE
from tests.scale import some
from tests.servers import npm, processes
from tests.servers.fresh import Databases

BOOK = "https://example.com/books/1"
"""The topic of the page that ``tests.servers.mercure`` has."""
FLAGS = ["--no-sandbox"]


@pytest.fixture(scope="module")
def site(databases: Databases) -> Iterator[Site]:
    folder = npm.installed(mercures.HERE / "package.json", "mercure-clients")
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database, mercures.SETTINGS) as elsewhere,
        processes.server("uvicorn", database, mercures.SETTINGS, application=mercures.APPLICATION) as server,
    ):
        yield Site(server, elsewhere, folder)


@pytest.fixture
def name() -> str:
    """A topic of this test alone."""
    return f"https://example.com/{secrets.token_hex(8)}"


@pytest.mark.parametrize("kind", some(["eventsource", "fetch-event-source", "polyfill"]))
async def test_a_subscribers_library_gets_what_a_publishers_library_sends(site, name, kind):
    async with site.client(kind, name, types=["moved"]) as client:
        assert (await client.next())["type"] == "open"
        id = await site.publish(name, {"title": "Dünen"})
        assert await client.next() == {"type": "message", "data": '{"title": "D\\u00fcnen"}', "id": id}
        given = f"urn:x:{secrets.token_hex(8)}"
        assert await site.publish(["other", name], "one\ntwo\n", id=given, type="moved", retry=300) == given
        assert await client.next() == {"type": "moved", "data": "one\ntwo\n", "id": given}


@pytest.mark.long
def test_the_manuals_commands_subscribe_and_publish(databases):
    subscribe, publish = (
        block.text for block in blocks(ROOT / "docs" / "mercure.md") if block.text.startswith("TOKEN=")
    )
    settings = {"MERCURE": {"KEY": "only for development, at least 32 bytes"}}
    with (
        databases.fresh("sqlite") as database,
        processes.server("uvicorn", database, settings, application=mercures.APPLICATION) as server,
    ):
        run = partial(
            subprocess.Popen,
            shell=True,
            text=True,
            stdout=subprocess.PIPE,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )
        here = [text.replace("http://127.0.0.1:8000", server.url) for text in (subscribe, publish)]
        with run(here[0].replace("curl", f"exec curl --silent --max-time {PATIENCE}")) as subscriber:
            assert subscriber.stdout is not None
            assert subscriber.stdout.readline().startswith(":")
            with run(here[1].replace("curl", "exec curl --silent")) as publisher:
                id = publisher.communicate(timeout=PATIENCE)[0]
            assert publisher.returncode == 0
            lines = [*iter(subscriber.stdout.readline, "data: Hello\n")]
            assert f"id: {id}\n" in lines
            subscriber.kill()


CONFORMANCE = [
    # name, the update's topics, the subscriber's, whether it is private, whether it is received
    ("a text", ["{0}"], ["{0}"], False, True),
    ("an alternate topic", ["x{0}", "{0}"], ["{0}"], False, True),
    ("several selectors", ["{0}"], ["foo", "{0}"], False, True),
    ("an address", ["https://example.net/{0}/1"], ["https://example.net/{0}/1"], False, True),
    ("a template", ["https://example.net/{0}/1"], ["https://example.net/{0}/{{id}}"], False, True),
    ("another text", ["x{0}"], ["{0}"], False, False),
    ("another address", ["https://example.net/{0}/1"], ["https://example.net/{0}/2"], False, False),
    ("another template", ["https://example.net/{0}/1"], ["https://example.net/x{0}/{{id}}"], False, False),
    ("a private text", ["{0}"], ["{0}"], True, False),
    ("a private address", ["https://example.net/{0}/1"], ["https://example.net/{0}/1"], True, False),
    ("a private template", ["https://example.net/{0}/1"], ["https://example.net/{0}/{{id}}"], True, False),
]


@pytest.mark.long
async def test_the_cases_of_the_conformance_tests_are_observed(site):
    async def case(topics, selectors, private, is_received):
        word = secrets.token_hex(8)
        topics, selectors = ([each.format(word) for each in texts] for texts in (topics, selectors))
        async with site.stream(*selectors, f"end{word}") as stream:
            data, id = "data for\n\n        this", f"id-{word}"
            assert await site.publish(topics, data, private=private, id=id) == id
            await site.publish(f"end{word}", "end")
            if is_received:
                found = await stream.next()
                assert (found.event, found.data, found.id) == ("message", data, id)
            assert (await stream.next()).data == "end"

    await asyncio.gather(*(case(*given) for _, *given in CONFORMANCE))


async def test_all_topics_are_one_selector(site, name):
    async with site.stream("*") as stream:
        await site.publish(name, "1")
        while (await stream.next()).data != "1":  # other tests' updates may come before
            pass


async def test_a_private_update_is_for_whose_token_has_a_selector_for_one_of_its_topics(site, name):
    mine = f"{name}/users/{{?topic}}"
    named, nobody = bearer(subscribe=[mine]), bearer(subscribe=["another"])
    async with (
        site.stream(f"{name}/{{id}}", headers=named) as ann,
        site.stream(f"{name}/{{id}}", headers=nobody) as ben,
    ):
        await site.publish([f"{name}/1", f"{name}/users/?topic=https%3A%2F%2Fexample.com%2F1"], "hers", private=True)
        await site.publish(f"{name}/2", "nobody's", private=True)
        await site.publish(f"{name}/3", "everybody's")
        assert await ann.data(2) == ["hers", "everybody's"]
        assert await ben.data(1) == ["everybody's"]


async def test_an_update_of_several_of_a_subscribers_topics_comes_once(site, name):
    for topics in ([name, f"{name}/2"], [f"{name}/2", "{+any}", name]):
        async with site.stream(*topics) as stream:
            await site.publish([f"{name}/2", name, "another"], "once")
            await site.publish(name, "then")
            found = [data for data in await stream.data(2) if data in ("once", "then")]
            assert found == ["once", "then"]


@pytest.mark.long
async def test_a_subscriber_that_does_not_read_for_a_while_loses_nothing(site, name):
    async with site.stream(name) as stream:
        for n in range(200):
            site.elsewhere.do("update", topics=name, data=f"{n} " + "x" * 50_000)
        assert [data.partition(" ")[0] for data in await stream.data(200)] == [str(n) for n in range(200)]


async def test_unicode_and_long_topics_are_topics_like_others(site, name):
    topics = [f"{name}/bücher/☕ und mehr", f"{name}?topic=" + "https%3A%2F%2F" * 40]
    for topic in topics:
        async with site.stream(topic) as stream:
            await site.publish(topic, topic)
            assert await stream.data(1) == [topic]


async def test_a_commit_brings_an_update_and_a_rollback_none(site, name):
    async with site.stream(name) as stream:
        site.elsewhere.do("begin")
        site.elsewhere.do("update", topics=[name], data="never")
        site.elsewhere.do("rollback")
        site.elsewhere.do("begin")
        id = site.elsewhere.do("update", topics=name, data={"n": 1})
        site.elsewhere.do("commit")
        found = await stream.next()
        assert (json.loads(found.data), found.id) == ({"n": 1}, id)


async def test_the_manuals_publisher_and_page_work(site, tmp_path):
    shown = list(blocks(ROOT / "docs" / "mercure.md"))
    [script] = [block.text for block in shown if block.language == "mjs"]
    [program] = [block.text for block in shown if "mercure_publisher" in block.text and block.language == "python"]
    for text, own in (
        ("https://example.com/.well-known/mercure", site.url),
        ("only for development, at least 32 bytes", mercures.KEY),
    ):
        assert program.count(text) == 1
        program = program.replace(text, own)
    namespace: dict[str, Any] = {}
    exec(program, namespace)
    async with (
        site.page(script, tmp_path) as page,
        site.stream(BOOK, headers=bearer(subscribe=[BOOK])) as stream,
    ):
        assert (await page.next())["type"] == "open"
        id = await asyncio.to_thread(namespace["renamed"], 1, "Dune")
        found = await stream.next()
        assert (found.data, found.id) == ('{"title": "Dune"}', id)
        ids = [await site.publish(topic, "for all") for topic in (BOOK, "https://example.com/news")]
        assert [(await page.next())["said"] for _ in ids] == [[id, "for all"] for id in ids]


@pytest.mark.long
async def test_the_demos_program_publishes_and_follows(site):
    words = (sys.executable, "-m", "demo_project.mercure", "--site", site.server.url, "--key", mercures.KEY)
    pipe = asyncio.subprocess.PIPE
    start, id = partial(asyncio.create_subprocess_exec, stdout=pipe, cwd=ROOT), ""
    for text in ("one", "two"):
        said = await start(*words, "--say", text)
        told = (await said.communicate())[0].decode().strip()
        id = told if text == "one" else id
    following = await start(*words, "--after", id)
    found = [(await asyncio.wait_for(following.stdout.readline(), PATIENCE)).decode().strip() for _ in range(5)]
    following.terminate()
    await following.communicate()
    assert found[1:3] == [f"Last-Event-ID: {id}", "retry: 200"]
    assert (found[3][:13], found[4]) == ("id: urn:uuid:", "data: two")


# Resuming


@pytest.mark.parametrize("field", some(["Last-Event-ID", "lastEventID", "last_event_id", "lastEventId"]))
@pytest.mark.parametrize("own", ["", "urn:ä:"])
async def test_a_subscriber_resumes_after_the_update_that_it_knows(site, name, own, field):
    ids = [await site.publish(name, str(n), id=f"{own}{secrets.token_hex(8)}" if own else None) for n in range(4)]
    header = {field: ids[1].encode()} if field == "Last-Event-ID" else {}
    query = {} if header else {field: ids[1]}
    async with site.stream(name, headers=header, **query) as stream:
        assert stream.response.headers["Last-Event-ID"] == ids[1]
        assert [(await stream.next()).id for _ in range(2)] == ids[2:]


@pytest.mark.long
async def test_an_id_that_was_used_twice_loses_nothing(site, name):
    id = f"urn:x:{secrets.token_hex(8)}"
    async with site.stream(name) as stream:
        for n in range(3):
            await site.publish(name, str(n), id=id)
        assert await stream.data(3) == ["0", "1", "2"]
    await site.publish(name, "3")
    async with site.stream(name, lastEventID=id) as stream:
        assert await stream.data(1) == ["3"]


@pytest.mark.parametrize("id", some(["earliest", "urn:uuid:unknown", "#another-7", "#", "x" * 2000, "\0"], 3))
async def test_who_knows_nothing_that_the_log_has_gets_all_that_it_has_and_is_told_so(site, name, id):
    ids = [await site.publish(name, str(n)) for n in range(2)]
    async with site.stream(name, lastEventID=id) as stream:
        assert stream.response.headers["Last-Event-ID"] == "earliest"
        assert [(await stream.next()).id for _ in range(2)] == ids


async def test_who_knows_what_was_pruned_is_told_so(site, name):
    id = await site.publish(name, "1")
    last = f"#{site.elsewhere.position()}"
    site.elsewhere.do("prune")
    for known, told in ((id, "earliest"), (last, last)):  # nothing was lost after the last one
        async with site.stream(name, lastEventID=known) as stream:
            assert stream.response.headers["Last-Event-ID"] == told
            await site.publish(name, "2")
            while (await stream.next()).data != "2":
                pass


async def test_a_newcomer_gets_nothing_old_and_no_header(site, name):
    await site.publish(name, "old")
    async with site.stream(name) as stream:
        assert "Last-Event-ID" not in stream.response.headers
        await site.publish(name, "new")
        assert await stream.data(1) == ["new"]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["eventsource", "polyfill"])
async def test_a_librarys_own_reconnecting_misses_nothing(site, name, kind):
    key = bearer(publish=["*"])
    async with site.client(kind, name, token=token(subscribe=[name], exp=soon(10))) as client:
        await client.next("open")
        ids = [(await site.post({"topic": name, "data": n, "private": "on"}, key)).text for n in range(3)]
        assert [(await client.next("message"))["id"] for _ in range(3)] == ids
        found = await client.next("error")  # the hub ends the stream with the token; the library comes back
        while found["status"] is None:
            found = await client.next("error", "open")
        assert found["status"] == 401


@pytest.mark.long
@pytest.mark.parametrize("end", some(["kill", "stop"]))
async def test_a_server_that_ends_loses_nothing_of_a_subscriber(site, name, end):
    async with site.client("eventsource", name) as client:
        await client.next("open")
        await site.publish(name, "1", id="urn:ü")
        assert (await client.next("message"))["data"] == "1"
        getattr(site.server, end)()
        site.elsewhere.do("update", topics=name, data="2")
        site.elsewhere.do("update", topics=name, data="3")
        site.server.start()
        assert [(await client.next("message"))["data"] for _ in range(2)] == ["2", "3"]


# Other servers, and a browser


@pytest.mark.long
@pytest.mark.parametrize("kind", ["daphne", "hypercorn", "granian"])
async def test_each_server_streams(databases, tmp_path, name, kind):
    with (
        databases.fresh("sqlite") as database,
        processes.publisher(database, mercures.SETTINGS) as elsewhere,
        processes.server(kind, database, mercures.SETTINGS, application=mercures.APPLICATION) as server,
    ):
        site = Site(server, elsewhere, tmp_path)
        async with site.stream(name, headers=bearer(subscribe=[name])) as stream:
            id = await site.publish(name, "by http", private=True)
            elsewhere.do("update", topics=name, data="by Django")
            assert [(await stream.next()).data for _ in range(2)] == ["by http", "by Django"]
        async with site.stream(name, lastEventID=id) as stream:
            assert await stream.data(1) == ["by Django"]


@pytest.mark.long
async def test_a_page_finds_the_hub_and_reads_what_is_private_by_its_cookie(site):
    program = shutil.which("chromium")
    assert program is not None, "Chromium is not installed: on Debian, apt-get install chromium."
    got: asyncio.Queue[list[str]] = asyncio.Queue()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=FLAGS)
        page = await browser.new_page()
        await page.expose_function("say", got.put_nowait)
        answer = await page.goto(f"{site.server.url}/book/")
        assert answer is not None
        found = re.findall(
            r'<([^>]+)>; rel="(\w+)"(?:; last-event-id="([^"]+)")?', await answer.header_value("link") or ""
        )
        assert [(address, kind) for address, kind, _ in found] == [(site.url, "mercure"), (BOOK, "self")]
        await site.publish(BOOK, "before the page subscribes", private=True)
        await page.evaluate(
            """([url, topic, last]) => {
                const address = new URL(url);
                address.searchParams.append("topic", topic);
                address.searchParams.append("lastEventID", last);
                const source = new EventSource(address);
                source.onmessage = ({ data, lastEventId }) => say([data, lastEventId]);
            }""",
            [found[0][0], BOOK, found[0][2]],
        )
        assert (await asyncio.wait_for(got.get(), PATIENCE))[0] == "before the page subscribes"
        status, id = await page.evaluate(
            """async ([url]) => {
                const body = new URLSearchParams([["topic", "note/1"], ["data", "by a page"]]);
                const answer = await fetch(url, { method: "POST", body });
                return [answer.status, await answer.text()];
            }""",
            [found[0][0]],
        )
        assert (status, id[:9]) == (200, "urn:uuid:")
        again = await site.publish(BOOK, "afterwards", private=True)
        assert await asyncio.wait_for(got.get(), PATIENCE) == ["afterwards", again]
        await browser.close()
