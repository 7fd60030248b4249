"""The rows of presence in the database. One change at a time, each in one transaction with the events that tell of it.

The database's clock decides when a lease ends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, TypeVar

from django.db.models import F, Max, Min, QuerySet

from livepush import log, publish
from livepush.conf import get_settings
from livepush.roster import changes
from livepush.roster.changes import Key, News, Plan, Row, Seat
from livepush.roster.models import Presence, PresenceLease, PresenceLock

T = TypeVar("T")
ROWS_AT_ONCE = 500
"""How many rows one statement writes or looks for."""
COLUMNS = ("pk", "group", "member", "process", "info", "state", "connections", "since")


class Process(NamedTuple):
    """A process that keeps members, and the number of its next write."""

    name: str
    turn: int
    has_lease: bool
    """Whether it has written before, and so must find its lease."""


def now(using: str) -> int:
    """Return the database's time, in milliseconds since 1970."""
    return log.dialect(using).milliseconds()


@contextmanager
def alone(using: str) -> Iterator[None]:
    """Open a transaction that runs beside no other one of presence's."""
    locks = PresenceLock.objects.using(using)
    with ExitStack() as opened:
        opened.enter_context(log.dialect(using).transaction())
        while not locks.filter(pk=1).update(turn=F("turn") + 1):
            opened.close()  # two transactions that made the row would wait for each other
            locks.bulk_create([PresenceLock(pk=1)], ignore_conflicts=True)
            opened.enter_context(log.dialect(using).transaction())
        yield


def write(using: str, process: Process, seats: Collection[Seat], gone: Collection[Key]) -> bool:
    """Write which seats a process has and which no longer, and tell of it.

    Returns ``False``, and writes nothing, if the process's lease has been cleared away, and its rows with it.
    """
    with alone(using):
        moment = now(using)
        if not _hold(using, process, moment):
            return False
        rows = rows_of(using, [*(seat.key for seat in seats), *gone])
        _apply(using, changes.plan(rows, process.name, seats, gone, moment))
    publish.deliver(using)
    return True


def change_state(using: str, key: Key, state: str) -> bool:
    """Write another state of a member, and tell of it; return whether the member is there."""
    with alone(using):
        rows = rows_of(using, [key])
        _apply(using, changes.plan_state(rows, state))
    publish.deliver(using)
    return bool(rows)


def renew(using: str, process: str) -> bool:
    """Extend a process's lease; return whether it was still there."""
    return bool(_lease(using, process).update(ends=now(using) + _span()))


def let_end(using: str, process: str, seconds: float) -> None:
    """Have a process's lease end in a while, since the process ends and its clients go elsewhere."""
    _lease(using, process).update(ends=now(using) + round(1000 * seconds))


def next_end(using: str, besides: str = "") -> float | None:
    """Return in how many seconds the next lease of another process ends if it is not renewed; ``None`` without one.

    A lease that ends later than any can is from before the clock was set back, and ends after one lease from now.
    """
    leases = PresenceLease.objects.using(using).exclude(process=besides)
    found = leases.aggregate(first=Min("ends"), last=Max("ends"))
    first: int | None = found["first"]
    if first is None:
        return None
    moment, settings = now(using), get_settings()
    latest = moment + 2 * round(1000 * max(settings.PRESENCE_LEASE, settings.DRAIN + settings.PRESENCE_GRACE))
    if found["last"] > latest:
        leases.filter(ends__gt=latest).update(ends=moment + _span())
    return max(0.0, (min(first, latest) - moment) / 1000)


def clear(using: str, only: Collection[str] | None = None) -> int:
    """Take away the members of processes whose leases have ended, and tell of it; return how many rows there were.

    ``only`` are the processes to look at; ``None`` for all. If two processes clear at the same time, one of them finds
    nothing.
    """
    with alone(using):
        leases = PresenceLease.objects.using(using)
        ended = leases.filter(ends__lte=now(using))
        (ended if only is None else ended.filter(process__in=only)).delete()
        living = list(leases.values_list("process", flat=True))
        doomed = Presence.objects.using(using).exclude(process__in=living)
        dead = [Row(*values) for values in doomed.values_list(*COLUMNS)]
        if dead:
            groups = {row.group for row in dead}
            staying = Presence.objects.using(using).filter(process__in=living, group__in=groups)
            _tell(using, changes.plan_end(dead, staying.values_list("group", "member")))
            doomed.delete()
    if dead:
        publish.deliver(using)
    return len(dead)


def remove(using: str, rows: Collection[Row]) -> None:
    """Take away members with all of their rows, and tell of it, in the caller's transaction under the lock."""
    _apply(using, Plan([], [], [row.pk for row in rows if row.pk], changes.plan_end(rows, ())))


def seats_of(using: str, process: str) -> list[Seat]:
    """Return the seats that a process has, by its rows."""
    rows = Presence.objects.using(using).filter(process=process)
    return [Seat(*values) for values in rows.values_list("group", "member", "info", "connections")]


def rows_of(using: str, keys: Collection[Key]) -> list[Row]:
    """Return all rows of some members, by the order of their ids."""
    wanted, found = set(keys), []
    for part in _parts(sorted(wanted)):
        groups, members = {group for group, _ in part}, {member for _, member in part}
        near = Presence.objects.using(using).filter(group__in=groups, member__in=members).order_by("pk")
        found += [row for values in near.values_list(*COLUMNS) if (row := Row(*values)).key in wanted]
    return list(dict.fromkeys(found))


def _lease(using: str, process: str) -> QuerySet[PresenceLease]:
    return PresenceLease.objects.using(using).filter(process=process)


def _span() -> int:
    return round(1000 * get_settings().PRESENCE_LEASE)


def _hold(using: str, process: Process, moment: int) -> bool:
    """Extend a process's lease, or make it; return whether the process may write."""
    ends = moment + _span()
    if _lease(using, process.name).filter(turn__lt=process.turn).update(ends=ends, turn=process.turn):
        return True
    if process.has_lease or _lease(using, process.name).exists():
        return False  # it was cleared away, or a later write has come before this one
    PresenceLease.objects.using(using).bulk_create([PresenceLease(process=process.name, ends=ends, turn=process.turn)])
    return True


def _apply(using: str, found: Plan) -> None:
    rows = Presence.objects.using(using)
    rows.bulk_create([_made(row) for row in found.fresh], ROWS_AT_ONCE)
    if found.changed:
        rows.bulk_update([_made(row) for row in found.changed], ("info", "state", "connections"), ROWS_AT_ONCE)
    for part in _parts(found.gone):
        rows.filter(pk__in=part).delete()
    _tell(using, found.news)


def _made(row: Row) -> Presence:
    return Presence(**row._asdict())


def _tell(using: str, news: Iterable[News]) -> None:
    for group, type, data in changes.events(news, min(changes.EVENT_BYTES, get_settings().MAX_EVENT_BYTES - 100)):
        log.append(log.Content((group,), type, data), None, using)


def _parts(values: Collection[T]) -> Iterator[list[T]]:
    ordered = list(values)
    for start in range(0, len(ordered), ROWS_AT_ONCE):
        yield ordered[start : start + ROWS_AT_ONCE]
