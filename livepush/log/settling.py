"""The ordered log: append in the caller's transaction, settle after commit, read after a position.

A row has no position while its transaction is open. Settle gives positions to rows that are committed, under one
lock that nobody waits for: whoever finds it taken leaves, and the holder looks again after it has let go.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import takewhile
from typing import Any, NamedTuple

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Max, Min, QuerySet

from livepush.log import transactions
from livepush.log.dialects import postgresql
from livepush.models import ChannelGroup, Event, LogFloor, LogHead
from livepush.wire import Batch, Page, Position, State, timestamp
from livepush.wire import Event as WireEvent

BATCH = 500
"""The most events that one pass settles."""
PASSES = 20
"""The most passes that one caller makes."""
_KNOWN_GROUPS = 50_000


class Row(NamedTuple):
    """A committed event that waits for its position."""

    id: int
    group: str
    type: str
    data: str
    key: str | None
    send: int | None
    created: datetime

    def at(self, number: int) -> WireEvent:
        """Return the row as the event with this number."""
        return WireEvent(number, self.group, self.type, self.data, timestamp(self.created), self.send)


class Appended(NamedTuple):
    """What became of rows when they were appended."""

    batch: Batch | None
    """What has its positions already, and is committed."""
    more: bool
    """Whether something waits that nobody is settling, as far as is known."""


def append(groups: Sequence[str], type: str, data: str, key: str | None, using: str) -> None:
    """Write one row for each group in the caller's transaction, with one statement that locks nothing else."""
    shared = {"type": type, "data": data, "key": key, "created": transactions.time_of_sending(connections[using])}
    if len(groups) == 1:
        Event(group=groups[0], **shared).save(using=using, force_insert=True)  # no transaction of its own
        return
    send = secrets.randbits(63)
    Event.objects.using(using).bulk_create(Event(group=group, send=send, **shared) for group in groups)


def append_settled(groups: Sequence[str], type: str, data: str, key: str | None, using: str) -> Appended:
    """Write the rows as ``append`` does; with positions where no transaction is open, nothing waits and nobody settles.

    That is one commit instead of two, in PostgreSQL.
    """
    connection = connections[using]
    if key is None and postgresql.takes(connection):
        token = secrets.token_hex(8)
        try:
            return _append_settled(connection, groups, type, data, token)
        except Error:
            if not postgresql.roll_back_failed(connection):
                if not postgresql.was_committed(connection, token):
                    raise
                return Appended(None, True)
        except BaseException:  # a signal's: the connection must not stay in the script's transaction
            postgresql.roll_back(connection)
            raise
    append(groups, type, data, key, using)
    return Appended(None, True)


def settle(using: str, passes: int = PASSES) -> Iterator[Batch]:
    """Give committed events their positions; yield each batch after its commit.

    Stops where another process is at it (that one looks again), when nothing waits, or after some passes: the rest
    is the next caller's. Raises the database's own errors; what waits then waits on.
    """
    for _ in range(passes):
        batch, more = _settle_batch(using)
        if batch is not None and batch.events:
            yield batch
        if not more:
            return


def state(using: str) -> State:
    """Return where the log stands, with one query."""
    with connections[using].cursor() as cursor:
        cursor.execute(_state_sql(connections[using]))
        row = cursor.fetchone()
    if row is None:
        make_head(using)
        return state(using)
    return State(Position(row[0], row[1]), row[2], bool(row[3]))


def read(
    using: str,
    groups: Collection[str] | None,
    after: int,
    upto: int,
    limit: int = 500,
    most_bytes: int = 1_048_576,
) -> Page:
    """Return the events of some groups (``None``: of all) with numbers in ``(after, upto]``, in order; one more
    than ``limit`` at most, and one more than ``most_bytes`` of data hold. Of some groups, the one at ``after`` comes
    first where a send may go on behind it, whatever its group.

    ``upto`` must not be beyond the head as it was before. The page is read before the state: where the state's
    floor is above ``after``, or its epoch is another, the page may have holes and must not be served.
    """
    if groups is None:
        events = Event.objects.using(using).filter(position__gt=after, position__lte=upto).order_by("position")
        some = wire_events(events[: limit + 1])
    else:
        some = _events_of_groups(using, groups, after, upto, limit + 1)
    found, full = _up_to_bytes(some, after, most_bytes)
    full = full or len(found) > limit
    end = (found[-1].number or after) if full else max(after, upto)
    if full and groups is None and found[-1].send is not None:
        # What one send made is routed in one go, so that a reader of several of its groups is offered it once.
        found += rest_of_send(events, found[-1])
        end = found[-1].number or end
    if groups is not None:  # compared again: a database may hold names for equal that are not
        found = [event for event in found if event.group in groups or event.number == after]
        if found and found[0].send is not None and found[0].number != after:
            found[:0] = wire_events(Event.objects.using(using).filter(position=after))
    return Page(tuple(found), end, state(using))


