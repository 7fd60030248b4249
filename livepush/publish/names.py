"""Names of groups. A group is given as its name, or as a model instance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, cast

from django.apps import apps
from django.conf import settings as django_settings
from django.core.exceptions import ValidationError
from django.core.signals import setting_changed
from django.db.models import Model
from django.utils.functional import Promise

from livepush import keys, wire
from livepush.conf import get_settings
from livepush.exceptions import InvalidGroup

Group = str | Model
"""The name of a group, or an instance that stands for its own group: ``order:7``, or ``user:7`` for a user."""
RESERVED = frozenset({"user", "inbox", "livepush"})
"""Words that livepush's own groups begin with. ``user`` stands for the user model, whatever its name is."""


def group_name(group: Group) -> str:
    """Return a group's name: itself, or ``<model>:<pk>`` for an instance (``user:<pk>`` for a user).

    An instance of a proxy or of a multi-table child has the group of its root model: an ``ExpressOrder(Order)`` has
    ``order:7`` too.

    Raises InvalidGroup: malformed, an instance that was not saved yet, or one whose model shares its name with another
    model (see ``LIVEPUSH["GROUP_NAMES"]``).
    """
    if isinstance(group, Model):
        key = key_of(group)
        group = f"{_unique_word(root_model(group))}:{key}"
    if not isinstance(group, str) or not wire.GROUP.fullmatch(group):
        raise InvalidGroup(
            f"{group!r} is not a group: expected 1 to {wire.MAX_GROUP_LENGTH} of letters, digits and _-.:/@+~=, "
            f"such as 'order:7', or a saved model instance{_hint(group)}."
        )
    return plain(group)


def listed(groups: Group | Iterable[Group]) -> list[Any]:
    """Return one group, or several, as a list. A translated text is no group, and not its letters either."""
    if isinstance(groups, str | Model | Promise) or not isinstance(groups, Iterable):
        return [groups]
    return list(groups)


def group_names(groups: Group | Iterable[Group] | None) -> list[str]:
    """Return the names of one group, of several, or of none.

    Raises InvalidGroup.
    """
    return [] if groups is None else [group_name(group) for group in listed(groups)]


def plain(text: Any) -> str:
    """Return a text as a ``str`` and no subclass of it; that of an ``Enum`` with texts is its value."""
    return str.__str__(text) if isinstance(text, str) else str(text)


def _hint(group: object) -> str:
    """Return what somebody who gave a bare primary key may have meant."""
    return "; for a user's primary key, livepush.user_group(pk)" if isinstance(group, int) else ""


def user_group(user: Any) -> str:
    """Return the group of one user, ``user:<pk>``, from a user or a primary key.

    A primary key may be a text that stands for it, such as ``"7"``. The database is not asked whether there is such a
    user, who may be gone already.

    Raises InvalidGroup: nobody, an instance of another model, a user that was not saved yet, or what can't be a primary
    key of a user, such as a username where keys are numbers.
    """
    if isinstance(user, Model):
        if not is_user(user):
            raise InvalidGroup(
                f"{user!r} is no user: expected an instance of {django_settings.AUTH_USER_MODEL}, or its primary key."
            )
        key = _key(user)
    else:
        key = user.pk if hasattr(user, "pk") else _user_key(user)
    if key is None:
        raise InvalidGroup(f"{user!r} is no saved user, so there is no group: check for one first.")
    return group_name(f"user:{key}")


def _user_key(value: Any) -> Any:
    """Return a primary key as users have it; ``None`` for none. Raises InvalidGroup: no user can have it."""
    if value is None:
        return value
    try:
        field: Any = apps.get_model(django_settings.AUTH_USER_MODEL)._meta.pk
        if isinstance(value, bool):
            raise ValueError
        text = plain(value)
        key = field.to_python(text)
        if isinstance(key, int) and str(key) != str(text):  # Python takes "1_0" for a number
            raise ValueError
        return key
    except LookupError:  # a project without users
        return value
    except (ValidationError, TypeError, ValueError) as error:
        means = " For all users, there is livepush.everyone." if value == "everyone" else ""
        raise InvalidGroup(
            f"{value!r} is no primary key of {django_settings.AUTH_USER_MODEL}: pass the user or its key.{means}"
        ) from error


