"""Authenticators: find out who makes a request, each in its own way.

``LIVEPUSH["AUTHENTICATORS"]`` lists dotted paths of functions ``(request) -> user | None``, sync or async. They are
asked in turn, and the first that knows a user decides. ``session`` and ``token`` below are livepush's own.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from django.apps import apps
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.core.signals import setting_changed
from django.db.models import Model
from django.http import HttpRequest
from django.utils.module_loading import import_string

from livepush import tenants
from livepush.access import awaiting, sessions, tokens
from livepush.access.tokens import Token
from livepush.cancelling import contained
from livepush.conf import get_settings
from livepush.notes import Rarely
from livepush.wire import WireError

logger = logging.getLogger("livepush")

_no_users = Rarely(every=10.0)
SUBPROTOCOL_OF_TOKENS = "livepush.token."
"""The prefix of a token that a WebSocket offers as a subprotocol, since browsers can send no header with one."""


IGNORED = "livepush_cookies_ignored"
"""The attribute of a request whose cookies, and so a middleware's user, count for nothing; see ``origins``."""
USED = "livepush_token"
"""The attribute of a request with whom its token names."""


class Identity(NamedTuple):
    """A client's user, and the session or token that names the user."""

    user: Any
    """A user, an anonymous user, or ``None`` without ``django.contrib.auth``."""
    session: str | None = None
    """The key of the session that names the user."""
    token: Token | None = None
    """The token that names the user."""
    again: Callable[[], Any] | None = None
    """Asks a project's own authenticator again."""
    ends: float | None = None
    """When (Unix time) this must be found out again, if it is known: the session or the token ends then."""

    @property
    def name(self) -> str | None:
        """The user's primary key as text; ``None`` if nobody is known."""
        return str(sessions.key_of(self.user)) if getattr(self.user, "is_authenticated", False) else None

    def may(self, group: str) -> bool:
        """Return whether a group is within the limits of the token, if there is a token with limits."""
        return self.token is None or self.token.groups is None or group in self.token.groups


def session(request: HttpRequest) -> Identity | None:
    """Know the user of the session whose key the cookie has. The session is never written."""
    return of_session(request.COOKIES.get(settings.SESSION_COOKIE_NAME))


def of_session(key: str | None) -> Identity | None:
    """Know the user of a session by its key, for a project's own authenticator. The session is never written."""
    found = of_sessions([key])[key] if key else None
    return found if found is not None and found.name is not None else None


def token(request: HttpRequest) -> Identity | None:
    """Know the user of a token of livepush's: a bearer's, ``?token=``, or that of a WebSocket's subprotocol.

    Raises WireError: it is a token of livepush's that is not valid, or not any more.
    """
    text = token_of(request)
    if text is None:
        return None
    if not hasattr(request, USED):
        setattr(request, USED, of_text(text))  # one that works once is used once, however often this is asked
    found: Identity = getattr(request, USED)
    return found


def of_text(text: Any) -> Identity:
    """Return whom a token names, as a client gave it; one that works once is used then.

    Raises WireError: it is not valid, or not any more.
    """
    parsed = tokens.parse(text if isinstance(text, str) else "")
    found = of_token(parsed)
    tokens.use(parsed)
    return found


def token_of(request: HttpRequest) -> str | None:
    """Return the token that a request brings, if it is one of livepush's."""
    kind, _, text = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if kind.lower() != "bearer":
        query = request.META.get("QUERY_STRING", "")  # request.GET refuses more than DATA_UPLOAD_MAX_NUMBER_FIELDS
        text = dict(parse_qsl(query)).get("token", "") if "token=" in query else ""
    for offered in request.META.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "").split(","):
        if offered.strip().startswith(SUBPROTOCOL_OF_TOKENS):
            text = offered.strip().removeprefix(SUBPROTOCOL_OF_TOKENS)
    return text if text.startswith(tokens.PREFIX) else None


def of_token(found: Token) -> Identity:
    """Return whom a token names.

    Raises WireError: it is for another tenant's site, there is no such active user, or the password is another one.
    """
    if found.tenant != tenants.current():
        raise tokens.refusal("bad_token", tokens.FOREIGN)
    user = tokens.owner(found)
    if user is not None and revoked([found]):
        raise tokens.refusal("bad_token", "The token was revoked: log in again, and get another one.")
    if user is None:
        raise tokens.refusal("bad_token", "The token's user is not there any more, or has another password.")
    return Identity(user, token=found, ends=float(found.ends))


revocations: list[Callable[[Sequence[Token]], Collection[Token]]] = []
"""Each returns those of some tokens that were revoked, in a few queries."""


def revoked(found: Sequence[Token]) -> set[Token]:
    """Return those of some tokens that were revoked. Their tenant must be active."""
    return {token for ended in revocations for token in ended(found)}


def of_sessions(keys: Any) -> dict[str, Identity]:
    """Return whom sessions name, by key; in a few queries, however many they are."""
    keys = tuple(keys)
    known = sessions.load(keys)
    return of_loaded({key: known.get(key) for key in keys})


