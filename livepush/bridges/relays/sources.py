"""Sources: what a relay's messages come from. ``brokers`` and ``queues`` have FastStream's, ``kafka`` has Kafka's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from livepush.bridges.relays.config import Relay
from livepush.bridges.relays.mapping import Message

Handle = Callable[[Sequence[Message]], Awaitable[bool]]
"""Takes messages; returns whether it did."""
Fail = Callable[[Exception], None]
"""Is told why the relay has to begin again."""
BATCH = 200
"""How many messages are taken in one transaction at most."""


class Source(NamedTuple):
    """What messages come from."""

    start: Callable[[], Coroutine[Any, Any, None]]
    stop: Callable[[], Awaitable[None]]
    check: Callable[[], Coroutine[Any, Any, None]]
    """Raises if the broker sends nothing any more, which the subscriber has not noticed."""
    tasks: Callable[[], Iterable[asyncio.Task[None]]]
    """The tasks that receive messages. None of them ends while the source works."""


class Taker(NamedTuple):
    """What a source hands its messages to."""

    take: Handle
    """A source hands over nothing more after a batch that was not taken."""
    fail: Fail
    warn: Callable[[BaseException], None]
    """Is told of a failure that needs no new beginning."""
    in_thread: Callable[..., Awaitable[Any]]
    """Does work in the thread that has the connection to the database, as ``Loop._in_thread`` does."""


async def nothing() -> None:
    """Do nothing."""


async def source_for(relay: Relay, taker: Taker) -> Source:
    """Return a source that hands a relay's batches to the taker, in order, one after another.

    Raises ImproperlyConfigured: the client of such a broker is not installed, or the relay has to be reset. Raises the
    errors of the broker and of the database.
    """
    module, extra = ("kafka", "kafka") if relay.kind == "kafka" else ("brokers", "relays")
    try:
        receiving = import_string(f"livepush.bridges.relays.{module}.receiving")
    except ModuleNotFoundError as error:
        what = f'The relay {relay.name!r} needs a client: pip install "django-livepush[{extra}]" ({error}).'
        raise ImproperlyConfigured(what) from error
    source: Source = await receiving(relay, taker)
    return source
