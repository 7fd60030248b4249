"""Issues tokens, and knows which were revoked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from asgiref.sync import sync_to_async
from django.db.models import Model

from livepush import log, publish, tenants
from livepush.access import authenticating, tokens
from livepush.access.tokens import Token
from livepush.conf import get_settings
from livepush.exceptions import InvalidToken
from livepush.wire import RIGHTS

TTL = 300


@publish.has_async_twin
def token(
    user: Any,
    groups: publish.Group | Iterable[publish.Group] | None = None,
    ttl: float = TTL,
    once: bool = False,
) -> str:
    """Return a token with which a client without cookies reads as a user, for ``ttl`` seconds (at most ``RETENTION``).

    With ``groups`` it is good for these groups only. With ``once`` it is good for one connection; the cache remembers
    that. Another password, ``livepush.revoke(user)`` or an inactive user ends it. The rules are asked as ever: a token
    gives no right that the user does not have. In a project with tenants it is good for the active tenant's site.

    Raises InvalidGroup: nobody, a malformed group, or there are tenants and none is active. Raises InvalidToken:
    ``ttl`` is out of range.
    """
    if getattr(user, "pk", user) is not None and not isinstance(user, Model):
        raise InvalidToken(f"{user!r} is no saved user: expected an instance, since its password is part of a token.")
    publish.user_group(user)
    longest = get_settings().RETENTION
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 1 <= ttl <= longest:
        raise InvalidToken(f"A token can't last for {ttl!r} seconds: expected 1 to {longest:g}, the log's RETENTION.")
    names = None if groups is None else tuple(publish.group_name(group) for group in publish.listed(groups))
    return tokens.make(user, log.state(get_settings().DATABASE).position, names, int(ttl), once)


async def atoken(
    user: Any,
    groups: publish.Group | Iterable[publish.Group] | None = None,
    ttl: float = TTL,
    once: bool = False,
) -> str:
    """Issue a token from async code; see ``token``."""
    return await sync_to_async(publish.on_good_connections)(token, user, groups, ttl, once)


def own_group(user: str, tenant: str | None) -> str:
    """Return the group of the events that end all tokens of a user; of a tenant's user where each has its own."""
    return f"{RIGHTS}:{user}" if tenant is None else f"{RIGHTS}:{tenant}:{user}"


def is_revoked(token: Token) -> bool:
    """Return whether a token's user was revoked after it was made.

    Where nobody knows that any more, it was: if the log was replaced, or was pruned further than usual since then.

    The token's tenant must be active.
    """
    using = get_settings().DATABASE
    position, state = token.position, log.state(get_settings().DATABASE)
    if state.position.epoch != position.epoch or state.floor > position.number:
        return True
    return log.has_events(using, own_group(token.user, tenants.of_users()), position.number)


def connect() -> None:
    """Have tokens checked."""
    if is_revoked not in authenticating.revocations:
        authenticating.revocations.append(is_revoked)