def of_loaded(found: Mapping[str, sessions.Session | None]) -> dict[str, Identity]:
    """Return the identity of each loaded session, by session key.

    A session that is ``None`` is gone: it belongs to nobody.
    """
    known = {key: each for key, each in found.items() if each is not None}
    users = sessions.users(known)
    return {
        key: Identity(users[key], key, ends=ends.timestamp() if (ends := known[key].ends) else None)
        if key in users
        else Identity(nobody())
        for key in found
    }


def nobody() -> Any:
    """Return an anonymous user; ``None`` without ``django.contrib.auth``."""
    if not apps.is_installed("django.contrib.auth"):
        return None
    from django.contrib.auth.models import AnonymousUser

    return AnonymousUser()


@contextmanager
def _refusals() -> Iterator[None]:
    """Take an error that means 401 or 403, as those of REST frameworks do, for a refusal."""
    try:
        with contained():
            yield
    except WireError:
        raise
    except Exception as error:
        if isinstance(error, PermissionDenied) or getattr(error, "status_code", None) in (401, 403):
            raise tokens.refusal(
                "bad_credentials", "The credentials are not valid, or no longer: log in again."
            ) from error
        raise


class Authenticator(NamedTuple):
    """One of ``LIVEPUSH["AUTHENTICATORS"]``."""

    path: str
    function: Callable[[HttpRequest], Any]
    is_async: bool

    def ask(self, request: HttpRequest) -> Any:
        """Ask it in a thread. An async one gets a loop of its own. Raises WireError: it refuses the credentials."""
        with _refusals():
            if self.is_async:
                return awaiting.here(partial(self.function, request))
            return self.function(request)

    async def aask(self, request: HttpRequest, around: awaiting.Around) -> Any:
        """Ask an async one, inside ``around()``.

        Raises WireError: it refuses the credentials; TimeoutError: it takes longer than ``DATABASE_TIMEOUT``.
        """
        with _refusals():
            return await awaiting.within(partial(self.function, request), get_settings().DATABASE_TIMEOUT, around)

    def identity(self, found: Any, request: HttpRequest) -> Identity | None:
        """Return the identity for what it found, if that is a user."""
        if inspect.isawaitable(found):
            getattr(found, "close", lambda: None)()
            raise ImproperlyConfigured(f"The authenticator {self.path} is no async def, but returned an awaitable.")
        if found is None or isinstance(found, Identity):
            return found
        if not getattr(found, "is_authenticated", False):
            if found and not hasattr(found, "is_authenticated") and (times := _no_users.times()):
                message = "The authenticator %s returned a %s (%d times), which is no user: expected a user or None."
                logger.warning(message, self.path, type(found).__name__, times)
            return None
        return Identity(found, again=lambda: self.ask(request))


@lru_cache(maxsize=1)
def authenticators() -> tuple[Authenticator, ...]:
    """Return the project's authenticators.

    Raises ImproperlyConfigured: one can't be imported, or is no function.
    """
    found = []
    for path in get_settings().AUTHENTICATORS:
        try:
            function = import_string(path)
        except ImportError as error:
            raise ImproperlyConfigured(
                f"LIVEPUSH['AUTHENTICATORS'] names {path!r}, which is not there: {error}"
            ) from error
        if not callable(function):
            raise ImproperlyConfigured(f"LIVEPUSH['AUTHENTICATORS'] names {path!r}, which is no function of a request.")
        found.append(Authenticator(path, function, awaiting.is_async(function)))
    return tuple(found)


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "LIVEPUSH":
        authenticators.cache_clear()


setting_changed.connect(_forget, dispatch_uid="livepush.access")


def identify(request: HttpRequest, scope: Mapping[str, Any] | None = None) -> Identity:
    """Return who makes a request. Uses the database.

    The user that a middleware has put into the scope comes first, then what the authenticators find.
    """
    if not apps.is_installed("django.contrib.auth"):
        return Identity(None)
    given = None if hasattr(request, IGNORED) else _given(scope or {})
    if given is not None and given.name is not None:
        return given
    for each in authenticators():
        found = each.identity(each.ask(request), request)
        if found is not None:
            return found
    return given or Identity(nobody())


async def identify_async(request: HttpRequest, in_thread: Any, around: awaiting.Around) -> Identity | None:
    """Return who makes a request if an async authenticator must be asked; else ``None``.

    Each is asked where it belongs: the sync ones in a thread, the async ones inside ``around()``.
    """
    known = authenticators()
    if not any(each.is_async for each in known):
        return None
    for each in known:
        found = await (each.aask(request, around) if each.is_async else in_thread(partial(each.ask, request)))
        identity = each.identity(found, request)
        if identity is not None:
            return identity
    return Identity(nobody())


def _given(scope: Mapping[str, Any]) -> Identity | None:
    user, session = scope.get("user"), scope.get("session")
    if user is None:
        return None
    given = Identity(user)
    is_another_models = isinstance(user, Model) and not sessions.is_of_user_model(user)
    if session is None or is_another_models or str(session.get(SESSION_KEY)) != given.name:
        return given  # the session, if there is one, does not name the user
    return given._replace(session=session.session_key)
