"""What ``manage.py check`` says of a project's set-up; each finding with its remedy."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from channels import layers
from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, reverse

from livepush.access.rules import rules
from livepush.conf import NAMES, get_settings

Apps = Sequence[AppConfig] | None


@register("livepush")
def check_settings(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Values that can't be, and keys that nothing reads."""
    try:
        found = get_settings()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="See docs/settings.md for what each key takes.", id="livepush.E001")]
    messages: list[CheckMessage] = [
        Warning(f"LIVEPUSH has a key that nothing reads: {key!r}.", hint=_suggest(key), id="livepush.W001")
        for key in getattr(settings, "LIVEPUSH", {})
        if key not in NAMES
    ]
    if found.DATABASE not in settings.DATABASES:
        messages.append(
            Error(
                f"LIVEPUSH['DATABASE'] is {found.DATABASE!r}, which DATABASES does not have.",
                hint=f"Choose one of {sorted(settings.DATABASES)}.",
                id="livepush.E002",
            )
        )
    return messages


@register("livepush")
def check_asgi(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """An ASGI application, without which there is polling alone."""
    if getattr(settings, "ASGI_APPLICATION", None):
        return []
    return [
        Warning(
            "ASGI_APPLICATION is not set, so browsers can poll and nothing more.",
            hint="Set ASGI_APPLICATION = '<project>.asgi.application' and, in asgi.py, take get_asgi_application "
            "from livepush.asgi instead of django.core.asgi.",
            id="livepush.W002",
        )
    ]


@register("livepush")
def check_server(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """``runserver`` speaks ASGI only where daphne brings its own; that daphne comes early enough it checks itself."""
    if not settings.DEBUG or apps.is_installed("daphne"):
        return []
    hint = "pip install daphne and put 'daphne' first in INSTALLED_APPS; or run another ASGI server."
    return [
        Warning("runserver speaks WSGI here, so browsers can poll and nothing more.", hint=hint, id="livepush.W003")
    ]


@register("livepush")
def check_rules(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Rules of the project's own, without which nothing but ``user:<pk>`` and the inbox can be read."""
    if any(not rule.function.__module__.startswith("livepush.") for rule in rules):
        return []
    return [
        Warning(
            "No rule admits anyone to any group but user:<pk> and the inbox's.",
            hint="Add a function with @livepush.can_read('…') to the live.py of an app in INSTALLED_APPS.",
            id="livepush.W007",
        )
    ]


@register("livepush")
def check_layer(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """A layer that reaches no other process."""
    try:
        alias = get_settings().CHANNEL_LAYER
    except ImproperlyConfigured:
        return []  # said above
    configured = getattr(settings, "CHANNEL_LAYERS", {})
    if configured and alias not in configured:
        return [
            Warning(
                f"LIVEPUSH['CHANNEL_LAYER'] is {alias!r}, which CHANNEL_LAYERS does not have.",
                hint=f"Choose one of {sorted(configured)}.",
                id="livepush.W004",
            )
        ]
    if isinstance(layers.get_channel_layer(alias) if configured else None, layers.InMemoryChannelLayer):
        return [
            Warning(
                "The channel layer is the in-memory one, which reaches no other process: events of other processes "
                "arrive through the log, a quarter of a second later.",
                hint="Use channels_redis.pubsub.RedisPubSubChannelLayer, or no CHANNEL_LAYERS at all.",
                id="livepush.W005",
            )
        ]
    return []


@register("livepush")
def check_urls(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """The endpoints' address."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    try:
        reverse("livepush:poll")
    except NoReverseMatch:
        return [
            Error(
                "livepush has no address.",
                hint="Add path('livepush/', include('livepush.urls')) to your ROOT_URLCONF.",
                id="livepush.E003",
            )
        ]
    return []


@register("livepush")
def check_middleware(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Compression of pages: streams are safe from it only where they do not pass through it."""
    if "django.middleware.gzip.GZipMiddleware" not in settings.MIDDLEWARE:
        return []
    if getattr(settings, "ASGI_APPLICATION", None):
        return []
    return [
        Warning(
            "GZipMiddleware is on and livepush is served by Django's own handlers.",
            hint="Serve livepush through livepush.asgi, which passes no middleware, and let no proxy in front "
            "compress text/event-stream (nginx: leave it out of gzip_types).",
            id="livepush.W006",
        )
    ]


def _suggest(key: object) -> str:
    near = difflib.get_close_matches(str(key).upper(), NAMES, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"The keys are {', '.join(NAMES)}."
