"""Scale on paper: ``python -m benchmarks.model [--results FILE.json]`` prints the tables of ``docs/scale.md``.

``plan`` is arithmetic on measured costs; ``simulate`` plays one process's event loop, and shows where that arithmetic
holds. ``FILE.json`` holds some of the fields of ``Costs`` by name, as an object or under its key ``costs``.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

WINDOW_EVENTS = 10_000
HEARTBEAT = 15.0
LOOK_EVERY = 2.0
"""``TAIL_INTERVAL_WITH_LAYER``."""
RETENTION = 7 * 86_400.0
LOOK_STATEMENTS = 3
"""The log's state, a page, and the state again."""
REPLAY_STATEMENTS = 2
"""A page and the log's state."""
WRITES = 3
"""What an event does to its row: insert, position, delete."""
HEARING = 0.5
"""The most of the planned work that may go into hearing events: from there on more processes help little."""
SEED = 2026
MOST_JOBS = 50_000
"""The most that one simulation of the report plays."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What livepush costs on one machine. Seconds are those of one core."""

    cpu_per_delivery: float = 6.5e-6
    """Seconds to write one event to one client, over SSE, ten events a second."""
    cpu_per_event: float = 240e-6
    """Seconds for an event that has readers in a process: receive it from the layer, remember, route and encode it."""
    cpu_per_event_ignored: float = 200e-6
    """Seconds for an event that has none: receive it from the layer and remember it."""
    cpu_per_connect: float = 1e-3
    """Seconds to let one client in, with its session and rules, and to replay what it missed from memory."""
    cpu_idle_per_client: float = 1e-6
    """Seconds in each second for one client that is quiet: its heartbeats."""
    cpu_per_read: float = 1.5e-3
    """Seconds to read one page of the log."""
    memory_per_client: float = 12 * 1024
    """Bytes of the process for one client."""
    memory_per_process: float = 80 * 1_048_576
    """Bytes of a process without clients."""
    memory_of_window: float = 26 * 1_048_576
    """Bytes of a process's recent events, at most."""
    settled_per_second: float = 4_000
    """Durable events that one log takes in a second: inserted, committed and given their positions."""
    row_bytes: float = 355
    """Bytes of the database's disk for one event, with its indexes."""
    event_bytes: float = 300
    """Bytes of one event in a message of the layer."""
    layer_events_per_second: float = 200_000
    """Events that one shard of the layer hands out in a second, counted once for each process that gets them."""
    layer_bytes_per_second: float = 500e6
    """Bytes that one shard of the layer hands out in a second."""
    statements_per_second: float = 20_000
    """Small reads that the database answers in a second."""
    statements_per_connect: float = 2
    """Statements for a client's session and user; a rule that asks the database adds its own."""


FILLED = 8
"""The processes of a site whose cores are filled to see what that does to latency."""
MEASURED = frozenset(
    {
        "cpu_per_delivery",
        "cpu_per_event",
        "cpu_per_event_ignored",
        "cpu_per_connect",
        "cpu_idle_per_client",
        "memory_per_client",
        "memory_per_process",
        "row_bytes",
        "statements_per_connect",
    }
)
"""The costs whose defaults were measured (benchmarks/README.md; docs/reliability.md: the storm, for who is logged in);
the others are assumed.

An event by itself: 18,000 sent one after another, 700 a second, to a server with one client, over pub/sub; the size of
their rows on PostgreSQL. A client was seen to cost 7 KiB and 0.3 µs/s over SSE, 15 KiB and 1.3 µs/s over
WebSocket."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Groups of one kind; each user is in one of them."""

    members: int | None
    """Users in each group; ``None``: one group of all."""
    every: float
    """Seconds between two events of a group."""

    def groups(self, users: float) -> float:
        """Return how many groups there are."""
        return users / min(self.members or users, users)

    def rate(self, users: float) -> float:
        """Return the events of all groups in a second."""
        return self.groups(users) / self.every


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a site asks for; times in seconds."""

    name: str
    users: int
    """Users that are connected at a time."""
    streams: tuple[Stream, ...]
    burst: float = 5.0
    """Events that come at once, on average: what one transaction sends, or one settle finds."""
    session: float = 1200.0
    """How long a client stays before it comes back."""
    away: float = 5.0
    """How long it is gone then."""
    deploy: float = 30.0
    """How long it may take until all clients of a process are back after it was replaced."""

    @property
    def events(self) -> float:
        """Events in a second."""
        return sum(stream.rate(self.users) for stream in self.streams)

    @property
    def deliveries(self) -> float:
        """Deliveries in a second, to all clients."""
        return sum(self.users / stream.every for stream in self.streams)

    @property
    def connects(self) -> float:
        """Clients that come back in a second."""
        return self.users / self.session

    @property
    def quiet(self) -> bool:
        """Whether clients get heartbeats: who hears something anyway gets none."""
        return all(stream.every > HEARTBEAT / 2 for stream in self.streams)

    @property
    def window(self) -> float:
        """How long a process's recent events reach back, in seconds."""
        return WINDOW_EVENTS / self.events

    def of(self, users: float) -> Load:
        """Return the same with another number of users."""
        return replace(self, users=max(1, math.ceil(users)))


