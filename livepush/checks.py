"""livepush's checks for ``manage.py check``. Each finding names its remedy."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from channels import layers
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, get_resolver, reverse
from django.utils.module_loading import import_string

from livepush import tenants
from livepush.access import handshakes, origins
from livepush.access.authenticating import authenticators
from livepush.access.rules import rules
from livepush.conf import NAMES, get_settings, load
from livepush.hints import Hint, chosen
from livepush.inbox import kinds
from livepush.model_checks import is_of_the_project

Apps = Sequence[AppConfig] | None


@register("livepush")
def check_settings(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Check for invalid values in ``LIVEPUSH``, and for keys that nothing reads."""
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
    elif settings.DATABASES[found.DATABASE].get("AUTOCOMMIT") is False:
        messages.append(
            Warning(
                f"DATABASES[{found.DATABASE!r}]['AUTOCOMMIT'] is False, so Django notices no commit: events go out "
                "when a hub next reads the log, and what livepush writes in a request is lost unless you commit it.",
                hint="Leave AUTOCOMMIT on and use transaction.atomic or ATOMIC_REQUESTS; see docs/sending.md.",
                id="livepush.W024",
            )
        )
    messages += [
        Warning(
            f"LIVEPUSH['ALLOWED_ORIGINS'] has {each!r}, which no browser sends as an origin.",
            hint="Write 'https://app.example.com' or 'http://localhost:3000': without path, wildcard or default port.",
            id="livepush.W026",
        )
        for each in found.ALLOWED_ORIGINS
        if not origins.is_possible(each)
    ]
    return [
        *messages,
        *_unusable(authenticators, "Give paths of functions of the request.", id="livepush.E026"),
        *_unusable(_public_user, "Give the path of a function of a user.", id="livepush.E027"),
        *_unusable(handshakes.checks, "Give functions and middleware, or paths to them.", id="livepush.E010"),
        *_unusable(_metrics, "See docs/monitoring.md.", id="livepush.E020"),
        *_unusable(_relays, "See docs/relays.md; outwards, and for webhooks, docs/outwards.md.", id="livepush.E021"),
        *_unusable(_pusher, "See docs/pusher.md.", id="livepush.E022"),
        *_unusable(_mercure, "See docs/mercure.md.", id="livepush.E025"),
        *_unusable(_grip, "See docs/grip.md.", id="livepush.E023"),
        *_unusable(_tracing, "See docs/monitoring.md.", id="livepush.E024"),
        *_unusable(tenants.hook, "Give the path of a subclass of livepush.tenants.Tenants.", id="livepush.E013"),
    ]


def _public_user() -> None:
    """Raise ImproperlyConfigured if what shows users to others can't be used."""
    load("PUBLIC_USER", get_settings().PUBLIC_USER)


def _metrics() -> None:
    """Raise ImproperlyConfigured if metrics are wanted and can't be told."""
    found = get_settings()
    if found.METRICS_ALLOWED:
        load("METRICS_ALLOWED", found.METRICS_ALLOWED)
    if (found.METRICS_TOKEN or found.METRICS_ALLOWED) and find_spec("prometheus_client") is None:
        raise ImproperlyConfigured('The metrics need prometheus_client: pip install "django-livepush[metrics]".')


def _grip() -> None:
    """Raise ImproperlyConfigured if the proxies at the edge can't be used."""
    if get_settings().GRIP:
        import_string("livepush.bridges.grip.config.check_edge")()


def _tracing() -> None:
    """Raise ImproperlyConfigured if events are to be traced and can't be."""
    if get_settings().TRACING and find_spec("opentelemetry") is None:
        raise ImproperlyConfigured('TRACING needs OpenTelemetry: pip install "django-livepush[tracing]".')


def _relays() -> None:
    """Raise ImproperlyConfigured if the settings of a relay are malformed."""
    if get_settings().RELAYS:
        import_string("livepush.bridges.relays.config.check_all")()


def _pusher() -> None:
    """Raise ImproperlyConfigured if the settings of the app for Pusher's clients are malformed."""
    if get_settings().PUSHER:
        import_string("livepush.bridges.pusher.config.check_app")()


def _mercure() -> None:
    """Raise ImproperlyConfigured if Mercure's clients can't be served."""
    if get_settings().MERCURE or _is_mounted("livepush.bridges.mercure.views"):
        if find_spec("jwt") is None:
            raise ImproperlyConfigured('Mercure needs PyJWT: pip install "django-livepush[mercure]".')
        import_string("livepush.bridges.mercure.config.check_hub")()


