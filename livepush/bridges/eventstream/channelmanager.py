"""Channel managers, in place of ``django_eventstream.channelmanager``: which channels a request means, who reads them.

``EVENTSTREAM_CHANNELMANAGER_CLASS`` names the project's. It may derive from django-eventstream's own class too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.http import HttpRequest
from django.utils.module_loading import import_string

SETTING = "EVENTSTREAM_CHANNELMANAGER_CLASS"


class ChannelManagerBase:
    """The answers of a channel manager."""

    def get_channels_for_request(self, request: HttpRequest, view_kwargs: Mapping[str, Any]) -> Collection[str]:
        """Return the channels that a request asks for."""
        raise NotImplementedError

    def can_read_channel(self, user: Any, channel: str) -> bool:
        """Return whether a user, ``None`` if nobody is logged in, may read a channel."""
        raise NotImplementedError

    def is_channel_reliable(self, channel: str) -> bool:
        """Return whether a channel's events are stored, so that clients can resume."""
        raise NotImplementedError


class DefaultChannelManager(ChannelManagerBase):
    """Takes channels from the URL's arguments, else from the query, and lets anybody read all of them."""

    def get_channels_for_request(self, request: HttpRequest, view_kwargs: Mapping[str, Any]) -> Collection[str]:
        """Return the URL's ``format-channels``, ``channels`` or ``channel``, else the query's ``channel``."""
        if "format-channels" in view_kwargs:
            return {each.format(**view_kwargs) for each in view_kwargs["format-channels"]}
        if "channels" in view_kwargs:
            return set(view_kwargs["channels"])
        return {view_kwargs["channel"]} if "channel" in view_kwargs else set(request.GET.getlist("channel"))

    def can_read_channel(self, user: Any, channel: str) -> bool:
        """Let anybody read."""
        return True

    def is_channel_reliable(self, channel: str) -> bool:
        """Store the events of every channel."""
        return True


@lru_cache(maxsize=1)
def manager() -> Any:
    """Return the project's channel manager. Raises ImproperlyConfigured: it can't be made."""
    path = getattr(settings, SETTING, f"{__name__}.DefaultChannelManager")
    try:
        return import_string(path)()
    except (ImportError, TypeError) as error:
        raise ImproperlyConfigured(f"{SETTING} is {path!r}, which can't be used: {error}") from error


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == SETTING:
        manager.cache_clear()


setting_changed.connect(_forget, dispatch_uid="livepush.bridges.eventstream")
