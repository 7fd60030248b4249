"""What the log asks of a database, in words that every database knows; the others are subclasses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now
from django.utils import timezone

from livepush.log import planning
from livepush.log.planning import Appended, Plan, Row, Settled
from livepush.models import ChannelGroup, Event, LogFloor, LogHead

TIME_LIMIT_MS = 10_000
"""How long the database lets one of settle's statements take, and settle's process be silent under the lock."""
ROWS_AT_ONCE = 500
"""The most rows that one statement numbers."""
_ROW = ("id", "group", "type", "data", "key", "send", "created")


class Dialect:
    """One connection, and how its database is spoken to."""

    clock: str | None = None
    """A query for the database's time, in seconds since 1970; ``None`` where it has no clock of its own."""
    update_hint = ""
    """What stands behind the table's name in the update that gives positions."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.using = connection.alias

    # Transactions

    @contextmanager
    def transaction(self, durable: bool = False) -> Iterator[BaseDatabaseWrapper]:
        """Open a READ COMMITTED transaction with time limits, whatever the project's defaults are.

        The limits let the server take the lock from a process that was stopped while it held it. Inside a transaction
        of the caller's, which only a ``TestCase`` has here, it is a savepoint.
        """
        own = not self.connection.in_atomic_block
        limits = self.session_limits() if own else nullcontext()
        with limits, transaction.atomic(using=self.using, durable=durable):
            if own:
                self.set_up_transaction()
            yield self.connection

    def session_limits(self) -> AbstractContextManager[None]:
        """Limit the session for as long as the transaction lasts, where one transaction can't be limited."""
        return nullcontext()

    def set_up_transaction(self) -> None:
        """Run what a transaction begins with."""

    # Time

    def time_of_sending(self) -> datetime | Now:
        """Return the time by the one clock that all hosts share."""
        return Now()

    def ahead_of_database(self, now: datetime) -> timedelta:
        """Return how far this host's clock is ahead of the database's; zero where it is behind, or the same."""
        if self.clock is None:
            return timedelta()
        with self.connection.cursor() as cursor:
            cursor.execute(self.clock)
            ((seconds,),) = cursor.fetchall()
        return timedelta(seconds=max(0.0, now.timestamp() - float(seconds)))

    # Appending

    def append(self, groups: Sequence[str], type: str, data: str, key: str | None, send: int | None) -> None:
        """Write one row for each group in the caller's transaction."""
        shared = {"type": type, "data": data, "key": key, "send": send, "created": self.time_of_sending()}
        if len(groups) == 1:
            Event(group=groups[0], **shared).save(using=self.using, force_insert=True)  # no transaction of its own
        else:
            Event.objects.using(self.using).bulk_create(Event(group=group, **shared) for group in groups)

    def append_settled(self, groups: Sequence[str], type: str, data: str, send: int | None) -> Appended | None:
        """Write the rows with their position where that can be done at once; ``None``, and nothing, where it can't."""
        return None

    # Settling

    def settle_batch(self) -> Settled:
        """Settle one batch under the lock that nobody waits for."""
        with self.transaction(durable=True):
            head = self.lock_head()
            if head is None:
                return Settled(None, False)
            found = self.plan(*head, self.waiting_rows())
            self.write(found)
        return Settled(found.batch, self.something_waits())

    def lock_head(self) -> tuple[str, int] | None:
        """Lock the head and return it; ``None`` where another process holds it, or there is none."""
        heads = LogHead.objects.using(self.using).filter(pk=1)
        if self.connection.features.has_select_for_update_skip_locked:
            heads = heads.select_for_update(skip_locked=True)
        return heads.values_list("epoch", "position").first()

    def plan(self, epoch: str, last: int, rows: list[Row]) -> Plan:
        """Decide which positions the rows that wait get."""
        sends = planning.sends_that_go_on(rows)
        if sends:
            rows += self.rest_of_sends(sends, rows[-1].id)
        return planning.plan(epoch, last, rows, self.keys_seen(rows))

    def waiting_rows(self) -> list[Row]:
        """Return the first rows that wait, in the order of their ids."""
        waiting = Event.objects.using(self.using).filter(position=None).order_by("position", "id")  # as the index is
        return [Row(*values) for values in waiting.values_list(*_ROW)[: planning.BATCH]]

    def rest_of_sends(self, sends: Iterable[int], after: int) -> list[Row]:
        """Return the rows of some sends with larger ids."""
        rest = Event.objects.using(self.using).filter(position=None, send__in=sends, id__gt=after).order_by("id")
        return [Row(*values) for values in rest.values_list(*_ROW)]

    def keys_seen(self, rows: Iterable[Row]) -> set[tuple[str, str]]:
        """Return those of the rows' keys, with their groups, that were settled before."""
        keys = {row.key for row in rows if row.key is not None}
        if not keys:
            return set()
        settled = Event.objects.using(self.using).filter(position__isnull=False, key__in=keys)
        return {(group, key) for group, key in settled.values_list("group", "key") if key is not None}

    def write(self, found: Plan) -> None:
        """Write a plan under the lock."""
        self.delete_repeats(found)
        if found.positions:
            LogHead.objects.using(self.using).filter(pk=1).update(position=found.last)
            self.give_positions(found.positions)

    def delete_repeats(self, found: Plan) -> None:
        """Delete the rows whose key their group has had before."""
        if found.repeats:
            Event.objects.using(self.using).filter(pk__in=found.repeats)._raw_delete(self.using)

    def give_positions(self, positions: Sequence[tuple[int, int]]) -> None:
        """Number rows, given as pairs of id and position."""
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
        """Return a query for epoch, position, floor, and whether something waits."""
        quote = self.connection.ops.quote_name
        head, floor = (quote(model._meta.db_table) for model in (LogHead, LogFloor))
        position, key = quote("position"), quote("id")
        return (
            f"SELECT h.{quote('epoch')}, h.{position}, f.{position},"  # noqa: S608
            f" ({self.waiting_sql()}) IS NOT NULL"
            f" FROM {head} h, {floor} f WHERE h.{key} = 1 AND f.{key} = 1"
        )

    def waiting_sql(self) -> str:
        """Return a query for a row that waits, in the order of its index: a planner may prefer to search the table."""
        quote = self.connection.ops.quote_name
        event, position, key = quote(Event._meta.db_table), quote("position"), quote("id")
        return f"SELECT {key} FROM {event} WHERE {position} IS NULL ORDER BY {position}, {key} LIMIT 1"  # noqa: S608

    def rows_of_groups(self, groups: Sequence[str], after: int, upto: int, limit: int) -> Iterable[tuple[Any, ...]]:
        """Return the first rows of some groups in ``(after, upto]``: number, group, type, data, time."""
        rows = Event.objects.using(self.using).filter(position__gt=after, position__lte=upto, group__in=groups)
        return rows.order_by("position").values_list("position", "group", "type", "data", "created")[:limit]

    # Groups

    def make_groups(self, names: Sequence[str]) -> None:
        """Make the rows of groups that have none, waiting for nobody for long.

        Raises the database's error where that would take longer.
        """
        now = timezone.now()
        rows = [ChannelGroup(name=name, created=now) for name in names]
        ChannelGroup.objects.using(self.using).bulk_create(rows, ignore_conflicts=True)
