"""SQLite: it allows one writer at a time, and uses its host's clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from typing import Any

from django.utils import timezone

from livepush.log.dialects.base import Dialect
from livepush.log.planning import Content
from livepush.models import Event, LogHead


@cache
def has_json(driver: Any) -> bool:
    """Return whether this SQLite reads JSON: before 3.38, or built without, it may not."""
    with closing(driver.connect(":memory:")) as database:
        try:
            database.execute("SELECT value FROM json_each('[]')")
        except driver.OperationalError:
            return False
    return True


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

    def append(self, content: Content, key: str | None, send: int | None) -> None:
        groups, *values = content
        connection: Any = self.connection
        if len(groups) == 1 or not has_json(connection.Database):
            super().append(content, key, send)
            return
        with self.failing_as_a_save(), self.connection.cursor() as cursor:  # takes the data once for all groups
            cursor.execute(
                f'INSERT INTO "{Event._meta.db_table}" ("group", type, data, sender, key, send, created)'  # noqa: S608
                f" SELECT value, %s, %s, %s, %s, %s, {self.time_of_sending()} FROM json_each(%s) AS g ORDER BY g.key",
                [*values, key, send, json.dumps(groups)],
            )

    def time_of_sending(self) -> str:
        field: Any = Event._meta.get_field("created")
        return f"'{field.get_db_prep_save(timezone.now(), self.connection)}'"
