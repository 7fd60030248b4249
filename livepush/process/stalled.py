"""Hangs up on clients that stop receiving a large answer, which a server would wait for without end."""

from __future__ import annotations

import asyncio

from livepush.conf import get_settings
from livepush.process.requests import requests_of, spawn
from livepush.process.servers import Scope, Send
from livepush.process.servers.client import client_of

LOOKS = 5
"""How many times more a client is looked at that takes nothing of what waits for it, while the server does not wait."""


def expect_progress(scope: Scope, send: Send) -> None:
    """Hang up on a client that receives nothing of a large answer for ``WRITE_TIMEOUT``.

    Without this the server would wait for ever. When the server ends, such a client has until the end of the drain.
    """
    client, patience = client_of(scope, send), get_settings().WRITE_TIMEOUT
    loop = asyncio.get_running_loop()
    answered = requests_of(loop).answered
    key = client.connection()

    async def look(before: int, again: int) -> None:
        now = await client.progress()
        if now is not None and now.taken != before:
            look_later(now.taken)
            return
        if now is not None and now.waiting and not now.buffer_full and again:
            look_later(before, again - 1)  # a busy server may not have filled the buffer yet
            return
        try:
            if now is not None and now.buffer_full:
                await client.hang_up()
        finally:
            answered.pop(key, None)  # the loop may have ended what livepush runs for it

    def look_later(before: int, again: int = LOOKS) -> None:
        loop.call_later(patience, lambda: spawn(loop, look(before, again)))

    if key not in answered:
        answered[key] = client
        look_later(-1)
