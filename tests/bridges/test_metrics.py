"""Metrics: who may read them, that they tell what is so, of all processes, and what that costs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from django.db import connections
from django.test import Client
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

import livepush
from livepush import checks, deploy_checks, process, tallies, wire
from livepush.bridges.metrics import gathering, sharing
from livepush.bridges.metrics.catalog import METRICS, SHARED
from livepush.bridges.metrics.exposition import LivepushCollector
from livepush.bridges.metrics.models import ProcessFigures
from livepush.bridges.relays.models import DeadLetter, RelayCursor, RelayOffset, RelayPartition
from livepush.hub import Connection
from livepush.hub.figures import Meter, held_by
from tests.docs_blocks import ROOT
from tests.integration import clients
from tests.patience import eventually
from tests.servers import processes

URL = "/livepush/metrics/"
DOCS = Path(__file__).parents[2] / "docs" / "monitoring"
SETTINGS = {"METRICS_TOKEN": "s3cret", "METRICS_INTERVAL": 0.2}


def with_token(token):
    return Client().get(URL, headers={"authorization": f"Bearer {token}"})


# Who may read them


def test_a_site_that_wants_no_metrics_has_none(transactional_db):
    assert Client().get(URL).status_code == 404


def allow(request):
    return request.GET.get("who") == "monitor"


async def aallow(request):
    return True


def test_who_has_the_token_or_is_let_in_by_the_project_gets_them_and_nobody_else(transactional_db, settings):
    settings.LIVEPUSH = {"METRICS_TOKEN": "s3cret", "METRICS_ALLOWED": f"{__name__}.allow"}
    assert with_token("s3cret").status_code == 200
    assert Client().get(URL, {"who": "monitor"}).status_code == 200
    for answer in (Client().get(URL), with_token("s3cre"), with_token("ä"), Client().get(URL, {"who": "me"})):
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    assert Client().post(URL).status_code == 405


def test_without_a_token_of_its_own_a_site_lets_nobody_in_by_an_empty_one(transactional_db, settings):
    settings.LIVEPUSH = {"METRICS_ALLOWED": f"{__name__}.allow"}
    assert with_token("").status_code == 401


# What they tell


async def scrape(server, accept=""):
    async with clients.http() as client:
        headers = {"Authorization": "Bearer s3cret", "Accept": accept}
        answer = await client.get(f"{server.url}{URL}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer


def samples(text):
    """Return the values of all samples, added up over processes, by name and the other labels' values."""
    found = Counter()
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            labels = sorted(value for name, value in each.labels.items() if name != "process")
            found[each.name, *labels] += each.value
    return found


async def test_one_process_tells_what_all_of_them_hold_and_have_done(databases):
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database) as elsewhere,
        processes.server("uvicorn", database, SETTINGS) as one,
        processes.server("daphne", database, SETTINGS) as other,
    ):
        start = elsewhere.position()

        async def until(wanted):
            async def is_so():
                found = samples((await scrape(one)).text)
                return all(found[name] == value for name, value in wanted.items())

            await eventually(is_so)

        async with (
            clients.sse(one.url, "board") as stream,
            clients.sse(other.url, "board", since=start) as second,
            clients.websocket(other.url, "board") as socket,
        ):
            await stream.until(event="livepush.hello")
            await second.until(event="livepush.hello")
            await clients.frame(socket)
            elsewhere.send("board", "t", "x" * 1000)
            await stream.until(event="t")
            await second.until(event="t")
            await clients.frame(socket)
            async with clients.sse(one.url, "board", since="other-7") as lost:
                await lost.until(event="livepush.reset")
            assert (await clients.poll(one.url, "secret")).status_code == 403
            wanted = {
                ("livepush_connections", "live", "sse"): 2,
                ("livepush_connections", "live", "websocket"): 1,
                ("livepush_connects_total", "new", "sse"): 1,
                ("livepush_connects_total", "resumed", "sse"): 2,
                ("livepush_connects_total", "new", "websocket"): 1,
                ("livepush_disconnects_total", "gone", "sse"): 1,
                ("livepush_resets_total", "epoch"): 1,
                ("livepush_refusals_total", "forbidden", "poll"): 1,
                ("livepush_deliveries_total",): 3,
                ("livepush_groups",): 2,
                ("livepush_tail_lag_events",): 0,
                ("livepush_log_position",): 1,
                ("livepush_log_unsettled",): 0,
                ("livepush_buffered_bytes",): 0,
            }
            await until(wanted)
            found = samples((await scrape(one)).text)
            assert 3 * 1000 < found["livepush_offered_bytes_total",] < 3 * 1300
            text = (await scrape(other)).text
            assert len(set(re.findall(r'process="([^"]+)"', text))) == 2
        await until({("livepush_disconnects_total", "gone", "websocket"): 1})
        openmetrics = await scrape(other, "application/openmetrics-text; version=1.0.0")
        assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
        assert list(parse_openmetrics(openmetrics.text))


