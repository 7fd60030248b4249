"""Reads sessions, and the users that they name, many at once.

It is what ``django.contrib.auth.get_user`` does for one request: the user must exist, the backend must accept the user,
and the password must be the one of the login.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from typing import Any, NamedTuple

from django.apps import apps
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.core.cache import InvalidCacheKey, caches
from django.core.cache.backends.base import BaseCache
from django.db.models import Model
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from livepush.keys import as_stored

CHUNK = 500
"""How many keys one query names. SQLite allows no more than 999."""


class Session(NamedTuple):
    """What a session holds, and when it ends, if its engine tells."""

    data: Mapping[str, Any]
    ends: datetime | None


def load(keys: Iterable[str]) -> dict[str, Session]:
    """Return the sessions that exist, by key. Sessions in a database or cache take a query for each ``CHUNK``."""
    wanted = [key for key in dict.fromkeys(keys) if key and "\0" not in key]  # databases accept no NUL
    engine = import_module(settings.SESSION_ENGINE).SessionStore
    found: dict[str, Session] = {}
    if _keeps(engine, "cache") or _keeps(engine, "cached_db"):
        found = _from_cache(engine, wanted)
    if _keeps(engine, "db") or _keeps(engine, "cached_db"):
        return found | _from_database(engine, [key for key in wanted if key not in found])
    if _keeps(engine, "cache"):
        return found
    for key in wanted:
        data = _from_store(engine(key))
        if data is not None:
            found[key] = Session(data, None)
    return found


def _keeps(engine: type[SessionBase], name: str) -> bool:
    """Return whether an engine reads its sessions as one of Django's own does."""
    theirs = import_module(f"django.contrib.sessions.backends.{name}").SessionStore if _has(name) else None
    return theirs is not None and issubclass(engine, theirs) and engine.load is theirs.load


def _has(name: str) -> bool:
    return name == "cache" or apps.is_installed("django.contrib.sessions")


def _from_cache(engine: Any, keys: list[str]) -> dict[str, Session]:
    names, cache = {engine(key).cache_key: key for key in keys}, caches[settings.SESSION_CACHE_ALIAS]
    try:
        got = cache.get_many(list(names))
    except InvalidCacheKey:
        got = _get_valid(cache, names)
    return {names[name]: Session(data, None) for name, data in got.items() if data is not None}


def _get_valid(cache: BaseCache, names: Iterable[str]) -> dict[str, Any]:
    """Return what a cache has under some names, without those that it refuses, as memcached does with long ones."""
    found = {}
    for name in names:
        with suppress(InvalidCacheKey):
            found[name] = cache.get(name)
    return found


def _from_database(engine: Any, keys: list[str]) -> dict[str, Session]:
    found, model = {}, engine.get_model_class()
    for start in range(0, len(keys), CHUNK):
        rows = model.objects.filter(session_key__in=keys[start : start + CHUNK], expire_date__gt=timezone.now())
        for row in rows:
            found[row.session_key] = Session(engine().decode(row.session_data), row.expire_date)
    return found


def _from_store(store: Any) -> Mapping[str, Any] | None:
    """Return what a session holds; ``None`` if there is none. Writes nothing, though the engine may.

    Engines forget the key of a session that they do not have, and that of django-user-sessions makes another session.
    """
    missing = False

    def create() -> None:
        nonlocal missing
        missing = True

    store.create, store.save = create, lambda *args, **options: None
    data: Mapping[str, Any] = store.load()
    return data if data or (store.session_key and not missing) else None


def users(sessions: Mapping[str, Session]) -> dict[str, Any]:
    """Return the users that sessions name, by the sessions' keys; those that name nobody any more are left out."""
    from django.contrib.auth import BACKEND_SESSION_KEY, SESSION_KEY

    wanted: dict[tuple[str, Any], list[str]] = defaultdict(list)
    for key, (data, _) in sessions.items():
        path, name = str(data.get(BACKEND_SESSION_KEY)), data.get(SESSION_KEY)
        if name is not None and path in settings.AUTHENTICATION_BACKENDS:
            wanted[path, name].append(key)
    return {
        key: user
        for (path, name), user in _from_backends(wanted).items()
        for key in wanted[path, name]
        if _is_of_login(user, sessions[key].data)
    }


