"""Counts what this process hands to the layer and what the layer brings it from others.

As an ASGI application, ``tests.servers.probe:application``, it is the project's, with the counts at ``/probe/`` and
what the process holds at ``/stats/``.
"""

# ruff: noqa: E402 (Django must be ready before its models are imported)
from __future__ import annotations

import asyncio
import json
import os
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from tests.asgi import application as project  # isort: skip (it sets Django up, which livepush's modules need)

from django.db.backends.signals import connection_created

from livepush import hints, log, wire
from livepush.hub.connection import Connection, State
from livepush.hub.registry import hubs

sent: set[int] = set()
received: set[int] = set()


def _numbers(events: Iterable[wire.Event]) -> set[int]:
    return {event.number for event in events if event.number is not None}


def _split_batch(batch: wire.Batch, *args: Any, **more: Any) -> list[wire.Batch]:
    sent.update(_numbers(batch.events))
    return wire.split_batch(batch, *args, **more)


def _parse_announcement(body: str) -> wire.Announcement:
    found = wire.parse_announcement(body)
    received.update(_numbers(found.batch.events if found.batch else ()))
    return found


hints.sender.split_batch = _split_batch
hints.signing.parse_announcement = _parse_announcement


def counts() -> dict[str, list[int]]:
    """Return the numbers of the events that went out and came in."""
    return {"sent": sorted(sent), "received": sorted(received)}


queries: Counter[str] = Counter()
"""The statements of this process, by what they are about: ``log``, ``streams``, ``sessions`` or ``other``."""
closed: Counter[str] = Counter()
"""Why connections were closed, by reason."""


ABOUT = {"livepush_stream": "streams", "livepush_": "log", "session": "sessions", "auth_user": "sessions"}


def _count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    queries[next((about for word, about in ABOUT.items() if word in sql), "other")] += 1
    return execute(sql, params, many, context)


def _connected(sender: object, connection: Any, **kwargs: Any) -> None:
    if _count not in connection.execute_wrappers:
        connection.execute_wrappers.append(_count)


log.harmless_wrappers.append(_count)
connection_created.connect(_connected, dispatch_uid="tests.probe")
_close = Connection.close


def _closing(self: Connection, reason: Any, *args: Any) -> None:
    if self.state is not State.CLOSED:
        closed[reason.value] += 1
    _close(self, reason, *args)


Connection.close = _closing  # type: ignore[method-assign]


def stats() -> dict[str, Any]:
    """Return what this process holds and has done."""
    subscribers = [each for hub in hubs for each in hub.subscribers]
    states = Counter(each.state.value for each in subscribers if isinstance(each, Connection))
    return {
        "pid": os.getpid(),
        "subscribers": len(subscribers),
        "states": states,
        "short": sum(each._transport is not None for each in subscribers if isinstance(each, Connection)),
        "buffered": sum(each.buffered for each in subscribers if isinstance(each, Connection)),
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "queries": queries,
        "closed": closed,
        "position": [str(hub.position) for hub in hubs],
    }


async def application(scope: Any, receive: Any, send: Any) -> None:
    answers = {"/probe/": counts, "/stats/": stats}
    if scope["type"] != "http" or scope["path"] not in answers:
        await project(scope, receive, send)
        return
    body = json.dumps(answers[scope["path"]]()).encode()
    length = (b"content-length", str(len(body)).encode())
    headers = [(b"content-type", b"application/json"), length]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