def test_every_metric_is_told_and_promtool_finds_no_fault(transactional_db, settings, tmp_path):
    tallies.note("connected", "sse", "new")
    tallies.note("disconnected", "sse", "gone")
    tallies.note("refused", "sse", "forbidden")
    tallies.note("revoked", "sse", "logout")
    tallies.note("published", "event")
    settings.LIVEPUSH = {**SETTINGS, "RELAYS": {"a": {}}}
    RelayCursor.objects.create(relay="a", position=0)
    RelayPartition.objects.create(relay="a", topic="a", partition=0, offset=0)
    DeadLetter.objects.create(relay="a", offset="1", content="{}", reason="no")

    async def with_hub():
        hub = await hub_with(5)
        hub.resets["pruned"] += 1
        offer(hub)
        return await asyncio.to_thread(closing, with_token, "s3cret")

    answer = run(with_hub())
    told = {family.name for family in text_string_to_metric_families(answer.text)}
    assert told == set(METRICS)
    checked = subprocess.run(["promtool", "check", "metrics"], input=answer.content, capture_output=True)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_each_relay_tells_how_far_it_is_behind(transactional_db, settings):
    given = {"STREAM": "a", "GROUP": "a", "URL": "kafka://h:1"}
    settings.LIVEPUSH = {**SETTINGS, "RELAYS": {"orders": given, "lake": given, "idle": given, "stock": given}}
    for _ in range(7):
        livepush.send("a", "t")
    RelayCursor.objects.create(relay="lake", position=5)
    RelayCursor.objects.create(relay="that is no more", position=5)
    RelayOffset.objects.create(relay="stock", offset="7", waiting=3)
    RelayOffset.objects.create(relay="idle", offset="1700000000000-3")
    for partition, end in ((0, 12), (1, 10), (2, 0)):
        RelayPartition.objects.create(relay="orders", topic="a", partition=partition, offset=10, end=end)
    for relay in ("idle", "idle", "that is no more"):
        DeadLetter.objects.create(relay=relay, offset="1", content="{}", reason="no")
    found = samples(with_token("s3cret").text)
    assert {key: value for key, value in found.items() if key[0].startswith("livepush_relay")} == {
        ("livepush_relay_lag_events", "lake"): 2,
        ("livepush_relay_lag_messages", "orders"): 2,
        ("livepush_relay_lag_messages", "stock"): 3,
        ("livepush_relay_dead_letters", "idle"): 2,
    }


