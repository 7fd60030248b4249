"""Turns model signals into events: ``ModelEvents``, ``register``, and ``send_for`` where Django fires no signals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import Field, Model
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save

from livepush.exceptions import InvalidRule
from livepush.publish.names import Group, group_name
from livepush.publish.sending import on_good_connections, send
from livepush.publish.twins import has_async_twin

CREATED, UPDATED, DELETED, REMOVED = "created", "updated", "deleted", "removed"


class Action(str):
    """``"created"``, ``"updated"``, ``"deleted"`` or ``"removed"``, with the names of the fields that ``changed``."""

    changed: tuple[str, ...]

    def __new__(cls, name: str, changed: Iterable[str] = ()) -> Action:
        self = super().__new__(cls, name)
        self.changed = tuple(changed)
        return self


class ModelEvents:
    """Says which events the instances of a model send, to whom, and with which data.

    An event's type is ``<model>.<action>``, e.g. ``order.updated``. The actions are ``created``, ``updated``
    and ``deleted``. Groups that an updated instance has left get ``removed``.
    """

    fields: Sequence[str] = ()
    """Only updates that change one of these fields send an event. If empty, every update does."""
    m2m: Sequence[str] = ()
    """Many-to-many fields whose changes send ``updated``."""

    def __init__(self, model: type[Model]) -> None:
        self.model = model

    def groups(self, instance: Any) -> Iterable[Group]:
        """Return the groups that get an instance's events; by default its own, ``<model>:<pk>``."""
        return [instance]

    def data(self, instance: Any, action: Action) -> Any:
        """Return the event's data; by default the primary key and ``fields``. An update adds ``changed`` to a dict."""
        return {"id": instance.pk} | {name: self._field(name).value_from_object(instance) for name in self.fields}

    def type(self, instance: Any, action: Action) -> str:
        """Return the event's type."""
        return f"{self.model._meta.model_name}.{action}"

    def send(self, instance: Any, action: Action, groups: Iterable[Group], using: str | None) -> None:
        """Send one event to some groups; do nothing if there are none."""
        names = [group_name(group) for group in groups]
        if not names:
            return
        data = self.data(instance, action)
        if action == UPDATED and isinstance(data, dict):
            data = {"changed": list(action.changed), **data}
        send(names, self.type(instance, action), data, using=using)

    # Called by Django's signals

    def before_save(self, instance: Model, using: str, raw: bool) -> None:
        """Remember the stored row."""
        if raw:
            return
        surely_new = instance.pk is None or (instance._state.adding and self.model._meta.pk.has_default())
        self._remember(instance, None if surely_new else self._stored(instance, using))

    def after_save(
        self, instance: Model, using: str, raw: bool, created: bool, update_fields: frozenset[str] | None
    ) -> None:
        """Send the events of a save."""
        if raw:
            return
        before = self._recall(instance)
        now = self._as_stored(instance, using)
        if created:
            self.send(now, Action(CREATED), self.groups(now), using)
            return
        changed = self._changed(before, now, update_fields)
        left = [] if before is None else [name for name in self._names(before) if name not in self._names(now)]
        if left:
            self.send(now, Action(REMOVED, changed), left, using)
        if left or changed or not self.fields:
            self.send(now, Action(UPDATED, changed), self.groups(now), using)

    def before_delete(self, instance: Model, using: str) -> None:
        """Remember the groups, type and data of the event while the instance's relations still exist."""
        action = Action(DELETED)
        self._remember(instance, (self._names(instance), self.type(instance, action), self.data(instance, action)))

    def after_delete(self, instance: Model, using: str) -> None:
        """Send the event of a deletion."""
        remembered = self._recall(instance)
        if remembered is not None and remembered[0]:
            send(*remembered, using=using)

    def after_m2m(self, name: str, instances: Iterable[Model], using: str) -> None:
        """Send that a many-to-many field changed."""
        for instance in instances:
            self.send(instance, Action(UPDATED, [name]), self.groups(instance), using)

    # Comparing

    def _changed(self, before: Model | None, now: Model, update_fields: frozenset[str] | None) -> list[str]:
        names = self.fields or [field.name for field in self.model._meta.concrete_fields]
        fields = [self._field(name) for name in names]
        if update_fields is not None:
            fields = [field for field in fields if update_fields & {field.name, field.attname}]
        return [field.name for field in fields if before is None or _value(field, before) != _value(field, now)]

    def _field(self, name: str) -> Field[Any, Any]:
        field = self.model._meta.get_field(name)
        assert isinstance(field, Field)
        return field

    def _names(self, instance: Model) -> list[str]:
        return [group_name(group) for group in self.groups(instance)]

    def _stored(self, instance: Model, using: str) -> Model | None:
        return self.model._base_manager.using(using).filter(pk=instance.pk).first()

    def _as_stored(self, instance: Model, using: str) -> Model:
        """Return the instance, or its stored row if an expression such as ``F("count") + 1`` was saved."""
        expressions = any(
            hasattr(value, "resolve_expression") for name, value in vars(instance).items() if name[0] != "_"
        )
        return (self._stored(instance, using) if expressions else None) or instance

    # One signal's receiver stores values on the instance for the next signal's. Saves may be nested.

    def _remember(self, instance: Model, what: Any) -> None:
        memories = instance.__dict__.setdefault("_livepush_memories", {})
        memories.setdefault(id(self), []).append(what)

    def _recall(self, instance: Model) -> Any:
        memories = instance.__dict__.get("_livepush_memories", {})
        mine = memories.get(id(self))
        found = mine.pop() if mine else None
        if not mine:
            memories.pop(id(self), None)
        if not memories:
            instance.__dict__.pop("_livepush_memories", None)
        return found


