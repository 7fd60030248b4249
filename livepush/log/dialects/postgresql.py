"""PostgreSQL: sends each transaction as one string, since a round trip costs as much as a plain INSERT."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db import Error

from livepush.log import notices, planning
from livepush.log.dialects import base
from livepush.log.dialects.base import Dialect
from livepush.log.planning import Appended, Content, Plan, Row, Settled
from livepush.models import ChannelGroup, Event, LogHead
from livepush.wire import Batch, timestamp
from livepush.wire import Event as WireEvent

_EVENT, _HEAD, _GROUP = (f'"{model._meta.db_table}"' for model in (Event, LogHead, ChannelGroup))
_READ_COMMITTED = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
_ADVISORY = 1_818_850_917
"""Names an advisory lock, together with the head table's id. A lock of the head's row comes with it, for ``LOOK``."""
GROUPS_WAIT_MS = 100
"""How long inserting the rows of new groups may wait for the same rows in another transaction."""

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
LOCK = (
    "SELECT epoch, position, set_config('livepush.held', '1', true), "  # noqa: S608
    f"pg_try_advisory_xact_lock({_ADVISORY}, head::int)"
    f" FROM (SELECT epoch, position, tableoid AS head FROM {_HEAD} WHERE id = 1 FOR UPDATE SKIP LOCKED) AS locked"
)
WAITING = (  # a separate statement, since it must see what was committed before the lock was taken
    f'SELECT id, "group", type, data, sender, key, send, created FROM {_EVENT} WHERE position IS NULL'  # noqa: S608
    f" AND current_setting('livepush.held', true) = '1' ORDER BY position, id LIMIT %s"
)
LOOK = (
    # Returns no row if no event waits. True: nobody settles, so the caller must. False: another process settles, and
    # looks again after it has released the lock; or another caller has just got true. This holds no transaction open.
    f"SELECT pg_try_advisory_xact_lock({_ADVISORY}, '{_HEAD}'::regclass::oid::int)"  # noqa: S608
    f" WHERE (SELECT id FROM {_EVENT} WHERE position IS NULL ORDER BY position, id LIMIT 1) IS NOT NULL"
)
HEAD = f"UPDATE {_HEAD} SET position = %s WHERE id = 1"  # noqa: S608
POSITIONS = f"UPDATE {_EVENT} SET position = n.p FROM unnest(%s::bigint[], %s::bigint[]) AS n(i, p) WHERE id = n.i"  # noqa: S608
GROUPS = f"INSERT INTO {_GROUP} (name, created) SELECT unnest(%s::text[]), STATEMENT_TIMESTAMP() ON CONFLICT DO NOTHING"

# The statements of an append. A setting that ends with the transaction carries the head's new position; it is empty if
# the head was not moved. They are separate statements: as one statement with WITH they take PostgreSQL 0.2 ms to plan
# and start, separately half of that.
MOVE_HEAD = (
    # Moves the head if it is not locked and no event waits. An event that is committed while this runs may get a later
    # position than these rows, as if it had been sent later. Events that are sent after that get still later ones.
    f"UPDATE {_HEAD} SET position = position + 1 WHERE id = (SELECT id FROM {_HEAD} WHERE id = 1"  # noqa: S608
    f" AND (SELECT id FROM {_EVENT} WHERE position IS NULL ORDER BY position, id LIMIT 1) IS NULL"
    f" FOR UPDATE SKIP LOCKED) RETURNING epoch, set_config('livepush.head', position::text, true),"
    f" pg_try_advisory_xact_lock({_ADVISORY}, tableoid::int)"
)
AND_TELL = (
    # What MOVE_HEAD returns besides, to tell the other processes of the event. The database signs the notice (see
    # wire/notices.py), since it alone knows the position and the time, which is that of the whole script.
    ", (SELECT pg_notify(%s, %s ||"
    " encode(sha256(%s || sha256(%s || convert_to(body, 'UTF8'))), 'hex') || body)"
    " FROM (SELECT %s || epoch || %s || position || %s || to_char(STATEMENT_TIMESTAMP() AT TIME ZONE 'UTC',"
    """ 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || %s AS body OFFSET 0) AS told)"""  # OFFSET: else the body is made twice
)
TELL = "SELECT pg_notify(%s, %s)"
_COLUMNS = f'INSERT INTO {_EVENT} (position, "group", type, data, sender, key, send, created)'
_POSITION = "NULLIF(current_setting('livepush.head', true), '')::bigint"
INSERT_ROW = f"{_COLUMNS} VALUES ({_POSITION}, %s, %s, %s, %s, %s, %s, STATEMENT_TIMESTAMP())"
INSERT_ROWS = (
    f"{_COLUMNS} SELECT {_POSITION}, name, %s, %s, %s, %s, %s, STATEMENT_TIMESTAMP()"  # noqa: S608
    " FROM unnest(%s::text[]) WITH ORDINALITY AS g(name, place) ORDER BY place"
)
_RETURNING = " RETURNING position, created, set_config('livepush.sent', %s, false)"
INSERT_ROW_TOLD = INSERT_ROW + _RETURNING
INSERT_ROWS_TOLD = f"WITH told AS ({INSERT_ROWS}{_RETURNING}) SELECT * FROM told LIMIT 1"  # noqa: S608

ROWS_OF_GROUPS = (
    # Compares pairs, so that only the index on both columns can serve. With IN, or with a range of positions, planners
    # walk the positions, since these come in order or seem few: 0.3 s in a million rows instead of 0.5 ms.
    f'SELECT e.* FROM unnest(%s::text[]) AS g(name), LATERAL (SELECT position, "group", type, data, sender, created'  # noqa: S608
    f' FROM {_EVENT} WHERE ("group", position) > (g.name, %s) AND ("group", position) <= (g.name, %s)'
    f' ORDER BY "group", position LIMIT %s) AS e ORDER BY e.position LIMIT %s'
)

_busy: set[str] = set()
"""The databases where another process was settling at this process's last send. The next send does not try the lock,
which is probably taken: with 16 writers that saves a seventh of PostgreSQL's time."""

