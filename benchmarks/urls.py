"""Views that send, with livepush and with the peer, each with the time of sending in its data."""

from __future__ import annotations

import time

import django_eventstream
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django_eventstream.channelmanager import DefaultChannelManager

import livepush
from livepush.hub import registry


class Anyone(DefaultChannelManager):
    """Let anyone read any channel."""

    def can_read_channel(self, user, channel):
        return True


def ready(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"subscribers": sum(len(each.subscribers) for each in registry.hubs)})


def send(request: HttpRequest) -> HttpResponse:
    started = time.time()
    livepush.send("board", "bench", {"t": started})
    return JsonResponse({"took": time.time() - started})


def send_peer(request: HttpRequest) -> HttpResponse:
    started = time.time()
    django_eventstream.send_event("board", "message", {"t": started})
    return JsonResponse({"took": time.time() - started})


urlpatterns = [
    path("ready/", ready),
    path("send/", send),
    path("send-peer/", send_peer),
    path("livepush/", include("livepush.urls")),
    path("peer/", include(django_eventstream.urls), {"channels": ["board"]}),
]
