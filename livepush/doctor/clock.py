"""Compares the clocks of the database and of the site with this host's."""

from __future__ import annotations

import time
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from livepush.doctor.check import Check
from livepush.doctor.problems import Problem

CLOCK_OFF, CLOCK_WRONG = 5.0, 60.0
"""Clocks that differ by more than this (seconds) are a warning, or an error."""
CLOCKS = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "mysql": "SELECT UNIX_TIMESTAMP(SYSDATE(6))",
}


def now() -> float:
    """Return this host's time in seconds since 1970."""
    return time.time()


def compare_database_clock(check: Check, using: str) -> None:
    """Compare the database's clock with this host's."""
    connection = connections[using]
    sql = CLOCKS.get(connection.vendor)
    if connection.vendor == "sqlite":
        check.say("SQLite has this host's clock")
    elif sql is None:
        check.skip(f"The database's clock was not compared: {connection.display_name} is not known here.")
    else:
        row_of(connection, "SELECT 1")  # connecting takes time
        before = now()
        (there,) = row_of(connection, sql) or (before,)
        compare_clocks(check, "the database", float(there) - (before + now()) / 2)


def compare_clocks(check: Check, whose: str, offset: float) -> None:
    """Note how far another clock is ahead of this host's (seconds)."""
    said = f"{whose}'s clock is {abs(offset):.1f} s {'ahead of' if offset > 0 else 'behind'} this host's"
    check.say(said, **{f"{whose.removeprefix('the ')}_ahead_s": round(offset, 3)})
    if abs(offset) > CLOCK_OFF:
        check.find(Problem.CLOCK_WRONG if abs(offset) > CLOCK_WRONG else Problem.CLOCK_OFF, said)


def row_of(connection: BaseDatabaseWrapper, sql: str, parameters: list[Any] | None = None) -> tuple[Any, ...] | None:
    """Return the first row that a query returns."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row