LOADS = (
    Load(name="notifications", users=100_000, streams=(Stream(members=1, every=600),)),
    Load(name="boards", users=100_000, streams=(Stream(members=1000, every=1),)),
    Load(name="broadcast", users=100_000, streams=(Stream(members=None, every=10),), burst=1),
)
SIZES = (100_000, 10_000_000)


class Limit(Enum):
    """What more processes do not help against."""

    LAYER = "layer"
    """One shard of the layer hands every event to every process: a group of the layer lives in one shard."""
    LOG = "log"
    """One log gives every event its position."""
    HEARING = "hearing"
    """Each process receives and remembers every event, whoever reads it."""
    READS = "reads"
    """The database answers for sessions, for each process's look at the log, and for what memory can't replay."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a load needs."""

    load: Load
    headroom: float
    processes: int
    """So many that no core is used beyond the headroom and everybody is back in time; where hearing alone is
    beyond it, what the clients themselves need."""
    utilisation: float
    """Of one process's core."""
    memory: float
    """Bytes of all processes together."""
    layer_events: float
    """Events that the layer hands out in a second."""
    layer_shards: int
    """Shards that this would keep busy up to the headroom, could it be spread."""
    writes: float
    """Rows that the database writes in a second: the event's, its position, and its deletion a week later."""
    reads: float
    """Statements that it answers in a second."""
    stored: float
    """Bytes of a week's log."""
    use: dict[Limit, float]
    """Each limit's use: 1 is its end."""

    @property
    def fits(self) -> bool:
        """Whether all limits have their headroom."""
        return max(self.use.values()) <= self.headroom

    @property
    def limit(self) -> Limit:
        """The limit that is used most."""
        return max(self.use, key=lambda limit: self.use[limit])


def plan(load: Load, costs: Costs, headroom: float = 0.5) -> Plan:
    """Return what a load needs where nothing is used beyond ``headroom``, a share of its capacity."""
    processes = _processes(load, costs, headroom)
    layer_events = load.events * processes
    layer = max(
        layer_events / costs.layer_events_per_second,
        layer_events * costs.event_bytes / costs.layer_bytes_per_second,
    )
    reads = load.connects * costs.statements_per_connect + processes / LOOK_EVERY * LOOK_STATEMENTS
    if load.away > load.window:
        reads += load.connects * REPLAY_STATEMENTS
    return Plan(
        load=load,
        headroom=headroom,
        processes=processes,
        utilisation=utilisation(load, costs, processes),
        memory=load.users * costs.memory_per_client + processes * (costs.memory_per_process + costs.memory_of_window),
        layer_events=layer_events,
        layer_shards=math.ceil(layer / headroom),
        writes=load.events * WRITES,
        reads=reads,
        stored=load.events * RETENTION * costs.row_bytes,
        use={
            Limit.LAYER: layer,
            Limit.LOG: load.events / costs.settled_per_second,
            Limit.HEARING: hearing(load, costs, processes) / HEARING,
            Limit.READS: reads / costs.statements_per_second,
        },
    )


