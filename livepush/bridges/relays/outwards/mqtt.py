"""Sends events to an MQTT broker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

import zmqtt

from livepush.bridges.relays.config import OutwardRelay
from livepush.bridges.relays.outwards.reading import Outbound

TIMEOUT = 10.0
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
            async with asyncio.timeout(TIMEOUT):
                await self._client.publish(
                    topic, message.body.encode(), qos=zmqtt.QoS.AT_LEAST_ONCE, properties=properties
                )

    async def close(self) -> None:
        await self._client.disconnect()
