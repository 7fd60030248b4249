"""Takes a client's message: gives it to its handler, or passes it on in its user's name."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied, ValidationError
from django.db import close_old_connections
from django.utils import translation

from livepush import cancelling, green, publish, tenants
from livepush.access import awaiting
from livepush.access.identity import Admission
from livepush.access.rules import DATABASE_ERRORS
from livepush.access.visitors import cookies_of, secret_of
from livepush.conf import get_settings
from livepush.exceptions import InvalidEvent
from livepush.receiving import once
from livepush.receiving.handlers import Found, Handler, handler_of
from livepush.receiving.once import InThread
from livepush.receiving.outages import may_pass
from livepush.wire import WireError, unavailable

Tidy = Callable[[bool], object]
"""Closes a thread's dead connections; with ``True`` it also gives back what no other handler may be using."""


class Message(NamedTuple):
    """A client's message to one group."""

    group: str
    type: str
    data: Any = None
    key: str | None = None
    """Made by the client: a message that it repeats takes effect once, if the server knows the client again."""
    ephemeral: bool = False


def take(message: Message, sender: Admission, request: Any, spare: str | None = None) -> Any:
    """Take a message of a client that may send it; return the handler's answer, ``None`` if there is none.

    ``request`` is the view of the request that rules get. ``spare`` is the key of a message that has none, for a caller
    that may have to do this twice. Uses the database.

    Raises WireError: the message is refused, or can't be taken now.
    """
    with tenants.active(sender.tenant):
        found = handler_of(message.group, message.type)
        if found is None:
            return pass_on(message, sender, request, spare)
        _check(message)
        try:
            if not found.handler.is_atomic:
                return _outside_at_once(found, message, sender, request)
            work = partial(_call, found, message, sender, request)
            return _decoded(once.in_transaction(_receipt(message, sender, request), work))
        except once.AfterCommit as error:
            found.handler.log_exception("What the handler for %r does on commit raised. Its message took effect.")
            return _decoded(error.reply)
        except Exception as error:
            raise _refusal(error, found.handler) from error


async def take_async(
    message: Message, sender: Admission, request: Any, in_thread: InThread, tidy: Tidy, language: str
) -> Any:
    """Take a message as ``take`` does, in an event loop: an async handler runs there, everything else in a thread.

    ``tidy`` is called before and after an async handler, in the thread in which its queries run. The handler's
    sentences are in ``language``.
    """
    found = handler_of(message.group, message.type)
    if found is not None and found.handler.is_async and sender.tenant is None:
        _check(message)
        with translation.override(language):
            task = _outside(found, message, sender, request, in_thread, tidy)
            await asyncio.wait({task})  # whoever cancels this wait does not cancel the handler
            return task.result()
    spare = secrets.token_hex(16)  # the thread does its work again if its connection breaks
    return await in_thread(translation.override(language)(partial(take, message, sender, request, spare)))


def _check(message: Message) -> None:
    """Refuse data that no event can have, such as NaN: handlers would stumble over them. Raises WireError."""
    try:
        publish.encode(message.data)
    except InvalidEvent as error:
        raise WireError("bad_event", str(error)) from error


def pass_on(message: Message, sender: Admission, request: Any, spare: str | None = None) -> None:
    """Send a message to its group as it is, in its user's name. Raises WireError: it can't be sent."""
    key = None
    if not message.ephemeral:
        key = _receipt(message, sender, request) or spare or secrets.token_hex(16)
    try:
        publish.send_as(
            publish.stamp(sender.identity.user),
            message.group,
            message.type,
            message.data,
            key=key,
            ephemeral=message.ephemeral,
        )
    except InvalidEvent as error:
        raise WireError("bad_event", str(error)) from error


_running: set[asyncio.Task[Any]] = set()
"""The handlers outside of a transaction that run now, kept here so that Python does not collect their tasks."""
_tidying: set[asyncio.Task[Any]] = set()
"""The tasks that tidy up after handlers, kept here so that Python does not collect them."""


def running() -> int:
    """Return how many handlers outside of a transaction run now: a server waits for them before it ends."""
    return sum(task.get_loop().is_running() for task in list(_running))


def _outside(
    found: Found, message: Message, sender: Admission, request: Any, in_thread: InThread, tidy: Tidy | None = None
) -> asyncio.Task[Any]:
    """Give a message to a handler outside of a transaction, in a task of its own: it goes on if its client leaves."""
    key, work = _receipt(message, sender, request), partial(_handle, found, message, sender, request, in_thread, tidy)
    task = asyncio.get_running_loop().create_task(_once(found.handler, key, work, in_thread))
    _running.difference_update([each for each in list(_running) if each.get_loop().is_closed()])
    _running.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()  # retrieved, since its client may have gone


def _outside_at_once(found: Found, message: Message, sender: Admission, request: Any) -> Any:
    """Return the answer of a handler that runs outside of a transaction.

    Raises WireError, and ImproperlyConfigured: it is async, and threads are green.
    """
    if found.handler.is_async or green.package() is None:
        return green.to_sync(_outside_here)(found, message, sender, request)
    key = _receipt(message, sender, request)
    work = partial(_handle, found, message, sender, request, _without_loop, None)
    try:
        _once(found.handler, key, work, _without_loop).send(None)  # nothing in it waits
    except StopIteration as done:
        return done.value