def _processes(load: Load, costs: Costs, headroom: float) -> int:
    """Return the fewest processes, two at least; where none are enough, what the clients themselves need."""
    back = load.users * connecting(load, costs, load.away) / (load.deploy * (1 - headroom))
    least = max(2, math.ceil(max(_serving(load, costs) / headroom, back)))
    enough = bisect_left(range(4 * least), True, least, key=lambda n: utilisation(load, costs, n) <= headroom)
    return enough if enough < 4 * least else least


def connecting(load: Load, costs: Costs, away: float) -> float:
    """Return what a client costs that comes back after some seconds: the log is read where memory is shorter."""
    return costs.cpu_per_connect + (costs.cpu_per_read if away > load.window else 0)


def _serving(load: Load, costs: Costs) -> float:
    """Return the cores that the clients need, however they are spread."""
    idle = load.users * costs.cpu_idle_per_client if load.quiet else 0
    return load.deliveries * costs.cpu_per_delivery + load.connects * connecting(load, costs, load.away) + idle


def hearing(load: Load, costs: Costs, processes: int) -> float:
    """Return what of a process's core goes into hearing of every event: more processes hardly make it less."""
    cost = 0.0
    for stream in load.streams:
        members = min(stream.members or load.users, load.users)
        alone = (1 - 1 / processes) ** members  # nobody of the group is connected here
        cost += stream.rate(load.users) * (alone * costs.cpu_per_event_ignored + (1 - alone) * costs.cpu_per_event)
    return cost


def utilisation(load: Load, costs: Costs, processes: int) -> float:
    """Return what of one process's core is used."""
    looks = costs.cpu_per_read / LOOK_EVERY
    return _serving(load, costs) / processes + hearing(load, costs, processes) + looks


def breaks(load: Load, costs: Costs, headroom: float = 0.5) -> dict[Limit, float]:
    """Return the users at which each limit is used up to its headroom, infinite beyond ten thousand million."""

    def first(limit: Limit) -> float:
        def beyond(users: float) -> bool:
            return plan(load.of(users), costs, headroom).use[limit] > headroom

        below, above = 1.0, 1000.0
        while not beyond(above):
            below, above = above, above * 1.5
            if above > 1e10:
                return math.inf
        while above - below > max(1.0, below / 1000):
            middle = (below + above) / 2
            below, above = (below, middle) if beyond(middle) else (middle, above)
        return below

    return {limit: first(limit) for limit in Limit}


def cells(load: Load, costs: Costs, headroom: float = 0.5) -> int:
    """Return the fewest equal parts, each with a log, a layer and processes of its own, that all fit; 0 if none."""
    found = bisect_left(range(10_000), True, 1, key=lambda parts: _part(load, parts, costs, headroom).fits)
    return found if found < 10_000 else 0


def _part(load: Load, parts: int, costs: Costs, headroom: float) -> Plan:
    return plan(load.of(load.users / parts), costs, headroom)


# The simulation


