"""Sends events to NATS JetStream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import nats
from nats.js.api import Header
from nats.js.errors import APIError

from livepush.bridges.relays.config import OutwardRelay
from livepush.bridges.relays.outwards.reading import Outbound
from livepush.bridges.relays.outwards.targets import Rejected

TIMEOUT = 5.0
OTHER_LAST_MESSAGE = 10070
"""NATS's error code: the stream's last message is another one than was expected."""
TOO_LARGE = 10054
"""NATS's error code: the message is over the stream's own limit, ``max_msg_size``."""


class JetStream:
    """Publishes messages with the event as JSON.

    The ``Nats-Msg-Id`` is the event's position and the relay's name: JetStream drops what repeats one in a stream, and
    several relays may send an event to the same stream.
    """

    at_once = 200
    longest_pause = 5.0

    def __init__(self, relay: OutwardRelay) -> None:
        self._relay = relay

    async def open(self) -> None:
        # A connection that came back would send the messages after a lost one before that one is sent again.
        self._connection = await nats.connect(
            self._relay.url, allow_reconnect=False, connect_timeout=round(TIMEOUT), error_cb=_ignore
        )
        self._stream = self._connection.jetstream(timeout=TIMEOUT)

    async def send(self, messages: Sequence[Outbound]) -> None:
        """Send messages, of which each but the first is only taken after the one before it.

        So they are taken in order, also by a cluster whose leader changes meanwhile. If somebody else publishes to the
        stream, that order is begun again.
        """
        done = 0
        while done < len(messages):
            await self._publish(messages[done])
            done += 1
            chain = (self._publish(message, before.id) for before, message in pairwise(messages[done - 1 :]))
            for found in await asyncio.gather(*chain, return_exceptions=True):
                if isinstance(found, APIError) and found.err_code == OTHER_LAST_MESSAGE:
                    break
                if isinstance(found, BaseException):
                    raise found
                done += 1

    async def close(self) -> None:
        await self._connection.close()

    async def _publish(self, message: Outbound, after: str | None = None) -> None:
        body = message.body.encode()
        if len(body) + 1024 > self._connection.max_payload:  # the headers count too
            raise Rejected(message, f"It has {len(body)} bytes, and NATS takes {self._connection.max_payload}.")
        headers: dict[str, str] = {Header.MSG_ID: f"{message.id}:{self._relay.name}"}
        if after is not None:
            headers[Header.EXPECTED_LAST_MSG_ID] = f"{after}:{self._relay.name}"
        subject = self._relay.subject.format(group=message.group, type=message.type)
        subject = ".".join(part or "_" for part in subject.split("."))
        try:
            await self._stream.publish(subject, body, stream=self._relay.stream, headers=headers)
        except APIError as error:
            if error.err_code == TOO_LARGE:
                raise Rejected(message, f"It has {len(body)} bytes: {error.description}.") from error
            raise


async def _ignore(error: Exception) -> None:
    """Leave it to the call that failed."""