async def _without_loop(work: Callable[[], Any]) -> Any:
    return work()


async def _outside_here(found: Found, message: Message, sender: Admission, request: Any) -> Any:
    """Return the answer of a handler that runs outside of a transaction, even if this is cancelled meanwhile.

    The thread that waits for the answer does the handler's queries, so it must not go first.
    """
    task = _outside(found, message, sender, request, _at_once)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    return task.result()


async def _once(handler: Handler, key: str | None, work: Callable[[], Awaitable[Any]], in_thread: InThread) -> Any:
    """Have a message handled unless it was; return the answer. Raises WireError."""
    try:
        return _decoded(await once.outside_of_transaction(key, work, in_thread))
    except once.NotNoted as error:
        handler.log_exception("The message for %r took effect, but the database was away when that was to be noted.")
        return _decoded(error.reply)  # a client that hears it does not repeat the message
    except Exception as error:
        raise _refusal(error, handler) from error


async def _handle(
    found: Found, message: Message, sender: Admission, request: Any, in_thread: InThread, tidy: Tidy | None
) -> Any:
    """Return the result of a handler outside of a transaction. Raises TimeoutError: it took too long."""
    if not found.handler.is_async:
        return await in_thread(partial(_call, found, message, sender, request))
    data = await _checked(found.handler, message, in_thread)
    call = partial(_called, found, data, sender, request)
    work = call() if tidy is None else _tidied(call, tidy)
    return await cancelling.within(awaiting.SHARE * get_settings().DATABASE_TIMEOUT, work)


async def _checked(handler: Handler, message: Message, in_thread: InThread) -> Any:
    """Return the data as an async handler takes them. A schema may query, or take long, so it checks in a thread."""
    if not handler.has_schema:
        return _plain(message.data)

    def check() -> tuple[Any, Exception | None]:
        try:
            return handler.check(_plain(message.data)), None
        except Exception as error:
            return None, error

    data, error = await once.noted(in_thread, translation.override(translation.get_language())(check))
    if error is not None:
        raise error
    return data


async def _tidied(work: Callable[[], Awaitable[Any]], tidy: Tidy) -> Any:
    """Return the result of an async handler, whose queries run in asgiref's own thread; tidy up there around it."""
    await sync_to_async(tidy)(running() == 1)
    try:
        return await work()
    finally:  # not awaited: a query that hangs may be before it
        task = asyncio.get_running_loop().create_task(sync_to_async(tidy)(running() == 1))
        _tidying.add(task)
        task.add_done_callback(_tidying.discard)


async def _at_once(work: Callable[[], Any]) -> Any:
    def done() -> Any:
        with cancelling.contained():
            return work()

    return await sync_to_async(done)()


def _call(found: Found, message: Message, sender: Admission, request: Any) -> Any:
    return _called(found, found.handler.check(_plain(message.data)), sender, request)


def _called(found: Found, data: Any, sender: Admission, request: Any) -> Any:
    return found.handler.call(sender.identity.user, data, values=found.values, request=request)


def _plain(data: Any) -> Any:
    """Return a message's data with bytes for ``{"$bytes": base64}``. Raises ValidationError: it is no base64."""
    if not isinstance(data, dict) or data.keys() != {"$bytes"}:
        return data
    try:
        return base64.b64decode(data["$bytes"], validate=True)
    except (TypeError, ValueError) as error:
        raise ValidationError("The bytes are no base64.", code="invalid") from error


def _receipt(message: Message, sender: Admission, request: Any) -> str | None:
    """Return the key of a message among those of its sender: nobody can use up another's key.

    A visitor who is not logged in is known by a cookie. Without one the message has no key: nobody knows whose it is.
    """
    if message.key is None:
        return None
    parts = (sender.tenant, sender.identity.name, message.group, message.type, message.key)
    if sender.identity.name is not None:
        return once.receipt_key(*parts)
    secret = None if request is None else secret_of(cookies_of(request), request.session_key)
    return None if secret is None else once.receipt_key(*parts, secret)


def _decoded(reply: str | None) -> Any:
    return None if reply is None else json.loads(reply)


def _refusal(error: Exception, handler: Handler) -> WireError:
    """Return what the client is told of an error, which never shows the server's inside."""
    if isinstance(error, WireError):
        return error
    try:
        if isinstance(error, ValidationError):
            refusal = WireError("invalid", " ".join(error.messages), 422)
            refusal.errors = error.message_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.messages}
            return refusal
        if isinstance(error, PermissionDenied):
            return WireError("forbidden", str(error) or "This may not be sent.", 403)
    except Exception:  # the text has placeholders that its parameters do not fit
        return _failed(handler)
    if isinstance(error, DATABASE_ERRORS):
        close_old_connections()
    if may_pass(error):
        handler.log_outage("The handler for %r could not use its database:", error)
        return unavailable()
    return _failed(handler)


def _failed(handler: Handler) -> WireError:
    handler.log_exception("The handler for %r raised, so the client hears that it failed.")
    return WireError("failed", "The server could not handle the message.", 500)
