"""Connects streams with the rest: their endpoint, the watch over producers, pruning, and a server's end."""

from __future__ import annotations

from livepush import log, process, routing
from livepush.conf import get_settings
from livepush.process import drain
from livepush.streams import deleting, endpoint, here, leases, store


def connect() -> None:
    """Connect them."""
    routing.registered.append(endpoint.endpoints)
    process.on_start.append(leases.watch_from)
    log.jobs.extend([prune, leases.end_orphans])
    drain.producers.append(drain.Producers(here.writing, here.interrupt_all))


def prune(using: str) -> int:
    """Delete some streams that are past their retention, and text without a stream; return how many rows that were."""
    before = log.dialect(using).ago(get_settings().STREAM_RETENTION)
    return store.prune(using, before) + deleting.delete_late_text(using)
