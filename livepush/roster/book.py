"""The book of one hub: which of its clients make whom a member, and what is written of each member."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice

from livepush.access.authenticating import Identity
from livepush.rights import Grant
from livepush.roster.changes import Key, Seat

UNKNOWN = Seat("", "", "", -1)
"""Stands for what is written of a member when nobody knows: a write did not answer."""


class MemberEntry:
    """One member of one group."""

    __slots__ = ("asked", "ghost", "holders", "info", "written")

    def __init__(self) -> None:
        self.holders: dict[Grant, None] = {}
        """The clients that make the member present."""
        self.ghost: Grant | None = None
        """Stands for the last client for a while after it has gone: it may come back."""
        self.asked: Identity | None = None
        """Of whom the rule was asked last."""
        self.info: str | None = None
        """The data that the rule lets others see; ``None`` for none."""
        self.written: Seat | None = None
        """The table's row, as far as it is known."""

    @property
    def voice(self) -> Grant | None:
        """The client of which the rule is asked, the newest; ``None`` if the member is not there."""
        return next(reversed(self.holders), None) or self.ghost

    @property
    def must_ask(self) -> bool:
        """Whether the rule was not asked yet of who is there now."""
        return self.voice is not None and self.voice.identity is not self.asked

    def seat(self, key: Key) -> Seat | None:
        """Return what the table shall have; ``None`` for no row."""
        if self.voice is None or self.info is None:
            return None
        kept = self.written.connections if self.written and self.written is not UNKNOWN else 1
        return Seat(*key, self.info, len(self.holders) or kept)


class Book:
    """The members of one hub's clients. Everything happens in the hub's loop."""

    def __init__(self) -> None:
        self.entries: dict[Key, MemberEntry] = {}
        self._changed: dict[Key, None] = {}
        self._places: dict[Grant, frozenset[Key]] = {}

    def move(self, grant: Grant, keys: frozenset[Key]) -> frozenset[Key]:
        """Note which members a client makes present now; return those that it did so far and does no longer."""
        before = self._places.pop(grant, frozenset())
        if keys:
            self._places[grant] = keys
        for key in before - keys:
            self.entries[key].holders.pop(grant, None)
        for key in keys:
            self.entries.setdefault(key, MemberEntry()).holders[grant] = None
        self.mark(before | keys)
        return before - keys

    def places(self, grant: Grant) -> frozenset[Key]:
        """Return which members a client makes present."""
        return self._places.get(grant, frozenset())

    def mark(self, keys: Iterable[Key]) -> None:
        """Note that something about some members may have to be written."""
        self._changed.update(dict.fromkeys(key for key in keys if key in self.entries))

    def take(self, count: int) -> list[Key]:
        """Return the members to look at next, so many at most; they are no longer marked."""
        taken = list(islice(self._changed, count))
        for key in taken:
            del self._changed[key]
        return taken

    @property
    def is_changed(self) -> bool:
        """Whether something is marked."""
        return bool(self._changed)

    def due(self, keys: Collection[Key]) -> tuple[list[Seat], list[Key]]:
        """Return what is to be written of some members: the seats, and the members whose rows go."""
        seats, gone = [], []
        for key in keys:
            entry = self.entries[key]
            wanted = entry.seat(key)
            if wanted is not None and wanted != entry.written:
                seats.append(wanted)
            elif wanted is None and entry.written is not None:
                gone.append(key)
        return seats, gone

    def note(self, seats: Collection[Seat], gone: Collection[Key]) -> None:
        """Note what was written."""
        for seat in seats:
            self.entries[seat.key].written = seat
        for key in gone:
            self.entries[key].written = None

    def doubt(self, keys: Iterable[Key]) -> None:
        """Note that nobody knows what is written of some members."""
        for key in keys:
            self.entries[key].written = UNKNOWN
        self.mark(keys)

    def note_all(self, seats: Iterable[Seat]) -> None:
        """Note that these seats are written, and no others."""
        for entry in self.entries.values():
            entry.written = None
        for seat in seats:
            self.entries.setdefault(seat.key, MemberEntry()).written = seat
        self.mark(self.entries)

    def forget_absent(self, keys: Iterable[Key]) -> None:
        """Drop the entries of members who are not there, and of whom nothing is written."""
        for key in keys:
            entry = self.entries.get(key)
            if entry is not None and entry.voice is None and entry.written is None:
                del self.entries[key]
                self._changed.pop(key, None)
