"""What the auth endpoint tells the WebSocket of who asked, inside of the signature that the client hands over.

Pusher's ``auth`` is ``key:signature``, and every client passes it on as it is. livepush adds a third part, signed with
``SECRET_KEY`` for one connection and channel. It holds by what the endpoint has known the user: the session's key, the
token, or the headers that a project's own authenticator has read. So the connection finds out by the same who that is
now and later, and whatever ends it there ends it here. A signature without that part, by another backend that has the
secret, names nobody.
"""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

from django.contrib.auth import SESSION_KEY
from django.core import signing
from django.http import HttpRequest

from livepush import tenants
from livepush.access import authenticating, identity, tokens
from livepush.access.authenticating import Identity
from livepush.access.tokens import Token
from livepush.bridges.pusher import hiding
from livepush.bridges.pusher.config import App
from livepush.bridges.pusher.signing import is_signed, sign
from livepush.exceptions import InvalidToken, TokenTooSoon
from livepush.rights import issuing
from livepush.rights.grants import session_of
from livepush.wire import WireError, unavailable

TTL = 60
"""How long (seconds) a client may take from the auth endpoint to the WebSocket, without the server's own time."""
LONGEST_WAIT = 600.0
"""How much of the server's own time (seconds) is left out at most: some of it may lie before the auth was made."""
MAX_LENGTH = 16_384
SESSION, TOKEN, HEADERS, USER = "session", "token", "headers", "user"
"""By what a user is known: ``USER`` if only a middleware of the project's knows it."""


class Proof(NamedTuple):
    """Who has asked the auth endpoint."""

    identity: Identity
    session: str
    """By which the end of the session is known; empty without a session."""


def auth_of(app: App, text: str, known: Identity, request: HttpRequest, group: str) -> str:
    """Return the ``auth`` that a client is to hand over. Uses the database.

    Raises WireError: the user can't be named to another process, now or ever, or the request's headers are too long
    for that.
    """
    auth = f"{app.key}:{sign(app, text)}"
    if known.name is None:
        return auth
    by, what = _known_by(known, request, group)
    kept = hiding.hidden(json.dumps([by, what]).encode())
    said = [tenants.current(), known.name, session_of(known, identity.handshake(request)), kept]
    proof = _signer(text).sign_object(said)
    if len(proof) > MAX_LENGTH:
        raise WireError("bad_user", "The headers by which the user is known are too long.", 403)
    return f"{auth}:{proof}"


def check_auth(app: App, text: str, auth: object) -> str:
    """Return the part of an ``auth`` that says who asked; empty if it says nothing. Raises WireError: it is wrong."""
    key, _, rest = auth.partition(":") if isinstance(auth, str) else ("", "", "")
    signature, _, proof = rest.partition(":")
    if key != app.key or not is_signed(app, text, signature):
        raise WireError("bad_auth", "The auth is missing or wrong: expected what the auth endpoint answered.", 401)
    return proof


def proved(text: str, proof: str, waited: float = 0.0) -> Proof:
    """Return who asked, as things are now, if the server has kept the client waiting for some seconds.

    Uses the database. Raises WireError: the proof is not valid any more.
    """
    try:
        if len(proof) > MAX_LENGTH:
            raise ValueError("too long")
        tenant, name, session, kept = _signer(text).unsign_object(proof, max_age=TTL + min(waited, LONGEST_WAIT))
        by, what = json.loads(hiding.shown(kept))
    except (signing.BadSignature, ValueError) as error:
        raise tokens.refusal("bad_auth", "The auth is not of this connection, or too old: ask for another.") from error
    found = None if tenant != tenants.current() else _found(by, what)
    if found is None or found.name != name:
        raise tokens.refusal("bad_auth", "The login of this auth has ended: log in again.")
    return Proof(found, session)


def _known_by(known: Identity, request: HttpRequest, group: str) -> tuple[str, Any]:
    """Return by what a user is known, and what of it another process needs."""
    session = getattr(request, "session", None)
    if known.token is not None:
        return TOKEN, known.token
    if known.session is not None:
        return SESSION, known.session
    if known.again is not None:
        ignored = "cookie" if hasattr(request, authenticating.IGNORED) else ""
        headers = [(name, value) for name, value in request.headers.items() if name.lower() != ignored]
        return HEADERS, [request.META.get("REMOTE_ADDR", ""), headers]
    if session is not None and session.session_key and str(session.get(SESSION_KEY)) == known.name:
        return SESSION, session.session_key
    try:
        return USER, tokens.parse(issuing.token(known.user, [group], TTL))
    except TokenTooSoon as error:
        raise unavailable() from error
    except InvalidToken as error:
        raise WireError("bad_user", str(error), 403) from error


def _found(by: str, what: Any) -> Identity | None:
    """Return who that is now. Raises WireError: it is not valid any more."""
    if by == SESSION:
        return authenticating.of_session(what)
    if by == HEADERS:
        return authenticating.identify(_request(*what))
    user, hash, ends, since, groups, *rest = what
    token = Token(user, hash, ends, since, None if groups is None else tuple(groups), *rest)
    if by == TOKEN and token.ends <= time.time():  # that of a ``USER`` is as old as the proof
        raise tokens.refusal("token_ended", "The token has ended: get another one.")
    found = authenticating.of_token(token)
    return found if by == TOKEN else Identity(found.user)


def _request(address: str, headers: list[list[str]]) -> HttpRequest:
    """Return a request with some headers, for authenticators."""
    given = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers]
    return identity.request_of({"type": "http", "path": "/", "headers": given, "client": (address, 0)})


def _signer(text: str) -> signing.TimestampSigner:
    return signing.TimestampSigner(sep=".", salt=f"livepush.pusher:{text}")