# The model that an instance's group is named after


def root_model(thing: Model | type[Model]) -> type[Model]:
    """Return the model that a model's or an instance's groups are named after.

    For a proxy, that is the concrete model. For a multi-table child, it is the topmost parent. For a child of the user
    model, it is the user model.
    """
    root: Any = thing._meta.concrete_model
    while root._meta.parents and root._meta.label != _user_label():
        link = root._meta.pk.remote_field
        parent = link.model if link and link.parent_link else next(iter(root._meta.parents))
        root = parent._meta.concrete_model
    return cast(type[Model], root)


def key_of(instance: Model) -> Any:
    """Return the primary key that an instance's group is named after. It is the key of the root model.

    Raises InvalidGroup: the instance was not saved yet.
    """
    key = _key(instance)
    if key is None:
        raise InvalidGroup(f"{instance!r} has no primary key yet, so it has no group: save it first.")
    return key


def _key(instance: Model) -> Any:
    root = root_model(instance)
    if root._meta.is_composite_pk:
        raise InvalidGroup(
            f"{instance!r} has a key of several fields, so it has no group of its own: name the group, such as "
            f"'{root._meta.model_name}:7:42'."
        )
    return keys.key_of(instance, root)


def is_user(thing: Model | type[Model]) -> bool:
    """Return whether a model, or an instance's model, is the user model or a proxy or child of it."""
    return root_model(thing)._meta.label == _user_label()


@lru_cache(maxsize=1)
def _user_label() -> str:
    try:
        user = apps.get_model(django_settings.AUTH_USER_MODEL)
    except LookupError:  # a project without users
        return django_settings.AUTH_USER_MODEL
    return str(user._meta.concrete_model._meta.label)


def type_word(model: type[Model]) -> str:
    """Return what the types of a model's events begin with: its word in ``GROUP_NAMES``, else its own name."""
    return get_settings().GROUP_NAMES.get(model._meta.label_lower, str(model._meta.model_name))


# The word before the colon


def _word(root: type[Model]) -> str:
    if is_user(root):
        return "user"
    return get_settings().GROUP_NAMES.get(root._meta.label_lower, str(root._meta.model_name))


def _unique_word(root: type[Model]) -> str:
    word = _word(root)
    if not is_user(root) and (word in RESERVED or set(models_by_word().get(word, ())) - {root._meta.label}):
        raise InvalidGroup(f"{root._meta.object_name} instances name no group. {clash(word, root._meta.label)}")
    return word


@lru_cache(maxsize=1)
def models_by_word() -> dict[str, tuple[str, ...]]:
    """Return the labels of the project's models by the word that their groups begin with, such as ``order``."""
    found = defaultdict(list)
    for model in apps.get_models():
        if root_model(model) is model and model._meta.app_label != "livepush":
            found[_word(model)].append(model._meta.label)
    return {word: tuple(labels) for word, labels in found.items()}


def clash(word: str, *more: str) -> str | None:
    """Return which models' groups would begin with the same word, with a remedy; ``None`` if there is no clash."""
    labels = list(dict.fromkeys([*models_by_word().get(word, ()), *more]))
    others = [label for label in labels if label != _user_label()]
    if not others or (len(labels) == 1 and word not in RESERVED):
        return None
    whose = " and ".join(labels) if len(labels) > 1 else f"{labels[0]} and livepush itself"
    return (
        f"{whose} would share the groups that begin with '{word}:', and with them their readers: "
        f"{another_word(others)}, then rename its rules and event types."
    )


def another_word(labels: Iterable[str]) -> str:
    """Return how to give another word to one of some models: the one whose app comes last in ``INSTALLED_APPS``."""
    installed = [model._meta.label for model in apps.get_models()]
    last = max(labels, key=lambda label: installed.index(label) if label in installed else len(installed))
    return f"give a model another word, such as LIVEPUSH['GROUP_NAMES'] = { ({last: last.lower().replace('.', '-')}) }"


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting in ("LIVEPUSH", "AUTH_USER_MODEL", "INSTALLED_APPS"):
        _user_label.cache_clear()
        models_by_word.cache_clear()


setting_changed.connect(_forget, dispatch_uid="livepush.names")
