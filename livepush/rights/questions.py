"""Asks again who clients are, and which of their groups they may read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

from django.utils.crypto import constant_time_compare

from livepush import tenants
from livepush.access import rules, sessions, tokens
from livepush.access.answers import Answers
from livepush.access.authenticating import Identity, nobody, of_loaded, of_sessions, revoked
from livepush.access.identity import Handshake
from livepush.access.tokens import Token
from livepush.notes import Rarely, one_line
from livepush.wire import WireError

logger = logging.getLogger("livepush")

REMEMBERED = "_livepush_audiences"
"""The attribute of a user with what the rule of the inbox has looked up for it."""
T = TypeVar("T")
_raising = Rarely(every=10.0)


class Question(NamedTuple):
    """A question about one grant."""

    identity: Identity
    view: Handshake
    groups: tuple[str, ...]
    tenant: str | None


class Answer(NamedTuple):
    """The client's identity now, the sync rules' answers, and the questions for async rules."""

    identity: Identity
    answers: Answers
    questions: rules.Questions


def ask_again(questions: Sequence[Question]) -> list[Answer]:
    """Find out again who some clients are, and which of their groups they may read. Uses the database.

    Sessions, tokens and users of a tenant take a few queries however many they are; rules, and backends with a
    ``get_user`` of their own, take what they take. Clients of one user that one query finds share an instance, so that
    what it remembers is looked up once.
    """
    order = sorted(range(len(questions)), key=lambda place: questions[place].tenant or "")
    answers = dict(zip(order, each_again([questions[place] for place in order]), strict=True))
    return [answers[place] for place in range(len(questions))]


def each_again(
    questions: Sequence[Question], begin: Callable[[], object] = lambda: None
) -> Generator[Answer, None, None]:
    """Yield the answers that ``ask_again`` returns, one after another. Questions of one tenant stand together.

    ``begin`` is called before each client is asked about by itself.
    """
    for tenant, asked in groupby(questions, key=lambda question: question.tenant):
        yield from _answers(tenant, list(asked), begin)


def _answers(
    tenant: str | None, questions: Sequence[Question], begin: Callable[[], object]
) -> Generator[Answer, None, None]:
    """Ask again about clients of one tenant. If the tenant is gone, they may read nothing; others are not affected."""
    answered, is_asking = 0, False
    try:
        with tenants.active(tenant):
            is_asking = True
            known = _Known([question.identity for question in questions])
            for question in questions:
                begin()
                answer = _answer(known, question)
                answered += 1
                yield answer
            is_asking = False
    except Exception as error:
        if is_asking or tenant is None or isinstance(error, rules.DATABASE_ERRORS):
            raise
        logger.exception("Clients of the tenant %r could not be asked about, so they lose their groups.", tenant)
        for question in questions[answered:]:
            yield _nothing(question)


def _answer(known: _Known, question: Question) -> Answer:
    """Ask about one client. Raises what its authenticator or backend does, as while that can't be reached."""
    try:
        now = known.now(question.identity)
        return Answer(now, *rules.ask_sync(now.user, filter(now.may, question.groups), question.view))
    except TimeoutError as error:  # the project's own: livepush's would send the client away
        raise OSError(f"{type(error).__name__}: {error}") from error
    except Exception as error:
        if question.tenant is None or isinstance(error, (WireError, OSError, *rules.DATABASE_ERRORS)):
            raise
        if times := _raising.times():  # the tenant may be gone
            message = "%d clients could not be asked about, so they lose their groups. The last, of the tenant %r:"
            logger.warning(message, times, question.tenant, exc_info=True)
        return _nothing(question)


def _nothing(question: Question) -> Answer:
    return Answer(question.identity, Answers({}, set()), [])


