"""An application that lets many clients come to a group at once, as far as its hub can tell, and counts the writes.

``GET /join/?count=10000&seconds=10`` answers with how many members the table has then, and how many statements wrote.
"""

# ruff: noqa: E402 (Django must be ready before its models are imported)
from __future__ import annotations

import asyncio
import json
import os
import re
import time
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.db.backends.signals import connection_created

from livepush import log, process
from livepush.access.authenticating import Identity
from livepush.access.identity import Handshake
from livepush.hub import Waiter
from livepush.rights import Grant, rights_of
from livepush.roster.models import Presence
from tests.asgi import application as project

GROUP = "lobby:storm"
writes: list[str] = []


def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    words = re.findall(r"\b(INSERT|UPDATE|DELETE)\b(?! SKIP)", re.sub(r"FOR UPDATE", "", sql))
    writes.extend(words[:1])
    return execute(sql, params, many, context)


log.harmless_wrappers.append(count)
connection_created.connect(lambda connection, **kwargs: connection.execute_wrappers.append(count), weak=False)


def user(number: int) -> Any:
    return SimpleNamespace(pk=number, username=f"user{number}", first_name="", is_authenticated=True)


async def join(number: int, seconds: float) -> dict[str, Any]:
    hub = await process.get_hub()
    rights = rights_of(hub)
    del writes[:]
    begun, slowest = time.monotonic(), 0.0
    for each in range(number):
        waiter = Waiter([GROUP])
        view = Handshake({}, "localhost", None, "/livepush/sse/")
        rights.add(Grant(Identity(user(each + 1)), view, waiter, waiter.revoke), rights.heard)
        ahead = begun + seconds * each / number - time.monotonic()
        before = time.monotonic()
        await asyncio.sleep(max(0.0, ahead))
        slowest = max(slowest, time.monotonic() - before - max(0.0, ahead))
    joined = time.monotonic()
    while (there := await process.in_thread(Presence.objects.filter(group=GROUP).count)) < number:
        if time.monotonic() - joined > 60:
            break
        await asyncio.sleep(0.05)
    return {
        "members": there,
        "writes": len(writes),
        "seconds": round(joined - begun, 1),
        "last one written after": round(time.monotonic() - joined, 2),
        "loop's longest pause": round(slowest, 3),
    }


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http" or scope["path"] != "/join/":
        await project(scope, receive, send)
        return
    asked = dict(parse_qsl(scope["query_string"].decode()))
    body = json.dumps(await join(int(asked["count"]), float(asked["seconds"]))).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})
