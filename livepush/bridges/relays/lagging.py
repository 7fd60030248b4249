"""How far relays are behind, and what they could not relay, for the metrics."""

from __future__ import annotations

from collections import Counter

from django.db.models import Count

from livepush import log
from livepush.bridges.relays.models import DeadLetter, RelayCursor, RelayOffset, RelayPartition
from livepush.conf import get_settings


def lags() -> list[tuple[str, tuple[str, ...], int]]:
    """Return the samples of metrics: a name, the relay as its label, and how much waits for it, once it has begun.

    A relay that has dead letters has their number too.
    """
    using, known = get_settings().DATABASE, set(get_settings().RELAYS)
    head = log.state(using).position.number
    cursors = RelayCursor.objects.using(using).filter(relay__in=known).order_by("relay")
    messages: Counter[str] = Counter()
    for row in RelayPartition.objects.using(using).filter(relay__in=known).order_by("relay"):
        messages[row.relay] += max(0, row.end - row.offset)
    offsets = RelayOffset.objects.using(using).filter(relay__in=known, waiting__isnull=False)
    messages.update(dict(offsets.order_by("relay").values_list("relay", "waiting")))
    letters = DeadLetter.objects.using(using).filter(relay__in=known).order_by("relay").values_list("relay")
    return [
        *(("livepush_relay_lag_events", (row.relay,), max(0, head - row.position)) for row in cursors),
        *(("livepush_relay_lag_messages", (relay,), count) for relay, count in messages.items()),
        *(("livepush_relay_dead_letters", (relay,), count) for relay, count in letters.annotate(count=Count("pk"))),
    ]
