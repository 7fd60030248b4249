"""What one open stream or held poll was granted, and how to ask again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from django.utils.crypto import constant_time_compare

from livepush.access import identity, rules, sessions
from livepush.access.identity import Handshake, Identity

Revoke = Callable[[Collection[str], str], object]
"""Takes groups away from a client, and tells it the reason."""


class Grant:
    """Who reads a stream, and how to take groups away from it."""

    __slots__ = ("groups", "identity", "revoke", "session", "timer", "view")

    def __init__(
        self, identity: Identity, view: Handshake, groups: Callable[[], Collection[str]], revoke: Revoke
    ) -> None:
        self.identity = identity
        self.view = view
        """What rules get as ``request``."""
        self.groups = groups
        """Returns the groups that the stream has now."""
        self.revoke = revoke
        self.session = digest(view.session_key or identity.session or "")
        """By which the end of its session is known; empty without a session."""
        self.timer: Any = None
        """Runs out when its session does."""

    def log_out(self) -> None:
        """Forget who it is, since the session has ended."""
        self.identity = Identity(identity.nobody())
        self.view = replace(self.view, session_key=None)


def digest(key: str) -> str:
    """Return what stands for a session's key in the log, where the key itself must not be."""
    return hashlib.sha256(f"livepush.session:{key}".encode()).hexdigest()[:32] if key else ""


class Question(NamedTuple):
    """What is asked about one grant."""

    identity: Identity
    view: Handshake
    groups: tuple[str, ...]


class Answer(NamedTuple):
    """Who it is now, what sync rules grant, and the questions for async rules."""

    identity: Identity
    granted: set[str]
    questions: rules.Questions


def ask_again(questions: Sequence[Question]) -> list[Answer]:
    """Find out again who some clients are, and which of their groups they may read. Uses the database.

    Sessions and users take a few queries however many they are; rules take what they take. Clients of one user share
    an instance, so that what it remembers is looked up once.
    """
    current = _current([question.identity for question in questions])
    answers = []
    for question, now in zip(questions, current, strict=True):
        granted, left = rules.ask_sync(now.user, question.groups, question.view)
        answers.append(Answer(now, granted, left))
    return answers


def _current(known: Sequence[Identity]) -> list[Identity]:
    by_session = identity.of_sessions({each.session for each in known if each.session is not None})
    users = sessions.existing_users(_keys(known))
    shared: dict[Any, Any] = {}
    found = []
    for each in known:
        now = _of_users(each, users) if each.session is None else by_session[each.session]
        if each.session is not None and now.name != each.name:
            now = Identity(identity.nobody())  # the session is somebody else's now: this client was not asked
        if now.name is not None:
            now = now._replace(user=shared.setdefault(now.name, now.user))
        found.append(now)
    return found


def _keys(known: Iterable[Identity]) -> list[Any]:
    """Return the primary keys of the users that no session names."""
    return [each.user.pk for each in known if each.session is None and each.name and hasattr(each.user, "_meta")]


def _of_users(was: Identity, users: dict[Any, Any]) -> Identity:
    """Return who a client is that a project's middleware has named: the same user, if still active, same password."""
    if was.name is None or not hasattr(was.user, "_meta"):
        return was
    now = users.get(was.user.pk)
    if now is None or not getattr(now, "is_active", True) or not _same_password(was.user, now):
        return Identity(identity.nobody())
    return was._replace(user=now)


def _same_password(was: Any, now: Any) -> bool:
    if not hasattr(was, "get_session_auth_hash") or not hasattr(now, "get_session_auth_hash"):
        return True
    return constant_time_compare(was.get_session_auth_hash(), now.get_session_auth_hash())
