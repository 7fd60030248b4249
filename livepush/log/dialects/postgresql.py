"""Whole transactions of PostgreSQL's as one string each: a round trip costs as much as a plain INSERT.

The statements are the log's; ``livepush.log`` says when they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

from livepush.models import ChannelGroup, Event, LogHead

_EVENT, _HEAD, _GROUP = (f'"{model._meta.db_table}"' for model in (Event, LogHead, ChannelGroup))
EVENTS_OF_GROUPS = (
    # Pairs, for which the index on both is all that can serve. With IN, or a range of positions, planners walk the
    # positions for the sake of their order or since they think them few: 0.3 s in a million rows, instead of 0.5 ms.
    f'SELECT e.* FROM unnest(%s::text[]) AS g(name), LATERAL (SELECT position, "group", type, data, created, send'  # noqa: S608
    f' FROM {_EVENT} WHERE ("group", position) >= (g.name, %s) AND ("group", position) <= (g.name, %s)'
    f' ORDER BY "group", position LIMIT %s) AS e ORDER BY e.position LIMIT %s'
)

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_ADVISORY = 1_818_850_917
"""With the head table's id, the advisory lock that whoever holds the head's row holds too, for ``LOOK``."""
LOCK = (
    "SELECT epoch, position, set_config('livepush.held', '1', true), "  # noqa: S608
    f"pg_try_advisory_xact_lock({_ADVISORY}, head::int)"
    f" FROM (SELECT epoch, position, tableoid AS head FROM {_HEAD} WHERE id = 1 FOR UPDATE SKIP LOCKED) AS locked"
)
WAITING = (  # a statement of its own, since it must see what was committed before the lock was taken
    f'SELECT id, "group", type, data, key, send, created FROM {_EVENT} WHERE position IS NULL'  # noqa: S608
    f" AND current_setting('livepush.held', true) = '1' ORDER BY position, id LIMIT %s"
)
LOOK = (
    # No row where nothing waits. True where nobody settles: who gets that must settle. False where somebody does, who
    # looks after the release, or where somebody else has just got true. No transaction is held open to find out.
    f"SELECT pg_try_advisory_xact_lock({_ADVISORY}, '{_HEAD}'::regclass::oid::int)"  # noqa: S608
    f" WHERE (SELECT id FROM {_EVENT} WHERE position IS NULL ORDER BY position, id LIMIT 1) IS NOT NULL"
)
HEAD = f"UPDATE {_HEAD} SET position = %s WHERE id = 1"  # noqa: S608
POSITIONS = f"UPDATE {_EVENT} SET position = n.p FROM unnest(%s::bigint[], %s::bigint[]) AS n(i, p) WHERE id = n.i"  # noqa: S608
GROUPS = f"INSERT INTO {_GROUP} (name, created) SELECT unnest(%s::text[]), STATEMENT_TIMESTAMP() ON CONFLICT DO NOTHING"


@cache
def append_script(count: int) -> tuple[str, str]:
    """Return the statements that move the head where that is free and nothing waits, and insert rows.

    The head's new position travels in a setting that ends with the transaction; it is empty where the head was not
    moved. What is committed while the first statement runs may get its position after these rows, as if it had been
    sent later; who sends after it has been committed gets a later one. Separate statements, since PostgreSQL takes
    0.2 ms to plan and start them as one with WITH, and half of it for both.
    """
    position = "NULLIF(current_setting('livepush.head', true), '')::bigint"
    rows = ", ".join(f"({position} - {last}, %s, %s, %s, %s, STATEMENT_TIMESTAMP())" for last in reversed(range(count)))
    return (
        f"UPDATE {_HEAD} SET position = position + {count} WHERE id = (SELECT id FROM {_HEAD} WHERE id = 1"  # noqa: S608
        f" AND (SELECT id FROM {_EVENT} WHERE position IS NULL ORDER BY position, id LIMIT 1) IS NULL"
        f" FOR UPDATE SKIP LOCKED) RETURNING epoch, set_config('livepush.head', position::text, true),"
        f" pg_try_advisory_xact_lock({_ADVISORY}, tableoid::int)",
        f'INSERT INTO {_EVENT} (position, "group", type, data, send, created) VALUES {rows}'  # noqa: S608
        f" RETURNING position, created, set_config('livepush.sent', %s, false)",
    )


def limits(milliseconds: int) -> tuple[str, str]:
    """Return the statements that let the server end a transaction that is stuck or silent for so long."""
    return (
        f"SET LOCAL statement_timeout = {milliseconds}",
        f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds}",
    )


def takes(connection: Any) -> bool:
    """Return whether whole transactions may be sent as one string.

    psycopg2 keeps the result of the last statement alone, and parameters that are sent apart go with one statement.
    """
    return (
        connection.vendor == "postgresql"
        and not connection.in_atomic_block
        and connection.Database.__name__ == "psycopg"
        and not connection.features.uses_server_side_binding
        and connection.get_autocommit()
    )


def run(connection: BaseDatabaseWrapper, *script: str, params: Sequence[Any] | None = None) -> list[list[Any]]:
    """Run statements in one round trip; return the rows of each that returns rows."""
    found: list[list[Any]] = []
    with connection.cursor() as cursor:
        cursor.execute("; ".join(script), params)
        for statement in script:
            if statement.startswith("SELECT") or "RETURNING" in statement:
                found.append(cursor.fetchall())
            cursor.nextset()
    return found


def roll_back(connection: BaseDatabaseWrapper) -> None:
    try:
        connection.rollback()
    except Error:
        connection.close()


def roll_back_failed(connection: Any) -> bool:
    """Roll back what has failed for certain; return ``False`` where it may be committed, or the connection is dead."""
    raw = connection.connection
    if raw is None or raw.info.transaction_status != connection.Database.pq.TransactionStatus.INERROR:
        return False
    roll_back(connection)
    return True


def was_committed(connection: BaseDatabaseWrapper, token: str) -> bool:
    """Return whether a send was committed before its script failed: its token is a setting that a rollback undoes."""
    try:
        return run(connection, "SELECT current_setting('livepush.sent', true)") == [[(token,)]]
    except Error:
        return False
