"""The log's statements in SQL that every database understands. Subclasses override them for some databases."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model, QuerySet, Value
from django.db.models.expressions import RawSQL
from django.utils import timezone

from livepush.log import planning
from livepush.log.delete_sql import delete_by_id
from livepush.log.planning import Appended, Content, Plan, Row, Settled
from livepush.models import ChannelGroup, Event, LogFloor, LogHead

Rows = TypeVar("Rows", bound=Model)
TIME_LIMIT_MS = 10_000
"""How long one of settle's statements may take, and how long settle's transaction may be idle under the lock."""
ROWS_AT_ONCE = 500
"""The largest number of rows that one statement gives positions to, or whose keys it looks for."""
_ROW = ("id", "group", "type", "data", "sender", "key", "send", "created")
STATEMENT_BYTES = 4 * 1_048_576
"""About the most bytes of data in one statement; MariaDB refuses 16 MiB by default."""
_ROW_WITHOUT_DATA = ("id", "group", "type", "nothing", "sender", "key", "send", "created")


class Dialect:
    """The log's statements on one database connection."""

    clock: str | None = None
    """A query for the database's time, in seconds since 1970; ``None`` if the database uses its host's clock."""
    update_hint = ""
    """Text after the table's name in the UPDATE that gives positions."""
    key_hint = ""
    """Text after the table's name where a key is looked for."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.using = connection.alias

    # Transactions

    @contextmanager
    def transaction(self, durable: bool = False) -> Iterator[BaseDatabaseWrapper]:
        """Open a READ COMMITTED transaction with time limits, whatever the project's defaults are.

        If a process is stopped while it holds the lock, the limits let the server take the lock away. Inside the
        caller's transaction, as a ``TestCase`` has it, or a project with autocommit off, this is a savepoint.
        """
        own = not self.connection.in_atomic_block and self.connection.get_autocommit()
        limits = self.session_limits() if own else nullcontext()
        with limits, transaction.atomic(using=self.using, durable=durable and not self.in_testcase):
            if own:
                self.set_up_transaction()
            yield self.connection

    @property
    def in_testcase(self) -> bool:
        """Whether a ``TestCase`` opened the outermost transaction, which will never be committed."""
        blocks = getattr(self.connection, "atomic_blocks", None) or [None]
        return bool(getattr(blocks[0], "_from_testcase", False))

    def session_limits(self) -> AbstractContextManager[None]:
        """Limit the session during the transaction, for databases that can't limit a transaction."""
        return nullcontext()

    def set_up_transaction(self) -> None:
        """Run the first statements of a transaction."""

    def has_written(self) -> bool:
        """Return whether the open transaction has written or locked anything, as far as the database tells."""
        return False

    # Time

    def time_of_sending(self) -> str:
        """Return SQL for the current time of a clock that all hosts share: as a rule the database's."""
        return "CURRENT_TIMESTAMP"

    def now(self) -> RawSQL:
        """Return the time of ``time_of_sending`` as the value of a field, for rows that are saved."""
        return RawSQL(self.time_of_sending(), [])  # noqa: S611

    @contextmanager
    def without_waiting(self) -> Iterator[None]:
        """Have statements fail at once that would wait for other writers, where one writer holds up all others."""
        yield

    def milliseconds(self) -> int:
        """Return the database's time, in milliseconds since 1970."""
        if self.clock is None:
            return round(1000 * time.time())
        return round(1000 * self._clock_seconds(self.clock))

    def ahead_of_database(self, now: datetime) -> timedelta:
        """Return how far this host's clock is ahead of the database's; zero if it is not ahead."""
        if self.clock is None:
            return timedelta()
        return timedelta(seconds=max(0.0, now.timestamp() - self._clock_seconds(self.clock)))

    def ago(self, seconds: float) -> datetime:
        """Return the time some seconds ago, by the clock that is behind: the database's or this host's.

        A row that is dated before it is that old, even if this host's clock is wrong.
        """
        now = timezone.now()
        return now - self.ahead_of_database(now) - timedelta(seconds=seconds)

    def _clock_seconds(self, clock: str) -> float:
        with self.connection.cursor() as cursor:
            cursor.execute(clock)
            ((seconds,),) = cursor.fetchall()
        return float(seconds)

    # Appending

    def append(self, content: Content, key: str | None, send: int | None) -> None:
        """Write one row for each group in the caller's transaction.

        No signals are fired: a project's receiver for all models may send, and would be called by that again.
        """
        groups, type, data, sender = content
        now = self.time_of_sending()
        if len(groups) == 1:  # unlike bulk_create this opens no transaction
            quote = self.connection.ops.quote_name
            columns = ", ".join(map(quote, ("group", "type", "data", "sender", "key", "send", "created")))
            values = f"(%s, %s, %s, %s, %s, %s, {now})"
            with self.failing_as_a_save(), self.connection.cursor() as cursor:
                cursor.execute(
                    f"INSERT INTO {quote(Event._meta.db_table)} ({columns}) VALUES {values}",  # noqa: S608
                    [groups[0], type, data, sender, key, send],
                )
            return
        shared = {"type": type, "data": data, "sender": sender, "key": key, "send": send, "created": self.now()}
        at_once = max(1, STATEMENT_BYTES // (len(data.encode()) + 500))
        Event.objects.using(self.using).bulk_create([Event(group=group, **shared) for group in groups], at_once)

    def failing_as_a_save(self) -> AbstractContextManager[object]:
        """Have a failing statement end the caller's transaction, as a failing save does: it must not go on without."""
        if self.connection.in_atomic_block:
            return transaction.atomic(using=self.using, savepoint=False)  # costs no query
        return nullcontext()

    def append_settled(self, content: Content, key: str | None, send: int | None) -> Appended | None:
        """Write the rows, whose key is new if they have one, with their position.

        Return ``None``, and write nothing, if that is not possible at once.
        """
        return None

    # Settling

    def settle_batch(self) -> Settled:
        """Settle one batch under the lock, or nothing if the lock is taken."""
        with self.transaction(durable=True):
            head = self.lock_head()
            if head is None:
                return Settled(None, False)
            found = self.plan(*head, self.waiting_rows())
            self.write(found)
        return Settled(found.batch, self.something_waits())

    def lock_head(self) -> tuple[str, int] | None:
        """Lock the head and return it; ``None`` if another process holds the lock, or there is no head."""
        heads = self.locked(LogHead.objects.using(self.using).filter(pk=1))
        return heads.values_list("epoch", "position").first()

    def locked(self, rows: QuerySet[Rows]) -> QuerySet[Rows]:
        """Return the query for some rows that locks them, and leaves out those that somebody else has locked.

        A database without SKIP LOCKED waits for these instead. On SQLite a ``transaction`` locks the whole database.
        """
        return rows.select_for_update(skip_locked=self.connection.features.has_select_for_update_skip_locked)

    def plan(self, epoch: str, last: int, rows: list[Row]) -> Plan:
        """Decide which positions the waiting rows get."""
        sends = planning.sends_that_go_on(rows)
        if sends:
            rows += self.rest_of_sends(sends, rows[-1].id)
        return planning.plan(epoch, last, rows, self.keys_seen(rows))

    def waiting_rows(self) -> list[Row]:
        """Return the first waiting rows, in the order of their ids."""
        waiting = Event.objects.using(self.using).filter(position=None).order_by("position", "id")  # the index's order
        return [Row(*values) for values in waiting.values_list(*_ROW)[: planning.BATCH]]

    def rest_of_sends(self, sends: Iterable[int], after: int) -> list[Row]:
        """Return the waiting rows of some sends whose ids are larger than ``after``.

        They come without their data, which each send's first row has too: there may be very many.
        """
        rest = Event.objects.using(self.using).filter(position=None, send__in=sends, id__gt=after).order_by("id")
        return [Row(*values) for values in rest.annotate(nothing=Value("")).values_list(*_ROW_WITHOUT_DATA)]

    def keys_seen(self, rows: Iterable[Row]) -> set[tuple[str, str]]:
        """Return the pairs of group and key among these rows that were settled before."""
        asked = [row.id for row in rows if not planning.is_new(row.key)]
        seen: set[tuple[str, str]] = set()
        for start in range(0, len(asked), ROWS_AT_ONCE):
            with self.connection.cursor() as cursor:
                cursor.execute(self.keys_seen_sql(asked[start : start + ROWS_AT_ONCE]))
                seen.update(cursor.fetchall())
        return seen

    def keys_seen_sql(self, ids: Iterable[int]) -> str:
        """Return a query for the pairs of group and key that some waiting rows share with settled ones.

        Each row's pair is looked up in the index on both, since a database can't make a join of this. Of a join, or of
        lists of keys and groups, it may read all events with one of the keys, or look up each key in each group.
        """
        quote = self.connection.ops.quote_name
        event, id, position, group, key = map(quote, (Event._meta.db_table, "id", "position", "group", "key"))
        settled = (
            f"SELECT s.{id} FROM {event} s{self.key_hint} WHERE s.{key} = w.{key} AND s.{group} = w.{group}"  # noqa: S608
            f" AND +s.{position} IS NOT NULL LIMIT 1"  # with the sign, no index on the position is a choice
        )
        chosen = ",".join(f"{each:d}" for each in ids)
        return (
            f"SELECT w.{group}, w.{key} FROM {event} w"  # noqa: S608
            f" WHERE w.{id} IN ({chosen}) AND ({settled}) IS NOT NULL"
        )

    def write(self, found: Plan) -> None:
        """Write a plan under the lock."""
        self.delete_repeats(found)
        if found.positions:
            LogHead.objects.using(self.using).filter(pk=1).update(position=found.last)
            self.give_positions(found.positions)

    def delete_repeats(self, found: Plan) -> None:
        """Delete the rows that repeat a key in their group."""
        delete_by_id(self.using, Event, found.repeats)

    def give_positions(self, positions: Sequence[tuple[int, int]]) -> None:
        """Write the positions of rows, given as pairs of id and position."""
        quote = self.connection.ops.quote_name
        table, position, key = quote(Event._meta.db_table), quote("position"), quote("id")
        for start in range(0, len(positions), ROWS_AT_ONCE):
            part = positions[start : start + ROWS_AT_ONCE]
            cases = " ".join(f"WHEN {id:d} THEN {number:d}" for id, number in part)
            value = f"CASE {key} {cases} END" if part[0][1] != part[-1][1] else f"{part[0][1]:d}"
            chosen = ",".join(f"{id:d}" for id, _ in part)
            with self.connection.cursor() as cursor:
                cursor.execute(
                    f"UPDATE {table}{self.update_hint} SET {position} = {value} WHERE {key} IN ({chosen})"  # noqa: S608
                )

    def something_waits(self) -> bool:
        """Return whether a row waits for its position."""
        with self.connection.cursor() as cursor:
            cursor.execute(self.waiting_sql())
            return cursor.fetchone() is not None

    # Reading

    def state_sql(self) -> str:
        """Return a query for epoch, position, floor, and whether a row waits."""
        quote = self.connection.ops.quote_name
        head, floor = (quote(model._meta.db_table) for model in (LogHead, LogFloor))
        position, key = quote("position"), quote("id")
        return (
            f"SELECT h.{quote('epoch')}, h.{position}, f.{position},"  # noqa: S608
            f" ({self.waiting_sql()}) IS NOT NULL"
            f" FROM {head} h, {floor} f WHERE h.{key} = 1 AND f.{key} = 1"
        )

    def waiting_sql(self) -> str:
        """Return a query for one waiting row. Without the index's order a planner may scan the table."""
        quote = self.connection.ops.quote_name
        event, position, key = quote(Event._meta.db_table), quote("position"), quote("id")
        return f"SELECT {key} FROM {event} WHERE {position} IS NULL ORDER BY {position}, {key} LIMIT 1"  # noqa: S608

    def rows_of_groups(self, groups: Sequence[str], after: int, upto: int, limit: int) -> Iterable[tuple[Any, ...]]:
        """Return the first rows of some groups in ``(after, upto]``: number, group, type, data, sender, time."""
        rows = Event.objects.using(self.using).filter(position__gt=after, position__lte=upto, group__in=groups)
        return rows.order_by("position").values_list("position", "group", "type", "data", "sender", "created")[:limit]

    # Groups

    def make_groups(self, names: Sequence[str]) -> None:
        """Make the rows of groups that have none, without waiting long for other transactions.

        Raises the database's error if the wait would be longer.
        """
        now = timezone.now()
        rows = [ChannelGroup(name=name, created=now) for name in names]
        ChannelGroup.objects.using(self.using).bulk_create(rows, ignore_conflicts=True)
