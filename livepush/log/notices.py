"""The notices of settle to other processes, in its own transaction, where the database can carry them (PostgreSQL).

A package above the log registers what is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from livepush.wire import Batch, Template


class Notices(Protocol):
    """Says what is told of what is settled."""

    def of_batch(self, using: str, batch: Batch) -> tuple[str, str] | None:
        """Return the channel and the payload that tell of a batch; ``None`` if nothing is to be told."""

    def of_event(
        self, using: str, groups: Sequence[str], type: str, data: str, sender: str | None
    ) -> tuple[str, Template] | None:
        """Return the channel and the notice of an event whose position only the statement will know."""

    def blame(self, using: str, error: BaseException) -> bool:
        """Return whether a transaction failed because it told something. Then nothing is told for a while."""


class Silence:
    """Nothing is told."""

    def of_batch(self, using: str, batch: Batch) -> tuple[str, str] | None:
        return None

    def of_event(
        self, using: str, groups: Sequence[str], type: str, data: str, sender: str | None
    ) -> tuple[str, Template] | None:
        return None

    def blame(self, using: str, error: BaseException) -> bool:
        return False


_notices: Notices = Silence()


def register(notices: Notices) -> None:
    """Have settle tell what ``notices`` says."""
    global _notices
    _notices = notices


def registered() -> Notices:
    """Return what says what settle tells."""
    return _notices