Handler = TypeVar("Handler", bound=type[ModelEvents])
registry: dict[type[Model], ModelEvents] = {}


def register(*models: type[Model]) -> Callable[[Handler], Handler]:
    """Let a ``ModelEvents`` class send for some models.

    Raises InvalidRule: a model has such a class already, or lacks a field that the class names.
    """

    def decorate(handler: Handler) -> Handler:
        for model in models:
            _register(model, handler)
        return handler

    return decorate


@has_async_twin
def send_for(instances: Iterable[Model], action: str = UPDATED, *, changed: Iterable[str] = ()) -> int:
    """Send registered events after a write that fires no signals, such as ``QuerySet.update`` or ``bulk_create``.

    ``instances`` is a queryset or any iterable of one registered model. Returns the number of instances. Call
    it after the write, in the same transaction.

    Raises InvalidRule: a model that is not registered, an unknown action, or ``changed`` is a text.
    """
    if action not in (CREATED, UPDATED, DELETED):
        raise InvalidRule(f"{action!r} is not an action: expected 'created', 'updated' or 'deleted'.")
    if isinstance(changed, str):
        raise InvalidRule(f"changed is {changed!r}: expected the names of fields in a list, such as [{changed!r}].")
    count, changed = 0, tuple(changed)
    for instance in instances:
        handler = registry.get(type(instance))
        if handler is None:
            raise InvalidRule(f"{type(instance).__name__} sends no events: add @livepush.register to a live.py.")
        handler.send(instance, Action(action, changed), handler.groups(instance), instance._state.db)
        count += 1
    return count


async def asend_for(instances: Iterable[Model], action: str = UPDATED, *, changed: Iterable[str] = ()) -> int:
    """Send from async code; see ``send_for``."""
    return await sync_to_async(on_good_connections)(send_for, instances, action, changed=changed)


def _register(model: type[Model], handler: type[ModelEvents]) -> None:
    known = registry.get(model)
    if known is not None:
        if _name(type(known)) != _name(handler):
            raise InvalidRule(f"{model.__name__} sends events already, with {type(known).__name__}: merge the two.")
        _connect(model, known, connect=False)  # its module was loaded again
    for name in (*handler.fields, *handler.m2m):
        try:
            model._meta.get_field(name)
        except FieldDoesNotExist as error:
            raise InvalidRule(f"{handler.__name__} names a field that is not there: {error}.") from error
    registry[model] = handler(model)
    _connect(model, registry[model])


def _name(handler: type) -> tuple[str, str]:
    return handler.__module__, handler.__qualname__


def _value(field: Field[Any, Any], instance: Model) -> Any:
    """Return a field's value as the database would give it back: ``"5"`` in an integer field is 5."""
    value = getattr(instance, field.attname)
    try:
        return field.to_python(value)
    except ValidationError:
        return value


def _connect(model: type[Model], events: ModelEvents, *, connect: bool = True) -> None:
    """Connect (or disconnect) one model's signals."""

    def pre_save_(sender: Any, instance: Model, raw: bool, using: str, **kwargs: Any) -> None:
        events.before_save(instance, using, raw)

    def post_save_(sender: Any, instance: Model, raw: bool, using: str, **kwargs: Any) -> None:
        events.after_save(instance, using, raw, kwargs["created"], kwargs["update_fields"])

    def pre_delete_(sender: Any, instance: Model, using: str, **kwargs: Any) -> None:
        events.before_delete(instance, using)

    def post_delete_(sender: Any, instance: Model, using: str, **kwargs: Any) -> None:
        events.after_delete(instance, using)

    receivers = (
        (pre_save, pre_save_),
        (post_save, post_save_),
        (pre_delete, pre_delete_),
        (post_delete, post_delete_),
    )
    for signal, receiver in receivers:
        _wire(signal, receiver, model, f"livepush.{model._meta.label}", connect)
    for name in events.m2m:
        field: Any = model._meta.get_field(name)
        receiver = _m2m_receiver(events, name)
        _wire(m2m_changed, receiver, field.remote_field.through, f"livepush.{model._meta.label}.{name}", connect)


def _wire(signal: Any, receiver: Callable[..., None], sender: Any, uid: str, connect: bool) -> None:
    if connect:
        signal.connect(receiver, sender=sender, weak=False, dispatch_uid=uid)
    else:
        signal.disconnect(sender=sender, dispatch_uid=uid)


def _m2m_receiver(events: ModelEvents, name: str) -> Callable[..., None]:
    def receive(
        sender: Any,
        instance: Model,
        action: str,
        reverse: bool,
        pk_set: set[Any] | None,
        using: str,
        **kwargs: Any,
    ) -> None:
        if action == "pre_clear" and reverse:
            found = events.model._base_manager.using(using).filter(**{name: instance.pk})
            events._remember(instance, list(found))  # post_clear has no primary keys any more
        elif action == "post_clear":
            events.after_m2m(name, events._recall(instance) if reverse else [instance], using)
        elif action in ("post_add", "post_remove") and pk_set:
            others = events.model._base_manager.using(using).filter(pk__in=pk_set)
            events.after_m2m(name, others if reverse else [instance], using)

    return receive
