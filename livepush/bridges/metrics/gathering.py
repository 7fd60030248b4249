"""Reads this process's figures. Most of them exist anyway; only what is offered is counted as it happens."""

from __future__ import annotations

import os
import secrets
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.utils.module_loading import import_string

from livepush import audit, hints, log, tallies
from livepush.access import limits
from livepush.bridges.metrics.models import MAX_PROCESS_LENGTH
from livepush.conf import get_settings
from livepush.forking import renewed
from livepush.hub import Hub, hubs
from livepush.hub.figures import Meter, held_by
from livepush.inbox.models import InboxHead

Figure = tuple[str, tuple[str, ...], Any]
"""The name of a metric, the values of its labels, and its value: a number, or a list of numbers for a histogram."""
TALLIES = {
    "connected": "livepush_connects",
    "disconnected": "livepush_disconnects",
    "refused": "livepush_refusals",
    "revoked": "livepush_revocations",
    "published": "livepush_published",
}
_random = renewed(globals(), "_random", lambda: secrets.token_hex(3))
"""Containers on their host's network have its name, and often the same number too."""


def process_name() -> str:
    """Return what tells this process from all others: its host, its number, and a few random characters."""
    return f"{socket.gethostname()}:{os.getpid()}-{_random}"[-MAX_PROCESS_LENGTH:]


def own_figures() -> list[Figure]:
    """Return what this process holds and has done. Uses the database, if the process has a hub."""
    running = [hub for hub in list(hubs) if isinstance(hub, Hub)]
    return [*_of_hubs(running), *_of_tallies(), *_of_settles()]


def log_figures() -> list[Figure]:
    """Return how the log, the inbox and the relays stand, with two queries, and five more if there are relays."""
    using = get_settings().DATABASE
    state = log.state(using)
    filed = InboxHead.objects.using(using).filter(pk=1).values_list("position", flat=True).first()
    return [
        ("livepush_log_position", (), state.position.number),
        ("livepush_log_floor", (), state.floor),
        ("livepush_log_unsettled", (), int(state.waiting)),
        ("livepush_inbox_lag_events", (), max(0, state.position.number - (filed or 0))),
        *(import_string("livepush.bridges.relays.lagging.lags")() if get_settings().RELAYS else ()),
    ]


def _of_hubs(running: list[Hub]) -> Iterator[Figure]:
    connections: Counter[tuple[str, str]] = Counter()
    resets: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for hub in running:
        held = held_by(hub)
        connections.update(held.connections)
        resets.update(dict(hub.resets))
        sums.update(buffered_bytes=held.buffered, queued_bytes=held.queued, early_batches=held.early)
        sums.update(groups=held.groups)
        meter = hub.router.meter
        if isinstance(meter, Meter):
            sums.update(deliveries=meter.deliveries, offered_bytes=meter.bytes)
    yield from (("livepush_connections", labels, count) for labels, count in connections.items())
    yield from (("livepush_resets", (reason,), count) for reason, count in resets.items())
    if running:
        sums.update(hint_bytes=hints.waiting_bytes(), audit_records=audit.waiting(), handshakes=limits.handshakes())
        yield from ((f"livepush_{name}", (), count) for name, count in sums.items())
        position = min(hub.position.number for hub in running)
        head = log.state(get_settings().DATABASE).position.number
        yield "livepush_hub_position", (), position
        yield "livepush_tail_lag_events", (), max(0, head - position)


def _of_tallies() -> Iterator[Figure]:
    for (name, *labels), count in dict(tallies.counts).items():
        if name in TALLIES:
            yield TALLIES[name], tuple(labels), count


def _of_settles() -> Iterator[Figure]:
    found = tallies.settles
    yield "livepush_settle_seconds", (), [*found.counts, found.sum]
