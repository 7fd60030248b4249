"""A chat that clients send to, and groups whose rule asks the database, as an ASGI application of the project."""

# ruff: noqa: E402 (Django must be ready before its models are imported)
from __future__ import annotations

import os
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.contrib.auth.models import User
from django.db import connection

import livepush
from tests.servers.probe import application

__all__ = ["application"]


@livepush.can_read("chat")
@livepush.can_send("chat", types=("said", "chat"))
def chat(user: Any) -> bool:
    return True


@livepush.can_read("raises:<slug:name>")
def raises(user: Any, name: str) -> bool:
    raise LookupError(name)


@livepush.can_read("asks:<slug:name>")
def asks(user: Any, name: str) -> bool:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.002)")
    return not User.objects.filter(username=name).exists()
