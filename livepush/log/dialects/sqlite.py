"""SQLite: one writer at a time, and no clock but its host's."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone

from livepush.log.dialects.base import Dialect
from livepush.models import LogHead


class SQLite(Dialect):
    """SQLite has no time limits: until a stopped process goes on or ends, writers fail with "database is locked"."""

    def set_up_transaction(self) -> None:
        # A transaction that reads first and writes later fails at once where another has written in between.
        LogHead.objects.using(self.using).filter(pk=0).update(position=0)

    def time_of_sending(self) -> datetime:
        return timezone.now()