class Job(NamedTuple):
    """Something that the loop does in one go."""

    at: float
    before: float
    """Seconds of work before its first delivery."""
    deliveries: int = 0
    returning: bool = False
    """Whether it lets in a client of a storm."""


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What one process's loop went through. Times in seconds, from an event's arrival in the process to its write."""

    utilisation: float
    wait: float
    """The mean wait of what the loop had to do, before it was its turn."""
    p50: float
    p99: float
    p999: float
    deliveries: int


@dataclass(frozen=True, kw_only=True)
class Storm:
    """What one process went through while a crowd came back. Times in seconds."""

    clients: int
    caught_up: float
    """From the first to come back until the last was in; infinite where it never happens."""
    longest: float
    """The longest that one waited to be let in, and so the longest that an event could wait behind them."""
    reads: float
    """Statements that the database is asked in a second meanwhile, by all processes together. The time that it takes
    for more than it can answer is not in the other figures."""


def simulate(load: Load, costs: Costs, processes: int, seconds: float, seed: int = SEED) -> Simulation:
    """Play one process for some seconds: one queue, served in order, the measured costs as service times.

    The loop takes what waits together in one go, which saves work; the simulation does not, so it is on the safe side.
    """
    jobs = sorted(_arrivals(load, costs, processes, seconds, random.Random(seed)))
    busy = waited = 0.0
    ages: list[tuple[float, float]] = []
    for job, start in _served(jobs, costs):
        wait = start - job.at
        waited += wait
        busy += _work(job, costs)
        points = min(job.deliveries, 20)  # of an event with many readers, some
        for n in range(points):
            place = (n + 1) / points * job.deliveries
            ages.append((wait + job.before + place * costs.cpu_per_delivery, job.deliveries / points))
    ages.sort()
    p50, p99, p999 = _quantiles(ages, (0.5, 0.99, 0.999))
    return Simulation(
        utilisation=busy / seconds,
        wait=waited / max(1, len(jobs)),
        p50=p50,
        p99=p99,
        p999=p999,
        deliveries=sum(job.deliveries for job in jobs),
    )


def expected_wait(load: Load, costs: Costs, processes: int) -> float:
    """Return the mean wait that theory gives for ``simulate`` (Pollaczek and Khinchine, for arrivals in bursts).

    What comes at regular times is taken as if it came at random. Infinite where the loop has no time left.
    """
    here = max(1, round(load.users / processes))
    lone = [(load.connects / processes, connecting(load, costs, load.away)), (1 / LOOK_EVERY, costs.cpu_per_read)]
    if load.quiet:
        lone.append((1 / HEARTBEAT, here * costs.cpu_idle_per_client * HEARTBEAT))
    used = sum(rate * work for rate, work in lone)
    squares = sum(rate * work**2 for rate, work in lone)
    jobs = sum(rate for rate, _ in lone)
    before = 0.0  # the waits for those of the same burst, summed over a second's jobs
    for stream in load.streams:
        rate = stream.rate(load.users)
        mean, square = _moments(stream, load, costs, processes)
        earlier = load.burst - 1  # those of the same burst that come before an event, on average
        used += rate * mean
        squares += rate * (square + 2 * earlier * mean**2)
        before += rate * earlier * mean
        jobs += rate
    return squares / (2 * (1 - used)) + before / jobs if used < 1 else math.inf


def _moments(stream: Stream, load: Load, costs: Costs, processes: int) -> tuple[float, float]:
    """Return the mean of what an event costs a process, and the mean of its square."""
    if stream.members is None:
        work = costs.cpu_per_event + max(1, round(load.users / processes)) * costs.cpu_per_delivery
        return work, work**2
    members, share = min(stream.members, load.users), 1 / processes
    alone = (1 - share) ** members
    readers = members * share
    each = costs.cpu_per_delivery
    mean = alone * costs.cpu_per_event_ignored + (1 - alone) * costs.cpu_per_event + readers * each
    square = alone * costs.cpu_per_event_ignored**2 + (1 - alone) * costs.cpu_per_event**2
    square += 2 * costs.cpu_per_event * readers * each + (readers * (1 - share) + readers**2) * each**2
    return mean, square


def storm(load: Load, costs: Costs, processes: int, lost: int, drain: float, seed: int = SEED) -> Storm:
    """Play a process to which its share of the clients of ``lost`` processes comes back, spread over ``drain`` seconds.

    Where all are lost, as many new ones take their place. The loop would go back and forth between events and those
    who come back; here an event waits for all that came before it, so it is on the safe side.
    """
    remaining = processes - lost or processes
    clients = math.ceil(load.users * lost / processes / remaining)
    steady = utilisation(load, costs, remaining)
    each = connecting(load, costs, load.away + drain)
    each_reads = costs.statements_per_connect + (REPLAY_STATEMENTS if load.away + drain > load.window else 0)
    reads = clients * remaining * each_reads / drain
    if steady >= 1:
        return Storm(clients=clients, caught_up=math.inf, longest=math.inf, reads=reads)
    dice = random.Random(seed)
    crowd = [Job(dice.uniform(0, drain), each, returning=True) for _ in range(clients)]
    seconds = drain + 1.5 * clients * each / (1 - steady) + 10
    jobs = sorted([*_arrivals(load, costs, remaining, seconds, dice), *crowd])
    served = [(job, start) for job, start in _served(jobs, costs) if job.returning]
    return Storm(
        clients=clients,
        caught_up=max((start + job.before for job, start in served), default=0.0),
        longest=max((start + job.before - job.at for job, start in served), default=0.0),
        reads=reads,
    )


def _served(jobs: Iterable[Job], costs: Costs) -> Iterator[tuple[Job, float]]:
    """Yield each job with when its turn comes."""
    free = 0.0
    for job in jobs:
        start = max(free, job.at)
        yield job, start
        free = start + _work(job, costs)


def _work(job: Job, costs: Costs) -> float:
    return job.before + job.deliveries * costs.cpu_per_delivery


def _arrivals(load: Load, costs: Costs, processes: int, seconds: float, dice: random.Random) -> Iterator[Job]:
    """Yield what a process has to do, not in order: events, clients that come, heartbeats, looks at the log."""
    here = max(1, round(load.users / processes))
    for stream in load.streams:
        members = min(stream.members or load.users, load.users)
        for at in _poisson(stream.rate(load.users) / load.burst, seconds, dice):
            for _ in range(_size(load.burst, dice)):
                readers = here if stream.members is None else _binomial(members, 1 / processes, dice)
                yield Job(at, costs.cpu_per_event if readers else costs.cpu_per_event_ignored, readers)
    for at in _poisson(load.connects / processes, seconds, dice):
        yield Job(at, connecting(load, costs, load.away))
    if load.quiet:
        for at in _regularly(HEARTBEAT, seconds, dice):
            yield Job(at, here * costs.cpu_idle_per_client * HEARTBEAT)  # one timer for all
    for at in _regularly(LOOK_EVERY, seconds, dice):
        yield Job(at, costs.cpu_per_read)


def _poisson(rate: float, seconds: float, dice: random.Random) -> Iterator[float]:
    at = dice.expovariate(rate) if rate else math.inf
    while at < seconds:
        yield at
        at += dice.expovariate(rate)


def _regularly(every: float, seconds: float, dice: random.Random) -> Iterator[float]:
    at = dice.uniform(0, every)
    while at < seconds:
        yield at
        at += every


def _size(mean: float, dice: random.Random) -> int:
    """Return a burst's size, geometric with a mean."""
    return 1 if mean <= 1 else 1 + int(math.log(1 - dice.random()) / math.log(1 - 1 / mean))