def test_figures_of_a_process_that_has_ended_are_told_no_more(transactional_db, settings):
    settings.LIVEPUSH = SETTINGS
    sharing.write()
    row = ProcessFigures.objects.get()
    ProcessFigures.objects.create(process="gone:1", figures=row.figures, written=row.written)
    ProcessFigures.objects.create(process="here:1", figures=row.figures, written=row.written)
    ProcessFigures.objects.filter(pk="gone:1").update(written=row.written - sharing.timedelta(seconds=10))
    assert set(sharing.others()) == {"here:1"}
    ProcessFigures.objects.update(written=row.written - 2 * sharing.FORGOTTEN)
    sharing.write()
    assert {each.pk for each in ProcessFigures.objects.all()} == {row.pk, "gone:1", "here:1"}
    ProcessFigures.objects.filter(pk=row.pk).delete()
    sharing.write()
    assert {each.pk for each in ProcessFigures.objects.all()} == {row.pk}


def test_the_collector_can_be_registered_with_the_sites_own_registry(transactional_db):
    registry = CollectorRegistry()
    registry.register(LivepushCollector(only_own=True))
    names = {sample.name for family in registry.collect() for sample in family.samples}
    assert names >= {"livepush_log_position", "livepush_settle_seconds_count"}


def test_times_are_in_the_right_buckets():
    times = tallies.Times()
    for seconds in (0.0, 0.001, 0.0011, 11.0):
        times.note(seconds)
    assert (times.counts[0], times.counts[1], times.counts[-1], round(times.sum, 4)) == (2, 1, 1, 11.0021)


# What they cost


def offer(hub):
    """Offer an event to a hub's clients."""
    hub.router.fan_out([wire.Event(None, ("a",), "t", '"x"', "2026-01-01T00:00:00.000000Z")])


async def hub_with(count):
    """Return this loop's hub, with clients that write to nowhere."""

    async def write(frames):
        pass

    hub = await process.get_hub()
    for number in range(count):
        format = (wire.Format.SSE_ENVELOPE, wire.Format.ARRAY)[number % 2]
        connection = Connection(hub, ["a"], hub.position, format, write, hub.limits)
        hub.start(connection, ("",) if number % 2 else (b"",))
    await eventually(lambda: held_by(hub).connections.keys() <= {("sse", "live"), ("websocket", "live")})
    return hub


def closing(work, *args):
    """Do some work in a thread, and close its database connections."""
    try:
        return work(*args)
    finally:
        connections.close_all()


def run(work):
    """Run something in a loop of its own, and end its hub."""

    async def whole():
        try:
            return await work
        finally:
            await livepush.stop()

    return asyncio.run(whole())


@pytest.mark.long
def test_metrics_of_4000_clients_cost_less_than_a_hundredth_of_a_core(transactional_db, settings):
    settings.LIVEPUSH = {"METRICS_TOKEN": "s3cret"}

    async def measure():
        await hub_with(4000)

        def work():
            begun = time.thread_time()
            for _ in range(20):
                sharing.write()
                assert with_token("s3cret").status_code == 200
            return (time.thread_time() - begun) / 20

        return await asyncio.to_thread(closing, work)

    seconds = run(measure())
    print(f"{1000 * seconds:.2f} ms each time")
    assert seconds / 10 < 0.01


@pytest.mark.long
def test_counting_what_is_offered_costs_little_beside_offering_it(transactional_db):
    async def measure(meter):
        hub = await hub_with(4000)
        hub.router.meter = meter
        begun = time.thread_time()
        for _ in range(100):
            offer(hub)
        return time.thread_time() - begun

    ratios = [run(measure(Meter())) / run(measure(None)) for _ in range(5)]
    print(ratios)
    assert min(ratios) < 1.1


def test_a_hub_that_nobody_measures_counts_nothing(transactional_db):
    async def held():
        hub = await hub_with(2)
        return hub.router.meter, held_by(hub)

    meter, found = run(held())
    assert meter is None
    assert found.connections == {("sse", "live"): 1, ("websocket", "live"): 1}


# The dashboard and the alerts


def expressions():
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]
    return shown + [rule["expr"] for group in rules for rule in group["rules"]]


