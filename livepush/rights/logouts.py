"""Announces that sessions have ended, even if the transaction that ended them is rolled back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from threading import local
from typing import Any

from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.db import connections, router

from livepush import log, publish, tenants
from livepush.access.logins import CHANGING
from livepush.conf import get_settings
from livepush.rights.announcing import announce_uncounted, quietly
from livepush.rights.grants import digest, sessions_of


class _Waiting(local):
    """The announcements that wait for the end of this thread's request; ``None`` outside of requests."""

    works: list[Callable[[], object]] | None = None


_waiting = _Waiting()


@quietly
def follow_logout(sender: Any, request: Any = None, **kwargs: Any) -> None:
    """A user logs out. The session still exists, so this says which one has ended, unless its flush says so."""
    session: Any = getattr(request, "session", None)
    if session is not None and not getattr(session.flush, "livepush", False):
        announce_end(session, name_of(session))


def name_of(session: Any) -> str:
    """Return the name under which the log announces the end of a session; empty if there is nothing to end."""
    if settings.SESSION_ENGINE != CHANGING:
        return digest(session.session_key or "")
    from django.contrib.auth import SESSION_KEY, get_user_model

    user, pk = session.get(SESSION_KEY), get_user_model()._meta.pk
    return "" if user is None or pk is None else sessions_of(str(pk.to_python(user)))


@quietly
def announce_end(session: Any, name: str) -> None:
    """Announce that a session has ended, unless its database keeps it, since the transaction rolls back."""
    log_alias = get_settings().DATABASE
    if not name or log.dialect(log_alias).in_testcase:  # nobody else ever sees that it ends
        return
    tell = partial(announce_uncounted, tenants.of_users_or_none(), log_alias, session=name, reason="logout")
    model = getattr(session, "get_model_class", None)
    using = router.db_for_write(model()) if model else None
    if using == log_alias:
        publish.on_commit(tell, using)
    elif using is not None:
        publish.on_commit(partial(_in_any_case, tell), using)
    else:
        _in_any_case(tell)


def _in_any_case(tell: Callable[[], object]) -> None:
    """Announce when the transaction on the log's database commits; if it rolls back, when the request ends."""
    waiting = _waiting.works

    def told() -> None:
        if waiting is not None:
            waiting.remove(tell)
        tell()

    if waiting is not None:
        waiting.append(tell)
    publish.on_commit(told, get_settings().DATABASE)


def _begin(**kwargs: Any) -> None:
    _waiting.works = []


@quietly
def _finish(**kwargs: Any) -> None:
    works, _waiting.works = _waiting.works, None
    if works and not connections[get_settings().DATABASE].in_atomic_block:  # else it is a test's transaction
        for tell in works:
            tell()


def connect() -> None:
    """Follow the ends of sessions, if the project has users."""
    if not apps.is_installed("django.contrib.auth"):
        return
    from django.contrib.auth.signals import user_logged_out

    user_logged_out.connect(follow_logout, dispatch_uid="livepush.rights")
    request_started.connect(_begin, dispatch_uid="livepush.rights")
    request_finished.connect(_finish, dispatch_uid="livepush.rights")
    if settings.SESSION_ENGINE:
        _follow_flushes()


def _follow_flushes() -> None:
    """Announce that a session was flushed. Django has no signal for it, unless the user logs out."""
    store = import_module(settings.SESSION_ENGINE).SessionStore
    flush, aflush = store.flush, store.aflush
    if getattr(flush, "livepush", False):
        return

    def flushed(self: Any) -> None:
        name = name_of(self)
        flush(self)
        announce_end(self, name)

    async def aflushed(self: Any) -> None:  # Django's calls no flush(); where an engine's does, both say the same
        name = name_of(self)
        await aflush(self)
        await sync_to_async(announce_end)(self, name)

    flushed.livepush = True  # type: ignore[attr-defined]
    store.flush, store.aflush = flushed, aflushed