def _binomial(tries: int, share: float, dice: random.Random) -> int:
    """Return how many of some users are connected to one process."""
    if share >= 1:
        return tries
    if tries <= 16:
        return sum(dice.random() < share for _ in range(tries))
    mean = tries * share
    if mean > 30:
        return min(tries, max(0, round(dice.gauss(mean, math.sqrt(mean * (1 - share))))))
    found, rest = 0, dice.random()
    chance = (1 - share) ** tries
    while rest > chance and found < tries:
        rest -= chance
        chance *= (tries - found) / (found + 1) * share / (1 - share)
        found += 1
    return found


def _quantiles(ages: Sequence[tuple[float, float]], shares: Iterable[float]) -> list[float]:
    """Return quantiles of sorted values that have weights."""
    if not ages:
        return [0.0 for _ in shares]
    sums = list(accumulate(weight for _, weight in ages))
    return [ages[min(bisect_left(sums, share * sums[-1]), len(ages) - 1)][0] for share in shares]


# The report


def report(costs: Costs, measured: frozenset[str] = MEASURED, headroom: float = 0.5) -> Iterator[str]:
    """Yield the tables' lines, in Markdown. ``measured`` names the costs that nobody assumed."""
    yield from ("### Costs", "", *costs_table(costs, measured))
    for title, table in TABLES.items():
        yield from ("", f"### {title}", "", *table(costs, headroom))


