"""What the auth endpoint tells the WebSocket of who asked, inside of the signature that the client hands over.

Pusher's ``auth`` is ``key:signature``, and every client passes it on as it is. livepush adds a third part, signed with
``SECRET_KEY`` for one connection and channel: it names the user and the session, so that a logout, another password or
a revocation ends the subscription. A signature without that part, by another backend that has the secret, names nobody.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from django.core import signing

from livepush.access import authenticating, tokens
from livepush.access.authenticating import Identity
from livepush.access.tokens import Token
from livepush.bridges.pusher.config import App
from livepush.bridges.pusher.signing import is_signed, sign
from livepush.exceptions import InvalidToken
from livepush.rights import issuing
from livepush.wire import WireError

TTL = 60
"""How long (seconds) a client may take from the auth endpoint to the WebSocket."""
MAX_LENGTH = 8192


class Proof(NamedTuple):
    """Who has asked the auth endpoint."""

    identity: Identity
    session: str
    """By which the end of the session is known; empty without a session."""


def auth_of(app: App, text: str, known: Proof, group: str) -> str:
    """Return the ``auth`` that a client is to hand over. Uses the database.

    Raises WireError: the user can't be named to another process.
    """
    auth, identity = f"{app.key}:{sign(app, text)}", known.identity
    if identity.name is None:
        return auth
    try:
        token = identity.token or tokens.parse(issuing.token(identity.user, [group], TTL))
    except InvalidToken as error:
        raise WireError("bad_user", str(error), 403) from error
    said = [list(token), identity.token is not None, known.session, identity.ends]
    return f"{auth}:{_signer(text).sign_object(said, compress=True)}"


def check_auth(app: App, text: str, auth: object) -> str:
    """Return the part of an ``auth`` that says who asked; empty if it says nothing. Raises WireError: it is wrong."""
    key, _, rest = auth.partition(":") if isinstance(auth, str) else ("", "", "")
    signature, _, proof = rest.partition(":")
    if key != app.key or not is_signed(app, text, signature):
        raise WireError("bad_auth", "The auth is missing or wrong: expected what the auth endpoint answered.", 401)
    return proof


def proved(text: str, proof: str) -> Proof:
    """Return who asked, as things are now. Uses the database. Raises WireError: the proof is not valid any more."""
    try:
        if len(proof) > MAX_LENGTH:
            raise ValueError("too long")
        fields, is_by_token, session, ends = _signer(text).unsign_object(proof, max_age=TTL)
    except (signing.BadSignature, ValueError) as error:
        raise tokens.refusal("bad_auth", "The auth is not of this connection, or too old: ask for another.") from error
    user, hash, token_ends, since, groups, *rest = fields
    token = Token(user, hash, token_ends, since, None if groups is None else tuple(groups), *rest)
    if token.ends <= time.time():
        raise tokens.refusal("token_ended", "The token has ended: get another one.")
    found = authenticating.of_token(token)
    return Proof(found if is_by_token else Identity(found.user, ends=ends), session)


def _signer(text: str) -> signing.TimestampSigner:
    return signing.TimestampSigner(sep=".", salt=f"livepush.pusher:{text}")
