"""The project's application behind a middleware that names the user and the session, as Channels' own does."""

# ruff: noqa: E402 (Django must be ready before its models are imported)
from __future__ import annotations

import os
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.db import SessionStore

from livepush.access import identity
from livepush.access.authenticating import identify
from tests import asgi


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] in ("http", "websocket"):
        found = await sync_to_async(identify)(identity.request_of(scope))
        scope = {**scope, "user": found.user, "session": SessionStore(found.session)}
    await asgi.application(scope, receive, send)
