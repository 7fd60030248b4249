"""JSON Web Tokens (RFC 7519), by whose ``mercure`` claim clients publish and subscribe."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import jwt
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from livepush import tenants
from livepush.access import origins
from livepush.bridges import patterns
from livepush.bridges.mercure.config import SECRET, WHERE, Key, hub
from livepush.bridges.mercure.selectors import Selectors, unsupported
from livepush.wire import WireError

MAX_LENGTH = 16_384
CLAIMS = ("https://mercure.rocks/", "mercure")
"""The names of the claim. The first is for those who issue tokens and allow no others than addresses."""
TENANT = "livepush.tenant"
"""The claim that names the tenant for whose site a token is."""
CHECKS: Any = {"verify_aud": False, "verify_iss": False, "verify_iat": False, "verify_sub": False, "verify_jti": False}
"""Which of the other claims are not checked: a hub's tokens are told from others by the key."""


class Claims(NamedTuple):
    """The topics that a client may publish to, and those that it may subscribe to."""

    publish: Selectors
    subscribe: Selectors
    """The topics whose private updates it gets."""
    subject: str
    """The name of the token's owner; empty if the token does not say."""
    ends: float | None
    """When the token ends (Unix time)."""


NOTHING = Claims(Selectors(()), Selectors(()), "", None)
"""The claims of a client without a token."""


def publisher_of(request: HttpRequest, tenant: str | None) -> Claims:
    """Return what a publisher may do on a tenant's site.

    Raises WireError: there is no valid token, it is another tenant's, or a page of another site may have made the
    browser send it.
    """
    known = hub()
    text = _shown(request)
    if text is None and known.cookie in request.COOKIES:
        _check_page(request)
        text = request.COOKIES.get(known.cookie)
    if text is None:
        raise refusal("unauthenticated", "A publisher needs a token: send it as Authorization: Bearer ….")
    return claims_of(text, known.publishers, tenant)


def subscriber_of(request: HttpRequest, tenant: str | None) -> Claims:
    """Return what a subscriber may do on a tenant's site.

    Raises WireError: the token is not valid or another tenant's, or there is none and it is needed.
    """
    known = hub()
    text = _shown(request)
    text = request.COOKIES.get(known.cookie) if text is None else text
    if text is not None:
        return claims_of(text, known.subscribers, tenant)
    if not known.anonymous:
        raise refusal("unauthenticated", "A subscriber needs a token: send it as Authorization: Bearer …, or a cookie.")
    return NOTHING


def claims_of(text: str, key: Key, tenant: str | None = None) -> Claims:
    """Return what a token says. Raises WireError: it is not valid, or not any more, or not for this tenant's site."""
    if len(text) > MAX_LENGTH:
        raise refusal("bad_token", f"The token has {len(text)} characters: expected {MAX_LENGTH} at most.")
    try:
        found = jwt.decode(text, key.text, algorithms=[key.algorithm], options=CHECKS)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        problem = f"The token is not valid ({type(error).__name__}): get another one, signed with this site's key."
        raise refusal("bad_token", problem) from error
    if found.get(TENANT) != tenant:
        raise refusal("bad_token", f'The token is not for this site: its claim "{TENANT}" is missing, or another.')
    claim: Any = next((found[name] for name in CLAIMS if name in found), {})
    ends, subject = found.get("exp"), found.get("sub")
    if not isinstance(claim, Mapping):
        raise refusal("bad_token", 'The token\'s claim "mercure" is malformed: expected {"publish", "subscribe"}.')
    return Claims(
        _selectors(claim, "publish"),
        _selectors(claim, "subscribe"),
        subject if isinstance(subject, str) else "",
        None if ends is None else float(ends),
    )


def make_token(
    *,
    subscribe: str | Iterable[str] = (),
    publish: str | Iterable[str] = (),
    seconds: float = 3600,
    subject: str = "",
) -> str:
    """Return a token that ends in some seconds, with selectors of what it allows, for the site of the active tenant.

    ``subscribe`` and ``publish`` are selectors; a text is one selector.
    ``subject`` says whose it is: a user has a limited number of connections. One token can't be for both, publishing
    and subscribing, if their keys differ.

    Raises ImproperlyConfigured: ``LIVEPUSH["MERCURE"]`` has a public key, which can't sign. Raises InvalidGroup: there
    are tenants, and none is active.
    """
    known = hub()
    given = {"publish": patterns.listed(publish), "subscribe": patterns.listed(subscribe)}
    claim = {name: texts for name, texts in given.items() if texts}
    key = known.publishers if "publish" in claim else known.subscribers
    if key.algorithm not in SECRET:
        raise ImproperlyConfigured(
            f"{WHERE} has the public key of {key.algorithm}, which can't sign: make tokens with jwt.encode and your "
            "private key."
        )
    payload: dict[str, Any] = {"mercure": claim, "exp": time.time() + seconds}
    if subject:
        payload["sub"] = subject
    if (tenant := tenants.current()) is not None:
        payload[TENANT] = tenant
    return jwt.encode(payload, key.text, key.algorithm)


def refusal(code: str, message: str) -> WireError:
    """Return the refusal of a token."""
    return WireError(code, message, 401)


def fields_of(request: HttpRequest) -> list[tuple[str, str]]:
    """Return the query's fields. ``request.GET`` refuses more than ``DATA_UPLOAD_MAX_NUMBER_FIELDS``."""
    return parse_qsl(request.META.get("QUERY_STRING", ""), keep_blank_values=True)


def _shown(request: HttpRequest) -> str | None:
    """Return the token of the header or the query; ``None`` if neither has one."""
    header: str | None = request.META.get("HTTP_AUTHORIZATION")
    if header is None:
        return dict(fields_of(request)).get("authorization")
    kind, _, text = header.partition(" ")
    if kind.lower() != "bearer" or not text.strip():
        raise refusal("bad_token", "The Authorization header is malformed: expected Bearer, a space, and the token.")
    return text.strip()


def _selectors(claim: Mapping[str, Any], name: str) -> Selectors:
    given = claim.get(name)
    listed = [] if given is None else given
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise refusal("bad_token", f'The token\'s claim "mercure.{name}" is malformed: expected a list of selectors.')
    if problem := next(filter(None, map(unsupported, listed)), None):
        raise refusal("bad_token", f'A selector of the token\'s claim "mercure.{name}" {problem}.')
    return Selectors(listed)


def _check_page(request: HttpRequest) -> None:
    """Refuse a cookie that a page of another site has made the browser send. Raises WireError."""
    if "HTTP_ORIGIN" not in request.META:
        try:
            page = urlsplit(request.META.get("HTTP_REFERER", ""))
        except ValueError:
            page = urlsplit("")
        if not page.netloc:
            raise WireError("bad_origin", "With a cookie, the request needs an Origin or a Referer.", 403)
        request.META["HTTP_ORIGIN"] = f"{page.scheme}://{page.netloc}"
    origins.check_origin(request)
