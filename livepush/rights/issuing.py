"""Issues tokens, and knows which were revoked."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.cache import DEFAULT_CACHE_ALIAS, caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.models import Model

from livepush import log, publish, tenants
from livepush.access import authenticating, tokens
from livepush.access.tokens import Token
from livepush.conf import get_settings
from livepush.exceptions import InvalidToken, TokenTooSoon
from livepush.notes import note_once
from livepush.wire import RIGHTS, Position

TTL = 300
PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4)
"""How long (seconds) to wait before each attempt to give a revocation its position."""


class TooManyGroups(InvalidToken):
    """The names of the groups make the token longer than servers accept."""


@publish.has_async_twin
def token(
    user: Any,
    groups: publish.Group | Iterable[publish.Group] | None = None,
    ttl: float | timedelta = TTL,
    once: bool = False,
) -> str:
    """Return a token with which a client without cookies reads as a user.

    It lasts for ``ttl`` (seconds, or a timedelta): at most ``RETENTION``.

    With ``groups`` it is good for these groups only. With ``once`` it is good for one connection; the cache remembers
    that. Another password, ``livepush.revoke(user)`` or an inactive user ends it. The rules are asked as ever: a token
    gives no right that the user does not have. In a project with tenants it is good for the active tenant's site.

    Raises InvalidGroup: nobody, a malformed group, or there are tenants and none is active. Raises InvalidToken:
    ``ttl`` is out of range, or the token would be too long for its groups. Raises TokenTooSoon: the user was revoked in
    the open transaction or a moment ago, which would end this token too. Raises ImproperlyConfigured: ``once``, and the
    default cache remembers nothing.
    """
    if getattr(user, "pk", user) is not None and not isinstance(user, Model):
        raise InvalidToken(f"{user!r} is no saved user: expected an instance, since its password is part of a token.")
    publish.user_group(user)
    if isinstance(ttl, timedelta):
        ttl = ttl.total_seconds()
    longest = get_settings().RETENTION
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 1 <= ttl <= longest:
        raise InvalidToken(f"A token can't last for {ttl!r} seconds: expected 1 to {longest:g}, the log's RETENTION.")
    names = None if groups is None else tuple(publish.group_name(group) for group in publish.listed(groups))
    if once:
        _check_cache()
    position = _position(publish.user_group(user).removeprefix("user:"))
    made = tokens.make(user, position, names, int(ttl), once)
    if len(made) > tokens.MAX_LENGTH:
        what = f"The token would have {len(made)} characters: name fewer groups, {tokens.MAX_LENGTH} fit."
        raise TooManyGroups(what)
    return made


async def atoken(
    user: Any,
    groups: publish.Group | Iterable[publish.Group] | None = None,
    ttl: float | timedelta = TTL,
    once: bool = False,
) -> str:
    """Issue a token from async code; see ``token``."""
    return await sync_to_async(publish.on_good_connections)(token, user, groups, ttl, once)


def _check_cache() -> None:
    """Make sure that the default cache remembers which tokens were used."""
    cache = caches[DEFAULT_CACHE_ALIAS]
    if isinstance(cache, DummyCache):
        raise ImproperlyConfigured(
            "A token can't work once, since the default cache is a DummyCache, which remembers nothing: set CACHES."
        )
    if isinstance(cache, LocMemCache) and not settings.DEBUG:
        note_once(
            "Tokens that work once work once in each process, since the default cache is a LocMemCache: let all "
            "processes share a cache, see CACHES.",
            level=logging.WARNING,
        )


def _position(user: str) -> Position:
    """Return the log's position, after which a revocation ends a new token of a user.

    Raises TokenTooSoon: a revocation waits for its commit, or for its position.
    """
    using = get_settings().DATABASE
    group = own_group(user, tenants.of_users())
    for pause in (*PAUSES, None):
        state = log.state(using)
        if not state.waiting or not log.has_events(using, group, state.position.number):
            return state.position
        if pause is None or connections[using].in_atomic_block:
            break
        time.sleep(pause)  # another process may be at it
        publish.deliver(using)
    raise TokenTooSoon(
        "The user is revoked in this transaction, or was a moment ago, and that would end the new token too: issue it "
        "after the commit, with transaction.on_commit, or try again."
    )


def own_group(user: str, tenant: str | None) -> str:
    """Return the group of the events that end all tokens of a user; of a tenant's user where each has its own."""
    return f"{RIGHTS}:{user}" if tenant is None else f"{RIGHTS}:{tenant}:{user}"


def revoked(known: Sequence[Token]) -> set[Token]:
    """Return those of some tokens whose users were revoked after the token was made, in a few queries.

    Where nobody knows that any more, they were: if the log was replaced, or was pruned further than usual since then.

    The tokens' tenant must be active.
    """
    if not known:
        return set()
    using, tenant = get_settings().DATABASE, tenants.of_users()
    state = log.state(using)
    groups, ended = {}, set()
    for token in known:
        position = token.position
        if state.position.epoch != position.epoch or state.floor > position.number:
            ended.add(token)
        else:
            groups[token] = own_group(token.user, tenant)
    last = log.last_after(using, groups.values(), min((token.position.number for token in groups), default=0))
    return ended | {token for token, group in groups.items() if last.get(group, 0) > token.position.number}


def connect() -> None:
    """Have tokens checked."""
    if revoked not in authenticating.revocations:
        authenticating.revocations.append(revoked)
