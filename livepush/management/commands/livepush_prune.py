from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from livepush import log
from livepush.bridges.publishing import idempotency
from livepush.bridges.relays import forgetting
from livepush.conf import MAX_SECONDS, get_settings
from livepush.inbox import filing
from livepush.management.committing import CommittingCommand
from livepush.receiving import once
from livepush.streams import deleting, leases, store


class Command(CommittingCommand):
    help = "Delete events, notifications, streams, receipts and dead letters past their retention, as the hubs do."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seconds", type=float, help="keep this much instead of LIVEPUSH['RETENTION']")
        parser.add_argument("--batch", type=int, default=1000, help="how many events one transaction deletes")
        parser.add_argument("--database", help="the database alias, LIVEPUSH['DATABASE'] by default")

    def handle(self, *args: Any, **options: Any) -> None:
        settings = get_settings()
        keep = settings.RETENTION if options["seconds"] is None else options["seconds"]
        if not 0 <= keep <= MAX_SECONDS or options["batch"] < 1:
            raise CommandError("--seconds must be from 0 to a century, and --batch must be 1 or more.")
        before = timezone.now() - timedelta(seconds=keep)
        using = options["database"] or settings.DATABASE
        events = _all(lambda: log.prune(using, before, options["batch"]))
        old = timezone.now() - timedelta(seconds=settings.INBOX_RETENTION)
        notifications = _all(lambda: filing.prune(using, old, options["batch"]))
        ended = log.dialect(using).ago(settings.STREAM_RETENTION)
        leases.end_dead(using)
        leases.end_orphans(using)
        leases.compact_all(using)
        streams = _all(lambda: store.prune(using, ended)) + deleting.delete_all_late_text(using)
        receipts = _all(lambda: once.prune(using)) + _all(lambda: idempotency.prune(using))
        letters = _all(lambda: forgetting.prune(using))
        log.delete_all_forgotten(using)
        if options["verbosity"] > 0:
            found = f"{events} events, {notifications} rows of inboxes, {streams} rows of streams"
            self.stdout.write(f"Deleted {found}, {receipts} receipts and {letters} dead letters.")


def _all(prune: Callable[[], int]) -> int:
    """Prune batch after batch until nothing is left to prune; return how many rows were deleted."""
    count = 0
    while deleted := prune():
        count += deleted
    return count