def _unusable(use: Callable[[], object], hint: str, id: str) -> list[CheckMessage]:
    """Return the error of a setting that names what can't be used."""
    try:
        use()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint=hint, id=id)]
    return []


@register("livepush")
def check_tenants(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Check that the tenants of a site whose tenants have schemas are kept apart, in one log that the hubs read."""
    own = getattr(settings, "TENANT_APPS", None)
    try:
        known = tenants.hook() is not None
    except ImproperlyConfigured:
        return []  # check_settings reports it
    if own is None:
        return []
    messages: list[CheckMessage] = []
    if any(name == "livepush" or name.startswith("livepush.") for name in own):
        what = "livepush is one of TENANT_APPS, so each tenant has a log of its own, which the hubs do not read."
        messages.append(Error(what, hint="Make it one of SHARED_APPS alone.", id="livepush.E014"))
    if not known:
        what = "The site has tenants, and livepush does not tell them apart: they would read each other's events."
        hint = "Set LIVEPUSH['TENANT'] to 'livepush.tenants.DjangoTenants', or to a class of your own."
        messages.append(Error(what, hint=hint, id="livepush.E015"))
    return messages


@register("livepush")
def check_rules(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Check that the project has a rule, or kinds of notifications. With neither, users can read little."""
    if any(map(is_of_the_project, rules)) or kinds.registry or _has_other_readers():
        return []
    return [
        Warning(
            "No rule admits anyone to any group but user:<pk> and the inbox's.",
            hint="Add a function with @livepush.can_read('…') to the live.py of an app in INSTALLED_APPS. If your site "
            "uses the inbox alone, add 'livepush.W007' to SILENCED_SYSTEM_CHECKS.",
            id="livepush.W007",
        )
    ]


def _has_other_readers() -> bool:
    """Return whether a bridge lets clients read without rules: Mercure's tokens, or django-eventstream's manager."""
    if getattr(settings, "EVENTSTREAM_CHANNELMANAGER_CLASS", None):
        return True
    try:
        return bool(get_settings().MERCURE)
    except ImproperlyConfigured:  # another check says so
        return False


@register("livepush")
def check_layer(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Check that the channel layer exists and reaches other processes, if it is to be the hint."""
    try:
        alias, hint = get_settings().CHANNEL_LAYER, get_settings().HINT
    except ImproperlyConfigured:
        return []  # check_settings reports it
    if hint in ("notify", "none"):
        return []
    configured = getattr(settings, "CHANNEL_LAYERS", {})
    if configured and alias not in configured:
        return [
            Warning(
                f"LIVEPUSH['CHANNEL_LAYER'] is {alias!r}, which CHANNEL_LAYERS does not have.",
                hint=f"Choose one of {sorted(configured)}.",
                id="livepush.W004",
            )
        ]
    try:
        layer = layers.channel_layers[alias] if configured else None
    except Exception as error:
        return [
            Warning(
                f"The channel layer {alias!r} can't be built: {type(error).__name__}: {error}",
                hint="Correct its CHANNEL_LAYERS entry, or take it out: livepush works without a layer.",
                id="livepush.W009",
            )
        ]
    if isinstance(layer, layers.InMemoryChannelLayer) and chosen() is Hint.NONE:
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
    """Check that the URLconf includes livepush."""
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
def check_eventstream(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Check that a site with the URLs of django-eventstream says who may read its channels."""
    named = getattr(settings, "EVENTSTREAM_CHANNELMANAGER_CLASS", None)
    if named or not _is_mounted("livepush.bridges.eventstream.views"):
        return []
    return [
        Warning(
            "EVENTSTREAM_CHANNELMANAGER_CLASS is not set, so anybody may read every channel.",
            hint="Name a channel manager with a can_read_channel; see docs/eventstream.md.",
            id="livepush.W021",
        )
    ]


@register("livepush")
def check_middleware(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Check that GZipMiddleware does not compress streams."""
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


def _is_mounted(module: str) -> bool:
    """Return whether the site's URLs lead to a view of a module. A module that nothing has imported is not imported."""
    if module not in sys.modules or not getattr(settings, "ROOT_URLCONF", None):
        return False
    return any(getattr(view, "__module__", "") == module for view in _views(get_resolver().url_patterns))


def _views(patterns: Iterable[Any]) -> Iterator[Any]:
    """Yield the views of URL patterns and of those that they include."""
    for each in patterns:
        if hasattr(each, "url_patterns"):
            yield from _views(each.url_patterns)
        else:
            yield each.callback


def _suggest(key: object) -> str:
    near = difflib.get_close_matches(str(key).upper(), NAMES, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"The keys are {', '.join(NAMES)}."