def _events_of_groups(using: str, groups: Collection[str], first: int, last: int, most: int) -> Iterator[WireEvent]:
    connection = connections[using]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(postgresql.EVENTS_OF_GROUPS, [list(groups), first, last, most, most])
            rows = cursor.fetchall()
        for number, group, type, data, created, send in rows:
            yield WireEvent(number, group, type, data, timestamp(created), send)
    else:
        events = Event.objects.using(using).filter(position__gte=first, position__lte=last, group__in=groups)
        yield from wire_events(events.order_by("position")[:most])


def _up_to_bytes(events: Iterable[WireEvent], after: int, most: int) -> tuple[list[WireEvent], bool]:
    """Return the first events, up to the one that takes the data of those behind ``after`` over a size.

    Beside them, whether some are left out.
    """
    found: list[WireEvent] = []
    size = 0
    for event in events:
        if size > most:
            return found, True
        found.append(event)
        size += len(event.data) if event.number != after else 0  # that one is there for comparison alone
    return found, False


def rest_of_send(events: QuerySet[Event], last: WireEvent) -> list[WireEvent]:
    """Return what follows an event of what the same send made; ``events`` are all, by position."""
    rest: list[WireEvent] = []
    send = last.send
    while last.send == send:
        following = list(wire_events(events.filter(position__gt=last.number)[:BATCH]))
        if not following:
            break
        rest += takewhile(lambda event: event.send == send, following)
        last = following[-1]
    return rest


def wire_events(rows: QuerySet[Event]) -> Iterator[WireEvent]:
    """Yield rows as readers get them."""
    fields = ("position", "group", "type", "data", "created", "send")
    for number, group, type, data, created, send in rows.values_list(*fields):
        yield WireEvent(number, group, type, data, timestamp(created), send)


def new_epoch(using: str, known: Position, diverged: bool = False) -> bool:
    """Begin a new epoch where the head of ``known``'s epoch lies before it, as after a restore; return whether so.

    With ``diverged`` wherever the head lies: the event at ``known`` is not the one that was there.
    """
    heads = LogHead.objects.using(using).filter(pk=1, epoch=known.epoch)
    if not diverged:
        heads = heads.filter(position__lt=known.number)
    return heads.update(epoch=_new_epoch()) > 0


def begin_epoch(using: str) -> None:
    """Begin a new epoch: every position given so far is of another life of the database."""
    LogHead.objects.using(using).filter(pk=1).update(epoch=_new_epoch())


def _settle_batch(using: str) -> tuple[Batch | None, bool]:
    """Settle one batch, ``None`` where another process holds the head; return whether something waits that it leaves.

    Not within another transaction, but for a ``TestCase``'s.
    """
    connection = connections[using]
    if postgresql.takes(connection):
        return _settle_batch_by_scripts(connection)
    with transactions.own_transaction(using, durable=True):
        head = _lock_head(using)
        batch = None if head is None else _settle_rows(connection, *head, _waiting_rows(using))[0]
    if batch is not None:
        _remember_groups(using, batch)
        return batch, _something_waits(using)
    return _settle_batch(using) if make_head(using) else (None, False)


def _settle_rows(connection: BaseDatabaseWrapper, epoch: str, last: int, rows: list[Row]) -> tuple[Batch, bool]:
    """Give the rows that wait the positions behind the last, under the lock; return what ``_give_positions`` does."""
    using = connection.alias
    rows = _with_siblings(using, rows)
    repeats = _repeats(using, rows)
    kept = [row for row in rows if row.id not in repeats]
    batch = Batch(epoch, tuple(row.at(number) for number, row in enumerate(kept, last + 1)))
    if repeats:
        Event.objects.using(using).filter(pk__in=repeats)._raw_delete(using)
    _make_groups(connection, _groups_to_make(using, epoch, {row.group for row in kept}))
    more = bool(kept) and _give_positions(connection, [row.id for row in kept], last + 1)
    return batch, more


