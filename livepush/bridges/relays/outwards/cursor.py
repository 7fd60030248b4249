"""A relay's place in the log, which one process at a time holds and moves."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from livepush import log
from livepush.bridges.holding import Hold, Superseded
from livepush.bridges.relays.config import OutwardRelay
from livepush.bridges.relays.models import DeadLetter, RelayCursor
from livepush.bridges.relays.outwards.reading import Outbound
from livepush.conf import get_settings

__all__ = ["Cursor", "Superseded"]


class Cursor(Hold):
    """One process's hold on a relay's cursor. All methods raise the database's errors."""

    def __init__(self, relay: OutwardRelay) -> None:
        super().__init__(f"sends the events of the relay {relay.name!r}", relay.lease)
        self._relay = relay

    def beat(self) -> None:
        """Show that this process goes on. Raises Superseded."""
        self.write()

    def move(self, position: int, sent: bool) -> None:
        """Move to the last position whose event was taken, or was not for this relay. Raises Superseded."""
        more: dict[str, Any] = {"sent": timezone.now(), "error": "", "failing_since": None} if sent else {}
        self.write(position=position, **more)

    def skip(self, position: int, pruned: int) -> None:
        """Move on past events that were pruned, and count these. Raises Superseded."""
        self.write(position=position, pruned=F("pruned") + pruned)

    def bury(self, message: Outbound, reason: str) -> None:
        """Make a dead letter of a message and move past it. Raises Superseded."""
        letter = DeadLetter(relay=self._relay.name, offset=message.id, content=message.as_text(), reason=reason[:1000])
        using = get_settings().DATABASE
        with transaction.atomic(using=using):
            self.write(position=message.number)
            letter.save(using=using, force_insert=True)

    def note(self, error: str) -> None:
        """Note why nothing is taken at the moment. Raises Superseded."""
        self.write(error=error[:1000])
        self.rows().filter(failing_since=None).update(failing_since=timezone.now())

    def begin(self) -> RelayCursor:
        """Make the cursor, where START says."""
        using = get_settings().DATABASE
        state = log.state(using)
        position = state.floor if self._relay.start == "first" else state.position.number
        row = RelayCursor(relay=self._relay.name, position=position)
        RelayCursor.objects.using(using).bulk_create([row], ignore_conflicts=True)
        return self.rows().get()

    def rows(self) -> QuerySet[RelayCursor]:
        """Return the relay's row, as a query."""
        return RelayCursor.objects.using(get_settings().DATABASE).filter(pk=self._relay.name)
