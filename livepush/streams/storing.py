"""Stores what streams have: all together, or each alone if the database refuses one, so that it holds up no other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import TypeVar

from django.db import DataError, transaction

from livepush import log
from livepush.streams import announcing, store
from livepush.streams.buffer import Buffer, Ending
from livepush.streams.models import Stream, StreamState

T = TypeVar("T")
Refused = dict[str, Exception]
"""The streams that the database refused, and its errors."""
_turns = count(1)
"""The numbers of the turns in which streams are stored."""


def begin(using: str, producer: str, rows: Sequence[Stream]) -> Refused:
    """Store a producer's new streams, which begin at the log's position, with their events; return the refused."""
    position = log.state(using).position.number
    for row in rows:
        row.producer, row.position = producer, position

    def store_new(some: Sequence[Stream]) -> None:
        with transaction.atomic(using=using):
            store.begin(using, some)
            for row in some:
                announcing.send_started(row, using)

    return _in_statements(rows, lambda row: row.id, lambda row: len(row.metadata), store_new)


def store_text(using: str, buffers: Iterable[Buffer]) -> tuple[bool, Refused]:
    """Store what is not stored yet, one statement of it; return whether more is left, and the refused.

    A stream that has much waits after its turn until the others have had theirs.
    """
    texts: list[tuple[Buffer, list[store.Written]]] = []
    size = 0
    for buffer in sorted(buffers, key=lambda each: each.turn):
        if size > store.STATEMENT:
            break
        if rows := store.chunks(buffer.id, buffer.unstored()):
            texts.append((buffer, rows))
            size += sum(len(row.body) for row in rows)
            buffer.turn = next(_turns)

    def append(some: Sequence[tuple[Buffer, list[store.Written]]]) -> None:
        store.append(using, [row for _, rows in some for row in rows])
        for buffer, rows in some:
            buffer.is_stored(rows[-1].end)

    return size > store.STATEMENT, _each_alone_if_refused(texts, lambda text: text[0].id, append)


def settle_doubts(using: str, buffers: Iterable[Buffer]) -> None:
    """Find out what the last attempt has stored before it failed."""
    doubtful = [buffer for buffer in buffers if buffer.doubtful]
    if doubtful:
        known = store.ends(using, [buffer.id for buffer in doubtful])
        for buffer in doubtful:
            buffer.is_stored(known.get(buffer.id, 0))
            buffer.doubtful = False


def end(using: str, producer: str, buffers: Iterable[Buffer]) -> tuple[set[str], Refused]:
    """Mark streams as ended, as ``store.end`` does, with their events; return those that were lost, and the refused."""
    lost: set[str] = set()

    def ending_of(buffer: Buffer) -> Ending:
        return buffer.ending or Ending(StreamState.FINISHED)

    def size(buffer: Buffer) -> int:
        ending = ending_of(buffer)
        return len(ending.error) + len(ending.metadata or "")

    def mark(some: Sequence[Buffer]) -> None:
        endings = {buffer.id: (ending_of(buffer), buffer.end) for buffer in some}
        with transaction.atomic(using=using):
            gone = store.end(using, producer, endings)
            for buffer in some:
                if buffer.id not in gone:
                    ending, _ = endings[buffer.id]
                    metadata = json.loads(ending.metadata or buffer.metadata)
                    announcing.send_ended(buffer.id, buffer.group, ending.state.value, metadata, using)
        lost.update(gone)

    return lost, _in_statements(buffers, lambda buffer: buffer.id, size, mark)


def _in_statements(
    things: Iterable[T], id_of: Callable[[T], str], size_of: Callable[[T], int], work: Callable[[Sequence[T]], object]
) -> Refused:
    refused: Refused = {}
    for some in store.in_statements((thing, size_of(thing)) for thing in things):
        refused |= _each_alone_if_refused(some, id_of, work)
    return refused


def _each_alone_if_refused(
    things: Sequence[T], id_of: Callable[[T], str], work: Callable[[Sequence[T]], object]
) -> Refused:
    """Do work for all things at once, or for each alone if the database refuses one; return the refused.

    Drivers raise ValueError for text that they can't encode. Other errors are the database's own, and pass on.
    """
    if not things:
        return {}
    try:
        work(things)
    except (DataError, ValueError) as error:
        if len(things) == 1:
            return {id_of(things[0]): error}
        return {id: why for one in things for id, why in _each_alone_if_refused([one], id_of, work).items()}
    return {}
