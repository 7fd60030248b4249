"""Mercure's publishers and subscribers on livepush: libraries from npm and PyPI, as they are.

The cases of ``CONFORMANCE`` observe what the reference hub's conformance tests do, with an EventSource under node.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator

import pytest

from tests.bridges import mercures
from tests.bridges.mercures import Site, bearer, token
from tests.servers import npm, processes
from tests.servers.fresh import Databases

NEWS = "https://example.com/news"


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


@pytest.mark.parametrize("kind", ["eventsource", "fetch-event-source", "polyfill"])
async def test_a_subscribers_library_gets_what_a_publishers_library_sends(site, name, kind):
    async with site.client(kind, name, types=["moved"]) as client:
        assert (await client.next())["type"] == "open"
        id = await site.publish(name, {"title": "Dünen"})
        assert await client.next() == {"type": "message", "data": '{"title": "D\\u00fcnen"}', "id": id}
        given = f"urn:x:{secrets.token_hex(8)}"
        assert await site.publish(["other", name], "one\ntwo\n", id=given, type="moved", retry=300) == given
        assert await client.next() == {"type": "moved", "data": "one\ntwo\n", "id": given}


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

    for _, *given in CONFORMANCE:
        await case(*given)
