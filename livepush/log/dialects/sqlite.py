"""SQLite: it allows one writer at a time, and uses its host's clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.utils import timezone

from livepush.log.dialects.base import Dialect
from livepush.models import Event, LogHead


class SQLite(Dialect):
    """SQLite has no time limits: while a stopped process holds the lock, writers fail with "database is locked"."""

    def set_up_transaction(self) -> None:
        # Write first: a transaction that reads and then writes fails if another one has written in between.
        LogHead.objects.using(self.using).filter(pk=0).update(position=0)

    @contextmanager
    def without_waiting(self) -> Iterator[None]:
        with self.connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout")
            ((before,),) = cursor.fetchall()
            cursor.execute("PRAGMA busy_timeout = 0")
            try:
                yield
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {before}")

    def has_written(self) -> bool:
        driver: Any = self.connection.connection
        return driver is not None and bool(driver.in_transaction)  # it is begun by the first statement that writes

    def time_of_sending(self) -> str:
        field: Any = Event._meta.get_field("created")
        return f"'{field.get_db_prep_save(timezone.now(), self.connection)}'"
