"""Groups whose rules say since when they may be read, as an ASGI application of the project."""

# ruff: noqa: E402 (Django must be ready before its models are imported)
from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

import livepush
from livepush.models import Event
from tests.asgi import application

__all__ = ["application"]


def event(count: int) -> Event | None:
    """Return the last event of the first ``count`` ones in this group."""
    found = list(Event.objects.filter(group="after:5", position__isnull=False, type="alone").order_by("position"))
    return found[count - 1] if len(found) >= count else None


@livepush.can_read("said:<slug:name>")
def said_by(user: Any, name: str) -> Any:
    """Say what the last event of the group ``rule:NAME`` says: a position, a time, or nothing in particular."""
    last = Event.objects.filter(group=f"rule:{name}", position__isnull=False).order_by("-position").first()
    said = json.loads(last.data) if last else None
    return datetime.fromisoformat(said) if said and said.endswith("Z") else said or True


@livepush.can_read("after:<int:count>")
def after(user: Any, count: int) -> Any:
    found = event(count)
    return True if found is None else f"e-{found.position}"


@livepush.can_read("from:<int:count>")
def from_time(user: Any, count: int) -> Any:
    found = event(count)
    return True if found is None else found.created + timedelta(microseconds=1)


@livepush.can_read("afrom:<int:count>")
async def afrom_time(user: Any, count: int) -> Any:
    async for found in Event.objects.filter(group="after:5", type="alone").order_by("position")[count - 1 : count]:
        return found.created + timedelta(microseconds=1)
    return True