def renew(page: str, lines: Iterable[str]) -> str:
    """Return a page with the tables of a report in the place of those under headings of the same names."""
    title = ""
    tables: dict[str, str] = {}
    for line in lines:
        if line.startswith("#"):
            title = line.lstrip("# ")
        elif line:
            tables[title] = tables.get(title, "") + line + "\n"
    for title, table in tables.items():
        there = re.compile(rf"^(#+ {re.escape(title)}\n(?:(?![#|]).*\n)*)(?:\|.*\n)+", re.MULTILINE)
        page = there.sub(lambda found, table=table: found[1] + table, page)  # type: ignore[misc]
    return page


def costs_table(costs: Costs, measured: frozenset[str]) -> Iterator[str]:
    yield from _head("cost", "value", "how it is known")
    for field in fields(Costs):
        value = getattr(costs, field.name)
        yield _row(f"`{field.name}`", _valued(field.name, value), "measured" if field.name in measured else "assumed")


def needs_table(costs: Costs, headroom: float) -> Iterator[str]:
    yield from _head(
        "load", "users", "events/s", "deliveries/s", "processes", "memory", "layer, events/s", "layer shards",
        "rows written/s", "reads/s", "log of a week", "window reaches back",
    )  # fmt: skip
    for load in _loads():
        found = plan(load, costs, headroom)
        numbers = (load.users, load.events, load.deliveries, found.processes)
        yield _row(
            load.name, *map(_number, numbers), _bytes(found.memory), _number(found.layer_events),
            _number(found.layer_shards), _number(found.writes), _number(found.reads), _bytes(found.stored),
            _time(load.window),
        )  # fmt: skip


def use_table(costs: Costs, headroom: float) -> Iterator[str]:
    yield from _head("load", "users", *(limit.value for limit in Limit), "used most", "fits")
    for load in _loads():
        found = plan(load, costs, headroom)
        used = (_percent(found.use[limit]) for limit in Limit)
        yield _row(load.name, _number(load.users), *used, found.limit.value, "yes" if found.fits else "no")


def breaks_table(costs: Costs, headroom: float) -> Iterator[str]:
    yield from _head("load", *(limit.value for limit in Limit), "breaks first")
    for load in LOADS:
        found = breaks(load, costs, headroom)
        first = min(found, key=lambda limit: found[limit])
        yield _row(load.name, *(_number(found[limit]) for limit in Limit), first.value)


def cells_table(costs: Costs, headroom: float) -> Iterator[str]:
    yield from _head("load", "users", "cells", "users in each", "processes in each", "processes", "memory", "used most")
    for load in _loads():
        parts = cells(load, costs, headroom)
        if parts == 0:
            yield _row(load.name, _number(load.users), "none suffice", *[""] * 5)
            continue
        each = _part(load, parts, costs, headroom)
        numbers = (load.users, parts, each.load.users, each.processes, parts * each.processes)
        yield _row(load.name, *map(_number, numbers), _bytes(parts * each.memory), each.limit.value)


def latency_table(costs: Costs, headroom: float) -> Iterator[str]:
    yield from _head("load", "users of a cell", "processes", "core used: plan", "simulated", "p50", "p99", "p99.9")
    for load in _loads():
        each = _part(load, cells(load, costs, headroom) or 1, costs, headroom)
        found = simulate(each.load, costs, each.processes, _span(each.load, each.processes))
        numbers = (_number(each.load.users), _number(each.processes), _percent(each.utilisation))
        yield _row(load.name, *numbers, _percent(found.utilisation), *_ages(found))


def headroom_table(costs: Costs, headroom: float) -> Iterator[str]:
    yield from _head(
        "core used: plan",
        "simulated",
        "clients of the process",
        "mean wait: theory",
        "simulated",
        "p50",
        "p99",
        "p99.9",
    )
    load = next(load for load in LOADS if load.name == "boards")
    for share in (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98):
        filled = _filled(load, costs, share)
        found = simulate(filled, costs, FILLED, _span(filled, FILLED))
        used = (_percent(utilisation(filled, costs, FILLED)), _percent(found.utilisation))
        yield _row(
            *used,
            _number(filled.users / FILLED),
            *map(_time, (expected_wait(filled, costs, FILLED), found.wait)),
            *_ages(found),
        )


