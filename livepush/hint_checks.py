"""The system check of ``LIVEPUSH["HINT"]``: whether the site can have the hint that it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from livepush.conf import Settings, get_settings
from livepush.hints.choosing import is_postgresql


@register("livepush")
def check_hint(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the hint that is asked for is there. Without it, events arrive through the log."""
    try:
        found = get_settings()
    except ImproperlyConfigured:
        return []  # check_settings reports it
    if found.DATABASE not in settings.DATABASES:
        return []  # so does it here
    return [*_problems(found)]


def _problems(found: Settings) -> Iterator[Error]:
    if found.HINT == "notify" and not is_postgresql(found.DATABASE):
        yield Error(
            f"LIVEPUSH['HINT'] is 'notify', and the database {found.DATABASE!r} is not PostgreSQL.",
            hint="Set it to 'auto', or keep the log in PostgreSQL.",
            id="livepush.E016",
        )
    if found.HINT == "channels" and not getattr(settings, "CHANNEL_LAYERS", {}):
        yield Error(
            "LIVEPUSH['HINT'] is 'channels', and there are no CHANNEL_LAYERS.",
            hint="Set it to 'auto', or configure a layer (docs/deploying.md).",
            id="livepush.E017",
        )
    if found.NOTIFY_DATABASE and not is_postgresql(found.NOTIFY_DATABASE):
        yield Error(
            f"LIVEPUSH['NOTIFY_DATABASE'] is {found.NOTIFY_DATABASE!r}, which is no PostgreSQL database in DATABASES.",
            hint=f"Give the alias of a direct connection to the database of {found.DATABASE!r}, or leave it out.",
            id="livepush.E018",
        )
