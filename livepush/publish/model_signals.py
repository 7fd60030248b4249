"""Connects a model's signals with its ``ModelEvents``, for its proxies and multi-table children too.

No receiver raises into the code that saves, unless the project wants to see its own errors. A project that
sends a signal itself may leave out any of its arguments.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Protocol
from weakref import ref

from django.conf import settings as django_settings
from django.core import mail
from django.core.serializers.base import DeserializedObject
from django.db import DatabaseError, connections, router
from django.db.models import Model
from django.db.models.signals import ModelSignal, m2m_changed, post_delete, post_save, pre_delete, pre_save

from livepush import log
from livepush.conf import get_settings
from livepush.notes import note_once

logger = logging.getLogger("livepush")

MAX_NESTED = 8
"""How many saves of one instance within each other are remembered."""
silent: ContextVar[int] = ContextVar("livepush_silent", default=0)
"""How many blocks of ``livepush.testing.silenced`` this code is in."""


class Events(Protocol):
    """What the receivers need of a ``ModelEvents``."""

    model: type[Model]
    m2m: Any

    def before_save(self, instance: Model, using: str, update_fields: frozenset[str] | None) -> None: ...
    def after_save(self, instance: Model, using: str, created: bool, update_fields: frozenset[str] | None) -> None: ...
    def before_delete(self, instance: Model, using: str) -> None: ...
    def after_delete(self, instance: Model, using: str) -> None: ...
    def before_m2m(self, instances: Any, using: str) -> dict[Any, list[str]]: ...
    def after_m2m(self, name: str, instances: Any, using: str, before: Any) -> None: ...


class Memory:
    """What one signal's receiver keeps of an instance for the next signal's receiver. Saves may be nested.

    It is kept beside the instance: what is on it would travel into caches with it. If a save fails, nobody recalls what
    was kept; then it goes with the instance.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[ref[Model], deque[Any]]] = {}

    def remember(self, instance: Model, what: Any) -> None:
        """Keep something until it is recalled."""
        key = id(instance)
        if key not in self._kept:
            gone = ref(instance, lambda _: self._kept.pop(key, None))
            self._kept[key] = (gone, deque(maxlen=MAX_NESTED))
        self._kept[key][1].append(what)

    def recall(self, instance: Model) -> Any:
        """Return what was remembered last, and forget it; ``None`` if there is nothing."""
        kept = self._kept.get(id(instance))
        if kept is None:
            return None
        found = kept[1].pop()
        if not kept[1]:
            del self._kept[id(instance)]
        return found


def connect(events: Events, *, connect: bool = True) -> None:
    """Connect (or disconnect) the signals of a model, its proxies and its multi-table children."""
    for model in family(events.model):
        connect_class(events, model, connect=connect)
    for name in events.m2m:
        field: Any = events.model._meta.get_field(name)
        uid = f"livepush.{events.model._meta.label}.{name}"
        _wire(m2m_changed, _m2m_receiver(events, name), field.remote_field.through, uid, connect)


def connect_class(events: Events, model: type[Model], *, connect: bool = True) -> None:
    """Connect (or disconnect) the signals that Django sends for one class of a model's family."""
    receivers = [(pre_save, _pre_save), (post_save, _post_save)]
    if events.model._meta.proxy or model._meta.concrete_model is events.model._meta.concrete_model:
        # Else Django sends them for the model itself too: a multi-table child is deleted with its parents.
        receivers += [(pre_delete, _pre_delete), (post_delete, _post_delete)]
    for signal, receiver in receivers:
        _wire(signal, receiver(events), model, f"livepush.{events.model._meta.label}", connect)


def family(model: type[Model]) -> Iterator[type[Model]]:
    """Yield a model, its proxies and its multi-table children."""
    if not model._meta.abstract:
        yield model
    for child in model.__subclasses__():
        yield from family(child)


def _wire(signal: ModelSignal, receiver: Callable[..., None], sender: Any, uid: str, connect: bool) -> None:
    if connect:
        signal.connect(receiver, sender=sender, weak=False, dispatch_uid=uid)
    else:
        signal.disconnect(sender=sender, dispatch_uid=uid)


# Receivers


def _pre_save(events: Events) -> Callable[..., None]:
    def pre_save_(instance: Model, using: str, kwargs: dict[str, Any]) -> None:
        if not kwargs.get("raw"):
            events.before_save(instance, using, _names(kwargs.get("update_fields")))

    return _guarded(events, pre_save_)


def _post_save(events: Events) -> Callable[..., None]:
    def post_save_(instance: Model, using: str, kwargs: dict[str, Any]) -> None:
        if not kwargs.get("raw"):
            created = bool(kwargs.get("created"))
            events.after_save(instance, using, created, _names(kwargs.get("update_fields")))

    return _guarded(events, post_save_)


