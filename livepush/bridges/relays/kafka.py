"""Receives messages from a Kafka topic, through Confluent's client.

FastStream leaves out the errors that a consumer tells, such as that the broker does not have an offset any more: a
relay would lose messages and not know it.

Kafka's consumer group only divides the partitions among the processes that run the relay. Where each partition goes on,
livepush's database says, whenever one is assigned. Kafka is told too how far the relay is, for Kafka's own tools.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from django.core.exceptions import ImproperlyConfigured

from livepush.bridges.relays import kafka_settings, partitions
from livepush.bridges.relays.config import Relay
from livepush.bridges.relays.mapping import Message, decoded
from livepush.bridges.relays.partitions import Bounds
from livepush.bridges.relays.sources import BATCH, Source, Taker
from livepush.progress import Progress

T = TypeVar("T")
PAUSE = 0.1
"""How long (seconds) a process waits for a message at once."""
TIMEOUT = 10.0
"""How long (seconds) Kafka's answer is waited for."""
CLIENT_TIMEOUT = 60.0
"""How long (seconds) a call of the client may take: it may ask Kafka three times, and then the database."""
LOOK_TIMEOUT = 2.0
"""How long (seconds) a look at the topic waits for Kafka's answer. A relay that is told to stop waits for it too."""
LOOK = 10.0
"""How often (seconds) a relay looks for new partitions, and whether the topic is still the same one."""
NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""The id of a topic whose broker gives none."""
PROPERTIES = {
    "enable.auto.commit": True,
    "enable.auto.offset.store": False,  # what is told to Kafka is what was taken
    "auto.offset.reset": "error",
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 10_000,
    "topic.metadata.refresh.interval.ms": round(1000 * LOOK),
    "queued.min.messages": 5 * BATCH,
    "queued.max.messages.kbytes": 16_384,
}


class KafkaFailed(Exception):
    """A failure that Kafka's client reported."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(error.str())


async def receiving(relay: Relay, taker: Taker) -> Source:
    """Return a source that goes on where each partition was taken up to. Raises ImproperlyConfigured."""
    found = Receiver(relay, taker)
    return Source(found.start, found.stop, found.check, found.tasks)


