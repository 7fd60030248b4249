"""The probe's application behind a middleware that wraps what it is given to send with."""

from __future__ import annotations

from typing import Any

from tests.servers.probe import application as probe


async def application(scope: Any, receive: Any, send: Any) -> None:
    async def watched(message: Any) -> None:
        await send(message)

    await probe(scope, receive, watched)


async def both(scope: Any, receive: Any, send: Any) -> None:
    """Wrap what the application hears with too."""

    async def heard() -> Any:
        return await receive()

    await application(scope, heard, send)
