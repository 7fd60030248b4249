"""The tests' site with the URLs and the streams of django-eventstream, by livepush's bridge."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
from tests.asgi import application as project  # isort: skip (it sets Django up, which livepush's modules need)

from django.conf import settings
from django.contrib.auth.models import User
from django.db import OperationalError
from django.http import HttpResponse
from django.urls import include, path

from livepush.bridges import eventstream
from livepush.bridges.eventstream.channelmanager import DefaultChannelManager
from tests import urls


def send_loose(request):
    eventstream.send_event("loose", "message", 1)
    return HttpResponse()


class Manager(DefaultChannelManager):
    """Lets a user read ``staff`` while the user is of the staff, and does not store what is ``loose``.

    It fails for ``shaky`` until there is a user ``ready``.
    """

    def can_read_channel(self, user, channel):
        if channel == "shaky" and not User.objects.filter(username="ready").exists():
            raise OperationalError("the connection was closed")
        return (
            not channel.startswith("staff") or User.objects.filter(pk=getattr(user, "pk", None), is_staff=True).exists()
        )

    def is_channel_reliable(self, channel):
        return channel != "loose"


settings.EVENTSTREAM_CHANNELMANAGER_CLASS = f"{__name__}.Manager"
urls.urlpatterns += [path("events/", include(eventstream.urls)), path("send-loose/", send_loose)]
application = project
