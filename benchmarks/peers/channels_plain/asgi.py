"""HTTP by Django, WebSocket by the consumer."""

# ruff: noqa: E402 (Django must be ready before consumers are imported)
from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.peers.channels_plain.settings"
django_application = get_asgi_application()

from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path

from benchmarks.peers.channels_plain.consumers import Board

application = ProtocolTypeRouter(
    {"http": django_application, "websocket": URLRouter([path("ws/", Board.as_asgi())])},
)
