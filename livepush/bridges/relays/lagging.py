"""How far relays are behind, for the metrics."""

from __future__ import annotations

from collections import Counter

from livepush import log
from livepush.bridges.relays.models import RelayCursor, RelayPartition
from livepush.conf import get_settings


def lags() -> list[tuple[str, tuple[str, ...], int]]:
    """Return the samples of metrics: a name, the relay as its label, and how much waits for it, once it has begun."""
    using, known = get_settings().DATABASE, set(get_settings().RELAYS)
    head = log.state(using).position.number
    cursors = RelayCursor.objects.using(using).filter(relay__in=known).order_by("relay")
    messages: Counter[str] = Counter()
    for row in RelayPartition.objects.using(using).filter(relay__in=known).order_by("relay"):
        messages[row.relay] += max(0, row.end - row.offset)
    return [
        *(("livepush_relay_lag_events", (row.relay,), max(0, head - row.position)) for row in cursors),
        *(("livepush_relay_lag_messages", (relay,), count) for relay, count in messages.items()),
    ]
