"""Turns model signals into events: ``ModelEvents``, ``register``, and ``send_for`` where Django fires no signals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple, TypeVar

from asgiref.sync import sync_to_async
from django.db.models import Field, Model
from django.db.models.signals import class_prepared

from livepush.exceptions import InvalidRule
from livepush.keys import key_of
from livepush.publish import model_signals, registering
from livepush.publish.comparing import as_data, differ, generated, is_expression
from livepush.publish.databases import routed
from livepush.publish.model_signals import Memory
from livepush.publish.names import Group, group_names, type_word
from livepush.publish.sending import on_good_connections, send
from livepush.publish.twins import has_async_twin

CREATED, UPDATED, DELETED, REMOVED = "created", "updated", "deleted", "removed"


class Action(str):
    """``"created"``, ``"updated"``, ``"deleted"`` or ``"removed"``, with the names of the fields that ``changed``."""

    changed: tuple[str, ...]
    prepared: tuple[str, Any] | None = None  # a deletion's type and data, taken while the relations still existed

    def __new__(cls, name: str, changed: Iterable[str] = ()) -> Action:
        self = super().__new__(cls, name)
        self.changed = tuple(changed)
        return self


class _Before(NamedTuple):
    """A row before a save, and its groups then."""

    row: Model
    groups: list[str]


class ModelEvents:
    """Says which events the instances of a model send, to whom, and with which data.

    An event's type is ``<model>.<action>``, e.g. ``order.updated``; for a model in ``GROUP_NAMES`` it begins with the
    word there. The actions are ``created``, ``updated`` and ``deleted``. Groups that an updated instance has left get
    ``removed``. A model's proxies and multi-table children send its events too.
    """

    fields: Sequence[str] = ()
    """Only updates that change one of these fields send an event. If empty, every update does."""
    m2m: Sequence[str] = ()
    """Many-to-many fields whose changes send ``updated``."""

    def __init__(self, model: type[Model]) -> None:
        self.model = model
        self._rows, self._deletions = Memory(), Memory()

    def groups(self, instance: Any) -> Iterable[Group]:
        """Return the groups that get an instance's events; by default its own, ``<model>:<pk>``.

        One group alone, as in ``send``, is taken too, and ``None`` for no group.
        """
        return [instance]

    def data(self, instance: Any, action: Action) -> Any:
        """Return the event's data; by default the primary key and ``fields``. An update adds ``changed`` to a dict."""
        return {"id": self._key(instance)} | {name: as_data(self._field(name), instance) for name in self.fields}

    def type(self, instance: Any, action: Action) -> str:
        """Return the event's type."""
        return f"{type_word(self.model)}.{action}"

    def send(self, instance: Any, action: Action, groups: Iterable[Group], using: str | None) -> None:
        """Send one event to some groups; do nothing if there are none."""
        if not (names := group_names(groups)):
            return
        type, data = getattr(action, "prepared", None) or (self.type(instance, action), self.data(instance, action))
        if action == UPDATED and isinstance(data, dict):
            data = {"changed": list(getattr(action, "changed", ())), **data}  # a project may pass on a plain string
        send(names, type, data, using=using)

    # Called by Django's signals

    def before_save(self, instance: Model, using: str, update_fields: frozenset[str] | None) -> None:
        """Remember the stored row and its groups."""
        key = self._key(instance)
        is_new = key is None or is_expression(key) or self._is_inserted(instance)
        self._rows.remember(instance, None if is_new else self._before(instance, using, update_fields))

    def _is_inserted(self, instance: Model) -> bool:
        """Return whether Django inserts a row without looking for an old one, since the key has a default."""
        made = instance._state.adding and self.model._meta.pk.has_default()
        return made and not model_signals.forces_update(instance)

    def after_save(self, instance: Model, using: str, created: bool, update_fields: frozenset[str] | None) -> None:
        """Send the events of a save."""
        before = self._rows.recall(instance)
        now = self._as_stored(instance, using, created)
        if created and before is None:  # a child may be created for a parent that is there already
            self.send(now, Action(CREATED), self.groups(now), using)
            return
        changed = self._changed(before and before.row, now, update_fields)
        groups = [] if before is None else before.groups
        concerns = bool(changed or not self.fields)
        if groups or concerns:
            self._send_update(now, Action(UPDATED, changed), groups, using, concerns)

    def _send_update(self, now: Model, action: Action, before: Iterable[str], using: str, always: bool = True) -> None:
        """Send ``removed`` to the groups that an instance has left, and the update if there are any, or ``always``."""
        groups = self._names_of(now)
        kept = set(groups)
        left = [name for name in before if name not in kept]
        if left:
            self.send(now, Action(REMOVED, action.changed), left, using)
        if left or always:
            self.send(now, action, groups, using)

    def before_delete(self, instance: Model, using: str) -> None:
        """Remember the groups, type and data of the event while the instance's relations still exist."""
        event: tuple[list[str], Action] = ([], Action(DELETED))
        try:
            event = self._deletion_of(instance)
        finally:
            self._deletions.remember(instance, event)

    def after_delete(self, instance: Model, using: str) -> None:
        """Send the event of a deletion; of one that was not announced, as of some soft deletions, what there is now."""
        groups, action = self._deletions.recall(instance) or self._deletion_of(instance)
        self.send(instance, action, groups, using)

    def _deletion_of(self, instance: Model) -> tuple[list[str], Action]:
        action = Action(DELETED)
        action.prepared = self.type(instance, action), self.data(instance, action)
        return self._names_of(instance), action

    def before_m2m(self, instances: Iterable[Model], using: str) -> dict[Any, list[str]]:
        """Return the groups of instances whose many-to-many field is about to change, by their primary keys."""
        # Copies are asked: what an instance remembers of its relations would be wrong after the change.
        return {each.pk: self._names_of(self._lazily_stored(each, using, frozenset())) for each in instances}

    def after_m2m(self, name: str, instances: Iterable[Model], using: str, before: Mapping[Any, list[str]]) -> None:
        """Send that a many-to-many field changed."""
        for instance in instances:
            self._send_update(instance, Action(UPDATED, [name]), before.get(instance.pk, ()), using)

    # Comparing

    def _changed(self, before: Model | None, now: Model, update_fields: frozenset[str] | None) -> list[str]:
        fields = self._within(update_fields)
        return [field.name for field in fields if before is None or differ(field, before, now)]

    def _within(self, update_fields: frozenset[str] | None) -> list[Field[Any, Any]]:
        """Return which of the fields that are compared a save may change: the database generates some anew."""
        return [
            field
            for field in self._fields()
            if update_fields is None or generated(field) or update_fields & {field.name, field.attname}
        ]

    def _field(self, name: str) -> Field[Any, Any]:
        field = self.model._meta.get_field(name)
        assert isinstance(field, Field)
        return field

    def _names_of(self, instance: Model) -> list[str]:
        return group_names(self.groups(instance))

    def _key(self, instance: Model) -> Any:
        """Return the primary key as this model has it; a multi-table child may have another one."""
        key = key_of(instance, self.model)
        return None if isinstance(key, tuple) and None in key else key

    def _stored(self, instance: Model, using: str) -> Model | None:
        return self.model._base_manager.using(using).filter(pk=self._key(instance)).first()

    def _before(self, instance: Model, using: str, update_fields: frozenset[str] | None) -> _Before | None:
        if update_fields is None or not self.fields or self._within(update_fields):
            row = self._stored(instance, using)
            return None if row is None else _Before(row, self._names_of(row))
        row = self._lazily_stored(instance, using, update_fields)
        try:
            return _Before(row, self._names_of(row))
        except self.model.DoesNotExist:  # type: ignore[attr-defined]
            return None

    def _lazily_stored(self, instance: Model, using: str, names: frozenset[str]) -> Model:
        """Return a copy of an instance that reads some fields from the database, each when it is used.

        This costs no query if ``groups()`` uses none of them.
        """
        row = type(instance).__new__(type(instance))
        row.__dict__.update(instance.__dict__)
        row._state = copy(instance._state)
        row._state.db, row._state.fields_cache = using, dict(instance._state.fields_cache)
        vars(row._state).pop("fetch_mode", None)  # FETCH_RAISE forbids the project's own queries
        row.__dict__.pop("_prefetched_objects_cache", None)
        for field in instance._meta.concrete_fields:
            if names & {field.name, field.attname}:
                row.__dict__.pop(field.attname, None)
                row._state.fields_cache.pop(field.name, None)
        return row

    def _as_stored(self, instance: Model, using: str, created: bool) -> Model:
        """Return the instance, or what tells the stored values where the instance does not.

        That is the stored row, if an expression such as ``F("count") + 1`` was saved. Where the database generates
        fields, an update may leave their old values on the instance: a copy of it reads them.
        """
        values = vars(instance)
        if any(is_expression(values.get(field.attname)) for field in instance._meta.concrete_fields):
            return self._stored(instance, using) or instance
        names = frozenset(field.attname for field in self._fields() if generated(field))
        return self._lazily_stored(instance, using, names) if names and not created else instance

    def _fields(self) -> Iterable[Field[Any, Any]]:
        return [self._field(name) for name in self.fields] or self.model._meta.concrete_fields