class Receiver:
    """Receives what is in the partitions that Kafka assigns to this process."""

    def __init__(self, relay: Relay, taker: Taker) -> None:
        self._relay = relay
        self._taker = taker
        self._closed = False
        self._in_use = threading.RLock()
        """Held while a thread uses the consumer: one whose database vanished may still do so when another begins."""
        self._look_at = 0.0
        self._working: asyncio.Task[None] | None = None
        own = {"group.id": f"livepush-{relay.name}", "error_cb": self._warn, **PROPERTIES}
        try:
            self._admin = AdminClient(kafka_settings.properties(relay.url, relay.options))
            self._consumer = Consumer(kafka_settings.properties(relay.url, relay.options, own))
        except KafkaException as error:
            raise ImproperlyConfigured(f"LIVEPUSH['RELAYS'][{relay.name!r}]: {error.args[0].str()}.") from error

    async def start(self) -> None:
        """Join the group. Raises the errors of the database, and KafkaFailed."""
        await self._with_consumer(self._subscribe)
        self._working = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Leave the group after the batch that is being taken."""
        self._closed = True
        if self._working is not None:
            await asyncio.wait([self._working])
            if isinstance(error := self._working.exception(), Exception):
                self._taker.fail(error)
        await self._with_consumer(self._consumer.close)

    def tasks(self) -> Iterable[asyncio.Task[None]]:
        """Return the task that receives."""
        return [self._working] if self._working is not None else []

    async def check(self) -> None:
        """Look once in a while whether the topic is the same one, and where its partitions end.

        Raises ImproperlyConfigured: it was made anew. Raises the database's errors.
        """
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK
        try:
            topic_id, _ = await asyncio.to_thread(self._described, LOOK_TIMEOUT)
            assigned = await asyncio.to_thread(self._consumer.assignment)
            bounds = await asyncio.to_thread(self._bounds, [each.partition for each in assigned], LOOK_TIMEOUT)
        except KafkaFailed as error:
            self._taker.warn(error)
            return
        await self._taker.in_thread(partial(partitions.check_topic, self._relay, topic_id))
        await self._taker.in_thread(partial(partitions.note_ends, self._relay, bounds))

    async def _work(self) -> None:
        while not self._closed:
            batch = await self._with_consumer(self._receive)
            if batch and not await self._taker.take(batch):
                return
            if batch:
                self._tell_kafka(batch)

    async def _with_consumer(self, work: Callable[[], T]) -> T:
        """Do work with the consumer in the thread that has the connection to the database, alone."""

        def alone() -> T:
            if not self._in_use.acquire(timeout=TIMEOUT):
                raise TimeoutError("Kafka's client is still in use by a thread that was given up.")
            try:
                return work()
            finally:
                self._in_use.release()

        found: T = await self._taker.in_thread(alone, Progress(CLIENT_TIMEOUT))
        return found

    # In the thread that has the connection to the database

    def _subscribe(self) -> None:
        if self._relay.start == "new" and not partitions.has_begun(self._relay):
            topic_id, numbers = self._described()
            ends = {partition: each.end for partition, each in self._bounds(numbers).items()}
            partitions.begin_at(self._relay, topic_id, ends)
        self._consumer.subscribe([self._relay.stream], on_assign=self._assign)

    def _assign(self, consumer: Consumer, given: Sequence[TopicPartition]) -> None:
        """Have each partition go on where it was taken up to. Called while ``_receive`` waits."""
        topic_id, _ = self._described()
        places = partitions.places(self._relay, topic_id, self._bounds([each.partition for each in given]))
        for each in given:
            each.offset = places[each.partition]
        consumer.incremental_assign(list(given))

    def _receive(self) -> list[Message]:
        """Return a batch, as far as one has come. Raises KafkaFailed."""
        first = self._consumer.poll(PAUSE)
        if first is None:
            return []
        found = [first, *self._consumer.consume(BATCH - 1, 0)]
        for each in found:
            if error := each.error():
                raise KafkaFailed(error)
        return [_message(each) for each in found]

    def _tell_kafka(self, batch: Sequence[Message]) -> None:
        """Have Kafka's tools know what was taken. They may not know it, if a partition was assigned elsewhere."""
        upto = {partition: offset + 1 for partition, offset in map(partitions.place_of, batch)}
        with suppress(KafkaException):
            self._consumer.store_offsets(
                offsets=[TopicPartition(self._relay.stream, partition, offset) for partition, offset in upto.items()]
            )

    # What Kafka tells

    def _described(self, timeout: float = TIMEOUT) -> tuple[str, list[int]]:
        """Return the topic's id, if it has one, and the numbers of its partitions. Raises KafkaFailed."""
        wanted = TopicCollection([self._relay.stream])
        found = _result(self._admin.describe_topics(wanted, request_timeout=timeout)[self._relay.stream])
        id = str(found.topic_id)
        return "" if id == NO_ID else id, [each.id for each in found.partitions]

    def _bounds(self, numbers: Sequence[int], timeout: float = TIMEOUT) -> dict[int, Bounds]:
        """Return the first and the next offset of some partitions, by their numbers. Raises KafkaFailed."""
        firsts, ends = (self._offsets(numbers, spec, timeout) for spec in (OffsetSpec.earliest(), OffsetSpec.latest()))
        return {number: Bounds(firsts[number], ends[number]) for number in numbers}

    def _offsets(self, numbers: Sequence[int], spec: OffsetSpec, timeout: float) -> Mapping[int, int]:
        if not numbers:
            return {}
        wanted = {TopicPartition(self._relay.stream, number): spec for number in numbers}
        found = self._admin.list_offsets(wanted, request_timeout=timeout)
        return {each.partition: _result(future).offset for each, future in found.items()}

    def _warn(self, error: KafkaError) -> None:
        self._taker.warn(KafkaFailed(error))


def _result(future: Any) -> Any:
    try:
        return future.result(2 * TIMEOUT)  # the request ends by itself before
    except KafkaException as error:
        raise KafkaFailed(error.args[0]) from error


def _message(raw: Any) -> Message:
    """Return a message of Kafka's as one of ours. One without a value, a tombstone, has the body ``None``."""
    value, key = raw.value(), raw.key()
    return Message(
        partitions.named(raw.partition(), raw.offset()),
        None if value is None else decoded(value),
        raw.topic(),
        _headers(raw),
        (key or b"").decode(errors="replace"),
    )


def _headers(raw: Any) -> dict[str, str]:
    """Return a message's headers; none if the name of one is not UTF-8, which the client can't say."""
    try:
        return {name: (content or b"").decode(errors="replace") for name, content in raw.headers() or ()}
    except (SystemError, UnicodeDecodeError):
        return {}
