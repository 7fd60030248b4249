"""What the subscribers of all brokers have in common: FastStream hands over messages as they are, and logs little."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from faststream import StreamMessage

from livepush.bridges.relays.mapping import Message
from livepush.notes import one_line

Handle = Callable[[Sequence[Message]], Awaitable[bool]]
"""Takes messages; returns whether it did."""
Fail = Callable[[Exception], None]
"""Is told why the relay has to begin again."""
BATCH = 200
"""How many messages are taken in one transaction at most."""


def _shortened(record: logging.LogRecord) -> bool:
    """Have a line say what failed, in place of a traceback: brokers go away, and FastStream tries again."""
    if record.exc_info and record.exc_info[1] is not None:
        record.msg, record.args, record.exc_info = "%s: %s", (record.getMessage(), one_line(record.exc_info[1])), None
    return True


quiet = logging.getLogger("livepush.faststream")
quiet.setLevel(logging.WARNING)  # it says at INFO that each message came
quiet.addFilter(_shortened)


class Source(NamedTuple):
    """What messages come from."""

    broker: Any
    """FastStream's broker, with one subscriber."""
    stop: Callable[[], Awaitable[None]]
    check: Callable[[], Awaitable[None]]
    """Raises if the broker sends nothing any more, which the subscriber has not noticed."""


async def nothing() -> None:
    """Do nothing."""


async def as_it_is(message: Any) -> Any:
    """Parse nothing: FastStream would drop what it can't parse."""
    return StreamMessage(raw_message=message, body=message)


async def raw(message: Any) -> Any:
    return message.raw_message
