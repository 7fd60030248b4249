"""Signs what this process announces, and says what of the layer's messages is to be believed.

Whoever can write to the layer could otherwise make up events, or repeat old ones. All processes of a site derive the
same keys from ``SECRET_KEY`` and ``SECRET_KEY_FALLBACKS``, and the names of the site's groups in the layer too.
"""

from __future__ import annotations

import hmac
import itertools
import logging
import time
from functools import lru_cache

from django.conf import settings
from django.utils.encoding import force_bytes

from livepush.conf import get_settings
from livepush.hints import layer
from livepush.notes import Rarely
from livepush.wire import Announcement, Batch, origin_of, parse_announcement, seal, unseal

MAX_SKEW = 60.0
"""How far (seconds) the clocks of two hosts may differ."""
MAX_ORIGINS = 4096
"""How many processes a hub keeps apart: those that it heard last."""
REMEMBERED = 1024
"""How many announcements of one process a hub remembers: a layer may bring them out of order."""

logger = logging.getLogger("livepush")

_serials = itertools.count(1)


def sign(batch: Batch | None) -> dict[str, str]:
    """Return a batch as a message of this process; ``None`` only says that the process is there."""
    return seal(Announcement(layer.origin(), next(_serials), time.time(), batch), _keys()[0])


def groups() -> list[str]:
    """Return the names of this site's groups in the layer. It announces in the first.

    Another site on the same Redis has others. There is one for each key, so that processes that have a new
    ``SECRET_KEY`` hear those that have the old one yet.
    """
    return [f"livepush-{hmac.digest(key, b'group', 'sha256').hex()[:16]}" for key in _keys()]


class Inspector:
    """Tells a hub which of the layer's messages are to be believed, and are news. Each announcement is news once."""

    def __init__(self) -> None:
        self._began = time.time()
        self._seen: dict[str, tuple[int, int]] = {}
        """By origin, the highest serial so far, and which serials came, as bits from the highest one on downwards."""
        self._refused = Rarely()

    def open(self, message: object) -> Announcement | None:
        """Return the announcement in a message; ``None`` if it is not to be believed, or is not new.

        This process's own announcements come back to it. They are returned without their batch.
        """
        try:
            body = unseal(message, _keys())
            if origin_of(body) == layer.origin():
                return Announcement(layer.origin(), 0, 0.0, None)
            found = parse_announcement(body)
            check_clock(found.time)
        except ValueError as error:
            if times := self._refused.times():
                logger.warning("livepush ignored %d messages in the channel layer. Of the last one: %s.", times, error)
            return None
        return found if found.time >= self._began and self._is_new(found) else None

    def _is_new(self, found: Announcement) -> bool:
        highest, seen = self._seen.pop(found.origin, (0, 0))
        ahead = found.serial - highest
        new = ahead > 0 or (-ahead < REMEMBERED and not seen >> -ahead & 1)
        if ahead > 0:
            highest, seen = found.serial, (seen << min(ahead, REMEMBERED) | 1) & ((1 << REMEMBERED) - 1)
        elif new:
            seen |= 1 << -ahead
        self._seen[found.origin] = highest, seen  # now the last
        if len(self._seen) > MAX_ORIGINS:
            del self._seen[next(iter(self._seen))]
        return new


def check_clock(made: float) -> None:
    """Raise ValueError if a message was made at a time that can't be: somebody repeats it, or a clock is wrong."""
    skew = time.time() - made
    if abs(skew) > MAX_SKEW:
        when = f"{abs(skew):.0f} s {'ago' if skew > 0 else 'ahead'}"
        raise ValueError(f"it was made {when} by its host's clock, so two hosts' clocks differ, or somebody repeats it")


def _keys() -> list[bytes]:
    database = str(settings.DATABASES[get_settings().DATABASE]["NAME"])
    return [_key(force_bytes(secret), database) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]


@lru_cache(maxsize=16)
def _key(secret: bytes, database: str) -> bytes:
    """Return what one secret signs with: no other use of ``SECRET_KEY`` has the same key, and no other database."""
    return hmac.digest(secret, f"livepush.hints 1 {database}".encode(), "sha256")
