"""Rows between users and their groups or permissions that are a model of the project's own (``through``).

Django sends ``m2m_changed`` for what is done with ``user.groups``. For such a row it sends what it sends for any model.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import ManyToManyField
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save

from livepush import log, publish, tenants
from livepush.exceptions import InvalidGroup

logger = logging.getLogger("livepush")

CHUNK = 500
"""How many keys one query names. SQLite allows no more than 999."""
WAS = "_livepush_was"
"""The attribute of a row that is being saved with the pair that the database has."""
Pair = tuple[Any, Any]
"""The keys of a user and of an auth group or a permission."""


def follow_links(users: Any, name: str, follow: Callable[..., object]) -> None:
    """Call a receiver of ``m2m_changed`` also when such rows are made, changed or deleted.

    ``name`` is that of the user model's field. Does nothing if there is no such field, or if Django makes the rows.
    """
    try:
        field: Any = users._meta.get_field(name)
    except FieldDoesNotExist:
        return
    through: Any = field.remote_field.through if isinstance(field, ManyToManyField) else None
    if through is None or through._meta.auto_created:
        return
    links = _followed.get((through, name))
    if links is None:
        links = _followed[through, name] = _Links(field)
    if follow not in links.followers:
        links.followers.append(follow)


class _Links:
    """The rows of one such model."""

    def __init__(self, field: Any) -> None:
        self.through = field.remote_field.through
        self.followers: list[Callable[..., object]] = []
        names = field.m2m_field_name(), field.m2m_reverse_field_name()
        self._user, self._other = map(self.through._meta.get_field, names)
        for model in apps.get_models():
            if issubclass(model, self.through):  # a proxy or a child sends signals of its own
                pre_save.connect(self.saving, sender=model)
                post_save.connect(self.saved, sender=model)
                if model._meta.concrete_model is self.through._meta.concrete_model:  # a child's parent is deleted
                    post_delete.connect(self.deleted, sender=model)
        m2m_changed.connect(self.removed, sender=self.through)

    def saving(self, instance: Any, using: str = DEFAULT_DB_ALIAS, update_fields: Any = None, **kwargs: Any) -> None:
        """Remember the pair of a row that may get another one."""
        instance.__dict__.pop(WAS, None)  # of a save that has failed
        names = {each for field in (self._user, self._other) for each in (field.name, field.attname)}
        if instance.pk is None or (update_fields is not None and names.isdisjoint(update_fields)):
            return
        with log.uncounted(using):
            setattr(instance, WAS, next(self._pairs("pk", [instance.pk], using), None))

    def saved(self, instance: Any, using: str = DEFAULT_DB_ALIAS, created: bool = False, **kwargs: Any) -> None:
        """Tell of a new pair, and of the one that the row had before."""
        was, now = instance.__dict__.pop(WAS, None), self._pair(instance)
        if was is not None and was != now:
            self.tell_gone({was}, using)
        if created or (was is not None and was != now):
            self._tell("post_add", {now}, using)

    def deleted(self, instance: Any, using: str = DEFAULT_DB_ALIAS, origin: Any = None, **kwargs: Any) -> None:
        """Tell of a row that is deleted by itself at once, and of others after the commit, together."""
        pair = self._pair(instance)
        if origin is instance or publish.is_unnoticed(using) or log.dialect(using).in_testcase:
            self.tell_gone({pair}, using)
            return
        tenant = _tenant()
        gathered = self._gathered(using, tenant)
        if gathered is None:
            gathered = _Gathered(self, using, tenant)
            transaction.on_commit(gathered, using=using)
        gathered.pairs.add(pair)

    def removed(
        self, instance: Any = None, action: str = "", reverse: bool = False, pk_set: Any = None,
        using: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Django has told by itself of what it removed from ``user.groups``: do not tell of its rows again."""
        if action not in ("post_remove", "post_clear"):
            return
        gathered = self._gathered(using or DEFAULT_DB_ALIAS, _tenant())
        if gathered is not None and instance is not None:
            own = 1 if reverse else 0
            gathered.pairs = {
                pair
                for pair in gathered.pairs
                if pair[own] != instance.pk or (pk_set is not None and pair[1 - own] not in pk_set)
            }

    def _gathered(self, using: str, tenant: str | None) -> _Gathered | None:
        """Return what was gathered so far; a savepoint gathers its own, which is dropped if it is rolled back."""
        connection: Any = connections[using]
        here = set(connection.savepoint_ids) - {None}
        for savepoints, work, *_ in reversed(connection.run_on_commit):
            if isinstance(work, _Gathered) and (work.links, work.tenant, savepoints - {None}) == (self, tenant, here):
                return work
        return None

    def tell_gone(self, pairs: set[Pair], using: str) -> None:
        """Tell of pairs without a row. The end of a user or an auth group is told by other receivers."""
        with log.uncounted(using):
            users, others = {user for user, _ in pairs}, {other for _, other in pairs}
            found = {key for (key,) in _rows(self._other.related_model, "pk", others, using, "pk")}
            if found:
                there = {key for (key,) in _rows(self._user.related_model, "pk", users, using, "pk")}
                left = set(self._pairs(self._user.attname, there, using))
                gone = {(user, other) for user, other in pairs - left if user in there and other in found}
                self._tell("post_remove", gone, using)

    def _tell(self, action: str, pairs: set[Pair], using: str) -> None:
        """Call the followers for each user, or for each auth group if these are fewer."""
        pairs = {pair for pair in pairs if None not in pair}
        users, others = {user for user, _ in pairs}, {other for _, other in pairs}
        reverse = len(others) <= len(users)
        model: Any = (self._other if reverse else self._user).related_model
        told: dict[Any, set[Any]] = defaultdict(set)
        for user, other in pairs:
            told[other if reverse else user].add(user if reverse else other)
        for key, keys in told.items():
            change = {"action": action, "reverse": reverse, "pk_set": keys, "using": using}
            for follow in self.followers:
                follow(sender=self.through, instance=model(pk=key), **change)

    def _pair(self, link: Any) -> Pair:
        user, other = (
            field.target_field.to_python(getattr(link, field.attname)) for field in (self._user, self._other)
        )
        return user, other

    def _pairs(self, name: str, keys: Iterable[Any], using: str) -> Iterator[Pair]:
        return _rows(self.through, name, keys, using, self._user.attname, self._other.attname)


class _Gathered:
    """The pairs of rows that a transaction has deleted. They are told once, after the commit."""

    def __init__(self, links: _Links, using: str, tenant: str | None) -> None:
        self.links, self.using, self.tenant = links, using, tenant
        self.pairs: set[Pair] = set()

    def __call__(self) -> None:
        try:
            with tenants.active(self.tenant):
                self.links.tell_gone(self.pairs, self.using)
        except Exception:
            logger.exception("livepush could not tell who has lost auth groups or permissions; RECHECK finds out.")


_followed: dict[tuple[Any, str], _Links] = {}
"""By model, and by the name of the user model's field."""


def _tenant() -> str | None:
    """Return the tenant whose users these are; ``None`` if they may be those of any."""
    with suppress(InvalidGroup):
        return tenants.of_users()
    return None


def _rows(model: Any, name: str, keys: Iterable[Any], using: str, *fields: str) -> Iterator[Any]:
    """Yield some fields of the rows that have one of some keys in a field; a query for each ``CHUNK``."""
    wanted = [key for key in keys if key is not None]
    for start in range(0, len(wanted), CHUNK):
        found = model._base_manager.using(using).filter(**{f"{name}__in": wanted[start : start + CHUNK]})
        yield from found.values_list(*fields)
