"""Appending: writes the rows of a send in the caller's transaction."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from livepush.log.dialects import dialect
from livepush.log.planning import Appended, Content, is_new


def append(content: Content, key: str | None, using: str) -> None:
    """Write one row for each group in the caller's transaction, with one statement that locks nothing else."""
    dialect(using).append(content, key, _send_id(content.groups))


def append_settled(content: Content, key: str | None, using: str) -> Appended:
    """Write the rows as ``append`` does; in PostgreSQL give them their position in the same transaction if possible.

    That needs one commit instead of two. It is possible if no transaction is open, no event waits and nobody settles,
    and if no earlier event can have the key.
    """
    send = _send_id(content.groups)
    known = dialect(using)
    found = known.append_settled(content, key, send) if is_new(key) else None
    if found is None:
        known.append(content, key, send)
    return found or Appended(None, True)


def _send_id(groups: Sequence[str]) -> int | None:
    """Return the id that the rows of one send share until they are settled; ``None`` for a send to one group."""
    return secrets.randbits(63) if len(groups) > 1 else None
