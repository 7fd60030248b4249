"""Changes what one reader has seen, read and archived; the change goes to all the reader's tabs as one event.

Changes of one reader wait for each other, under a lock on the reader's row. The event is sent under the same lock. So
the events come in the order of the changes, and the last event has the right counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async

from livepush import log, publish
from livepush.exceptions import InvalidMark
from livepush.inbox.models import InboxState, NotificationState
from livepush.inbox.reading import NAMED_AT_ONCE, Counts, Entry, Inbox, Marks, Said, Standing, Tab, in_batches
from livepush.inbox.tenancy import group_of_reader
from livepush.inbox.undoing import Undo, undo_of
from livepush.signals import marked
from livepush.wire import Position

STATE_TYPE = "inbox.state"
"""The type of the event that a change travels as."""
MOVE_MARK_ABOVE, MAX_PASSED = 200, 1000
"""Above how many entries that were read one by one the mark moves past them, and how many it passes at most."""
PASSES = 20
"""How often one change moves the mark at most."""


class Action(StrEnum):
    """What a reader can do with entries."""

    SEEN = "seen"
    """Everything up to a position was looked at; the badge is gone."""
    READ = "read"
    """Some, or everything up to a position."""
    UNREAD = "unread"
    """Some."""
    ARCHIVE = "archive"
    """Some, or everything up to a position: out of the list, and read."""
    UNARCHIVE = "unarchive"
    """Some."""
    UNDO = "undo"
    """The last change, if it was the one with this version; what was seen stays seen."""


UP_TO = (Action.SEEN, Action.READ, Action.ARCHIVE)
ONE_BY_ONE = (Action.READ, Action.UNREAD, Action.ARCHIVE, Action.UNARCHIVE)


class Outcome(NamedTuple):
    """A reader's inbox after a change."""

    changed: bool
    """Whether anything changed. Repeating a change changes nothing."""
    counts: Counts
    version: int
    position: Position
    """The position up to which notifications are counted."""

    def state(self) -> dict[str, Any]:
        """Return what browsers are told."""
        return {**self.counts._asdict(), "version": self.version, "position": str(self.position)}


@publish.has_async_twin
def mark(
    user: Any,
    action: Action,
    numbers: Iterable[int] = (),
    upto: int | None = None,
    version: int = 0,
    category: str = "",
    tab: Tab = Tab.ALL,
) -> Outcome:
    """Apply a reader's action to the entries with some numbers, or to all up to a number, in a new transaction.

    With ``upto``, a ``category`` and the tab ``UNREAD`` limit the action to what that tab lists of that category.
    Entries that are not the reader's, or have moved up meanwhile, stay as they are. Repeating an action changes nothing
    and sends nothing.

    Raises InvalidMark: ``upto`` in the archive, or ``SEEN`` for a category.
    """
    if upto is not None:
        _check(action, category, tab)
    inbox = Inbox(user)
    _make_row(inbox)
    with log.dialect(inbox.using).transaction():
        change = _Change(inbox, _locked(inbox))
        entries: Sequence[Entry | Standing] | None = None
        if upto is None:
            entries = inbox.entries(set(numbers)) if action is not Action.UNDO else None
        elif category or (action is Action.ARCHIVE and tab is Tab.UNREAD):
            upto = min(upto, inbox.position.number)
            entries = _listed(inbox, action, upto, category, tab)
        else:
            upto = inbox.newest(min(upto, inbox.position.number))
        change.do(action, entries, upto, version)
        if change.changed:
            if action not in (Action.UNDO, Action.SEEN):
                change.clear()
                for _ in range(PASSES):
                    if not change.tidy():
                        break
                change.do(action, entries, upto, version)
            change.save(action, by_marks=entries is None)
            named = None if entries is None or upto is not None else [entry.number for entry in entries]
            _tell(inbox, action, named, upto, category, tab)
        return Outcome(change.changed, inbox.counts(), inbox.marks.version, inbox.position)


