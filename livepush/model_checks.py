"""The checks of models, of the names of their groups and events, and of the databases that they are in."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.utils.text import capfirst

from livepush.access.rules import Rule, rules
from livepush.conf import get_settings
from livepush.models import Event
from livepush.publish import databases, model_events, names
from livepush.wire import type_problem

Apps = Sequence[AppConfig] | None


def is_of_the_project(rule: Rule) -> bool:
    """Return whether a rule is one of the project's, and not livepush's own."""
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
            messages.append(Error(f"{finding}.", hint=capfirst(hint), id="livepush.E004"))
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
    if word != "user" and any(pattern.fullmatch(rule.pattern) for rule in rules if is_of_the_project(rule)):
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
    return f"{capfirst(names.another_word(named))}, then rename its rules and event types; or write a type() method."


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
    has_schemas = hasattr(settings, "TENANT_APPS")  # their router speaks of the schema that is active, which may be any
    if routed not in (None, read) or not (has_schemas or router.allow_migrate_model(read, Event)):
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
        found = f"{label} is written to the database {alias!r}, "
        if not router.allow_migrate_model(alias, Event):
            found += "where DATABASE_ROUTERS allow no log, so its events are not sent"
            messages.append(Error(f"{found}; {where}.", hint=hint, id="livepush.E012"))
        else:
            found += "so its events go to the log there"
            messages.append(Warning(f"{found}; {where}.", hint=hint, id="livepush.W008"))
    return messages
