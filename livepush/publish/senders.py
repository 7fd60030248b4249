"""The stamp of a user who sends: what others see of a sender in the event's ``from``."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db.models import Model

from livepush.cancelling import contained
from livepush.conf import get_settings, load
from livepush.keys import key_of
from livepush.publish.data import as_json
from livepush.publish.names import is_user, root_model

NOBODY = '{"id":null,"name":""}'
"""The stamp of a client that is not logged in."""
MAX_STAMP_LENGTH = 2000


def public_user(user: Any) -> dict[str, Any]:
    """Return what others may see of a user: the ``from`` of an event that the user sends.

    Raises ImproperlyConfigured: ``LIVEPUSH["PUBLIC_USER"]`` returns what can't be sent.
    """
    found: dict[str, Any] = json.loads(stamp(user))
    return found


def id_and_name(user: Any) -> dict[str, Any]:
    """Return what others may see of a user by default: ``{"id": "7", "name": "Ada Lovelace"}``.

    The name is the full name; without one the username, of which the part after an ``@`` stays private.
    """
    full = user.get_full_name() if hasattr(user, "get_full_name") else ""
    key = user.pk
    if isinstance(user, Model):  # a child of the user model may have a primary key of its own
        key = key_of(user, root_model(user) if is_user(user) else user.__class__)
    return {"id": str(key), "name": full or str(user.get_username()).partition("@")[0]}


def stamp(user: Any) -> str:
    """Return a user's stamp as JSON: what ``LIVEPUSH["PUBLIC_USER"]`` returns.

    Raises ImproperlyConfigured: that is no dict with an ``id`` and a ``name``, or is no JSON.
    """
    if not getattr(user, "is_authenticated", False):
        return NOBODY
    path = get_settings().PUBLIC_USER
    with contained():
        found = _load(path)(user)
    try:
        if not isinstance(found, dict) or not found.keys() >= {"id", "name"}:
            raise TypeError(f"it returned {str(found)[:80]!r}")
        text = as_json(found)
        if len(text) > MAX_STAMP_LENGTH:
            raise ValueError(f"it returned {len(text)} characters")
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(
            f"LIVEPUSH['PUBLIC_USER'] names {path!r}, and {error}: expected a dict of JSON values such as "
            f'{{"id": "7", "name": "Ada"}}, of at most {MAX_STAMP_LENGTH} characters.'
        ) from error
    return text


@lru_cache(maxsize=4)
def _load(path: str) -> Any:
    return load("PUBLIC_USER", path)


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "LIVEPUSH":
        _load.cache_clear()


setting_changed.connect(_forget, dispatch_uid="livepush.senders")
