"""livepush's checks for ``manage.py check``. Each finding names its remedy."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from channels import layers
from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.urls import NoReverseMatch, reverse

from livepush.access import handshakes
from livepush.access.rules import Rule, rules
from livepush.conf import NAMES, get_settings
from livepush.models import Event
from livepush.publish import databases, model_events, names
from livepush.wire import type_problem

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
        problem = f"LIVEPUSH['DATABASE'] is {found.DATABASE!r}, which DATABASES does not have."
        messages.append(Error(problem, hint=f"Choose one of {sorted(settings.DATABASES)}.", id="livepush.E002"))
    return [*messages, *_unusable_checks()]


def _unusable_checks() -> list[CheckMessage]:
    try:
        handshakes.checks()
    except ImproperlyConfigured as error:
        hint = "Give functions and classes of middleware, or dotted paths to them."
        return [Error(str(error), hint=hint, id="livepush.E010")]
    return []


@register("livepush")
def check_asgi(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Check that there is an ASGI application. Without one, clients can only poll."""
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
    """Check that ``runserver`` speaks ASGI, which needs daphne. daphne itself checks that it is listed early enough."""
    if not settings.DEBUG or apps.is_installed("daphne"):
        return []
    hint = "pip install daphne and put 'daphne' first in INSTALLED_APPS; or run another ASGI server."
    return [
        Warning("runserver speaks WSGI here, so browsers can poll and nothing more.", hint=hint, id="livepush.W003")
    ]


@register("livepush")
def check_rules(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Check that the project has a rule. Without one, users can read only ``user:<pk>`` and the inbox."""
    if any(map(_is_of_the_project, rules)):
        return []
    return [
        Warning(
            "No rule admits anyone to any group but user:<pk> and the inbox's.",
            hint="Add a function with @livepush.can_read('…') to the live.py of an app in INSTALLED_APPS.",
            id="livepush.W007",
        )
    ]


def _is_of_the_project(rule: Rule) -> bool:
    return not rule.function.__module__.startswith("livepush.")


@register("livepush")
def check_group_names(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Check that no two models share groups that a rule or model events use."""
    try:
        chosen = get_settings().GROUP_NAMES
    except ImproperlyConfigured:
        return []  # check_settings reports it
    messages: list[CheckMessage] = [
        Error(
            f"LIVEPUSH['GROUP_NAMES'] gives {label!r} the word {word!r}: {problem}.",
            hint=hint,
            id="livepush.E005",
        )
        for label, word in chosen.items()
        for problem, hint in _problems(label, word)
    ]
    for word in names.models_by_word():
        problem = names.clash(word)
        if problem is not None and _is_used(word):
            finding, _, hint = problem.partition(": ")
            messages.append(Error(f"{finding}.", hint=f"{hint[0].upper()}{hint[1:]}", id="livepush.E004"))
    return messages


def _problems(label: str, word: str) -> Iterator[tuple[str, str]]:
    """Yield each problem of an entry of ``GROUP_NAMES``, with its remedy."""
    if word in names.RESERVED:
        yield "livepush has groups of its own that begin with it", "Choose another word."
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        yield "there is no such model", "Write '<app label>.<model>', as in AUTH_USER_MODEL."
        return
    root = names.root_model(model)
    if names.is_user(model):
        yield "the groups of users are always called 'user:…'", "Take it out."
    elif root is not model:
        yield f"the groups of its instances are those of {root._meta.label}", f"Name {root._meta.label!r} instead."


def _is_used(word: str) -> bool:
    """Return whether a rule of the project or the default groups of model events use a word before the colon.

    A rule for ``user:<…>`` does not count, since it means the user model. For ``user``, only model events of another
    model count.
    """
    pattern = re.compile(rf"{re.escape(word)}:<[^<>]+>")
    if word != "user" and any(pattern.fullmatch(rule.pattern) for rule in rules if _is_of_the_project(rule)):
        return True
    return any(
        names.root_model(model)._meta.label in names.models_by_word()[word]
        for model, events in model_events.registry.items()
        if type(events).groups is model_events.ModelEvents.groups and not names.is_user(model)
    )


@register("livepush")
def check_types(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Check that no two models send events of the same types, and none sends events of livepush's own types."""
    try:
        get_settings()
    except ImproperlyConfigured:
        return []  # check_settings reports it
    senders = defaultdict(list)
    for model, events in model_events.registry.items():
        if type(events).type is model_events.ModelEvents.type:
            senders[names.type_word(model)].append(model)
    messages: list[CheckMessage] = []
    for word, models in senders.items():
        labels = " and ".join(model._meta.label for model in models)
        problem = type_problem(f"{word}.{model_events.CREATED}")
        if problem is not None:
            finding = f"{labels} can't send events of the type '{word}.{model_events.CREATED}': {problem}."
        elif len(models) > 1:
            finding = f"{labels} would send events of the same types, '{word}.{model_events.CREATED}' and so on."
        else:
            continue
        messages.append(Error(finding, hint=_another_word(models), id="livepush.E006"))
    return messages


def _another_word(models: list[Any]) -> str:
    """Return how to give one of some models other types."""
    named = [model._meta.label for model in models if names.root_model(model) is model and not names.is_user(model)]
    if not named:
        return "Write a type() method."
    remedy = {named[-1]: named[-1].lower().replace(".", "-")}
    return f"Give a model another word, such as LIVEPUSH['GROUP_NAMES'] = {remedy}, or write a type() method."


@register("livepush")
def check_databases(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Check that livepush's tables are where the hubs read, and that no model sends events to a log that none reads."""
    try:
        read = get_settings().DATABASE
    except ImproperlyConfigured:
        return []  # check_settings reports it
    where = f"the hubs read the log of LIVEPUSH['DATABASE'], {read!r}"
    messages: list[CheckMessage] = []
    routed = databases.routed(Event)
    if routed not in (None, read) or not router.allow_migrate_model(read, Event):
        what = (
            "keep livepush's tables out of it" if routed in (None, read) else f"write livepush's tables to {routed!r}"
        )
        hint = (
            f"Set LIVEPUSH['DATABASE'] to the database that has the tables, or let the routers leave them in {read!r}."
        )
        messages.append(Error(f"DATABASE_ROUTERS {what}, but {where}.", hint=hint, id="livepush.E011"))
    for model in model_events.registry:
        label, alias = model._meta.label, router.db_for_write(model)
        hint = f"Set LIVEPUSH['DATABASE'] to {alias!r}, or let DATABASE_ROUTERS write {label} to {read!r}."
        if alias == read:
            continue
        found = f"{label} is written to the database {alias!r}, so its events go to the log there"
        if not router.allow_migrate_model(alias, Event):
            found += ", where DATABASE_ROUTERS allow no log, and each save fails"
            messages.append(Error(f"{found}; {where}.", hint=hint, id="livepush.E012"))
        else:
            messages.append(Warning(f"{found}; {where}.", hint=hint, id="livepush.W008"))
    return messages


@register("livepush")
def check_layer(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Check that the channel layer exists and reaches other processes."""
    try:
        alias = get_settings().CHANNEL_LAYER
    except ImproperlyConfigured:
        return []  # check_settings reports it
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
    if isinstance(layer, layers.InMemoryChannelLayer):
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


def _suggest(key: object) -> str:
    near = difflib.get_close_matches(str(key).upper(), NAMES, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"The keys are {', '.join(NAMES)}."
