"""Tokens for clients without cookies: native apps, command lines, pages of other sites.

After a prefix of its own, a token is what ``django.core.signing`` makes of a JSON list, with ``SECRET_KEY_FALLBACKS``
too. It names the user, and holds a digest of the session auth hash, so that another password ends it. It can do no more
than the user: the rules are asked as for any client.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Any, NamedTuple

from django.core import signing
from django.core.cache import cache
from django.utils.crypto import constant_time_compare

from livepush import tenants
from livepush.access import sessions
from livepush.wire import Close, Position, WireError, parse_position

PREFIX = "livepush_"
"""Every token begins with it, so that other kinds of bearer tokens are told from malformed ones."""
FOREIGN = "The token is not one of this site's: get one from this site."
SALT = "livepush.token"
MAX_LENGTH = 8192
ALLOWANCE = 60
"""How long (seconds) after its end a token that works once is remembered: servers' clocks differ."""


class Token(NamedTuple):
    """What a token says."""

    user: str
    """The user's primary key as text."""
    hash: str
    ends: int
    """When it ends (Unix time)."""
    since: str
    """The log's position when it was made: a later revocation of the user ends it."""
    groups: tuple[str, ...] | None = None
    """The groups to which it is limited; ``None`` for all that the user may read."""
    once: str = ""
    """By what it is known that it was used, if it works once."""
    tenant: str | None = None
    """The tenant for whose site it is; ``None`` in a project without tenants."""

    @property
    def position(self) -> Position:
        """``since`` as a position."""
        return parse_position(self.since)


def _signer() -> signing.TimestampSigner:
    """Return a signer whose texts can stand in a header, an address and a subprotocol (RFC 9110, section 5.6.2)."""
    return signing.TimestampSigner(sep=".", salt=SALT)


def make(user: Any, position: Position, groups: tuple[str, ...] | None, ttl: int, once: bool) -> str:
    """Return a token of a user for ``ttl`` seconds, for the site of the active tenant.

    Raises InvalidGroup: there are tenants, and none is active.
    """
    tenant = tenants.current()
    ends, nonce = int(time.time()) + ttl, secrets.token_urlsafe(12) if once else ""
    token = Token(str(sessions.key_of(user)), _digests(user)[0], ends, str(position), groups, nonce, tenant)
    return PREFIX + _signer().sign_object([*token[:-1], *([] if tenant is None else [tenant])], compress=True)


def parse(text: str) -> Token:
    """Return what a token says.

    Raises WireError: it is malformed, has a wrong signature, or has ended.
    """
    try:
        if len(text) > MAX_LENGTH:
            raise ValueError("too long")
        user, digest, ends, since, groups, once, *rest = _signer().unsign_object(text.removeprefix(PREFIX))
    except (signing.BadSignature, ValueError) as error:
        raise refusal("bad_token", FOREIGN) from error
    token = Token(user, digest, ends, since, None if groups is None else tuple(groups), once, *rest[:1])
    if token.ends <= time.time():
        raise refusal("token_ended", "The token has ended: get another one.")
    return token


def use(token: Token) -> None:
    """Note that a token is used, if it works once.

    Raises WireError: it was used before.
    """
    if token.once and not cache.add(f"livepush.token.{token.once}", 1, token.ends - time.time() + ALLOWANCE):
        raise refusal("token_used", "The token works once, and was used: get another one.")


def owner(token: Token) -> Any:
    """Return the token's user; ``None`` if there is no such active user, or the password is another one. One query."""
    return owners([token])[0]


def owners(tokens: list[Token]) -> list[Any]:
    """Return the users of several tokens, as ``owner`` does, in a few queries."""
    from django.contrib.auth import get_user_model

    pk: Any = get_user_model()._meta.pk
    keys = [pk.to_python(token.user) for token in tokens]
    users = sessions.existing_users(keys)
    found = []
    for token, key in zip(tokens, keys, strict=True):
        user = users.get(key)
        fits = user is not None and getattr(user, "is_active", True)
        known = fits and any(constant_time_compare(token.hash, digest) for digest in _digests(user))
        found.append(user if known else None)
    return found


def _digests(user: Any) -> list[str]:
    """Return digests of the session auth hashes, that of the secret key of now first."""
    return [hashlib.sha256(each.encode()).hexdigest()[:24] for each in sessions.login_hashes(user)] or [""]


def refusal(code: str, message: str) -> WireError:
    """Return the refusal of a token: the client may come back with another one."""
    return WireError(code, message, 401, Close.UNAUTHENTICATED)
