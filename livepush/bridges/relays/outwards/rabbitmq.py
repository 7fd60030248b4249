"""Sends events to RabbitMQ."""

from __future__ import annotations

from collections.abc import Sequence

import aio_pika
from aio_pika.exceptions import ChannelPreconditionFailed

from livepush.bridges.relays.config import OutwardRelay
from livepush.bridges.relays.outwards.reading import Outbound
from livepush.bridges.relays.outwards.targets import Rejected

TIMEOUT = 10.0
LONGEST_KEY = 255
"""How many bytes a routing key may have (AMQP 0-9-1, ``shortstr``)."""
AT_ONCE = 10
"""Few, since each waits for the one before: what is deleted meanwhile is to go out no more."""


class Exchange:
    """Publishes persistent messages with the event as JSON and its position as ``message_id``."""

    at_once = AT_ONCE
    longest_pause = 5.0

    def __init__(self, relay: OutwardRelay) -> None:
        self._relay = relay

    async def open(self) -> None:
        self._connection = await aio_pika.connect(self._relay.url, timeout=TIMEOUT)
        await self._open_channel()

    async def send(self, messages: Sequence[Outbound]) -> None:
        """Send messages, each after RabbitMQ has confirmed the one before it.

        Raises DeliveryError: no queue is bound for a message, so that it would be dropped.
        """
        for message in messages:
            made = aio_pika.Message(
                message.body.encode(),
                message_id=message.id,
                type=message.type,
                content_type="application/json",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            key = self._relay.subject.format(group=message.group, type=message.type)
            if (length := len(key.encode())) > LONGEST_KEY:
                raise Rejected(message, f"Its routing key has {length} bytes, and RabbitMQ takes {LONGEST_KEY}.")
            try:
                await self._exchange.publish(made, key, mandatory=True, timeout=TIMEOUT)
            except ChannelPreconditionFailed as error:  # it is over max_message_size; RabbitMQ has closed the channel
                await self._open_channel()
                raise Rejected(message, f"RabbitMQ does not take its size or form: {error}") from error

    async def close(self) -> None:
        await self._connection.close()

    async def _open_channel(self) -> None:
        channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
        known = self._relay.stream
        self._exchange = await channel.get_exchange(known) if known else channel.default_exchange