def _pre_delete(events: Events) -> Callable[..., None]:
    return _guarded(events, lambda instance, using, kwargs: events.before_delete(instance, using))


def _post_delete(events: Events) -> Callable[..., None]:
    return _guarded(events, lambda instance, using, kwargs: events.after_delete(instance, using))


def _m2m_receiver(events: Events, name: str) -> Callable[..., None]:
    return _guarded(events, _ManyToMany(events, name).hear, either_side=True)


class _ManyToMany:
    """Hears of the changes of one many-to-many field."""

    def __init__(self, events: Events, name: str) -> None:
        field: Any = events.model._meta.get_field(name)
        self._events = events
        self._name = name
        self._both_ways: bool = field.remote_field.symmetrical
        """Whether what one instance gets, the other one gets too, of which Django tells nothing."""
        self._changing = Memory()

    def hear(self, instance: Model, using: str, kwargs: dict[str, Any]) -> None:
        """Note which groups the instances have before a change, and send the change after it."""
        when, _, what = str(kwargs.get("action")).partition("_")
        changes = what == "clear" or (what in ("add", "remove") and (kwargs.get("pk_set") or "pk_set" not in kwargs))
        if not changes or kwargs.get("raw") or in_fixture():
            return
        events = self._events
        forward = not kwargs.get("reverse", not isinstance(instance, events.model))
        near = [instance] if forward and isinstance(instance, events.model) else []  # not a parent of it
        if when == "pre":
            far, groups = list(self._far_side(instance, using, kwargs, forward)), {}
            try:
                groups = events.before_m2m([*near, *far], using)
            finally:
                self._changing.remember(instance, (far, groups))
        elif when == "post":
            far, groups = self._changing.recall(instance) or ([], {})
            if what != "clear":  # after that they are unknown
                far = list(self._far_side(instance, using, kwargs, forward))
            events.after_m2m(self._name, [*near, *far], using, groups)

    def _far_side(self, instance: Model, using: str, kwargs: dict[str, Any], forward: bool) -> Iterable[Model]:
        """Return the instances of the model that are changed with an instance."""
        if forward and not self._both_ways:
            return []
        others = self._events.model._base_manager.using(using)
        if kwargs["action"].endswith("clear"):
            return others.filter(**{self._name: instance.pk})
        return others.filter(pk__in=set(kwargs.get("pk_set") or ()) - ({instance.pk} if forward else set()))


def in_fixture() -> bool:
    """Return whether the caller's caller and so on is a serializer, which saves many-to-many fields without a hint."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code is not DeserializedObject.save.__code__:
        frame = frame.f_back
    return frame is not None


def forces_update(instance: Model) -> bool:
    """Return whether the caller's caller and so on saves an instance with ``force_update``: no signal tells it."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code is not Model.save_base.__code__:
        frame = frame.f_back
    return frame is not None and frame.f_locals.get("self") is instance and bool(frame.f_locals.get("force_update"))


def _names(update_fields: Any) -> frozenset[str] | None:
    return None if update_fields is None else frozenset(update_fields)


# What goes wrong


def _guarded(
    events: Events, receive: Callable[[Any, str, dict[str, Any]], None], either_side: bool = False
) -> Callable[..., None]:
    """Return a receiver that ignores what is no instance of the model, and raises only what the project wants."""

    def receiver(sender: Any = None, instance: Any = None, using: str | None = None, **kwargs: Any) -> None:
        if not isinstance(instance, Model if either_side else events.model) or is_silent():
            return
        try:
            using = using or instance._state.db or router.db_for_write(instance.__class__, instance=instance)
            if _has_log(using):
                receive(instance, using, kwargs)
        except Exception as error:
            if _must_raise(error, using):
                raise
            logger.exception("%s failed, so an event of %r was not sent.", _label(events), instance.__class__.__name__)

    return receiver


def _has_log(using: str) -> bool:
    """Return whether a database that a model is saved to can hold its events; note it if not."""
    if log.exists(using):
        return True
    what = "The database %r has no log of livepush, so what is saved there sends nothing."
    note_once(what, using, level=logging.WARNING)
    return False


def is_silent() -> bool:
    """Return whether signals send nothing here, by a setting or in a block of a test."""
    return silent.get() > 0 or not get_settings().MODEL_EVENTS


def _must_raise(error: Exception, using: str | None) -> bool:
    """Return whether the code that saves gets an error.

    After an error of the database an open transaction can't go on, so that is always raised in one.
    """
    if using and isinstance(error, DatabaseError) and connections[using].in_atomic_block:
        return True
    wanted = get_settings().MODEL_EVENT_ERRORS
    in_test = hasattr(mail, "outbox")
    return wanted == "raise" or (wanted == "auto" and (django_settings.DEBUG or in_test))


def _label(events: Events) -> str:
    return f"{type(events).__module__}.{type(events).__qualname__}"
