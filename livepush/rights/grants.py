"""What one open stream or held poll was granted, and how to ask again."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from django.utils.crypto import constant_time_compare

from livepush import tenants
from livepush.access import rules, sessions, tokens
from livepush.access.answers import Answers
from livepush.access.authenticating import Identity, nobody, of_sessions, revocations
from livepush.access.identity import Handshake
from livepush.access.tokens import Token
from livepush.hub import Connection, Waiter
from livepush.notes import Rarely
from livepush.wire import EVERYTHING, Floors, WireError, public_name

logger = logging.getLogger("livepush")

_raising = Rarely(every=10.0)

Revoke = Callable[[Collection[str], str], object]
"""Takes groups away from a client, and tells it the reason."""


class Grant:
    """Who reads a stream, and how to take groups away from it."""

    __slots__ = ("_subscriber", "identity", "revoke", "session", "tenant", "timer", "view")

    def __init__(
        self,
        identity: Identity,
        view: Handshake,
        subscriber: Connection | Waiter,
        revoke: Revoke,
        tenant: str | None = None,
    ) -> None:
        self.identity = identity
        self.view = view
        """What rules get as ``request``."""
        self._subscriber = subscriber
        self.revoke = revoke
        self.tenant = tenant
        """The tenant whose groups these are; ``None`` in a project without tenants."""
        self.session = digest(view.session_key or identity.session or "")
        """By which the end of its session is known; empty without a session."""
        self.timer: Any = None
        """Runs out when its session does."""

    @property
    def stored(self) -> tuple[str, ...]:
        """The groups that the stream has now, as the log and the hub have them."""
        return tuple(self._subscriber.groups)

    def groups(self) -> tuple[str, ...]:
        """Return the groups that the stream has now, as rules and clients know them."""
        return tuple(map(public_name, self._subscriber.groups))

    def take(self, groups: Collection[str], reason: str) -> None:
        """Take those of the groups away that it has."""
        if gone := [name for name in self._subscriber.groups if public_name(name) in groups]:
            self.revoke(gone, reason)

    def limit_to(self, granted: Floors) -> None:
        """Note since when it may read those of its groups that are granted again."""
        again = {name: granted[public_name(name)] for name in self._subscriber.groups if public_name(name) in granted}
        self._subscriber.limit_to(again, {name: floor for name, floor in again.items() if floor != EVERYTHING})

    def log_out(self) -> None:
        """Forget who it is, since the session has ended."""
        self.identity = Identity(nobody())
        self.view = replace(self.view, session_key=None)


def digest(key: str) -> str:
    """Return what stands for a session's key in the log, where the key itself must not be."""
    return hashlib.sha256(f"livepush.session:{key}".encode()).hexdigest()[:32] if key else ""


class Question(NamedTuple):
    """What is asked about one grant."""

    identity: Identity
    view: Handshake
    groups: tuple[str, ...]
    tenant: str | None


class Answer(NamedTuple):
    """Who it is now, what the sync rules say, and the questions for async rules."""

    identity: Identity
    answers: Answers
    questions: rules.Questions


def ask_again(questions: Sequence[Question]) -> list[Answer]:
    """Find out again who some clients are, and which of their groups they may read. Uses the database.

    Sessions and users of a tenant take a few queries however many they are; rules take what they take. Clients of one
    user share an instance, so that what it remembers is looked up once.
    """
    by_tenant: defaultdict[str | None, list[Question]] = defaultdict(list)
    for question in questions:
        by_tenant[question.tenant].append(question)
    answers = {tenant: iter(_answers(tenant, asked)) for tenant, asked in by_tenant.items()}
    return [next(answers[question.tenant]) for question in questions]


def _answers(tenant: str | None, questions: Sequence[Question]) -> list[Answer]:
    """Ask again about clients of one tenant. If the tenant is gone, they may read nothing; others are not affected."""
    try:
        with tenants.active(tenant):
            current = _current([question.identity for question in questions])
            return [
                Answer(now, *rules.ask_sync(now.user, filter(now.may, question.groups), question.view))
                for question, now in zip(questions, current, strict=True)
            ]
    except Exception as error:
        if tenant is None or isinstance(error, rules.DATABASE_ERRORS):
            raise
        logger.exception("Clients of the tenant %r could not be asked about, so they lose their groups.", tenant)
        return [Answer(question.identity, Answers({}, set()), []) for question in questions]


def _current(known: Sequence[Identity]) -> list[Identity]:
    by_session = of_sessions({each.session for each in known if each.session is not None})
    by_token = _of_tokens([each.token for each in known if each.token is not None])
    users = sessions.existing_users([each.user.pk for each in known if _is_given(each)])
    shared: dict[Any, Any] = {}
    found = []
    for each in known:
        if each.session is not None:
            now = by_session[each.session]
        elif each.token is not None:
            now = each._replace(user=by_token[each.token])
        else:
            now = each._replace(user=_asked_again(each) if each.again else _still_there(each, users))
        if now.name != each.name:
            now = Identity(nobody())  # nobody is, or somebody else: this client did not ask as that user
        elif now.name is not None:
            now = now._replace(user=shared.setdefault(now.name, now.user))
        found.append(now)
    return found


def _of_tokens(known: Sequence[Token]) -> dict[Token, Any]:
    """Return the users of tokens, ``None`` for those that have ended in whatever way."""
    now, wanted = time.time(), list(dict.fromkeys(known))
    return {
        token: None if token.ends <= now or any(ended(token) for ended in revocations) else user
        for token, user in zip(wanted, tokens.owners(wanted), strict=True)
    }


def _is_given(known: Identity) -> bool:
    """Return whether nothing but a project's middleware says who it is."""
    return known.session is None and known.token is None and known.again is None and _is_of_model(known)


def _is_of_model(known: Identity) -> bool:
    return known.name is not None and hasattr(known.user, "_meta")


def _asked_again(known: Identity) -> Any:
    """Return whom a project's authenticator knows now. If it raises that is nobody, and others are asked about too."""
    assert known.again is not None
    try:
        return known.again()
    except (WireError, OSError, *rules.DATABASE_ERRORS) as error:
        if isinstance(error, WireError) and error.status not in (429, 503):
            return None
        raise
    except Exception as error:
        if times := _raising.times():
            name = type(error).__name__
            logger.warning(
                "%d authenticators raised, and their clients are logged out. Last: %s: %s", times, name, error
            )
        return None


def _still_there(was: Identity, users: dict[Any, Any]) -> Any:
    """Return the user whom a project's middleware has named, if still active and of the same password."""
    if not _is_of_model(was):
        return was.user
    now = users.get(was.user.pk)
    if now is None or not getattr(now, "is_active", True) or not _same_password(was.user, now):
        return None
    return now


def _same_password(was: Any, now: Any) -> bool:
    if not hasattr(was, "get_session_auth_hash") or not hasattr(now, "get_session_auth_hash"):
        return True
    return constant_time_compare(was.get_session_auth_hash(), now.get_session_auth_hash())
