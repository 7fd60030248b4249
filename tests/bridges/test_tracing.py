"""OpenTelemetry's own SDK sees an event's way through two processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import livepush
from livepush.bridges.tracing import spans
from livepush.models import Event
from tests.integration import clients
from tests.patience import eventually
from tests.servers import processes
from tests.servers.fresh import Databases
from tests.servers.processes import Server

TRACED = {"TRACING": True}


@pytest.fixture
async def two(databases: Databases) -> AsyncIterator[tuple[Server, Server]]:
    with databases.fresh("postgresql") as database:
        options = {"application": "tests.servers.traced:application"}
        with (
            processes.server("uvicorn", database, TRACED, **options) as one,
            processes.server("uvicorn", database, TRACED, **options) as other,
        ):
            yield one, other


async def spans_of(server: Server) -> list[dict[str, Any]]:
    async with clients.http() as client:
        return (await client.get(f"{server.url}/spans/")).json()


async def test_one_trace_leads_from_the_send_through_settle_to_each_process_that_delivers(two):
    one, other = two
    async with (
        clients.sse(one.url, "board") as here,
        clients.sse(other.url, ["board", "order:1"]) as there,
        clients.sse(other.url, "board") as there_too,
        clients.http() as client,
    ):
        for stream in (here, there, there_too):
            await stream.block()
        await client.get(f"{one.url}/sell/?group=board&group=order:1")
        for stream in (here, there, there_too):
            await stream.until(event="sold")

        async def both_have_told() -> bool:
            found = [await spans_of(server) for server in two]
            return all("livepush deliver" in {span["name"] for span in each} for each in found)

        await eventually(both_have_told)
    mine, theirs = await spans_of(one), await spans_of(other)
    by_name = {span["name"]: span for span in mine + theirs}
    assert sorted(span["name"] for span in mine + theirs) == sorted(
        ["sell", "livepush send", "livepush settle", "livepush deliver", "livepush deliver"]
    )
    send = by_name["livepush send"]
    assert len({span["trace"] for span in mine + theirs}) == 1
    assert send["parent"] == by_name["sell"]["id"]
    assert {span["parent"] for span in mine + theirs if span["name"] in ("livepush settle", "livepush deliver")} == {
        send["id"]
    }
    (delivered_here,) = [span for span in mine if span["name"] == "livepush deliver"]
    (delivered_there,) = theirs
    assert (delivered_here["livepush.readers"], delivered_there["livepush.readers"]) == (1, 2)
    assert send["messaging.destination.name"] == "board,order:1"
    assert {span["livepush.type"] for span in (*theirs, send)} == {"sold"}
    assert delivered_there["livepush.position"] == by_name["livepush settle"]["livepush.position"] == 1
    assert all(span["begun"] <= span["ended"] for span in mine + theirs)


@pytest.fixture
def exported(monkeypatch, settings, transactional_db):
    """The spans of this process, with tracing on."""
    settings.LIVEPUSH = TRACED
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans, "_tracer", lambda: provider.get_tracer("livepush"))
    return exporter


def names(exporter: InMemorySpanExporter) -> list[str]:
    return [span.name for span in exporter.get_finished_spans()]


def test_an_event_with_a_key_of_the_projects_keeps_it_and_has_the_span_of_its_send(exported):
    livepush.send("board", "sold", key="order-1")
    livepush.send("board", "sold", key="order-1")
    assert list(Event.objects.values_list("key", flat=True)) == ["order-1"]
    assert names(exported) == ["livepush send", "livepush send"]


def test_an_event_of_a_transaction_that_fails_is_not_settled(exported):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        livepush.send("board", "sold")
        raise ZeroDivisionError
    assert names(exported) == ["livepush send"]
    livepush.send("board", "sold")
    assert sorted(names(exported)) == ["livepush send", "livepush send", "livepush settle"]


def test_an_ephemeral_event_has_the_span_of_its_send(exported):
    livepush.send("board", "moved", ephemeral=True)
    assert names(exported) == ["livepush send"]


def test_what_is_not_sampled_leaves_no_key(exported, monkeypatch):
    provider = TracerProvider(sampler=ALWAYS_OFF)
    monkeypatch.setattr(spans, "_tracer", lambda: provider.get_tracer("livepush"))
    livepush.send("board", "sold")
    assert list(Event.objects.values_list("key", flat=True)) == [None]


def test_without_a_provider_nothing_is_written(settings, transactional_db):
    settings.LIVEPUSH = TRACED
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    livepush.send("board", "sold")
    assert list(Event.objects.values_list("key", flat=True)) == [None]


def test_when_it_is_off_a_send_makes_no_query_more(settings, transactional_db):
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as found:
            livepush.send("board", "sold")
        return len(found)

    livepush.send("board", "sold")
    off = queries()
    settings.LIVEPUSH = TRACED
    assert queries() == off + 1  # the settle's look for contexts
    settings.LIVEPUSH = {}
    assert queries() == off


def test_when_it_is_off_nothing_is_imported(databases):
    with databases.fresh("sqlite") as database, processes.publisher(database) as shop:
        shop.send("board", "sold")
        imported = shop.do("modules")
    assert not [name for name in imported if name.startswith(("livepush.bridges.tracing", "livepush.bridges.grip"))]
    assert "livepush.bridges.lazily" in imported
