"""Says which member a client is: a user, or an anonymous visitor."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from livepush.access.authenticating import Identity
from livepush.access.visitors import cookies_of, secret_of
from livepush.rights import Grant
from livepush.roster.changes import Key
from livepush.roster.models import MAX_MEMBER_LENGTH
from livepush.roster.rules import has_members
from livepush.wire import public_name

VISITOR = "~"
"""The beginning of an anonymous visitor's id."""


def member_of(identity: Identity, cookies: Mapping[str, str], session: str | None, tenant: str | None) -> str | None:
    """Return a client's name as a member: the user's primary key as text, or an anonymous visitor's id.

    The id is made of what only the visitor's browser knows, the secret of its CSRF cookie or else its session's key. It
    tells nobody what that is. A visitor with neither is no member.
    """
    name = identity.name
    if name is None:
        secret = secret_of(cookies, session)
        if secret is None:
            return None
        text = f"{tenant or ''}|{secret}"
        name = VISITOR + salted_hmac("livepush.presence", text, algorithm="sha256").hexdigest()[:20]
    return name if len(name) <= MAX_MEMBER_LENGTH else None


def member_of_request(request: HttpRequest, identity: Identity, tenant: str | None) -> str | None:
    """Return the member who makes a request."""
    return member_of(identity, request.COOKIES, request.COOKIES.get(settings.SESSION_COOKIE_NAME), tenant)


def keys_of(grant: Grant) -> frozenset[Key]:
    """Return in which groups, as the log has them, a client makes which member present.

    A client that is somebody else now, or nobody, is no member before the rules have said which groups it keeps.
    """
    if not grant.is_member or not grant.is_settled:
        return frozenset()
    groups = [group for group in grant.stored if has_members(public_name(group))]
    if not groups:
        return frozenset()
    cookies = cookies_of(grant.view) if grant.identity.name is None else {}
    member = member_of(grant.identity, cookies, grant.view.session_key, grant.tenant)
    return frozenset() if member is None else frozenset((group, member) for group in groups)
