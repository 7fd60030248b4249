"""The proxy's signature, without which a request is none of a proxy's."""

from __future__ import annotations

import logging

import jwt
from django.http import HttpRequest

from livepush.notes import Rarely
from livepush.wire import WireError

logger = logging.getLogger("livepush")
_failures = Rarely(every=10.0)


def check_signature(request: HttpRequest, key: bytes) -> None:
    """Refuse a request whose ``Grip-Sig`` (a JSON Web Token, RFC 7519) was not signed with the key, or has expired.

    Raises WireError.
    """
    try:
        jwt.decode(request.headers.get("Grip-Sig", ""), key, algorithms=["HS256"], options={"require": ["exp"]})
    except jwt.InvalidTokenError as error:
        if times := _failures.times():
            logger.warning(
                "%d requests had no valid Grip-Sig (%s): LIVEPUSH['GRIP']['KEY'] must be Pushpin's sig_key.",
                times, type(error).__name__,
            )  # fmt: skip
        raise WireError("bad_signature", "The Grip-Sig is not valid: proxy and site need one key.", 403) from None
