"""The scenes of other clients' protocols, and of what the server tells of itself."""

from __future__ import annotations

import random
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from demo_project.parcels.views import done
from livepush.bridges.eventstream import send_event
from livepush.bridges.eventstream.channelmanager import DefaultChannelManager
from livepush.bridges.pusher.config import app

CALLS = (
    "The van to Ghent leaves in five minutes.",
    "Two parcels for Lyon are still on the belt.",
    "Who has the key of gate 3?",
    "The scanner at gate 1 works again.",
)


class Channels(DefaultChannelManager):
    """Says who may read which channel, as in a project that comes from django-eventstream."""

    def can_read_channel(self, user: Any, channel: str) -> bool:
        """Let everyone hear the desk."""
        return channel == "desk"


def pusher(request: HttpRequest) -> HttpResponse:
    """Show the board as Pusher's library tells it."""
    return render(request, "showcase/pusher.html", {"key": app().key})


def desk(request: HttpRequest) -> HttpResponse:
    """Show what the desk says; the button has it say something."""
    if request.method == "POST":
        # scene: eventstream
        send_event("desk", "message", {"text": random.choice(CALLS)})
        # scene: end
        return done(request)
    return render(request, "showcase/eventstream.html")


def figures(request: HttpRequest) -> HttpResponse:
    """Show some metrics, which the page reads itself."""
    return render(request, "showcase/figures.html")


def anyone(request: HttpRequest) -> bool:
    """Let everyone read the metrics."""
    return True
