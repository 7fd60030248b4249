"""The ordered log: append in the caller's transaction, settle after commit, read after a position, prune."""

from __future__ import annotations

from livepush.log.appending import append, append_settled
from livepush.log.counting import uncounted, without_raising
from livepush.log.delete_sql import delete_by_id
from livepush.log.dialects import dialect
from livepush.log.dialects.postgresql import harmless_wrappers
from livepush.log.epochs import begin_epoch, exists, glance, make_head, new_epoch, state
from livepush.log.finding import positions_of
from livepush.log.groups import delete_all_forgotten, make_groups
from livepush.log.notices import register as register_notices
from livepush.log.planning import NEW_KEYS, Appended, Content
from livepush.log.pruning import guards, jobs, prune
from livepush.log.reading import has_events, last, last_after, last_numbers, read
from livepush.log.settling import settle

__all__ = [
    "NEW_KEYS",
    "Appended",
    "Content",
    "append",
    "append_settled",
    "begin_epoch",
    "delete_all_forgotten",
    "delete_by_id",
    "dialect",
    "exists",
    "glance",
    "guards",
    "harmless_wrappers",
    "has_events",
    "jobs",
    "last",
    "last_after",
    "last_numbers",
    "make_groups",
    "make_head",
    "new_epoch",
    "positions_of",
    "prune",
    "read",
    "register_notices",
    "settle",
    "state",
    "uncounted",
    "without_raising",
]
