"""The site of ``benchmarks.rooms``: one room, where everybody may say and move what they like."""

# ruff: noqa: E402 (Django must be ready before the rules are made)
from __future__ import annotations

import os
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

import livepush
from tests.asgi import application

__all__ = ["application"]


@livepush.can_read("pitch:<slug:name>")
def may_read(user: Any, name: str) -> bool:
    return True


@livepush.can_send("pitch:<slug:name>", types=("said", "moved"))
def may_send(user: Any, name: str) -> bool:
    return True
