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


def delete(using: str, ids: Collection[str]) -> int:
    """Delete streams in the caller's transaction; return how many there were.

    After the commit their readers are sent away. The producer of one that runs is stopped within a second.
    """
    found = sorted(ids)
    with transaction.atomic(using=using):
        count = sum(_delete(using, found[start : start + AT_ONCE]) for start in range(0, len(found), AT_ONCE))
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
        announcing.end_hint(id)


def delete_late_text(using: str, ids: Collection[str] | None = None, limit: int = AT_ONCE) -> int:
    """Delete some text of streams that are not there any more, of any or of those named; return how many chunks.

    A producer may store text until it learns that its stream was deleted.
    """
    chunks = StreamChunk.objects.using(using)
    late = chunks.filter(~Exists(Stream.objects.using(using).filter(id=OuterRef("stream"))))
    if ids is not None:
        late = late.filter(stream__in=ids)
    return _delete_chunks(chunks.filter(pk__in=list(late.values_list("pk", flat=True)[:limit])))


# A user's streams


def rows_about(readers: Iterable[str], using: str) -> QuerySet[Stream]:
    """Return the streams in a user's own groups; ``readers`` are the user's names in the inbox's tables."""
    names = [(publish.user_group(public_name(reader)), tenants.of_stored(reader)) for reader in readers]
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
    found, cursor, using = pieces.Pieces(), 0, row._state.db or "default"
    while (passage := store.read(using, row.id, cursor, row.length)).pieces:
        found += passage.pieces
        cursor = passage.end
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
