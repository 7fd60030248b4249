"""Counts what this process hands to the layer and what the layer brings it from others.

As an ASGI application, ``tests.servers.probe:application``, it is the project's, with the counts at ``/probe/``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

from livepush import layer, wire
from tests.asgi import application as project

sent: set[int] = set()
received: set[int] = set()


def _numbers(events: Iterable[wire.Event]) -> set[int]:
    return {event.number for event in events if event.number is not None}


def _batch_messages(batch: wire.Batch, *args: Any, **more: Any) -> list[dict[str, Any]]:
    sent.update(_numbers(batch.events))
    return wire.batch_messages(batch, *args, **more)


def _parse_batch(message: dict[str, Any]) -> wire.Batch:
    batch = wire.parse_batch(message)
    received.update(_numbers(batch.events))
    return batch


layer.batch_messages = _batch_messages
layer.parse_batch = _parse_batch


def counts() -> dict[str, list[int]]:
    """Return the numbers of the events that went out and came in."""
    return {"sent": sorted(sent), "received": sorted(received)}


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http" or scope["path"] != "/probe/":
        await project(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(counts()).encode()})