async def amark(
    user: Any,
    action: Action,
    numbers: Iterable[int] = (),
    upto: int | None = None,
    version: int = 0,
    category: str = "",
    tab: Tab = Tab.ALL,
) -> Outcome:
    """Mark from async code; see ``mark``."""
    return await sync_to_async(publish.on_good_connections)(mark, user, action, numbers, upto, version, category, tab)


def _check(action: Action, category: str, tab: Tab) -> None:
    if tab is Tab.ARCHIVED:
        raise InvalidMark("What is archived is marked one by one: name the entries instead of a position.")
    if category and action is Action.SEEN:
        raise InvalidMark("Everything up to a position is seen at once: leave the category out.")


def _listed(inbox: Inbox, action: Action, upto: int, category: str, tab: Tab) -> list[Standing]:
    """Return what a tab lists up to a position, as far as an action may change it."""
    if action is Action.READ:  # many that are read already need not be found
        unread = inbox.upto(upto, Tab.UNREAD, category)
        return unread if tab is Tab.UNREAD else [entry for entry in unread if not entry.archived]
    return inbox.upto(upto, tab, category)


def _tell(inbox: Inbox, action: Action, numbers: list[int] | None, upto: int | None, category: str, tab: Tab) -> None:
    """Send the change to all the reader's tabs, and to the process itself when it is committed."""
    epoch = inbox.position.epoch
    category, tab = ("", Tab.ALL) if upto is None else (category, tab)
    data = {
        "action": action.value,
        "ids": None if numbers is None else [str(Position(epoch, number)) for number in numbers],
        "upto": None if upto is None else str(Position(epoch, upto)),
        **({"category": category} if category else {}),
        **({"tab": tab.value} if tab is not Tab.ALL else {}),
        **Outcome(True, inbox.counts(), inbox.marks.version, inbox.position).state(),
    }
    publish.send_own(group_of_reader(inbox.reader), STATE_TYPE, data, inbox.using)
    told = {
        "reader": inbox.reader,
        "action": action.value,
        "numbers": numbers,
        "upto": upto,
        "category": category,
        "tab": tab.value,
        "using": inbox.using,
    }
    publish.on_commit(lambda: marked.send_robust(InboxState, **told), inbox.using)


def _make_row(inbox: Inbox) -> None:
    """Make the reader's row if there is none. Call it before the transaction: two of them would wait for each other."""
    rows = InboxState.objects.using(inbox.using)
    if not rows.filter(reader=inbox.reader).exists():
        rows.bulk_create([InboxState(reader=inbox.reader)], ignore_conflicts=True)


def _locked(inbox: Inbox) -> InboxState:
    """Return the reader's row under a lock; by an update, which on SQLite too is one."""
    rows = InboxState.objects.using(inbox.using).filter(reader=inbox.reader)
    if not rows.update(reader=inbox.reader):  # somebody has just forgotten the user
        rows.bulk_create([InboxState(reader=inbox.reader)], ignore_conflicts=True)
        rows.update(reader=inbox.reader)
    return rows.get()


