"""An ASGI application of the project whose receivers write what they are told into a file, a line of JSON each.

``LIVEPUSH_TEST_AUDIT`` is the file. ``LIVEPUSH_TEST_RECEIVERS`` may be ``slow``, ``leisurely`` or ``failing``: then
receivers of that kind, a sync one and an async one, are called before the one that writes.
"""

# ruff: noqa: E402 (Django must be ready before its models are imported)
from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.dispatch import Signal

from livepush import signals
from tests.servers.limited import application

__all__ = ["application"]

NAMES = ("connected", "disconnected", "denied", "revoked", "throttled")
KIND = os.environ.get("LIVEPUSH_TEST_RECEIVERS", "")
PAUSES = {"slow": 0.2, "leisurely": 0.02}
FILE = Path(os.environ["LIVEPUSH_TEST_AUDIT"])


def hinder() -> None:
    if KIND in PAUSES:
        time.sleep(PAUSES[KIND])
    elif KIND == "failing":
        raise RuntimeError("a receiver that fails")


def receive(**fields: Any) -> None:
    hinder()


async def receive_async(**fields: Any) -> None:
    hinder()


def writer(name: str) -> Any:
    def write(sender: None, signal: Signal, user: Any, **fields: Any) -> None:
        with FILE.open("a") as file:
            file.write(json.dumps({"name": name, "user": user and user.get_username(), **fields}) + "\n")

    return write


for name in NAMES:
    found: Signal = getattr(signals, name)
    if KIND:
        found.connect(receive)
        found.connect(receive_async)
    found.connect(writer(name), weak=False)