def _lock_head(using: str) -> tuple[str, int] | None:
    heads = LogHead.objects.using(using).filter(pk=1)
    if connections[using].features.has_select_for_update_skip_locked:
        heads = heads.select_for_update(skip_locked=True)
    return heads.values_list("epoch", "position").first()


def make_head(using: str) -> bool:
    """Begin the log's first epoch, or after a flush the next, where there is no head; return whether so.

    The floor too, where it is missing. Outside of settle's transaction, or two of them would wait for each other.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(_state_sql(connections[using]))
        if cursor.fetchone() is not None:
            return False
    heads, floors = LogHead.objects.using(using), LogFloor.objects.using(using)
    with transactions.own_transaction(using):
        head, floor = heads.filter(pk=1).first(), floors.filter(pk=1).first()
        ends = Event.objects.using(using).aggregate(first=Min("position"), last=Max("position"))
        last = max(ends["last"] or 0, floor.position if floor else 0, head.position if head else 0)
        first = ends["first"] or (head.position if head else last) + 1
        floors.bulk_create([LogFloor(pk=1, position=first - 1)], ignore_conflicts=True)
        heads.bulk_create([LogHead(pk=1, epoch=_new_epoch(), position=last)], ignore_conflicts=True)
    return True


def _new_epoch() -> str:
    return secrets.token_hex(4)


def _something_waits(using: str) -> bool:
    with connections[using].cursor() as cursor:
        cursor.execute(_waiting_sql(connections[using]))
        return cursor.fetchone() is not None


def _waiting_rows(using: str) -> list[Row]:
    waiting = Event.objects.using(using).filter(position=None).order_by("position", "id")  # as the index is
    return [Row(*values) for values in waiting.values_list(*Row._fields)[:BATCH]]


def _with_siblings(using: str, rows: list[Row]) -> list[Row]:
    """Return the rows in the order of sending, those of one send side by side and none left behind."""
    first: dict[int, int] = {}
    for row in rows:
        if row.send is not None:
            first.setdefault(row.send, row.id)
    if len(rows) == BATCH and first:
        rest = Event.objects.using(using).filter(position=None, send__in=first, id__gt=rows[-1].id)
        rows = rows + [Row(*values) for values in rest.values_list(*Row._fields)]
    return sorted(rows, key=lambda row: (row.id if row.send is None else first[row.send], row.id))


def _repeats(using: str, rows: Iterable[Row]) -> set[int]:
    """Return the ids of rows whose key their group has had before."""
    keyed = [row for row in rows if row.key is not None]
    if not keyed:
        return set()
    settled = Event.objects.using(using).filter(position__isnull=False, key__in={row.key for row in keyed})
    seen = set(settled.values_list("group", "key"))
    repeats = set()
    for row in keyed:
        if (row.group, row.key) in seen:
            repeats.add(row.id)
        seen.add((row.group, row.key))
    return repeats


def _give_positions(connection: BaseDatabaseWrapper, ids: Sequence[int], first: int) -> bool:
    """Number rows by primary key: MariaDB waits for other callers' inserts in any other way. Move the head.

    Where scripts run, commit too, and return whether something waits that nobody is settling.
    """
    quote = connection.ops.quote_name
    table, position, key = quote(Event._meta.db_table), quote("position"), quote("id")
    numbered = list(zip(ids, range(first, first + len(ids)), strict=True))
    last = first + len(ids) - 1
    numbers = [list(ids), list(range(first, last + 1))]
    if postgresql.takes(connection):
        (look,) = postgresql.run(
            connection, postgresql.HEAD, postgresql.POSITIONS, "COMMIT", postgresql.LOOK, params=[last, *numbers]
        )
        return look == [(True,)]
    LogHead.objects.using(connection.alias).filter(pk=1).update(position=last)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(postgresql.POSITIONS, numbers)
            return False
        hint = " FORCE INDEX (PRIMARY)" if connection.vendor == "mysql" else ""
        cases = " ".join(f"WHEN {int(id)} THEN {number}" for id, number in numbered)
        chosen = ",".join(str(int(id)) for id in ids)
        cursor.execute(
            f"UPDATE {table}{hint} SET {position} = CASE {key} {cases} END WHERE {key} IN ({chosen})"  # noqa: S608
        )
    return False


_known_groups: dict[str, tuple[str, set[str]]] = {}
"""By database: an epoch, and names that have their row in it."""


def _groups_to_make(using: str, epoch: str | None, names: Collection[str]) -> list[str]:
    """Return the names that this process has not seen in an epoch; ``None`` is the last one that it knows of."""
    known_epoch, known = _known_groups.get(using, ("", set()))
    return sorted(set(names) - known if epoch in (None, known_epoch) else names)


def _remember_groups(using: str, batch: Batch) -> None:
    epoch, known = _known_groups.get(using, ("", set()))
    if epoch != batch.epoch or len(known) > _KNOWN_GROUPS:
        known = set()
    known.update(event.group for event in batch.events)
    _known_groups[using] = batch.epoch, known


def _make_groups(connection: BaseDatabaseWrapper, names: Sequence[str]) -> None:
    if names and postgresql.takes(connection):
        postgresql.run(connection, postgresql.GROUPS, params=[list(names)])
    elif names:
        ChannelGroup.objects.using(connection.alias).bulk_create(
            [ChannelGroup(name=name) for name in names], ignore_conflicts=True
        )


def _waiting_sql(connection: BaseDatabaseWrapper) -> str:
    """Return a query for a row that waits; in the order of its index, or a planner may prefer to search the table."""
    quote = connection.ops.quote_name
    event, position, key = quote(Event._meta.db_table), quote("position"), quote("id")
    return f"SELECT {key} FROM {event} WHERE {position} IS NULL ORDER BY {position}, {key} LIMIT 1"  # noqa: S608


def _state_sql(connection: BaseDatabaseWrapper) -> str:
    quote = connection.ops.quote_name
    head, floor = (quote(model._meta.db_table) for model in (LogHead, LogFloor))
    position, key = quote("position"), quote("id")
    return (
        f"SELECT h.{quote('epoch')}, h.{position}, f.{position},"  # noqa: S608
        f" ({_waiting_sql(connection)}) IS NOT NULL"
        f" FROM {head} h, {floor} f WHERE h.{key} = 1 AND f.{key} = 1"
    )


# PostgreSQL outside of any transaction


def _settle_batch_by_scripts(connection: BaseDatabaseWrapper) -> tuple[Batch | None, bool]:
    using = connection.alias
    try:
        heads, rows = postgresql.run(
            connection,
            postgresql.BEGIN,
            *postgresql.limits(transactions.TIME_LIMIT_MS),
            postgresql.LOCK,
            postgresql.WAITING,
            params=[BATCH],
        )
        if heads:
            epoch, last, *_ = heads[0]
            batch, more = _settle_rows(connection, epoch, last, [Row(*values) for values in rows])
            if not batch.events:
                (look,) = postgresql.run(connection, "COMMIT", postgresql.LOOK)
                more = look == [(True,)]
        else:
            (there,) = postgresql.run(connection, "COMMIT", _state_sql(connection))
    except BaseException:
        postgresql.roll_back(connection)
        raise
    if heads:
        _remember_groups(using, batch)
        return batch, more
    if not there and make_head(using):
        return _settle_batch_by_scripts(connection)
    return None, False


_busy: set[str] = set()
"""The databases where somebody was settling when a send of this process last looked. The next one does not try the lock
first, which it would find taken: that saves a seventh of PostgreSQL's time at 16 writers."""


