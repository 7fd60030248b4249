"""Sends events to a Redis stream."""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

from livepush.bridges.relays.config import OutwardRelay
from livepush.bridges.relays.outwards.reading import Outbound

TIMEOUT = 10.0


class RedisStream:
    """Appends entries with the fields ``id``, ``group``, ``type`` and ``event`` (JSON)."""

    at_once = 200
    longest_pause = 5.0

    def __init__(self, relay: OutwardRelay) -> None:
        self._relay = relay

    async def open(self) -> None:
        self._client = Redis.from_url(self._relay.url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)

    async def send(self, messages: Sequence[Outbound]) -> None:
        async with self._client.pipeline(transaction=True) as batch:  # all of them or none
            for message in messages:
                fields = {"id": message.id, "group": message.group, "type": message.type, "event": message.body}
                batch.xadd(self._relay.stream, fields, maxlen=self._relay.maxlen or None)  # type: ignore[arg-type]
            await batch.execute()

    async def close(self) -> None:
        await self._client.aclose()
