"""The Channels layer: which one it is, this process's name in it, and calls that take a bounded time."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from channels.layers import InMemoryChannelLayer, channel_layers
from django.utils.module_loading import import_string

from livepush.cancelling import heed_cancellation
from livepush.conf import get_settings
from livepush.notes import note_once, one_line

CALL_TIMEOUT = 5.0
"""How long (seconds) one call of the layer may take: a Redis that does not answer must not hold up what comes after."""

BUILD_AGAIN = 300.0
"""After how long (seconds) a layer that could not be built is tried again."""
WITHOUT = "events arrive through the log meanwhile, and ephemeral ones reach this process only."

logger = logging.getLogger("livepush")

_unbuildable: tuple[str, object, float] | None = None
"""The layer that could not be built: its alias, its settings, and until when it is not tried again."""


def configured() -> Any | None:
    """Return the layer that other processes can hear, or ``None``; the in-memory one reaches nobody.

    A layer that can't be built counts as none, and is logged. It is tried again after a while.
    """
    global _unbuildable
    alias = get_settings().CHANNEL_LAYER
    if alias not in channel_layers or _is_unbuildable(alias):
        return None
    try:
        layer = channel_layers[alias]
    except Exception as error:
        _unbuildable = (alias, channel_layers.configs, time.monotonic() + BUILD_AGAIN)
        logger.error("The channel layer %r can't be built (%s); %s", alias, one_line(error), WITHOUT, exc_info=error)
        return None
    return None if isinstance(layer, InMemoryChannelLayer) else layer


def prepare() -> None:
    """Import the configured layer when the process starts, so that its first send need not wait a fifth of a second."""
    with suppress(Exception):  # an error is logged when the layer is used
        if get_settings().HINT in ("auto", "channels"):
            import_string(channel_layers.configs[get_settings().CHANNEL_LAYER]["BACKEND"])


def is_broken() -> bool:
    """Return whether there is a layer that could not be built a moment ago."""
    alias = get_settings().CHANNEL_LAYER
    return alias in channel_layers and _is_unbuildable(alias)


def _is_unbuildable(alias: str) -> bool:
    """Return whether a layer could not be built a moment ago, with the same settings."""
    if _unbuildable is None:
        return False
    name, configs, until = _unbuildable
    return name == alias and configs is channel_layers.configs and time.monotonic() < until


def new_layer() -> Any:
    """Return a layer like the configured one with connections of its own, which can be closed at no cost to others."""
    return channel_layers.make_backend(get_settings().CHANNEL_LAYER)


def origin() -> str:
    """Return this process's random name; its own announcements come back to it and are not news."""
    process = os.getpid()  # uWSGI forks its workers without Python's hooks
    return _names.get(process) or _names.setdefault(process, secrets.token_hex(8))  # one for all threads


_names: dict[int, str] = {}


async def call(pending: Awaitable[Any]) -> Any:
    """Await a call of the layer for a bounded time.

    The layers and redis-py now and then lose a cancellation: it came as they awaited a task of theirs that they had
    cancelled themselves, or it turned into a failure of the connection.

    Raises TimeoutError, and whatever the layer raises.
    """
    try:
        async with asyncio.timeout(CALL_TIMEOUT):
            return await pending
    finally:
        heed_cancellation()


def closer(layer: Any) -> Callable[[], Awaitable[None]] | None:
    """Return the method that only closes a layer's connections; ``None`` if livepush knows no such method.

    ``flush`` of the pub/sub layer is that; every other layer's ``flush`` empties Redis.
    """
    pubsub: Any = getattr(sys.modules.get("channels_redis.pubsub"), "RedisPubSubChannelLayer", ())
    name = "flush" if isinstance(layer, pubsub) else "close_pools"
    close: Callable[[], Awaitable[None]] | None = getattr(layer, name, None)
    if close is None:
        note_once(
            "livepush does not know how to close the connections of %s: after a failure it leaves them to the garbage "
            "collector.",
            type(layer).__qualname__,
        )
    return close


def is_timeout(error: Exception) -> bool:
    """Return whether a call timed out; redis-py's own error is no TimeoutError."""
    return isinstance(error, TimeoutError) or "Timeout" in type(error).__name__