class _Known:
    """The database's facts about some clients, looked up for all of them at once."""

    def __init__(self, known: Sequence[Identity]) -> None:
        """Look them up. If that raises for one of them, ``now`` looks each up by itself."""
        self._by_session = _at_once(_of_sessions, {each.session for each in known if each.session is not None})
        self._by_token = _at_once(_of_tokens, [each.token for each in known if each.token is not None])
        given = [sessions.key_of(each.user) for each in known if _is_given(each)]
        self._users = _at_once(sessions.existing_users, given)

    def now(self, was: Identity) -> Identity:
        """Return who a client is now. It is a new instance: others tell by it that the client was asked about again."""
        now = self._found(was)
        if now.name != was.name:
            return Identity(nobody())  # nobody is, or somebody else: this client did not ask as that user
        return _anew(now) if now.user is was.user else now

    def _found(self, was: Identity) -> Identity:
        if was.session is not None:
            found = (self._by_session or {}).get(was.session) or of_sessions([was.session])[was.session]
            return kept(was, found)
        if was.token is not None:
            return was._replace(user=(self._by_token or _of_tokens([was.token]))[was.token])
        if was.again is not None:
            return was._replace(user=_asked_again(was))
        if not _is_given(was):
            return was  # nobody, or who a middleware says it is
        key = sessions.key_of(was.user)
        users = sessions.existing_users([key]) if self._users is None else self._users
        return was._replace(user=_still_there(was.user, users.get(key)))


def kept(was: Identity, found: Identity) -> Identity:
    """Return who a client is now, of the identity that it had and the one that its session names now.

    A user of a middleware's own kind stays for as long as the session names that user: rules were asked of that one. A
    backend may find users of a kind of its own, too: then the one counts that it finds now.
    """
    is_own_kind = not sessions.is_of_user_model(was.user) and was.user.__class__ is not found.user.__class__
    return _anew(was) if found.name == was.name and is_own_kind else found


def _anew(known: Identity) -> Identity:
    """Return an identity to ask about again; what its user remembers of earlier questions may be true no more."""
    with suppress(AttributeError):
        delattr(known.user, REMEMBERED)
    return known._replace()


def _at_once(look_up: Callable[[Any], dict[Any, T]], keys: Collection[Any]) -> dict[Any, T] | None:
    """Look up what some clients name; return ``None`` if that raises, as a project's backend may for one of them."""
    try:
        return look_up(keys)
    except rules.DATABASE_ERRORS:
        raise
    except Exception:
        return None


def _of_sessions(keys: Collection[str]) -> dict[str, Identity]:
    """Return the identities of the sessions that can be loaded together.

    It leaves out sessions whose backend must be asked about each user: such a backend may not answer.
    """
    return of_loaded(sessions.load_for_many(keys))


def _of_tokens(known: Sequence[Token]) -> dict[Token, Any]:
    """Return the users of tokens, ``None`` for those that have ended in whatever way."""
    now, wanted = time.time(), list(dict.fromkeys(known))
    ended = revoked(wanted)
    return {
        token: None if token.ends <= now or token in ended else user
        for token, user in zip(wanted, tokens.owners(wanted), strict=True)
    }


def _is_given(known: Identity) -> bool:
    """Return whether nothing but a middleware says who it is, and that is a user of the project's user model."""
    if known.name is None or known.session is not None or known.token is not None or known.again is not None:
        return False
    return sessions.is_of_user_model(known.user)


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
            message = "%d authenticators raised, and their clients are logged out. Last: %s"
            logger.warning(message, times, one_line(error))
        return None


def _still_there(was: Any, now: Any) -> Any:
    """Return a user as the database has it now, if still active and of the same password."""
    if now is None or not getattr(now, "is_active", True) or not _same_password(was, now):
        return None
    return now


def _same_password(was: Any, now: Any) -> bool:
    if not hasattr(was, "get_session_auth_hash") or not hasattr(now, "get_session_auth_hash"):
        return True
    return constant_time_compare(was.get_session_auth_hash(), now.get_session_auth_hash())