def _append_settled(
    connection: BaseDatabaseWrapper, groups: Sequence[str], type: str, data: str, token: str
) -> Appended:
    using, send = connection.alias, secrets.randbits(63) if len(groups) > 1 else None
    new_groups = _groups_to_make(using, None, groups)
    move, insert = postgresql.append_script(len(groups))
    script = (
        [postgresql.BEGIN, insert, "COMMIT", postgresql.LOOK]
        if using in _busy
        else [postgresql.BEGIN, move, insert, "COMMIT", postgresql.LOOK]
    )
    params: list[Any] = [value for group in groups for value in (group, type, data, send)] + [token]
    if new_groups:  # before the lock is held
        script.insert(1, postgresql.GROUPS)
        params.insert(0, new_groups)
    *heads, rows, look = postgresql.run(connection, *script, params=params)
    (_busy.add if look == [(False,)] else _busy.discard)(using)
    more = look == [(True,)]
    if not any(heads):
        return Appended(None, more)
    numbered = zip(groups, rows, strict=True)
    batch = Batch(
        heads[0][0][0],
        tuple(WireEvent(number, group, type, data, timestamp(made), send) for group, (number, made, _) in numbered),
    )
    _make_groups(connection, sorted(set(_groups_to_make(using, batch.epoch, groups)).difference(new_groups)))
    _remember_groups(using, batch)
    return Appended(batch, more)
