"""Deletes streams with their text: those of a user, those that somebody picks, and text that came too late."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from livepush import publish, tenants
from livepush.streams import announcing, pieces, store
from livepush.streams.models import Stream, StreamChunk
from livepush.streams.store import AT_ONCE
from livepush.wire import MARK, public_name

LOOKED_AT = 2_000
"""How many chunks one look for late text goes through."""
_looked: dict[str, int] = {}
"""The key of the last chunk, for each database, that this process has looked at for late text."""


def delete(using: str, ids: Collection[str]) -> int:
    """Delete streams in the caller's transaction; return how many there were.

    After the commit their readers are sent away. The producer of one that runs is stopped within a second.
    """
    found = sorted(ids)
    with transaction.atomic(using=using):
        count = sum(_delete(using, found[start : start + AT_ONCE]) for start in range(0, len(found), AT_ONCE))
        if found:
            publish.on_commit(partial(_tell, found), using)
    return count


def _delete(using: str, ids: list[str]) -> int:
    rows, _ = Stream.objects.using(using).filter(id__in=ids).delete()
    _delete_chunks(StreamChunk.objects.using(using).filter(stream__in=ids))
    return rows


def _delete_chunks(chunks: QuerySet[StreamChunk]) -> int:
    """Delete chunks by their keys: a range would lock the gaps in which others insert, on MariaDB."""
    keys = list(chunks.values_list("pk", flat=True))
    for start in range(0, len(keys), AT_ONCE):
        StreamChunk.objects.using(chunks.db).filter(pk__in=keys[start : start + AT_ONCE]).delete()
    return len(keys)


def _tell(ids: Iterable[str]) -> None:
    for id in ids:
        announcing.hint_end(id)


def delete_late_text(using: str, ids: Collection[str] | None = None) -> int:
    """Delete some text of streams that are not there any more, of any or of those named; return how many chunks.

    A producer may store text until it learns that its stream was deleted. Without ``ids``, each call looks through the
    next ``LOOKED_AT`` chunks.
    """
    if ids is not None:
        return _delete_chunks(_late(StreamChunk.objects.using(using).filter(stream__in=ids))[:AT_ONCE])
    count, _looked[using] = _delete_late_after(using, _looked.get(using, 0))
    return count


def delete_all_late_text(using: str) -> int:
    """Look through all chunks, and delete the text of streams that are not there any more; return how many chunks."""
    total, looked = _delete_late_after(using, 0)
    while looked:
        count, looked = _delete_late_after(using, looked)
        total += count
    return total


def _delete_late_after(using: str, after: int) -> tuple[int, int]:
    """Look through the chunks after a key; return how many were deleted, and the last key, 0 at the end."""
    chunks = StreamChunk.objects.using(using)
    keys = list(chunks.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:LOOKED_AT])
    if not keys:
        return 0, 0
    count = _delete_chunks(_late(chunks.filter(pk__gte=keys[0], pk__lte=keys[-1])))
    return count, keys[-1] if len(keys) == LOOKED_AT else 0


def _late(chunks: QuerySet[StreamChunk]) -> QuerySet[StreamChunk]:
    return chunks.filter(~Exists(Stream.objects.using(chunks.db).filter(id=OuterRef("stream"))))


# A user's streams


def rows_about(readers: Iterable[str], using: str) -> QuerySet[Stream]:
    """Return the streams in a user's own groups; ``readers`` are the user's names in the inbox's tables."""
    names = [(f"user:{public_name(reader)}", tenants.of_stored(reader)) for reader in readers]
    wanted = Q(group__in=[tenants.stored(group, tenant) for group, tenant in names])
    if tenants.hook() is not None and tenants.of_users() is None:  # the user may have streams in any tenant
        for group in {group for group, _ in names}:
            wanted |= Q(group__endswith=f"{MARK}{group}")
    return Stream.objects.using(using).filter(wanted)


def forget(rows: QuerySet[Stream]) -> int:
    """Delete such streams, in the caller's transaction; return how many there were."""
    return delete(rows.db, list(rows.values_list("id", flat=True)))


def exported(row: Stream) -> dict[str, Any]:
    """Return what an export has of a stream: what it is, its text, and its parts as ``[value]``."""
    found, _ = store.read_all(row._state.db or "default", row.id, 0, row.length)
    return {
        "id": row.id,
        "group": row.group,
        "state": row.state,
        "error": row.error,
        "format": row.format,
        "created": row.created.isoformat(),
        "ended": row.ended and row.ended.isoformat(),
        "metadata": row.details,
        "parts": json.loads(pieces.dumps(pieces.join(found))),
    }
