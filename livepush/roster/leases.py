"""Decides which processes have died: their leases have ended, though they could have renewed them.

The database's clock ends leases. While the database is away nobody can renew one, so an ended lease alone says nothing.
How long others have had the time to renew is measured by this process's own clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic

from livepush.conf import get_settings
from livepush.roster import table


class Sight:
    """Since when this process has reached the database without a break in which a lease can have ended."""

    def __init__(self) -> None:
        self._since = self._last = float("-inf")

    def left(self, lease: float) -> float:
        """Note that the database has answered; return how many seconds others are still left to renew.

        They have one ``lease`` (seconds) since the last break. They renew three times in each, so that no lease ends
        within half of one.
        """
        now = monotonic()
        if now - self._last > lease / 2:
            self._since = now
        self._last = now
        return max(0.0, self._since + lease - now)


def clear_ended(using: str, besides: str, sight: Sight) -> float | None:
    """Clear away the members of other processes that have died.

    Returns in how many seconds to look again; ``None`` if there are no other processes. Uses the database.
    """
    soonest = table.next_end(using, besides)
    left = sight.left(get_settings().PRESENCE_LEASE)
    if soonest is None or soonest > 0:
        return soonest
    if left > 0:
        return left
    table.clear(using)
    return table.next_end(using, besides)


class Ended:
    """The ended leases that this process knows of, for code that looks only when it is asked."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[int, float]] = {}

    def for_long(self, ended: Mapping[str, int], lease: float) -> set[str]:
        """Return the processes whose leases this process has known to have ended for a ``lease`` (seconds).

        ``ended`` has all ended leases of now, with the times of their ends.
        """
        known, now = self._since, monotonic()
        self._since = {
            name: known[name] if name in known and known[name][0] == end else (end, now) for name, end in ended.items()
        }
        return {name for name, (_, since) in self._since.items() if now - since >= lease}
