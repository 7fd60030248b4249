"""The payloads of NOTIFY: settled batches in settle's own transaction, and ephemeral events in one of their own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from livepush.hints import signing
from livepush.hints.choosing import notifies
from livepush.notes import Rarely, note_once
from livepush.wire import MAX_NOTICE_BYTES, Batch, Template, split_batch

T = TypeVar("T")
MUTE = 60.0
"""How long (seconds) nothing is sent after NOTIFY has made a transaction fail."""
BLAMED = {"54000", "0A000", "22023", "42501", "42883"}
"""The SQLSTATEs of a NOTIFY that fails: a full queue, an unsupported statement, a payload, a privilege, no function."""
_HEADERS = 512
"""About how many bytes a notice has besides the data of one event."""

logger = logging.getLogger("livepush")

_muted: dict[str, float] = {}
"""By database, until when nothing is sent (``time.monotonic()``)."""
_failures = Rarely()
too_large = 0
"""How many ephemeral events of this process were too large for a notification."""


class SettledNotices:
    """Writes settle's notices to the other processes, as ``livepush.log`` asks for them. It raises nothing."""

    def of_batch(self, using: str, batch: Batch) -> tuple[str, str] | None:
        """Return the channel and the payload that tell of a batch; ``None`` if nothing is to be told."""
        return _if_on(using, lambda: signing.sign_notice(batch, using))

    def of_event(
        self, using: str, groups: Sequence[str], type: str, data: str, sender: str | None
    ) -> tuple[str, Template] | None:
        """Return the channel and the notice of an event whose position only the statement will know."""
        return _if_on(using, lambda: signing.sign_template(groups, type, data, sender, using))

    def blame(self, using: str, error: BaseException) -> bool:
        """Return whether a transaction failed because of its NOTIFY. Then nothing is sent for a while."""
        cause = error.__cause__
        state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
        if state not in BLAMED or not _is_on(using):
            return False
        _muted[using] = time.monotonic() + MUTE
        if _failures.times():
            logger.warning(
                "NOTIFY fails in %r (%s); events arrive in other processes through the log for %d s.",
                using,
                " ".join(str(error).split()),
                MUTE,
            )
        return True


def _if_on(using: str, sign: Callable[[], T | None]) -> tuple[str, T] | None:
    """Return a channel and what is to be told in it, if NOTIFY is the hint and did not fail."""
    try:
        found = sign() if _is_on(using) else None
        return None if found is None else (signing.groups(using)[0], found)
    except Exception:
        logger.warning("Could not tell other processes what was sent.", exc_info=True)
        return None


def _is_on(using: str) -> bool:
    return notifies(using) and _muted.get(using, 0.0) < time.monotonic()


def ephemeral(batch: Batch) -> list[str]:
    """Return the payloads that tell of ephemeral events. An event that is too large is counted and left out."""
    found = []
    for part in split_batch(batch, MAX_NOTICE_BYTES - _HEADERS):
        payload = signing.sign_notice(part)
        if payload is not None:
            found.append(payload)
        elif len(part.events) > 1:
            middle = len(part.events) // 2
            found += ephemeral(Batch("", part.events[:middle])) + ephemeral(Batch("", part.events[middle:]))
        else:
            _leave_out()
    return found


def _leave_out() -> None:
    global too_large
    too_large += 1
    note_once(
        "An ephemeral event is too large for NOTIFY, which takes 8,000 bytes: it reaches this process only. Later ones "
        "are counted by livepush_doctor --url, and not logged.",
        level=logging.WARNING,
    )
