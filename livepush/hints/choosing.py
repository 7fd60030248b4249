"""Which hint this site uses: the Channels layer, PostgreSQL's NOTIFY, or none."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

from django.db import connections
from django.db.utils import load_backend

from livepush.conf import get_settings
from livepush.hints import layer


class Hint(StrEnum):
    """How processes tell each other that something was sent."""

    CHANNELS = "channels"
    """Through a Channels layer that other processes can hear."""
    NOTIFY = "notify"
    """Through NOTIFY of the PostgreSQL database that holds the log."""
    NONE = "none"
    """Not at all: each hub finds events in the log."""


def chosen() -> Hint:
    """Return the hint that ``LIVEPUSH["HINT"]`` chooses and this site can have.

    ``auto`` is the Channels layer if one is configured that reaches other processes, else NOTIFY if the log is in
    PostgreSQL, else none. A layer that can't be built now still counts: other processes may use it.
    """
    wanted = get_settings().HINT
    if wanted in ("auto", "channels") and layer.configured() is not None:
        return Hint.CHANNELS
    if wanted == "auto" and layer.is_broken():
        return Hint.NONE
    if wanted in ("auto", "notify") and is_postgresql(get_settings().DATABASE):
        return Hint.NOTIFY
    return Hint.NONE


def notifies(using: str) -> bool:
    """Return whether what is settled in a database goes out by its NOTIFY."""
    return chosen() is Hint.NOTIFY and is_postgresql(using)


def is_postgresql(using: str) -> bool:
    """Return whether a database is PostgreSQL; without a connection to it."""
    return using in connections.settings and _vendor(connections.settings[using]["ENGINE"]) == "postgresql"


@lru_cache(maxsize=16)
def _vendor(engine: str) -> str:
    found: str = load_backend(engine).DatabaseWrapper.vendor
    return found
