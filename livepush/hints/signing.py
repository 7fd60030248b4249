"""Signs this process's announcements, and tells which messages of others are to be believed.

Without signatures, anybody with access to the layer, or to NOTIFY, could make up events or repeat old ones. All
processes of a site derive the same keys from ``SECRET_KEY`` and ``SECRET_KEY_FALLBACKS``, and the names of the site's
groups in the layer (its channels in PostgreSQL) too.
"""

from __future__ import annotations

import hmac
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from functools import lru_cache

from django.conf import settings
from django.utils.encoding import force_bytes

from livepush.conf import get_settings
from livepush.hints import layer
from livepush.notes import Rarely
from livepush.wire import (
    Announcement,
    Batch,
    Position,
    Template,
    is_named,
    notice,
    open_notice,
    origin_of,
    parse_announcement,
    seal,
    template,
    unseal,
)

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
    return seal(_announcement(batch), _keys()[0])


def sign_notice(batch: Batch | None, using: str | None = None) -> str | None:
    """Return a batch as a notice of this process, for the log of a database.

    If settled events are too long, the notice only says up to where the log goes. If ephemeral ones are, there is none.
    """
    key = _keys(using)[0]
    found = notice(_announcement(batch), key)
    if found is None and batch is not None and (last := batch.events[-1].number) is not None:
        found = notice(_announcement(None)._replace(upto=Position(batch.epoch, last)), key)
    return found


def sign_template(groups: Sequence[str], type: str, data: str, sender: str | None, using: str) -> Template:
    """Return the notice of an event that gets its position in the statement that sends the notice."""
    return template(_announcement(None), groups, type, data, sender, _keys(using)[0])


def _announcement(batch: Batch | None) -> Announcement:
    return Announcement(layer.origin(), next(_serials), time.time(), batch)


def groups(using: str | None = None) -> list[str]:
    """Return the names of this site's groups in the layer, or of its channels. It announces in the first.

    Another site on the same Redis, or in the same database, has others. There is one for each key, so that processes
    that have a new ``SECRET_KEY`` hear those that have the old one yet.
    """
    return [_group(key) for key in _keys(using)]


@lru_cache(maxsize=16)
def _group(key: bytes) -> str:
    return f"livepush-{hmac.digest(key, b'group', 'sha256').hex()[:16]}"


class Inspector:
    """Tells a hub which messages are to be believed, and are news. Each announcement is news once."""

    def __init__(self) -> None:
        self._began, self._began_monotonic = time.time(), time.monotonic()
        self._seen: dict[str, tuple[int, int]] = {}
        """By origin, the highest serial so far, and which serials came, as bits from the highest one on downwards."""
        self._refused = Rarely()

    def open(self, message: object) -> Announcement | None:
        """Return the announcement in a message of the layer; ``None`` if it is not to be believed, or is not new.

        This process's own announcements come back to it. They are returned without their batch.
        """
        return self._judge("messages in the channel layer", lambda: self._parse(unseal(message, _keys())))

    def open_notice(self, found: str) -> Announcement | None:
        """Return the announcement in a notice, as ``open`` does."""
        return self._judge("notifications in its database", lambda: self._parse_notice(found))

    def _parse(self, body: str) -> Announcement:
        if origin_of(body) == layer.origin():
            return Announcement(layer.origin(), 0, 0.0, None)
        return parse_announcement(body)

    def _parse_notice(self, found: str) -> Announcement:
        announcement = self._parse(open_notice(found, _keys()))
        if announcement.serial and not is_named(found, announcement):
            raise ValueError("its key is another notice's")
        return announcement

    def _judge(self, what: str, parse: Callable[[], Announcement]) -> Announcement | None:
        try:
            found = parse()
            if not found.serial:  # this process's own
                return found
            check_clock(found.time)
        except ValueError as error:
            if times := self._refused.times():
                logger.warning("livepush ignored %d %s. Of the last one: %s.", times, what, error)
            return None
        return found if found.time >= self._beginning() and self._is_new(found) else None

    def _beginning(self) -> float:
        """Return when the hub began, by the host's clock as it is now: it may have been set back meanwhile."""
        return min(self._began, time.time() - (time.monotonic() - self._began_monotonic))

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


def _keys(using: str | None = None) -> list[bytes]:
    database = str(settings.DATABASES[using or get_settings().DATABASE]["NAME"])
    return [_key(secret, database) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]


@lru_cache(maxsize=16)
def _key(secret: str | bytes, database: str) -> bytes:
    """Return what one secret signs with: no other use of ``SECRET_KEY`` has the same key, and no other database."""
    return hmac.digest(force_bytes(secret), f"livepush.hints 1 {database}".encode(), "sha256")
