"""Tries out in a project's tests what a user may read and send; ``livepush.testing`` offers it."""

from __future__ import annotations

import json
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import get_backends
from django.contrib.auth.models import AnonymousUser

from livepush import tenants
from livepush.access import identity, rules
from livepush.access.authenticating import Identity
from livepush.conf import get_settings
from livepush.exceptions import InvalidEvent
from livepush.publish import Group, encode, group_name
from livepush.receiving.taking import Message, take
from livepush.wire import WireError, parse_message, unavailable


class SendRefused(Exception):
    """The server refused a message: ``code`` and ``errors`` are what a client hears."""

    def __init__(self, error: WireError) -> None:
        super().__init__(f"{error.code}: {error.message}")
        self.code = error.code
        self.errors = error.errors


class Sender:
    """Sends as a user's browser would: by the rules, with the stamp, to the handlers."""

    def __init__(self, user: Any) -> None:
        self.user = _known(user)

    def send(
        self, group: Group, type: str, data: Any = None, *, key: str | None = None, ephemeral: bool = False
    ) -> Any:
        """Send a message; return the handler's answer. The data go through JSON.

        Raises SendRefused, also for a text that is no group; InvalidGroup for an instance that names none.
        """
        name = group if isinstance(group, str) else group_name(group)
        try:
            body = {"group": name, "type": type, "data": _through_json(data), "key": key, "ephemeral": ephemeral}
            sending = parse_message(json.dumps(body).encode())
            admission = _admission(self.user, sending.group, rules.Right(rules.SEND.name, sending.type))
            if not admission.granted:
                raise WireError("forbidden", f"No rule lets {self.user} send {type!r} to {name!r}.", 403)
            message = Message(sending.group, sending.type, sending.data, sending.key, sending.ephemeral)
            return take(message, admission, None)
        except WireError as error:
            raise SendRefused(error) from error

    async def asend(
        self, group: Group, type: str, data: Any = None, *, key: str | None = None, ephemeral: bool = False
    ) -> Any:
        """Send a message as ``send`` does, from async code."""
        return await sync_to_async(self.send)(group, type, data, key=key, ephemeral=ephemeral)


def _known(user: Any) -> Any:
    """Return the user as the server knows a browser's: nobody, if the account is inactive and no backend lets it in."""
    if user is None:
        return AnonymousUser()
    if getattr(user, "is_active", True) or isinstance(user, AnonymousUser):
        return user
    asked = [each.user_can_authenticate for each in get_backends() if hasattr(each, "user_can_authenticate")]
    return user if any(may(user) for may in asked) else AnonymousUser()


def _through_json(data: Any) -> Any:
    """Return data as the server gets them from a browser. Raises WireError: JSON can't carry them."""
    try:
        return json.loads(encode(data))
    except InvalidEvent as error:
        raise WireError("bad_event", str(error)) from error


def client(user: Any = None) -> Sender:
    """Return what sends messages as the user's browser would; without a user, as a visitor without cookies or keys."""
    return Sender(user)


def may_read(user: Any, group: Group) -> bool:
    """Return whether a user (``None``: nobody who is logged in) may read a group."""
    return bool(_admission(user, group_name(group), rules.READ).granted)


def may_send(user: Any, group: Group, type: str) -> bool:
    """Return whether a user's client may send messages of a type to a group."""
    return bool(_admission(user, group_name(group), rules.Right(rules.SEND.name, type)).granted)


def assert_may_read(user: Any, group: Group) -> None:
    """Fail unless a user may read a group."""
    assert may_read(user, group), f"{user} may not read {group_name(group)!r}: no rule of can_read says yes."


def assert_may_not_read(user: Any, group: Group) -> None:
    """Fail if a user may read a group."""
    assert not may_read(user, group), f"{user} may read {group_name(group)!r}."


def assert_may_send(user: Any, group: Group, type: str) -> None:
    """Fail unless a user's client may send messages of a type to a group."""
    assert may_send(user, group, type), (
        f"{user} may not send {type!r} to {group_name(group)!r}: no rule of can_send for this type says yes."
    )


def assert_may_not_send(user: Any, group: Group, type: str) -> None:
    """Fail if a user's client may send messages of a type to a group."""
    assert not may_send(user, group, type), f"{user} may send {type!r} to {group_name(group)!r}."


def _admission(user: Any, group: str, right: rules.Right) -> identity.Admission:
    user = _known(user)
    tenant = tenants.current()
    answers, questions = rules.ask_sync(user, [group], None, right)
    if questions:
        answers = rules.ask_async_here(questions, answers, get_settings().DATABASE_TIMEOUT, tenant)
    if answers.failed:
        raise unavailable()
    return identity.admission(identity.Asked(Identity(user), answers, [], tenant), [group], answers, right)
