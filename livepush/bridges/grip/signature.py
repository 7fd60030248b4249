"""The proxy's signature, without which a request is none of a proxy's."""

from __future__ import annotations

import logging
from typing import Any

import jwt
from django.http import HttpRequest

from livepush.notes import Rarely, note_once
from livepush.wire import WireError

logger = logging.getLogger("livepush")
_failures = Rarely(every=10.0)
ISSUER = (
    "A request for a WebSocket was not signed in the name of %s. Either a client has made it up, or Pushpin's route "
    "for WebSockets lacks sig_iss and sig_key, see docs/grip.md."
)


def check_signature(request: HttpRequest, key: bytes, issuer: str | None = None) -> None:
    """Refuse a request whose ``Grip-Sig`` (a JSON Web Token, RFC 7519) was not signed with the key, or has expired.

    With an ``issuer``, it must have been signed in that name. Raises WireError.
    """
    options: Any = {"require": ["exp", "iss"] if issuer else ["exp"]}
    try:
        jwt.decode(request.headers.get("Grip-Sig", ""), key, algorithms=["HS256"], options=options, issuer=issuer)
    except jwt.InvalidTokenError as error:
        if issuer and isinstance(error, jwt.InvalidIssuerError | jwt.MissingRequiredClaimError):
            note_once(ISSUER, issuer, level=logging.WARNING)
            raise WireError("bad_signature", f"The Grip-Sig must be signed as {issuer}.", 403) from None
        if times := _failures.times():
            logger.warning(
                "%d requests had no valid Grip-Sig (%s): LIVEPUSH['GRIP']['KEY'] must be Pushpin's sig_key.",
                times, type(error).__name__,
            )  # fmt: skip
        raise WireError("bad_signature", "The Grip-Sig is not valid: proxy and site need one key.", 403) from None
