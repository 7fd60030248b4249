"""Sends events to a Kafka topic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from django.core.exceptions import ImproperlyConfigured

from livepush.bridges.relays import kafka_settings
from livepush.bridges.relays.config import OutwardRelay
from livepush.bridges.relays.outwards.reading import Outbound
from livepush.bridges.relays.outwards.targets import Later, Rejected

TIMEOUT = 10.0
"""How long (seconds) Kafka may take to confirm a batch."""
PROPERTIES = {
    "enable.idempotence": True,  # with all brokers that have a copy
    "enable.gapless.guarantee": True,  # nothing is sent after a message that failed
    "message.timeout.ms": 0,  # no message is given up by itself, but all at once
    "partitioner": "murmur2_random",  # as that of Kafka's Java client
}


PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
"""Errors of messages that were not sent because one before them failed."""

Report = tuple[Outbound, KafkaError | None]
"""A message, and Kafka's error if it was not written."""


class Topic:
    """Produces messages with the event as JSON and its position as the header ``id``."""

    at_once = 500
    longest_pause = 5.0

    def __init__(self, relay: OutwardRelay) -> None:
        self._relay = relay
        self._producer: Producer | None = None
        self._working: asyncio.Future[None] | None = None
        self._told = ""
        self._left_to_send_singly = 0

    async def open(self) -> None:
        """Connect.

        Raises Later: Kafka does not answer, or has no such topic. Raises ImproperlyConfigured: the client refuses a
        property of ``OPTIONS``.
        """
        await self._in_thread(self._open)

    async def send(self, messages: Sequence[Outbound]) -> None:
        """Send messages, and return when Kafka has confirmed all of them."""
        for part in [[each] for each in messages] if self._left_to_send_singly else [messages]:
            await self._in_thread(partial(self._send, part))
            self._left_to_send_singly = max(0, self._left_to_send_singly - 1)

    async def close(self) -> None:
        """Give up what was not confirmed, and disconnect."""
        if self._producer is not None:
            self._producer.purge()
        if self._working is not None:
            await asyncio.wait([self._working])
        await asyncio.to_thread(self._disconnect)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        self._working = asyncio.ensure_future(asyncio.to_thread(work))
        self._working.add_done_callback(
            lambda done: done.cancelled() or done.exception()
        )  # nobody may be left to see it
        await asyncio.shield(self._working)  # the thread goes on when this is cancelled; ``close`` waits for it

    # In threads

    def _open(self) -> None:
        name, topic = self._relay.name, self._relay.stream
        own = {"error_cb": self._note, **PROPERTIES}
        try:
            producer = Producer(kafka_settings.properties(self._relay.url, self._relay.options, own))
        except KafkaException as error:
            raise ImproperlyConfigured(f"LIVEPUSH['RELAYS'][{name!r}]: {error.args[0].str()}.") from error
        try:
            found = producer.list_topics(topic, timeout=TIMEOUT).topics[topic].error
        except KafkaException as error:
            producer.poll(0)  # tells ``_note`` why
            raise Later(f"{error.args[0].str()}. {self._told}") from error
        if found is not None:
            raise Later(f"Kafka does not give the topic {topic!r}: {found.str()}.")
        self._producer = producer

    def _disconnect(self) -> None:
        self._producer = None  # it ends here, and waits for threads of its own

    def _send(self, messages: Sequence[Outbound]) -> None:
        """Send messages at once. Raises Rejected: Kafka will never take one. Raises Later: it may take it later."""
        producer = self._producer
        if producer is None:
            raise Later("The connection was closed.")
        reports: list[Report] = []
        sent, refused = 0, None
        for message in messages:
            report = partial(_note_report, reports, message)
            try:
                producer.produce(self._relay.stream, on_delivery=report, **self._made(message))
            except KafkaException as error:
                refused = error.args[0]
                break
            sent += 1
        self._flush(producer)
        failures = [(message, error) for message, error in reports if error is not None and error.code() not in PURGED]
        if failures:
            self._refuse(*min(failures, key=lambda each: each[0].number), is_alone=len(messages) == 1)
        if sum(error is None for _, error in reports) < sent:
            raise Later(f"Kafka did not confirm messages within {TIMEOUT:g} s. {self._told}")
        if refused is not None:
            self._refuse(messages[sent], refused, is_alone=True)

    def _flush(self, producer: Producer) -> None:
        """Wait until all messages have a report, for as long as Kafka may take."""
        try:
            producer.flush(TIMEOUT)
        except (KafkaException, SystemError):  # nothing is sent after a message that failed; the reports say why
            with suppress(KafkaException, SystemError):
                producer.flush(TIMEOUT)

    def _made(self, message: Outbound) -> dict[str, Any]:
        key = self._relay.key.format(group=message.group, type=message.type)
        headers = [("id", message.id.encode()), ("type", message.type.encode())]
        return {"value": message.body.encode(), "key": key.encode() or None, "headers": headers}

    def _refuse(self, message: Outbound, error: KafkaError, *, is_alone: bool) -> None:
        """Raise what is to be done with a message that was not taken."""
        if error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
            raise Later(f"Kafka did not take {message.id}: {error.str()}.")
        if is_alone:
            raise Rejected(message, f"It has {len(message.body.encode())} bytes: {error.str()}.")
        self._left_to_send_singly = self.at_once  # those that came with it may have been too large together
        raise Later(f"Kafka did not take messages together with {message.id}: {error.str()}.")

    def _note(self, error: KafkaError) -> None:
        self._told = error.str()


def _note_report(reports: list[Report], message: Outbound, error: KafkaError | None, _: object) -> None:
    # The client may call this while an exception is set: then Python fails it at the first call that it makes itself.
    reports.append((message, error))