harmless_wrappers: list[Callable[..., Any]] = []
"""The wrappers of queries that are known to leave a script's results alone. Others may read them to the end, as those
of django-pghistory and django-pgtrigger do."""


class PostgreSQL(Dialect):
    """With psycopg 3 and outside of transactions each step is one round trip; else it does what ``Dialect`` does."""

    clock = "SELECT EXTRACT(EPOCH FROM clock_timestamp())"

    @property
    def can_run_scripts(self) -> bool:
        """Whether a whole transaction can be sent as one string.

        psycopg2 keeps only the last statement's result. Server-side binding sends only one statement at a time. A
        wrapper of queries may leave no result but the last, or put another one first.
        """
        connection: Any = self.connection
        return (
            not connection.in_atomic_block
            and connection.Database.__name__ == "psycopg"
            and not getattr(connection.features, "uses_server_side_binding", True)
            and connection.get_autocommit()
            and all(wrapper in harmless_wrappers for wrapper in connection.execute_wrappers)
        )

    def run(self, *script: str, params: Sequence[Any] | None = None) -> list[list[Any]]:
        """Run statements in one round trip; return the rows of each statement that returns rows."""
        found: list[list[Any]] = []
        with self.connection.cursor() as cursor:
            cursor.execute("; ".join(script), params)
            for statement in script:
                if statement.startswith("SELECT") or "RETURNING" in statement:
                    found.append(cursor.fetchall())
                cursor.nextset()
        return found

    def set_up_transaction(self) -> None:
        # SKIP LOCKED and ON CONFLICT raise serialization errors under REPEATABLE READ. The isolation level can be set
        # before the first query only, and a wrapper of Django's cursor may put one first: hence the driver's cursor.
        driver: Any = self.connection.connection
        with self.connection.wrap_database_errors, driver.cursor() as cursor:
            cursor.execute("; ".join([_READ_COMMITTED, *limits()]))

    def has_written(self) -> bool:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT txid_current_if_assigned() IS NOT NULL")
            return bool(cursor.fetchone() == (True,))

    # Appending

    def append(self, content: Content, key: str | None, send: int | None) -> None:
        groups, *values = content
        with self.failing_as_a_save(), self.connection.cursor() as cursor:
            if len(groups) == 1:
                cursor.execute(INSERT_ROW, [*groups, *values, key, send])
            else:  # sends the data once for all groups
                cursor.execute(INSERT_ROWS, [*values, key, send, list(groups)])

    def append_settled(self, content: Content, key: str | None, send: int | None) -> Appended | None:
        if not self.can_run_scripts:
            return None
        token = secrets.token_hex(8)
        try:
            return self._append_settled(content, key, send, token)
        except Error as error:
            if self._roll_back_failed() or notices.registered().blame(self.using, error):
                return None
            if not self._was_committed(token):
                raise
            return Appended(None, True)
        except BaseException:  # for example from a signal handler: the connection must not stay in the transaction
            self.roll_back()
            raise

    def _append_settled(self, content: Content, key: str | None, send: int | None, token: str) -> Appended:
        groups, *values = content
        params: list[Any] = [groups[0], *values, key, send, token]
        insert = INSERT_ROW_TOLD
        if len(groups) > 1:
            params = [*values, key, send, list(groups), token]
            insert = INSERT_ROWS_TOLD
        move, filling = self._move_head(content)
        *heads, rows, look = self.run(BEGIN, *move, insert, "COMMIT", LOOK, params=[*filling, *params])
        (_busy.add if look == [(False,)] else _busy.discard)(self.using)
        must_settle = look == [(True,)]
        if not any(heads):
            return Appended(None, must_settle)
        number, made, _ = rows[0]
        event = WireEvent(number, tuple(groups), content.type, content.data, timestamp(made), content.sender)
        return Appended(Batch(heads[0][0][0], (event,)), must_settle)

    def _move_head(self, content: Content) -> tuple[list[str], list[Any]]:
        """Return the statement that moves the head and tells the other processes, none if it is probably locked."""
        if self.using in _busy:  # other threads change this: asked once
            return [], []
        told = notices.registered().of_event(self.using, *content)
        if told is None:
            return [MOVE_HEAD], []
        channel, (name, key, parts) = told
        return [MOVE_HEAD + AND_TELL], [channel, name, key, key, *parts]

    def roll_back(self) -> None:
        """End the script's transaction; close the connection if the rollback fails."""
        try:
            self.connection.rollback()
        except Error:
            self.connection.close()

    def _roll_back_failed(self) -> bool:
        """Roll back a failed transaction. Return ``False`` if it may be committed, or the connection is dead."""
        driver: Any = self.connection.connection
        status = None if driver is None else driver.info.transaction_status
        if status is None or status != self.connection.Database.pq.TransactionStatus.INERROR:  # type: ignore[attr-defined]
            return False
        self.roll_back()
        return True

    def _was_committed(self, token: str) -> bool:
        """Return whether a send was committed before its script failed. A rollback would have undone the setting."""
        try:
            return self.run("SELECT current_setting('livepush.sent', true)") == [[(token,)]]
        except Error:
            return False

    # Settling

    def settle_batch(self) -> Settled:
        try:
            return self._settle_batch()
        except Error as error:
            if not notices.registered().blame(self.using, error):
                raise
            return self._settle_batch()  # which tells nothing now

    def _settle_batch(self) -> Settled:
        if not self.can_run_scripts:
            return super().settle_batch()
        try:
            heads, rows = self.run(BEGIN, *limits(), LOCK, WAITING, params=[planning.BATCH])
            if not heads:
                self.run("COMMIT")
                return Settled(None, False)
            epoch, last, *_ = heads[0]
            found = self.plan(epoch, last, [Row(*values) for values in rows])
            return Settled(found.batch, self._write_and_commit(found))
        except BaseException:
            self.roll_back()
            raise

    def _write_and_commit(self, found: Plan) -> bool:
        """Write a plan and commit it; return whether events wait that nobody is settling."""
        self.delete_repeats(found)
        writes: list[str] = []
        params: list[Any] = []
        if found.positions:
            writes, params = [HEAD, POSITIONS], [found.last, *_columns(found.positions)]
            if told := notices.registered().of_batch(self.using, found.batch):
                writes.append(TELL)
                params += told
        *_, look = self.run(*writes, "COMMIT", LOOK, params=params or None)
        return look == [(True,)]

    def write(self, found: Plan) -> None:
        super().write(found)
        told = notices.registered().of_batch(self.using, found.batch) if found.positions else None
        if told is not None and not self.in_testcase:
            with self.connection.cursor() as cursor:
                cursor.execute(TELL, told)

    def give_positions(self, positions: Sequence[tuple[int, int]]) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(POSITIONS, _columns(positions))

    # Reading

    def rows_of_groups(self, groups: Sequence[str], after: int, upto: int, limit: int) -> Iterable[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(ROWS_OF_GROUPS, [list(groups), after, upto, limit, limit])
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    # Groups

    def make_groups(self, names: Sequence[str]) -> None:
        if self.can_run_scripts:
            try:
                self.run(BEGIN, f"SET LOCAL lock_timeout = {GROUPS_WAIT_MS}", GROUPS, "COMMIT", params=[list(names)])
            except BaseException:
                self.roll_back()
                raise
        elif self.connection.in_atomic_block:
            super().make_groups(names)
        else:
            with self.transaction(), self.connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = {GROUPS_WAIT_MS}")
                cursor.execute(GROUPS, [list(names)])


def limits() -> tuple[str, str]:
    """Return the statements that make the server end a transaction that takes too long or is idle too long."""
    return (
        f"SET LOCAL statement_timeout = {base.TIME_LIMIT_MS}",
        f"SET LOCAL idle_in_transaction_session_timeout = {base.TIME_LIMIT_MS}",
    )


def _columns(positions: Sequence[tuple[int, int]]) -> list[list[int]]:
    return [[id for id, _ in positions], [number for _, number in positions]]
