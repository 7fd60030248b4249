"""Processes write down their figures, since a scrape reaches only one of those that serve an address.

A row for each process, written every ``METRICS_INTERVAL`` by whoever has a hub. The label ``process`` keeps them apart,
so that no process has to add up counters of others, which begin anew with each restart.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from datetime import timedelta

from django.utils import timezone

from livepush import process
from livepush.bridges.metrics.gathering import Figure, own_figures, process_name
from livepush.bridges.metrics.models import ProcessFigures
from livepush.conf import get_settings
from livepush.hub import Hub
from livepush.hub.figures import Meter
from livepush.notes import Rarely

logger = logging.getLogger("livepush")
failures = Rarely()
STALE = 3
"""After how many intervals the figures of a process count no more: it has ended."""
FORGOTTEN = timedelta(hours=1)


def follow(hub: Hub) -> None:
    """Count what a hub offers, and have its process's figures written down for as long as it lives."""
    hub.router.meter = Meter()
    hub.keep(_write_on())


def write() -> None:
    """Write down this process's figures; now and then delete those of processes that ended long ago."""
    rows = ProcessFigures.objects.using(get_settings().DATABASE)
    named = {"figures": json.dumps(own_figures()), "written": timezone.now()}
    if not rows.filter(pk=process_name()).update(**named):
        rows.filter(written__lt=timezone.now() - FORGOTTEN).delete()
        rows.bulk_create([ProcessFigures(process=process_name(), **named)], ignore_conflicts=True)


def others() -> dict[str, list[Figure]]:
    """Return the figures of the other processes that run, by their names."""
    return {name: figures for name, (_, figures) in written().items() if name != process_name()}


def written() -> dict[str, tuple[float, list[Figure]]]:
    """Return what each process that runs has written down, by its name, and how old that is (seconds)."""
    now = timezone.now()
    since = now - timedelta(seconds=STALE * get_settings().METRICS_INTERVAL)
    rows = ProcessFigures.objects.using(get_settings().DATABASE).filter(written__gt=since)
    return {
        name: (
            max(0.0, (now - at).total_seconds()),
            [(metric, tuple(labels), value) for metric, labels, value in json.loads(text)],
        )
        for name, at, text in rows.values_list("process", "written", "figures")
    }


async def _write_on() -> None:
    while True:
        await asyncio.sleep(get_settings().METRICS_INTERVAL * random.uniform(0.8, 1.0))
        try:
            await process.in_thread(write, 1)
        except Exception as error:
            if failures.times():
                logger.warning("The metrics could not be written down (%s); trying again later.", error)
