"""MariaDB and MySQL: no partial indexes, and locks on the gaps between rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import Error
from django.utils import timezone

from livepush.log.dialects import base
from livepush.log.dialects.base import Dialect


class MySQL(Dialect):
    """Uses READ COMMITTED, since the default isolation blocks inserts, and limits sessions instead of transactions."""

    clock = "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1000000"
    update_hint = " FORCE INDEX (PRIMARY)"  # with another index it waits for other callers' inserts
    # The events without a key count as one key in the index's statistics, so it would often be taken for a bad one.
    key_hint = " FORCE INDEX (livepush_key)"

    @property
    def is_mariadb(self) -> bool:
        return bool(getattr(self.connection, "mysql_is_mariadb", False))

    @contextmanager
    def session_limits(self) -> Iterator[None]:
        """Limit how long the session may be idle, and in MariaDB each statement; restore the limits afterwards."""
        limits = {"wait_timeout": max(1, base.TIME_LIMIT_MS // 1000)}
        if self.is_mariadb:
            limits["max_statement_time"] = limits["wait_timeout"]
        with self._changed(limits):
            yield

    @contextmanager
    def _changed(self, variables: dict[str, int]) -> Iterator[None]:
        with self.connection.cursor() as cursor:
            saved = [f"@livepush_{name} = @@SESSION.{name}" for name in variables]
            cursor.execute(
                "SET " + ", ".join(saved + [f"SESSION {name} = {limit}" for name, limit in variables.items()])
            )
        try:
            yield
        finally:
            try:
                with self.connection.cursor() as cursor:
                    cursor.execute("SET " + ", ".join(f"SESSION {name} = @livepush_{name}" for name in variables))
            except Error:
                self.connection.close()  # the connection is dead, or would keep the limits

    def set_up_transaction(self) -> None:
        if getattr(self.connection, "isolation_level", None) != "read committed":
            with self.connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")

    def time_of_sending(self) -> str:
        # Now() would use the session's time zone, which Django does not set and does not store times in.
        zone = self.connection.timezone or timezone.get_default_timezone()
        offset = datetime.now(zone).utcoffset() or timedelta()
        return f"UTC_TIMESTAMP(6) + INTERVAL {int(offset.total_seconds())} SECOND"

    def make_groups(self, names: Sequence[str]) -> None:
        limit = {"innodb_lock_wait_timeout": 0 if self.is_mariadb else 1}  # seconds; MySQL does not accept 0
        if self.connection.in_atomic_block:
            super().make_groups(names)
        else:
            with self._changed(limit):
                super().make_groups(names)