def test_the_alerts_fire_when_they_should_and_are_quiet_otherwise():
    subprocess.run(["promtool", "check", "rules", DOCS / "alerts.yml"], check=True)
    subprocess.run(["promtool", "test", "rules", DOCS / "alerts_test.yml"], check=True)


def test_each_expression_of_the_dashboard_is_valid(tmp_path):
    given = [each.replace("$__rate_interval", "5m").replace("$process", ".*") for each in expressions()]
    rules = [{"record": f"a:b{number}", "expr": each} for number, each in enumerate(given)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "a", "rules": rules}]}))
    subprocess.run(["promtool", "check", "rules", file], check=True)


def test_the_dashboard_and_the_alerts_name_only_metrics_and_labels_that_there_are():
    names = {f"{name}{'_total' if each.kind == 'counter' else ''}": name for name, each in METRICS.items()}
    names |= {"livepush_settle_seconds_bucket": "livepush_settle_seconds"}
    used = set()
    for expression in expressions():
        for name, labels in re.findall(r"(livepush_\w+)(?:\{([^}]*)\})?", expression):
            metric = METRICS[names[name]]
            used.add(names[name])
            known = {*metric.labels, *(() if names[name] in SHARED else ("process",))}
            assert {each.group(1) for each in re.finditer(r"(\w+)[!=]=?~?\"", labels)} <= known, expression
    assert used >= set(METRICS) - {"livepush_log_floor", "livepush_hub_position"}


def test_the_names_of_a_process_fit_into_the_table():
    assert 0 < len(gathering.process_name()) <= 100


NAMES = """
import os, socket, sys
socket.gethostname, os.getpid = lambda: "host", lambda: 1
import django
django.setup()
from livepush.bridges.metrics.gathering import process_name
if os.fork():
    os.wait()
sys.stdout.write(process_name() + "\\n")
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_with_the_same_host_and_number_have_names_of_their_own():
    """As containers on their host's network do. One of each two here is a forked child of the other."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    command = [sys.executable, "-W", "ignore", "-c", NAMES]
    runs = [subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=True) for _ in range(2)]
    names = [name for run in runs for name in run.stdout.decode().split()]
    assert (len(names), len(set(names))) == (4, 4)
    assert all(name.startswith("host:1-") for name in names)


def test_processes_with_the_same_host_and_number_are_both_told(transactional_db, settings, monkeypatch):
    settings.LIVEPUSH = SETTINGS
    sharing.write()
    monkeypatch.setattr(gathering, "_random", "another")
    sharing.write()
    assert ProcessFigures.objects.count() == 2
    assert len(sharing.others()) == 1


def test_prometheus_takes_the_configuration_of_the_manual(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", (DOCS.parent / "monitoring.md").read_text(), re.DOTALL)
    file = tmp_path / "prometheus.yml"
    file.write_text(block)
    subprocess.run(["promtool", "check", "config", file], check=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"METRICS_ALLOWED": "nowhere.may"}, "can't be imported"),
        ({"METRICS_ALLOWED": "math.pi"}, "expected a callable"),
        ({"METRICS_ALLOWED": f"{__name__}.aallow"}, "is async: expected a plain function"),
        ({"METRICS_TOKEN": "s3cret"}, "need prometheus_client"),
    ],
)
def test_the_checks_name_what_keeps_the_metrics_from_being_told(settings, monkeypatch, given, message):
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    settings.LIVEPUSH = given
    (error,) = checks.check_settings(None)
    assert error.id == "livepush.E020"
    assert message in error.msg


def test_a_short_token_is_warned_of(settings):
    settings.LIVEPUSH = {"METRICS_TOKEN": "s3cret"}
    assert "livepush.W020" in {each.id for each in deploy_checks.check_deployment(None)}
    settings.LIVEPUSH = {"METRICS_TOKEN": "s3cret" * 3}
    assert "livepush.W020" not in {each.id for each in deploy_checks.check_deployment(None)}
