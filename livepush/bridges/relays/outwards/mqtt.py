"""Sends events to an MQTT broker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

import zmqtt

from livepush.bridges.relays.config import OutwardRelay
from livepush.bridges.relays.outwards.reading import Outbound
from livepush.bridges.relays.outwards.targets import Rejected

TIMEOUT = 10.0
MAX_LEVELS = 201
"""How many levels a topic may have: Mosquitto disconnects whoever publishes to one with more."""
HEADERS = 300
"""How many bytes of a packet are neither topic nor body, at most: the id, the type and their lengths."""
NEVER = (0x90, 0x95, 0x99)
"""The reason codes of a broker that will never take a message: its topic, its size or its form (MQTT 5, 3.4.2.1)."""
AT_ONCE = 10
"""Few, since each waits for the one before: what is deleted meanwhile is to go out no more."""


class Topics:
    """Publishes messages with QoS 1, the event as JSON and its position as the user property ``id``."""

    at_once = AT_ONCE
    longest_pause = 5.0

    def __init__(self, relay: OutwardRelay) -> None:
        self._relay = relay

    async def open(self) -> None:
        address = urlsplit(self._relay.url)
        is_safe = address.scheme == "mqtts"
        self._client = zmqtt.create_client(
            address.hostname or "",
            address.port or (8883 if is_safe else 1883),
            username=unquote(address.username) if address.username else None,
            password=unquote(address.password) if address.password else None,
            tls=is_safe,
            reconnect=zmqtt.ReconnectConfig(enabled=False),
            version="5.0",
        )
        async with asyncio.timeout(TIMEOUT):
            await self._client.connect()

    async def send(self, messages: Sequence[Outbound]) -> None:
        """Send messages, each after the broker has confirmed the one before it."""
        for message in messages:
            topic = self._relay.subject.format(group=message.group, type=message.type).replace("+", "_")
            properties = zmqtt.PublishProperties(
                content_type="application/json", user_properties=(("id", message.id), ("type", message.type))
            )
            body = message.body.encode()
            self._check(message, topic, len(body))
            try:
                async with asyncio.timeout(TIMEOUT):
                    await self._client.publish(topic, body, qos=zmqtt.QoS.AT_LEAST_ONCE, properties=properties)
            except zmqtt.MQTTPublishError as error:
                if error.reason_code in NEVER:
                    raise Rejected(message, f"It has {len(body)} bytes: {error}.") from error
                raise

    async def close(self) -> None:
        await self._client.disconnect()

    def _check(self, message: Outbound, topic: str, size: int) -> None:
        """Raise Rejected for a message that would make the broker disconnect this client."""
        if (levels := topic.count("/") + 1) > MAX_LEVELS:
            raise Rejected(message, f"Its topic has {levels} levels, and brokers take {MAX_LEVELS}.")
        told = self._client.connection_info.properties
        most = None if told is None else told.maximum_packet_size
        if most is not None and len(topic.encode()) + size + HEADERS > most:
            raise Rejected(message, f"It has {size} bytes, and the broker takes packets of {most}.")
