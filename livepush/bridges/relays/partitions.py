"""How far the partitions of a Kafka topic were taken: a row for each, which a batch locks while it is taken.

Kafka may give a partition to another process while a batch of it is under way. Then both have the same messages, and
the one that comes later finds the row moved, and leaves out what was taken.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.db.models import F, QuerySet
from django.utils import timezone

from livepush.bridges.relays.config import Relay
from livepush.bridges.relays.mapping import Message
from livepush.bridges.relays.models import RelayPartition
from livepush.conf import get_settings

logger = logging.getLogger("livepush")
ANEW = (
    "The topic {topic!r} is not the one that the relay has read so far: it was deleted, and made anew. "
    "Run livepush_relay {name} --reset to begin with its first message."
)
SHRUNK = (
    "The partition {partition} of the topic {topic!r} ends at {end}, before the relay's offset {offset}: it was made "
    "anew, or restored. Run livepush_relay {name} --reset to begin with its first message."
)


class RelayReset(Exception):
    """The rows are gone, since somebody has reset the relay."""


class Bounds(NamedTuple):
    """What a broker has of a partition."""

    first: int
    """The offset of its first message."""
    end: int
    """The offset that its next message will have."""


def named(partition: int, offset: int) -> str:
    """Return a message's place as ``Message.offset`` has it."""
    return f"{partition}-{offset}"


def place_of(message: Message) -> tuple[int, int]:
    """Return a message's partition and offset."""
    partition, _, offset = message.offset.partition("-")
    return int(partition), int(offset)


def has_begun(relay: Relay) -> bool:
    """Return whether a relay has read the topic before."""
    return _rows(relay).exists()


def begin_at(relay: Relay, topic_id: str, offsets: Mapping[int, int]) -> None:
    """Note where a relay begins the partitions that it has not begun yet."""
    made = [
        RelayPartition(
            relay=relay.name, topic=relay.stream, topic_id=topic_id, partition=partition, offset=offset, end=offset
        )
        for partition, offset in offsets.items()
    ]
    RelayPartition.objects.using(get_settings().DATABASE).bulk_create(made, ignore_conflicts=True)


def places(relay: Relay, topic_id: str, bounds: Mapping[int, Bounds]) -> dict[int, int]:
    """Return the offsets with which to go on in some partitions.

    A partition that was not read yet begins with its first message. Messages that the broker deleted before they were
    taken are counted and logged. Raises ImproperlyConfigured: the topic was made anew.
    """
    begin_at(relay, topic_id, {partition: each.first for partition, each in bounds.items()})
    found = {}
    for row in _rows(relay).filter(partition__in=bounds):
        first, end = bounds[row.partition]
        if topic_id and row.topic_id and topic_id != row.topic_id:
            raise ImproperlyConfigured(ANEW.format(topic=relay.stream, name=relay.name))
        if end < row.offset:
            words = {"topic": relay.stream, "name": relay.name, "partition": row.partition}
            raise ImproperlyConfigured(SHRUNK.format(**words, offset=row.offset, end=end))
        if row.offset < first:
            _skip(relay, row, first)
        found[row.partition] = max(row.offset, first)
    if topic_id:
        _rows(relay).filter(topic_id="").update(topic_id=topic_id)
    return found


def check_topic(relay: Relay, topic_id: str) -> None:
    """Refuse a topic that was made anew. Raises ImproperlyConfigured."""
    if topic_id and _rows(relay).exclude(topic_id__in=("", topic_id)).exists():
        raise ImproperlyConfigured(ANEW.format(topic=relay.stream, name=relay.name))


def note_ends(relay: Relay, bounds: Mapping[int, Bounds]) -> None:
    """Note where partitions end, so that others can tell how far the relay is behind."""
    for partition, each in bounds.items():
        _rows(relay).filter(partition=partition, end__lt=each.end).update(end=each.end)


def fresh(messages: Sequence[Message], relay: Relay) -> list[Message]:
    """Return the messages that were not taken yet, and note them as taken, in the caller's transaction.

    Raises RelayReset: somebody has reset the relay meanwhile.
    """
    placed = [(message, *place_of(message)) for message in messages]
    touched = sorted({partition for _, partition, _ in placed})
    for partition in touched:  # locks the rows, in one order for all, on every database
        if not _rows(relay).filter(partition=partition).update(taken=timezone.now()):
            raise RelayReset(f"The relay {relay.name!r} was reset while it ran.")
    known = dict(_rows(relay).filter(partition__in=touched).values_list("partition", "offset"))
    found = []
    for message, partition, offset in placed:
        if offset >= known[partition]:
            known[partition] = offset + 1
            found.append(message)
    for partition in touched:
        _rows(relay).filter(partition=partition, offset__lt=known[partition]).update(offset=known[partition])
    return found


def _skip(relay: Relay, row: RelayPartition, first: int) -> None:
    """Go on after what the broker has deleted, and say so."""
    missed = first - row.offset
    same = _rows(relay).filter(pk=row.pk, offset=row.offset)
    if same.update(offset=first, missed=F("missed") + missed):
        what = "Kafka deleted %d messages of the partition %d of %r before the relay %r took them: they are lost to it."
        logger.error(what, missed, row.partition, relay.stream, relay.name)


def _rows(relay: Relay) -> QuerySet[RelayPartition]:
    return RelayPartition.objects.using(get_settings().DATABASE).filter(relay=relay.name, topic=relay.stream)
