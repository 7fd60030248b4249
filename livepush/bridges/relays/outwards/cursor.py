"""A relay's place in the log, which one process at a time holds and moves.

No clocks are compared. The holder counts up ``beats``; a process that waits takes over when it has not seen them change
for as long as the lease lasts. Each write names its holder, so that a process that was taken over from can't move the
cursor any more.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from livepush import log
from livepush.bridges.relays.config import OutwardRelay
from livepush.bridges.relays.models import DeadLetter, RelayCursor
from livepush.bridges.relays.outwards.reading import Outbound
from livepush.conf import get_settings

NOBODY = ""


class Superseded(Exception):
    """Another process sends this relay's events now."""


class Cursor:
    """One process's hold on a relay's cursor. All methods raise the database's errors."""

    def __init__(self, relay: OutwardRelay) -> None:
        self._relay = relay
        self._token = secrets.token_hex(16)
        self._seen: tuple[str, int] | None = None
        self._seen_at = 0.0

    def take(self) -> int | None:
        """Return the cursor's position if this process holds it from now on; ``None`` if another one does."""
        row = self._rows().first() or self._begin()
        seen = (row.holder, row.beats)
        if seen != self._seen:
            self._seen, self._seen_at = seen, time.monotonic()
        abandoned = time.monotonic() - self._seen_at >= self._relay.lease
        if row.holder not in (NOBODY, self._token) and not abandoned:
            return None
        found = self._rows().filter(holder=row.holder, beats=row.beats)
        return row.position if found.update(holder=self._token, beats=F("beats") + 1) else None

    def beat(self) -> None:
        """Show that this process goes on. Raises Superseded."""
        self._write()

    def move(self, position: int, sent: bool) -> None:
        """Move to the last position whose event was taken, or was not for this relay. Raises Superseded."""
        more: dict[str, Any] = {"sent": timezone.now(), "error": "", "failing_since": None} if sent else {}
        self._write(position=position, **more)

    def skip(self, position: int, pruned: int) -> None:
        """Move on past events that were pruned, and count these. Raises Superseded."""
        self._write(position=position, pruned=F("pruned") + pruned)

    def bury(self, message: Outbound, reason: str) -> None:
        """Make a dead letter of a message and move past it. Raises Superseded."""
        letter = DeadLetter(relay=self._relay.name, offset=message.id, content=message.as_text(), reason=reason[:1000])
        using = get_settings().DATABASE
        with transaction.atomic(using=using):
            self._write(position=message.number)
            letter.save(using=using, force_insert=True)

    def note(self, error: str) -> None:
        """Note why nothing is taken at the moment. Raises Superseded."""
        self._write(error=error[:1000])
        self._rows().filter(failing_since=None).update(failing_since=timezone.now())

    def release(self) -> None:
        """Let the next process go on at once."""
        self._rows().filter(holder=self._token).update(holder=NOBODY)

    def _write(self, **values: Any) -> None:
        if not self._rows().filter(holder=self._token).update(beats=F("beats") + 1, **values):
            raise Superseded(f"Another process sends the events of the relay {self._relay.name!r}.")

    def _begin(self) -> RelayCursor:
        """Make the cursor, where START says."""
        using = get_settings().DATABASE
        state = log.state(using)
        position = state.floor if self._relay.start == "first" else state.position.number
        row = RelayCursor(relay=self._relay.name, position=position)
        RelayCursor.objects.using(using).bulk_create([row], ignore_conflicts=True)
        return self._rows().get()

    def _rows(self) -> QuerySet[RelayCursor]:
        return RelayCursor.objects.using(get_settings().DATABASE).filter(pk=self._relay.name)
