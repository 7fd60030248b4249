"""Receives messages through FastStream from brokers without offsets: RabbitMQ and MQTT.

Such a broker delivers a message again until it is told that it was taken. It is told so after the commit. What is
delivered again after that is known by its key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from faststream import AckPolicy

from livepush.bridges.relays.config import Relay
from livepush.bridges.relays.mapping import Message, decoded, key_of
from livepush.bridges.relays.raw import as_it_is, quiet, raw, source
from livepush.bridges.relays.sources import BATCH, Fail, Handle, Source, nothing

SESSION = 7 * 86_400
"""How long (seconds) an MQTT broker keeps messages for a relay that is away."""
MAX_UNCONFIRMED = 65_535
"""How many messages an MQTT broker may have sent that were not confirmed: as many as there are packet ids."""


class QueueGone(Exception):
    """The broker does not know the relay any more."""


class Gathering:
    """Gathers the messages that come while a batch is being taken, and confirms them once they are taken."""

    def __init__(self, handle: Handle, fail: Fail) -> None:
        self._handle = handle
        self._fail = fail
        self._waiting: asyncio.Queue[tuple[Message, Callable[[], Awaitable[Any]]]] = asyncio.Queue(2 * BATCH)
        self._working: asyncio.Task[None] | None = None
        self._closed = False

    async def put(self, message: Message, confirm: Callable[[], Awaitable[Any]]) -> None:
        """Have a message taken after those that came before it."""
        await self._waiting.put((message, confirm))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())

    async def finish(self) -> None:
        """Wait for the batch that is being taken, and take no other: the broker delivers the rest again."""
        self._closed = True
        if self._working is not None:
            await self._working
        while not self._waiting.empty():  # others may wait to put something there
            self._waiting.get_nowait()

    async def _work(self) -> None:
        try:
            while not (self._closed or self._waiting.empty()):
                batch = [self._waiting.get_nowait() for _ in range(min(self._waiting.qsize(), BATCH))]
                if not await self._handle([message for message, _ in batch]):
                    return
                for _, confirm in batch:
                    await confirm()
        except Exception as error:
            self._fail(error)


def receiving(relay: Relay, handle: Handle, fail: Fail) -> Source:
    """Return a source; it stops after the batch that is being taken."""
    gathering = Gathering(handle, fail)
    broker = {"rabbit": _rabbit, "mqtt": _mqtt}[relay.kind](relay, gathering)

    async def stop() -> None:
        await gathering.finish()
        if relay.kind == "mqtt":  # FastStream would unsubscribe, and the broker keep nothing for the next time
            client = await broker.connect()
            await client.disconnect()
        await broker.stop()

    async def check() -> None:
        connection = await broker.connect()
        async with connection.channel() as channel:
            queue = await channel.declare_queue(relay.stream, passive=True)
            if not queue.declaration_result.consumer_count:
                raise QueueGone(f"RabbitMQ sends nothing of the queue {relay.stream!r}: it was deleted, and made anew.")

    made = source(broker, stop, check if relay.kind == "rabbit" else nothing)
    return made if relay.kind == "rabbit" else made._replace(start=partial(_start_mqtt, broker))


async def _start_mqtt(broker: Any) -> None:
    """Start with room for all that the broker may send again before it answers to the subscription.

    zmqtt reads nothing more while its buffer of 1,000 messages is full; FastStream takes none out before the answer.
    """
    client = await broker.connect()
    client.subscribe = partial(client.subscribe, receive_buffer_size=MAX_UNCONFIRMED)
    await broker.start()


def _rabbit(relay: Relay, gathering: Gathering) -> Any:
    """Return a broker that receives what is in a queue."""
    from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

    broker = RabbitBroker(relay.url, apply_types=False, default_channel=Channel(prefetch_count=2 * BATCH), logger=quiet)
    queue = RabbitQueue(relay.stream, declare=False)

    @broker.subscriber(queue, ack_policy=AckPolicy.MANUAL, parser=as_it_is, decoder=raw)
    async def receive(message: Any) -> None:
        headers = {name: str(value) for name, value in (message.headers or {}).items()}
        body, subject = decoded(message.body), message.routing_key or ""
        key = key_of(body, subject, relay) if relay.key else message.message_id or ""
        await gathering.put(Message(key, body, subject, headers), message.ack)

    return broker


def _mqtt(relay: Relay, gathering: Gathering) -> Any:
    """Return a broker that receives what is published to some topics."""
    from faststream.mqtt import MQTTBroker
    from zmqtt import QoS, ReconnectConfig

    broker = MQTTBroker(
        relay.url,
        client_id=f"livepush-{relay.name}",
        clean_session=False,
        session_expiry_interval=SESSION,
        session_replay_buffer_size=MAX_UNCONFIRMED,
        reconnect=ReconnectConfig(enabled=False),
        apply_types=False,
        logger=quiet,
    )

    @broker.subscriber(relay.stream, qos=QoS.AT_LEAST_ONCE, ack_policy=AckPolicy.MANUAL, parser=as_it_is, decoder=raw)
    async def receive(message: Any) -> None:
        if message.retain:  # it was published before the relay subscribed, and comes again each time that it does
            await message.ack()
            return
        headers = dict(message.properties.user_properties) if message.properties else {}
        body = decoded(message.payload)
        key = key_of(body, message.topic, relay) if relay.key else ""
        await gathering.put(Message(key, body, message.topic, headers), message.ack)

    return broker