def storm_table(costs: Costs, headroom: float) -> Iterator[str]:
    yield from _head(
        "users of a cell", "processes", "lost", "back within", "clients to each", "all in after", "longest wait",
        "reads/s",
    )  # fmt: skip
    for load in (load for load in _loads() if load.name == "notifications"):
        each = _part(load, cells(load, costs, headroom) or 1, costs, headroom)
        for lost, drain in ((1, 5.0), (each.processes, 5.0), (each.processes, 60.0)):
            seen = storm(each.load, costs, each.processes, lost, drain)
            name = "all" if lost == each.processes else _number(lost)
            numbers = (_number(each.load.users), _number(each.processes), name, _time(drain), _number(seen.clients))
            yield _row(*numbers, _time(seen.caught_up), _time(seen.longest), _number(seen.reads))


TABLES: dict[str, Callable[..., Iterator[str]]] = {
    "What is needed": needs_table,
    "How much of each limit is used": use_table,
    "The users at which each limit is reached": breaks_table,
    "Split into cells": cells_table,
    "Latency within a process, simulated": latency_table,
    "Latency by headroom, simulated with the boards": headroom_table,
    "When all clients come back at once, simulated with notifications": storm_table,
}


def _loads() -> list[Load]:
    return [load.of(users) for users in SIZES for load in LOADS]


def _span(load: Load, processes: int) -> float:
    """Return for how many seconds a process is played: ten minutes, or as many jobs as is bearable."""
    return min(600.0, MOST_JOBS / (load.events + load.connects / processes))


def _filled(load: Load, costs: Costs, share: float) -> Load:
    """Return a load with as many users as use some share of each core."""
    users = bisect_left(range(10**9), True, 1, key=lambda n: utilisation(load.of(n), costs, FILLED) > share)
    return load.of(users - 1)


def _ages(found: Simulation) -> tuple[str, str, str]:
    return _time(found.p50), _time(found.p99), _time(found.p999)


def _head(*titles: str) -> Iterator[str]:
    yield _row(*titles)
    yield "|" + "---|" * len(titles)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    """Return a number, from a million on with three digits."""
    if math.isinf(value):
        return "never"
    if value >= 1e6:
        return f"{value / 1e6:,.3g} M" if value < 1e9 else f"{value / 1e6:,.0f} M"
    if value < 10 and value != round(value):
        return f"{value:.1f}"
    return f"{value:,.0f}"


def _percent(value: float) -> str:
    return f"{value:,.0%}" if value >= 0.1 else f"{value:.1%}"


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.2g} TiB" if value < 100 else f"{value:,.0f} TiB"


def _time(seconds: float) -> str:
    if math.isinf(seconds):
        return "never"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.2g} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:,.0f} s"


def _valued(name: str, value: float) -> str:
    if name.startswith("cpu"):
        return f"{value * 1e6:,.4g} µs" if value < 0.001 else f"{value * 1e3:.3g} ms"
    if name.startswith("memory") or name.endswith("_bytes"):
        return _bytes(value)
    return f"{_bytes(value)}/s" if "bytes" in name else _number(value)


def read_costs(text: str) -> tuple[Costs, frozenset[str]]:
    """Return the costs in a results file, the rest being the defaults, and the names of those that were measured.

    Raises ValueError: a name that is no cost.
    """
    found = json.loads(text)
    found = found.get("costs", found)
    unknown = found.keys() - {field.name for field in fields(Costs)}
    if unknown:
        raise ValueError(f"no costs: {', '.join(sorted(unknown))}; expected fields of benchmarks.model.Costs")
    return Costs(**found), MEASURED | found.keys()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Scale on paper: what many users need, from measured costs.")
    parser.add_argument("--results", type=Path, help="a JSON file with measured costs")
    parser.add_argument("--page", type=Path, help="a page to renew the tables of, such as docs/scale.md")
    options = parser.parse_args()
    costs, measured = read_costs(options.results.read_text() if options.results else "{}")
    lines = list(report(costs, measured))
    print("\n".join(lines))
    if options.page:
        options.page.write_text(renew(options.page.read_text(), lines))


if __name__ == "__main__":
    main()