Handler = TypeVar("Handler", bound=type[ModelEvents])
registry: dict[type[Model], ModelEvents] = {}


def register(*models: type[Model]) -> Callable[[Handler], Handler]:
    """Let a ``ModelEvents`` class send for some models.

    Raises InvalidRule: what is given is no model, or the class no ``ModelEvents``; a model has such a class already, or
    lacks a field that the class names.
    """
    registering.check_models(models, ModelEvents)

    def decorate(handler: Handler) -> Handler:
        registering.check_handler(handler, ModelEvents)
        for model in models:
            _register(model, handler)
        return handler

    return decorate


@has_async_twin
def send_for(
    instances: Model | Iterable[Model], action: str = UPDATED, *, changed: Iterable[str] = (), using: str | None = None
) -> int:
    """Send registered events after a write that fires no signals, such as ``QuerySet.update`` or ``bulk_create``.

    ``instances`` is a queryset or any iterable of one registered model, or one instance. Returns the number of
    instances. Call it after the write, in the same transaction. ``using`` is the database alias to write to. By default
    it is the one that ``DATABASE_ROUTERS`` write an instance to, whatever replica it was read from; without a router's
    word, ``LIVEPUSH["DATABASE"]``.

    Raises InvalidRule: a model that is not registered, an unknown action, or ``changed`` is a text. Raises NotAtomic as
    ``send`` does.
    """
    if action not in (CREATED, UPDATED, DELETED):
        raise InvalidRule(f"{action!r} is not an action: expected 'created', 'updated' or 'deleted'.")
    if isinstance(changed, str):
        raise InvalidRule(f"changed is {changed!r}: expected the names of fields in a list, such as [{changed!r}].")
    count, changed = 0, tuple(changed)
    for instance in [instances] if isinstance(instances, Model) else instances:
        hearing = [events for model, events in registry.items() if isinstance(instance, model)]
        if not hearing:
            raise InvalidRule(f"{instance.__class__.__name__} sends no events: add @livepush.register to a live.py.")
        target = using or routed(instance.__class__, instance)
        for events in hearing:
            events.send(instance, Action(action, changed), events.groups(instance), target)
        count += 1
    return count


async def asend_for(
    instances: Model | Iterable[Model], action: str = UPDATED, *, changed: Iterable[str] = (), using: str | None = None
) -> int:
    """Send from async code; see ``send_for``."""
    return await sync_to_async(on_good_connections)(send_for, instances, action, changed=changed, using=using)


def _register(model: type[Model], handler: type[ModelEvents]) -> None:
    known = registry.get(model)
    if known is not None:
        if registering.origin(type(known)) != registering.origin(handler):
            raise InvalidRule(f"{model.__name__} sends events already, with {type(known).__name__}: merge the two.")
        model_signals.connect(known, connect=False)  # its module was loaded again
    registering.check_model(model, handler, registry, handler.groups is ModelEvents.groups)
    registering.check_fields(model, handler)
    registry[model] = handler(model)
    model_signals.connect(registry[model])


def _follow(sender: type[Model], **kwargs: Any) -> None:
    """Connect a proxy or a child that is defined after its parent was registered."""
    for model, events in registry.items():
        if sender is not model and issubclass(sender, model):
            model_signals.connect_class(events, sender)


class_prepared.connect(_follow, dispatch_uid="livepush.model_events")
