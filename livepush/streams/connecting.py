"""Connects streams with the rest: their endpoint, the watch over producers, pruning, and a server's end."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from livepush import log, process, routing
from livepush.conf import get_settings
from livepush.process import drain
from livepush.streams import endpoint, here, leases, store


def connect() -> None:
    """Connect them."""
    routing.registered.append(endpoint.endpoints)
    process.on_start.append(leases.watch_from)
    log.jobs.extend([prune, leases.end_orphans])
    drain.producers.append(drain.Producers(here.writing, here.interrupt_all))


def prune(using: str) -> int:
    """Delete some streams that are past their retention; return how many rows were deleted."""
    return store.prune(using, timezone.now() - timedelta(seconds=get_settings().STREAM_RETENTION))
