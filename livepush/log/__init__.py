"""The ordered log: events in the project's own database."""

from __future__ import annotations

from livepush.log.settling import (
    Appended,
    append,
    append_settled,
    begin_epoch,
    make_head,
    new_epoch,
    read,
    settle,
    state,
)

__all__ = [
    "Appended",
    "append",
    "append_settled",
    "begin_epoch",
    "make_head",
    "new_epoch",
    "read",
    "settle",
    "state",
]
