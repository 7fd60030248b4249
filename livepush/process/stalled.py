"""Hangs up on clients that stop receiving a large answer, which a server would wait for without end."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from contextvars import Context
from dataclasses import dataclass

from livepush.conf import get_settings
from livepush.process.requests import requests_of, spawn
from livepush.process.servers import Scope, Send
from livepush.process.servers.client import Peer, peer_of

LOOKS = 5
"""How many more times livepush looks at a client that takes nothing while its connection's send buffer has room."""


def expect_progress(scope: Scope, send: Send) -> None:
    """Hang up on a client that receives nothing of a large answer for ``WRITE_TIMEOUT``.

    Without this the server would wait for ever. When the server ends, such a client has until the end of the drain.
    """
    client = peer_of(scope, send).lightly()
    key = client.connection()
    answered = requests_of(asyncio.get_running_loop()).answered
    if key not in answered:
        answered[key] = client
        _look_later(_Watched(client, key, get_settings().WRITE_TIMEOUT))


@dataclass(slots=True)
class _Watched:
    """A client that was sent a large answer. There may be many, so it holds little."""

    client: Peer
    key: Hashable
    patience: float
    taken: int = -1
    """How much it had received when it was last looked at."""
    again: int = LOOKS


def _look_later(watched: _Watched) -> None:
    loop = asyncio.get_running_loop()
    loop.call_later(
        watched.patience, _begin_to_look, watched, context=Context()
    )  # a copy of the request's own would keep what is in it


def _begin_to_look(watched: _Watched) -> None:
    spawn(asyncio.get_running_loop(), _look(watched))


async def _look(watched: _Watched) -> None:
    answered, again = requests_of(asyncio.get_running_loop()).answered, False
    try:
        again = await _must_look_again(watched)
    finally:
        if again:
            _look_later(watched)
        else:
            answered.pop(watched.key, None)  # the loop may have ended what livepush runs for it


async def _must_look_again(watched: _Watched) -> bool:
    """Look at a client, and hang up on one that takes nothing; return whether to look at it again later."""
    try:
        now = await watched.client.progress()
    except OSError:  # no descriptor is left to find it with
        return True
    if now is None:
        return False
    if now.taken != watched.taken:
        watched.taken, watched.again = now.taken, LOOKS
        return True
    if now.waiting and not now.buffer_full and watched.again:
        watched.again -= 1  # a busy server may not have filled the buffer yet
        return True
    return now.buffer_full and not await watched.client.hang_up()
