"""A name for a login, which a page and its messages carry: so that no message goes out in another user's name."""

from __future__ import annotations

from importlib import import_module

from django.conf import settings
from django.utils.crypto import salted_hmac

from livepush import tenants
from livepush.access.authenticating import Identity
from livepush.wire import Close, WireError, dumps

CHANGING = "django.contrib.sessions.backends.signed_cookies"
"""The session engine whose cookie changes with each change of the session."""


_LOGIN = ("_auth_user_id", "_auth_user_hash")
"""The keys under which Django keeps a login in its session."""


def login_name(cookie: str | None, tenant: str | None) -> str:
    """Return a name that only one session of one tenant has; empty without a session. It needs no query.

    Where the cookie changes with the session, all of a user's sessions have one name, up to the next password.
    """
    if not cookie:
        return ""
    if settings.SESSION_ENGINE == CHANGING:
        data = import_module(CHANGING).SessionStore(cookie).load()
        if _LOGIN[0] in data:
            cookie = dumps([data.get(key) for key in _LOGIN])
    name = tenants.stored(cookie, tenant)
    return salted_hmac("livepush.tabs", name, algorithm="sha256").hexdigest()[:16]


def check_login(given: str | None, cookie: str | None, tenant: str | None, known: Identity) -> None:
    """Refuse a message that a page of another login sends: somebody has logged out since, or in.

    A page that had no session sends an empty name; its messages do not go out in the name of a session's user.

    Raises WireError.
    """
    if given:
        is_other = given != login_name(cookie, tenant)
    else:
        is_other = given is not None and bool(cookie) and known.name is not None and known.token is None
    if is_other:
        raise WireError("other_login", "The page is another login's: load it again.", 409, Close.FORBIDDEN)
