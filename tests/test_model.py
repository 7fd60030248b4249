"""The model of ``docs/scale.md``: its arithmetic, and the simulation that backs it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from benchmarks import model
from benchmarks.model import Costs, Limit, Load, Stream
from livepush import conf
from tests.docs_blocks import ROOT

COSTS = Costs(
    cpu_per_delivery=6e-6,
    cpu_per_event=150e-6,
    cpu_per_event_ignored=60e-6,
    cpu_per_connect=1e-3,
    cpu_idle_per_client=1e-6,
    cpu_per_read=1.5e-3,
    memory_per_client=12 * 1024,
    memory_per_process=80 * 1_048_576,
    memory_of_window=26 * 1_048_576,
    settled_per_second=4_000,
    event_bytes=300,
    layer_events_per_second=200_000,
    layer_bytes_per_second=500e6,
    statements_per_second=20_000,
    statements_per_connect=2,
)
"""Of no machine: what the tests say must not change when somebody measures again."""
LOADS = {load.name: load for load in model.LOADS}
NOTIFICATIONS, BOARDS, BROADCAST = LOADS["notifications"], LOADS["boards"], LOADS["broadcast"]


def events_alone(rate: float, work: float, burst: float = 1) -> tuple[Load, Costs]:
    """Return a load of nothing but events that take some work each, for a single process."""
    free = dict.fromkeys(("cpu_per_delivery", "cpu_per_connect", "cpu_idle_per_client", "cpu_per_read"), 0.0)
    users = round(rate * 1000)
    load = Load(name="events", users=users, streams=(Stream(members=1, every=1000),), session=1e12, burst=burst)
    return load, replace(COSTS, cpu_per_event=work, **free)


# The plan


def test_processes_grow_with_the_clients() -> None:
    processes = [model.plan(BROADCAST.of(users), COSTS).processes for users in (1_500_000, 3_000_000, 6_000_000)]
    assert processes == [100, 200, 400]


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_memory_is_that_of_the_clients_and_of_the_processes(load: Load) -> None:
    found = model.plan(load, COSTS)
    assert found.processes == 7
    assert found.memory == 100_000 * 12 * 1024 + 7 * (80 + 26) * 1_048_576


def test_no_process_less_would_leave_the_headroom() -> None:
    load = replace(BOARDS.of(1_000_000), deploy=math.inf)
    found = model.plan(load, COSTS)
    assert found.utilisation <= 0.5 < model.utilisation(load, COSTS, found.processes - 1)


def test_everybody_is_back_in_time_after_a_process_was_replaced() -> None:
    found = model.plan(NOTIFICATIONS, COSTS)
    assert NOTIFICATIONS.users / found.processes * COSTS.cpu_per_connect / 0.5 <= NOTIFICATIONS.deploy


def test_each_event_is_written_once_and_handed_to_every_process() -> None:
    found = model.plan(NOTIFICATIONS, COSTS)
    assert found.writes == pytest.approx(3 * 100_000 / 600)
    assert found.layer_events == pytest.approx(7 * 100_000 / 600)
    assert found.layer_shards == 1


def test_who_comes_back_from_before_the_window_costs_a_read() -> None:
    inside, outside = NOTIFICATIONS.of(1_190_000), NOTIFICATIONS.of(1_210_000)
    assert inside.window > inside.away > outside.window - 0.1
    assert model.connecting(inside, COSTS, 5) == pytest.approx(1e-3)
    assert model.connecting(outside, COSTS, 5) == pytest.approx(2.5e-3)


@pytest.mark.parametrize(
    ("name", "users", "limit", "fits"),
    [
        ("notifications", 100_000, Limit.LOG, True),
        ("boards", 100_000, Limit.HEARING, True),
        ("broadcast", 100_000, Limit.READS, True),
        ("notifications", 10_000_000, Limit.LAYER, False),
        ("boards", 10_000_000, Limit.LAYER, False),
        ("broadcast", 10_000_000, Limit.READS, False),
    ],
)
def test_the_limit_that_is_used_most_is_named(name: str, users: int, limit: Limit, fits: bool) -> None:
    found = model.plan(LOADS[name].of(users), COSTS)
    assert (found.limit, found.fits) == (limit, fits)


@pytest.mark.parametrize(("name", "first"), [("notifications", Limit.LAYER), ("broadcast", Limit.READS)])
def test_the_limit_that_is_reached_first_is_found(name: str, first: Limit) -> None:
    found = model.breaks(LOADS[name], COSTS)
    assert min(found, key=lambda limit: found[limit]) is first
    assert model.plan(LOADS[name].of(found[first] * 0.99), COSTS).fits
    assert not model.plan(LOADS[name].of(found[first] * 1.01), COSTS).fits


def test_the_limits_are_where_the_formulas_say() -> None:
    found = model.breaks(NOTIFICATIONS, COSTS)
    clients = 30 * (1 - 0.5) / 1e-3  # of a process
    assert found[Limit.LAYER] == pytest.approx(math.sqrt(0.5 * 200_000 * 600 * clients), rel=0.01)
    assert found[Limit.LOG] == pytest.approx(0.5 * 4000 * 600, rel=0.01)
    assert found[Limit.HEARING] == pytest.approx(0.25 / 60e-6 * 600, rel=0.01)
    assert model.breaks(BROADCAST, COSTS)[Limit.LOG] == math.inf


def test_a_cell_fits_and_one_cell_less_would_not() -> None:
    load = NOTIFICATIONS.of(10_000_000)
    parts = model.cells(load, COSTS)
    assert model.plan(load.of(load.users / parts), COSTS).fits
    assert not model.plan(load.of(load.users / (parts - 1)), COSTS).fits


def test_where_no_number_of_cells_is_enough_it_says_so() -> None:
    load = Load(name="broadcast", users=1000, streams=(Stream(members=None, every=0.0001),))
    assert model.cells(load, COSTS) == 0


# The simulation


@pytest.mark.long
@pytest.mark.parametrize("used", [0.3, 0.5, 0.7])
def test_the_mean_wait_is_that_of_pollaczek_and_khinchine(used: float) -> None:
    load, costs = events_alone(rate=used * 1000, work=1e-3)
    found = model.simulate(load, costs, processes=1, seconds=30)
    theory = used * 1e-3 / (2 * (1 - used))
    assert model.expected_wait(load, costs, 1) == pytest.approx(theory)
    assert found.wait == pytest.approx(theory, rel=0.1)


def test_bursts_wait_for_themselves() -> None:
    load, costs = events_alone(rate=500, work=1e-3, burst=5)
    found = model.simulate(load, costs, processes=1, seconds=30)
    assert model.expected_wait(load, costs, 1) == pytest.approx((1 + 2 * 4) * 0.5e-3 + 4e-3, rel=0.01)
    assert found.wait == pytest.approx(model.expected_wait(load, costs, 1), rel=0.1)


@pytest.mark.long
@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_the_core_is_used_as_the_plan_says(load: Load) -> None:
    planned = model.plan(load, COSTS)
    seconds = 300 if load is BROADCAST else 45
    found = model.simulate(load, COSTS, planned.processes, seconds)
    assert found.utilisation == pytest.approx(planned.utilisation, rel=0.1)
    assert found.deliveries == pytest.approx(load.deliveries * seconds / planned.processes, rel=0.3)


def test_latency_grows_out_of_bounds_beyond_the_headroom() -> None:
    half, nearly = (
        model.simulate(*events_alone(rate=1000 * used, work=1e-3, burst=5), processes=1, seconds=20)
        for used in (0.5, 0.95)
    )
    assert half.p50 < half.p99 < half.p999 < nearly.p99
    assert nearly.p99 > 3 * half.p99


def test_the_last_reader_of_a_broadcast_waits_for_all_the_others() -> None:
    load = replace(BROADCAST, session=1e12)
    costs = replace(COSTS, cpu_idle_per_client=0)
    found = model.simulate(load, costs, processes=10, seconds=100)
    assert found.p99 == pytest.approx(150e-6 + 10_000 * 6e-6, rel=0.05)
    assert found.p50 == pytest.approx(150e-6 + 5_000 * 6e-6, rel=0.05)


def test_a_seed_gives_the_same_again() -> None:
    first, again, other = (model.simulate(NOTIFICATIONS, COSTS, 7, seconds=10, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_a_storm_of_one_process_is_over_with_its_drain() -> None:
    found = model.storm(NOTIFICATIONS, COSTS, processes=7, lost=1, drain=5)
    assert found.clients == math.ceil(100_000 / 7 / 6)
    assert 4.9 < found.caught_up < 5.5
    assert found.reads == pytest.approx(100_000 / 7 * 2 / 5, rel=0.01)


def test_a_storm_of_all_processes_is_over_when_the_core_has_let_all_in() -> None:
    found = model.storm(NOTIFICATIONS, COSTS, processes=7, lost=7, drain=5)
    steady = model.utilisation(NOTIFICATIONS, COSTS, 7)
    assert found.caught_up == pytest.approx(found.clients * 1e-3 / (1 - steady), rel=0.05)
    assert found.longest == pytest.approx(found.caught_up - 5, rel=0.1)


def test_a_storm_never_ends_where_the_core_has_no_time_left() -> None:
    found = model.storm(NOTIFICATIONS.of(10_000_000), COSTS, processes=667, lost=1, drain=5)
    assert (found.caught_up, found.longest) == (math.inf, math.inf)


# The report


def test_what_is_settable_is_as_the_defaults_are() -> None:
    defaults = conf.Settings()
    assert model.WINDOW_EVENTS == defaults.WINDOW_EVENTS
    assert model.HEARTBEAT == defaults.HEARTBEAT
    assert model.LOOK_EVERY == defaults.TAIL_INTERVAL_WITH_LAYER
    assert model.RETENTION == defaults.RETENTION


def test_a_results_file_replaces_the_costs_that_it_has() -> None:
    costs, measured = model.read_costs(json.dumps({"costs": {"cpu_per_delivery": 5e-6}, "machine": "two cores"}))
    assert costs == replace(Costs(), cpu_per_delivery=5e-6)
    assert measured == model.MEASURED | {"cpu_per_delivery"}


def test_a_cost_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no costs: cpu_per_dream; expected fields of"):
        model.read_costs('{"cpu_per_dream": 1}')


def test_the_manual_has_the_tables_that_the_costs_give() -> None:
    manual = (ROOT / "docs" / "scale.md").read_text()
    lines = ["# Costs", *model.costs_table(Costs(), model.MEASURED)]
    for title, table in model.TABLES.items():
        assert f"# {title}\n" in manual
        if "simulated" not in title:
            lines += [f"# {title}", *table(Costs(), 0.5)]
    assert model.renew(manual, lines) == manual


def test_tables_are_renewed_under_their_headings() -> None:
    page = "# Scale\n\n| a |\n\n## Costs\n\nProse.\n\n| old |\n| 1 |\n\nMore.\n\n## Cells\n\n| b |\n"
    expected = page.replace("| old |\n| 1 |", "| new |\n|---|\n| 2 |")
    assert (
        model.renew(page, ["### Costs", "", "| new |", "|---|", "| 2 |", "", "### Elsewhere", "", "| c |"]) == expected
    )