def load_for_many(keys: Collection[str]) -> dict[str, Session | None]:
    """Return those sessions whose users take a few queries, however many they are; ``None`` for each that is gone.

    For each of the others a backend of the project's is asked, which may take long.
    """
    from django.contrib.auth import BACKEND_SESSION_KEY, load_backend

    slow = [path for path in settings.AUTHENTICATION_BACKENDS if _finds_one_at_a_time(load_backend(path))]
    found = load(keys)
    return {
        key: found.get(key) for key in keys if key not in found or found[key].data.get(BACKEND_SESSION_KEY) not in slow
    }


def _finds_one_at_a_time(backend: Any) -> bool:
    """Return whether a backend finds users in a way of its own. One for permissions only finds none."""
    from django.contrib.auth.backends import BaseBackend

    get_user = getattr(type(backend), "get_user", None)
    return not _finds_many(backend) and get_user not in (None, BaseBackend.get_user)


def _finds_many(backend: Any) -> bool:
    """Return whether a backend finds users as Django's own does, so that many can be looked up at once."""
    from django.contrib.auth.backends import ModelBackend

    return getattr(type(backend), "get_user", None) is ModelBackend.get_user


def _from_backends(wanted: Iterable[tuple[str, Any]]) -> dict[tuple[str, Any], Any]:
    from django.contrib.auth import get_user_model, load_backend

    by_backend: dict[str, list[Any]] = defaultdict(list)
    for path, name in wanted:
        by_backend[path].append(name)
    found: dict[tuple[str, Any], Any] = {}
    for path, names in by_backend.items():
        backend: Any = load_backend(path)
        pk = get_user_model()._meta.pk
        assert pk is not None
        keys = {name: pk.to_python(name) for name in names}
        if len(names) > 1 and _finds_many(backend):
            known = existing_users(keys.values())
            got = {name: known.get(key) for name, key in keys.items()}
            accepts = backend.user_can_authenticate
            found |= {(path, name): user for name, user in got.items() if user is not None and accepts(user)}
        else:
            got = {name: backend.get_user(key) for name, key in keys.items()}
            found |= {(path, name): user for name, user in got.items() if user is not None}
    return found


def is_of_user_model(user: Any) -> bool:
    """Return whether a user is an instance of the project's user model, or of a proxy or child of it."""
    from django.contrib.auth import get_user_model

    return isinstance(user, Model) and isinstance(user, get_user_model())


def key_of(user: Any) -> Any:
    """Return a user's primary key. A child of the user model may have one of its own: the user model's counts."""
    from django.contrib.auth import get_user_model

    if not is_of_user_model(user):
        return user.pk
    pk: Any = get_user_model()._meta.pk
    return as_stored(pk, getattr(user, pk.attname))


def existing_users(keys: Iterable[Any]) -> dict[Any, Any]:
    """Return the users that exist, by primary key; a query for each ``CHUNK``."""
    from django.contrib.auth import get_user_model

    wanted, manager, found = list(dict.fromkeys(keys)), get_user_model()._default_manager, {}
    for start in range(0, len(wanted), CHUNK):
        found.update(manager.in_bulk(wanted[start : start + CHUNK]))
    return found


def _is_of_login(user: Any, data: Mapping[str, Any]) -> bool:
    """Return whether a user's password is still that of the session's login."""
    from django.contrib.auth import HASH_SESSION_KEY

    known, hashes = data.get(HASH_SESSION_KEY) or "", login_hashes(user)
    return not hashes or any(constant_time_compare(known, each) for each in hashes)


def login_hashes(user: Any) -> list[str]:
    """Return a user's session auth hashes, that of the secret key of now first; none if the user model has none."""
    if not hasattr(user, "get_session_auth_hash"):
        return []
    fallbacks = user.get_session_auth_fallback_hash() if hasattr(user, "get_session_auth_fallback_hash") else ()
    return [user.get_session_auth_hash(), *fallbacks]
