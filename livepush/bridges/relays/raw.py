"""What the subscribers of all brokers have in common: FastStream hands over messages as they are, and logs little."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from faststream import StreamMessage

from livepush.bridges.relays.sources import Source, nothing
from livepush.notes import one_line


def _shortened(record: logging.LogRecord) -> bool:
    """Have a line say what failed, in place of a traceback: brokers go away, and FastStream tries again."""
    if record.exc_info and record.exc_info[1] is not None:
        record.msg, record.args, record.exc_info = "%s: %s", (record.getMessage(), one_line(record.exc_info[1])), None
    return True


quiet = logging.getLogger("livepush.faststream")
quiet.setLevel(logging.WARNING)  # it says at INFO that each message came
quiet.addFilter(_shortened)


def source(
    broker: Any, stop: Callable[[], Awaitable[None]], check: Callable[[], Coroutine[Any, Any, None]] = nothing
) -> Source:
    """Return the source that one of FastStream's brokers is, with its one subscriber."""
    return Source(
        broker.start, stop, check, lambda: [task for each in broker.subscribers for task in getattr(each, "tasks", ())]
    )


async def as_it_is(message: Any) -> Any:
    """Parse nothing: FastStream would drop what it can't parse."""
    return StreamMessage(raw_message=message, body=message)


async def raw(message: Any) -> Any:
    return message.raw_message
