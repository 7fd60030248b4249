"""The figures of all processes as the admin shows them, added up where that makes sense."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from django.utils.translation import gettext, gettext_noop

from livepush.bridges.metrics import gathering, sharing
from livepush.bridges.metrics.gathering import Figure
from livepush.hub import hubs

TRANSPORTS = {
    "sse": "SSE",
    "websocket": "WebSocket",
    "long_poll": gettext_noop("Long poll"),
    "eventstream": "Eventstream",
    "mercure": "Mercure",
    "pusher": "Pusher",
}
HAPPENED = {
    "livepush_connects": gettext_noop("Connected"),
    "livepush_disconnects": gettext_noop("Disconnected"),
    "livepush_refusals": gettext_noop("Refused"),
    "livepush_revocations": gettext_noop("Rights ended"),
    "livepush_resets": gettext_noop("History lost"),
    "livepush_published": gettext_noop("Published over HTTP"),
}


class Process(NamedTuple):
    """What one process holds and has done."""

    name: str
    age: float
    """How old the figures are (seconds)."""
    transports: dict[str, int]
    """How many clients there are, by transport."""
    values: dict[str, float]
    """The metrics without labels, by name and without ``livepush_``."""
    settle: float | None
    """How long (seconds) it took to give events their positions, on average; ``None`` if it gave none."""
    happened: Counter[tuple[str, str]]
    """How often what happened, by what it was and the values of its labels."""

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return sum(self.transports.values())


class Overview(NamedTuple):
    """What the page shows."""

    processes: list[Process]
    log: dict[str, float]
    happened: list[tuple[str, str, int]]
    """What happened, of which kind, and how often in all processes."""

    @property
    def transports(self) -> list[str]:
        """The transports that have clients, as the page names them."""
        used = {name for each in self.processes for name in each.transports}
        return [*(name for name in TRANSPORTS if name in used), *sorted(used - TRANSPORTS.keys())]

    def total(self, name: str) -> float:
        """Return a metric of all processes together."""
        return sum(each.values.get(name, 0) for each in self.processes)

    def largest(self, name: str) -> float:
        """Return a metric of the process that has most of it."""
        return max((each.values.get(name, 0) for each in self.processes), default=0)


def overview() -> Overview:
    """Return the figures of all processes that run. Uses the database."""
    found = dict(sharing.written())
    if hubs:
        found[gathering.process_name()] = (0.0, gathering.own_figures())
    processes = [_process(name, age, figures) for name, (age, figures) in sorted(found.items())]
    happened: Counter[tuple[str, str]] = Counter()
    for each in processes:
        happened.update(each.happened)
    rows = [(HAPPENED[name], kind, count) for (name, kind), count in happened.items()]
    order = list(HAPPENED.values())
    rows.sort(key=lambda row: (order.index(row[0]), -row[2], row[1]))
    return Overview(processes, _plain(gathering.log_figures()), rows)


def _process(name: str, age: float, figures: Iterable[Figure]) -> Process:
    transports: Counter[str] = Counter()
    happened: Counter[tuple[str, str]] = Counter()
    plain: list[Figure] = []
    settle = None
    for figure in figures:
        metric, labels, value = figure
        if metric == "livepush_connections":
            transports[labels[0]] += value
        elif metric == "livepush_settle_seconds":
            *counts, seconds = value
            settle = seconds / sum(counts) if sum(counts) else None
        elif metric in HAPPENED:
            happened[metric, " · ".join(labels).replace("_", " ")] += value
        elif not labels:
            plain.append(figure)
    return Process(name, age, dict(transports), _plain(plain), settle, happened)


def _plain(figures: Iterable[Figure]) -> dict[str, float]:
    return {metric.removeprefix("livepush_"): value for metric, _, value in figures}


def context_of(found: Overview) -> Mapping[str, Any]:
    """Return what the template needs."""
    return {
        "tiles": [
            (gettext("Clients"), sum(each.clients for each in found.processes)),
            (gettext("Processes"), len(found.processes)),
            (gettext("Deliveries"), int(found.total("deliveries"))),
            (gettext("Log position"), int(found.log["log_position"])),
            (gettext("Events behind"), int(found.largest("tail_lag_events"))),
        ],
        "transports": [_shown(name) for name in found.transports],
        "rows": [_row(each, found.transports) for each in found.processes],
        "happened": [(gettext(what), kind, count) for what, kind, count in found.happened],
    }


def _shown(transport: str) -> str:
    return gettext(TRANSPORTS[transport]) if transport in TRANSPORTS else transport.replace("_", " ")


def _row(process: Process, transports: Iterable[str]) -> dict[str, Any]:
    values = process.values
    return {
        "name": process.name,
        "age": round(process.age),
        "clients": [process.clients, *(process.transports.get(name, 0) for name in transports)],
        "groups": int(values.get("groups", 0)),
        "deliveries": int(values.get("deliveries", 0)),
        "bytes": int(values.get("offered_bytes", 0)),
        "behind": int(values.get("tail_lag_events", 0)),
        "buffered": int(values.get("buffered_bytes", 0)),
        "settle": None if process.settle is None else round(1000 * process.settle, 1),
    }
