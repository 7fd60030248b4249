"""Rows between users and their groups or permissions that are a model of the project's own (``through``).

Django sends ``m2m_changed`` for what is done with ``user.groups``. For such a row it sends what it sends for any model:
nothing for ``update()``, ``bulk_create()``, ``bulk_update()`` and raw SQL, so livepush does not hear of these.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from threading import local
from typing import Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS
from django.db.models import ManyToManyField
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save

from livepush import log, publish, tenants

CHUNK = 500
"""How many keys one query names. SQLite before 3.32 allows no more than 999."""
WAS = "_livepush_was"
"""The attribute of a row that is being saved with the pair that the database has."""
Pair = tuple[Any, Any]
"""The keys of a user and of an auth group or a permission."""


def follow_links(users: Any, name: str, receive: Callable[..., object]) -> None:
    """Call a receiver of ``m2m_changed`` also when such rows are made, changed or deleted.

    ``name`` is that of the user model's field. Does nothing if there is no such field, if Django makes the rows, or if
    a foreign key of theirs names another field than the primary key (``to_field``).
    """
    field: Any = next((each for each in users._meta.get_fields() if each.name == name), None)
    through: Any = field.remote_field.through if isinstance(field, ManyToManyField) else None
    if through is None or through._meta.auto_created:
        return
    if all(side.target_field.primary_key for side in _sides(field)):
        _links_of(field).receivers[receive] = None


class _Deletion(local):
    """The last deletion of several rows in this thread: a queryset's, or that of an instance which takes them along."""

    def __init__(self) -> None:
        self.origin: Any = None
        self.pairs: set[Pair] = set()
        """The pairs of the rows, as long as they are not told."""


class _Links:
    """The rows of one such model. An error of what follows them is logged; see ``log.without_raising``."""

    def __init__(self, field: Any) -> None:
        self.through = field.remote_field.through
        self.receivers: dict[Callable[..., object], None] = {}
        self._sides = self._user, self._other = _sides(field)
        self._last = _Deletion()
        for model in apps.get_models():
            if issubclass(model, self.through):  # a proxy or a child sends signals of its own
                pre_save.connect(self.saving, sender=model)
                post_save.connect(self.saved, sender=model)
                if model._meta.concrete_model is self.through._meta.concrete_model:  # a child's parent is deleted
                    post_delete.connect(self.deleted, sender=model)
        m2m_changed.connect(self.changed, sender=self.through)

    def saving(self, instance: Any, using: str = DEFAULT_DB_ALIAS, update_fields: Any = None, **kwargs: Any) -> None:
        """Remember the pair of a row that may get another one."""
        instance.__dict__.pop(WAS, None)  # of a save that has failed
        names = {each for side in self._sides for each in (side.name, side.attname)}
        if instance.pk is None or (update_fields is not None and names.isdisjoint(update_fields)):
            return
        with _following(using):
            setattr(instance, WAS, next(self._pairs("pk", [instance.pk], using), None))

    def saved(self, instance: Any, using: str = DEFAULT_DB_ALIAS, created: bool = False, **kwargs: Any) -> None:
        """Tell of the pair that a row had before, unless another row has it, and of a new one that no other row has."""
        with _following(using):
            was, now = instance.__dict__.pop(WAS, None), self._pair(instance)
            if was == now or (was is None and not created):
                return
            if was is not None:
                self._tell_gone({was}, using)
            if None not in now and list(self._pairs(self._user.attname, [now[0]], using)).count(now) < 2:
                self._tell("post_add", {now}, using)

    def deleted(self, instance: Any, using: str = DEFAULT_DB_ALIAS, origin: Any = None, **kwargs: Any) -> None:
        """Tell of a row that is deleted by itself at once, and of several together, after the commit.

        If the process ends before that, or a hook of the project raises, nothing tells of them: RECHECK finds out what
        the users may read, and their memberships stay noted until they get the auth groups again and begin anew.
        """
        with _following(using):
            pair = self._pair(instance)
            if origin is None or origin is instance or log.dialect(using).in_testcase:
                self._tell_gone({pair}, using)
                return
            if self._last.origin is not origin:
                self._last.origin, self._last.pairs = origin, set()
            self._last.pairs.add(pair)
            tell = partial(self._tell_deleted, self._last.pairs, using, tenants.of_users_or_none())
            publish.on_commit(tell, using)  # for each row: Django drops those of a try that is rolled back

    def changed(self, instance: Any = None, action: str = "", reverse: bool = False, **kwargs: Any) -> None:
        """Django tells by itself of what it removes from ``user.groups``: do not tell of its rows again."""
        if action in ("pre_remove", "pre_clear"):
            self._last.origin, self._last.pairs = None, set()
        elif action in ("post_remove", "post_clear"):
            own, key = 1 if reverse else 0, getattr(instance, "pk", None)
            self._last.pairs -= {pair for pair in self._last.pairs if pair[own] == key}

    def _tell_deleted(self, pairs: set[Pair], using: str, tenant: str | None) -> None:
        if not pairs:
            return  # an earlier call has told of them
        deleted = pairs.copy()
        pairs.clear()
        with _following(using), tenants.active(tenant):
            self._tell_gone(deleted, using)

    def _tell_gone(self, pairs: set[Pair], using: str) -> None:
        """Tell of pairs without a row. Other receivers tell of deleted users, auth groups and permissions."""
        users, others = (
            {key for (key,) in _rows(side.related_model, "pk", {pair[own] for pair in pairs}, using, "pk")}
            for own, side in enumerate(self._sides)
        )
        left = set(self._pairs(self._user.attname, users, using))
        self._tell("post_remove", {pair for pair in pairs - left if pair[0] in users and pair[1] in others}, using)

    def _tell(self, action: str, pairs: set[Pair], using: str) -> None:
        """Call the receivers for each user, or for each auth group or permission if these are fewer."""
        own = 1 if len({other for _, other in pairs}) <= len({user for user, _ in pairs}) else 0
        told: dict[Any, set[Any]] = defaultdict(set)
        for pair in pairs:
            told[pair[own]].add(pair[1 - own])
        change = {"sender": self.through, "action": action, "reverse": own == 1, "using": using}
        for key, keys in told.items():
            for receive in self.receivers:
                receive(instance=self._sides[own].related_model(pk=key), pk_set=keys, **change)

    def _pair(self, link: Any) -> Pair:
        user, other = (side.target_field.to_python(getattr(link, side.attname)) for side in self._sides)
        return user, other

    def _pairs(self, name: str, keys: Iterable[Any], using: str) -> Iterator[Pair]:
        return _rows(self.through, name, keys, using, self._user.attname, self._other.attname)


_links_of = cache(_Links)
_following = partial(
    log.without_raising,
    message="livepush could not follow a row between a user and an auth group or a permission. RECHECK finds out what "
    "the user may read; the inbox may show older notifications of the group.",
)


def _sides(field: Any) -> tuple[Any, Any]:
    """Return the foreign keys of such rows: to the user, and to the auth group or permission."""
    meta = field.remote_field.through._meta
    return meta.get_field(field.m2m_field_name()), meta.get_field(field.m2m_reverse_field_name())


def _rows(model: Any, name: str, keys: Iterable[Any], using: str, *fields: str) -> Iterator[Any]:
    """Yield some fields of the rows that have one of some keys in a field; a query for each ``CHUNK``."""
    wanted = [key for key in keys if key is not None]
    for start in range(0, len(wanted), CHUNK):
        found = model._base_manager.using(using).filter(**{f"{name}__in": wanted[start : start + CHUNK]})
        yield from found.values_list(*fields)