class _Change:
    """One change of a reader's marks and exceptions, with its undo record."""

    def __init__(self, inbox: Inbox, state: InboxState) -> None:
        self.inbox = inbox
        self.state = state
        self.rows = NotificationState.objects.using(inbox.using).filter(reader=inbox.reader)
        self._from(Marks(state.seen, state.read, state.archived, state.version))

    def _from(self, marks: Marks) -> None:
        self.inbox.marks = self.before = self.marks = marks
        self.said: dict[int, Said] = {}
        """The exceptions to write, by position."""

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.said) or self.marks != self.before

    def do(self, action: Action, entries: Iterable[Entry | Standing] | None, upto: int | None, version: int) -> None:
        """Work out what an action changes."""
        if entries is not None:
            self._each(action, entries)
        elif upto is not None:
            self._up_to(action, upto)
        elif undo := undo_of(self.state.undo, version):
            seen, read, archived = undo.marks
            seen = seen if self.marks.seen == undo.seen else self.marks.seen
            self.marks = self.marks._replace(seen=seen, read=read, archived=archived)
            self.said = undo.said

    def _up_to(self, action: Action, upto: int) -> None:
        """Move marks on to a position, and drop the exceptions up to it that say otherwise."""
        marks = self.marks._replace(seen=max(self.marks.seen, upto))
        if action in (Action.READ, Action.ARCHIVE):
            marks = marks._replace(read=max(marks.read, upto))
            self._drop(upto, read=False)
        if action is Action.ARCHIVE:
            marks = marks._replace(archived=max(marks.archived, upto))
            self._drop(upto, archived=False)
        self.marks = marks

    def _each(self, action: Action, entries: Iterable[Entry | Standing]) -> None:
        """Make exceptions of entries."""
        for entry in entries:
            read = {Action.READ: True, Action.ARCHIVE: True, Action.UNREAD: False}.get(action, entry.read)
            archived = {Action.ARCHIVE: True, Action.UNARCHIVE: False}.get(action, entry.archived)
            if (read, archived) != (entry.read, entry.archived):
                self.said[entry.number] = (read, archived)

    def save(self, action: Action, by_marks: bool) -> None:
        """Write the change. SEEN keeps the undo record of the change before it."""
        version = self.before.version + 1
        values: dict[str, Any] = self.marks._replace(version=version)._asdict()
        if action is Action.UNDO:
            values["undo"] = ""
        elif action is not Action.SEEN:
            entries, said = None if by_marks else len(self.said), self._said_of(self.said)
            values["undo"] = Undo(version, action.value, entries, self.before[:3], self.marks.seen, said).dump()
        self.marks = self.inbox.marks = self.marks._replace(version=version)
        self._write(self.said, self.marks)
        for name, value in values.items():
            setattr(self.state, name, value)
        self.state.save(using=self.inbox.using, update_fields=values)

    def clear(self) -> None:
        """Forget the computed change, and delete the exceptions that say the same as the marks."""
        before, rows = self.before, self.rows
        self._from(before)
        rows.filter(read=True, archived=None, position__lte=before.read).delete()
        rows.filter(archived=True, position__lte=min(before.archived, before.read)).exclude(read=False).delete()

    def tidy(self) -> bool:
        """Reduce the number of exceptions without changing their meaning, so that counting never has to skip many.

        If many entries were read one by one, the mark moves past them, and the fewer unread entries before it become
        the exceptions. Returns whether it did. Then there may be more to reduce.
        """
        after = self.rows.filter(read=True, position__gt=self.before.read).order_by("position")
        read = list(after.values_list("position", flat=True)[:MAX_PASSED])
        if len(read) <= MOVE_MARK_ABOVE:
            return False
        unread = self.inbox.unread_between(read[-1], len(read))
        if len(unread) == len(read):
            return False  # there are so many unread entries that counting finds the first ones soon
        said = self._said_of([*read, *unread])
        moved: dict[int, Said] = {number: (number in set(read), said[number][1]) for number in said}
        self._from(self.before._replace(read=read[-1]))
        self._write(moved, self.marks)
        return True

    def _drop(self, upto: int, **otherwise: bool) -> None:
        rows = self.rows.filter(position__lte=upto, **otherwise)
        for number, *values in rows.values_list("position", "read", "archived"):
            read, archived = self.said.get(number, values)
            self.said[number] = (None if "read" in otherwise else read, None if "archived" in otherwise else archived)

    def _said_of(self, numbers: Iterable[int]) -> dict[int, Said]:
        """Return what the exceptions at some positions say now."""
        wanted = list(numbers)
        found = self.inbox.exceptions_at(wanted)
        return {number: found.get(number, (None, None)) for number in wanted}

    def _write(self, said: dict[int, Said], marks: Marks) -> None:
        """Write the exceptions, except those that say the same as the marks."""
        rows = []
        for number, (read, archived) in said.items():
            read = None if read == (number <= marks.read) else read
            archived = None if archived == (number <= marks.archived) else archived
            if read is not None or archived is not None:
                rows.append(NotificationState(reader=self.inbox.reader, position=number, read=read, archived=archived))
        for some in in_batches(said):
            self.rows.filter(position__in=some).delete()
        NotificationState.objects.using(self.inbox.using).bulk_create(rows, batch_size=NAMED_AT_ONCE)
