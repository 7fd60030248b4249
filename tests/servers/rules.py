"""Rules that use the database, fail, and hang. As an ASGI application it is the project's with these rules."""

# ruff: noqa: E402 (Django must be ready before its models are imported)
from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.db import OperationalError, connection

import livepush
from livepush.consumers import entering
from livepush.rights import rechecks
from tests.asgi import application

entering.ASK_AGAIN = float(os.environ.get("LIVEPUSH_TEST_ASK_AGAIN", entering.ASK_AGAIN))
rechecks.PATIENCE = float(os.environ.get("LIVEPUSH_TEST_RECHECK_PATIENCE", rechecks.PATIENCE))
down: set[str] = set()
"""What has failed already."""


def sleep() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(60)")


@livepush.can_read("orm:<slug:name>")
async def orm(user: Any, name: str) -> bool:
    return not await User.objects.filter(username=name).aexists()


async def by_name(request: Any) -> Any:
    """Authenticate by a header, as a project does that asks its directory."""
    name = request.headers.get("X-User")
    if name == "hangs":
        await asyncio.Event().wait()
    return None if name is None else await User.objects.filter(username=name).afirst()


async def counted(request: Any) -> bool:
    return "X-Gate" not in request.headers or await User.objects.acount() >= 0


@livepush.can_read("counter:<slug:name>")
@livepush.can_send("counter:<slug:name>")
def counter(user: Any, name: str) -> bool:
    return True


@livepush.receive("counter:<slug:name>", "count")
async def count(user: Any, data: Any, name: str) -> bool:
    return await User.objects.acount() >= 0


@livepush.can_read("slow:<slug:name>")
async def slow(user: Any, name: str) -> bool:
    await User.objects.acount()
    await asyncio.sleep(0.05)
    return not await User.objects.filter(username=name).aexists()


@livepush.can_read("fails:<slug:name>")
@livepush.can_send("fails:<slug:name>", types=("t",))
def fails(user: Any, name: str) -> bool:
    raise OperationalError("this database is down")


@livepush.can_read("afails:<slug:name>")
@livepush.can_send("afails:<slug:name>", types=("t",))
async def afails(user: Any, name: str) -> bool:
    raise OperationalError("this database is down")


@livepush.can_read("recovers:<slug:name>")
def recovers(user: Any, name: str) -> bool:
    if name not in down:
        down.add(name)
        raise OperationalError("this database is down")
    return True


@livepush.can_read("once:<slug:name>")
def once(user: Any, name: str) -> bool:
    """Fail for one handshake, both times that it is asked."""
    for nth in ("first", "second"):
        if f"{nth} {name}" not in down:
            down.add(f"{nth} {name}")
            raise OperationalError("this database is down")
    return True


@livepush.can_read("hangs:<slug:name>")
def hangs(user: Any, name: str) -> bool:
    sleep()
    return True


@livepush.can_read("ahangs:<slug:name>")
async def ahangs(user: Any, name: str) -> bool:
    await asyncio.Event().wait()
    return True


@livepush.can_read("qhangs:<slug:name>")
async def qhangs(user: Any, name: str) -> bool:
    await sync_to_async(sleep)()
    return True


@livepush.can_read("cart:<slug:key>")
def cart(user: Any, key: str, request: Any) -> bool:
    """Let a browser read what belongs to its session."""
    return bool(request.session_key == key)


@livepush.can_read("gate:<slug:name>")
def gate(user: Any, name: str) -> bool:
    """Say that it is asked, and wait until there is a user of this name."""
    Group.objects.get_or_create(name=f"asked-{name}")
    while not User.objects.filter(username=name).exists():
        time.sleep(0.02)
    return True


@livepush.can_read("stalls:<slug:name>")
def stalls(user: Any, name: str) -> bool:
    """Answer until there is a user of this name, then hang."""
    if User.objects.filter(username=name).exists():
        sleep()
    return True


@livepush.can_read("astalls:<slug:name>")
async def astalls(user: Any, name: str) -> bool:
    if await User.objects.filter(username=name).aexists():
        await asyncio.Event().wait()
    return True


__all__ = ["application"]
