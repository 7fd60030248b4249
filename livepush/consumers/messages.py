"""The messages of clients: over a WebSocket, and by ``POST send/``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any, NamedTuple

from livepush import process, publish, tenants
from livepush.access import rules
from livepush.access.identity import Admission
from livepush.access.visitors import cookies_of, secret_of
from livepush.exceptions import InvalidEvent
from livepush.hub.registry import serving_loop
from livepush.process import drain
from livepush.receiving import Message, handler_of, running, take, take_async
from livepush.receiving.gathering import gatherer, posted
from livepush.wire import Event, Sending, WireError, unavailable

REMEMBERED = 1.0
"""How long (seconds) a WebSocket's ephemeral messages go out by the last answer of the rule."""
MAX_REMEMBERED = 100
"""For how many groups and types a WebSocket's last answer is remembered."""
LET_GO = 1.0
"""How long (seconds) a message waits at most until a busy loop has sent the sender's ephemeral ones before it."""
LATER = 1
"""The level of a message's work: handshakes go first, and half of the threads stay free for them."""
drain.producers.append(drain.Producers(running, lambda: None))  # what is left then ends with its loop


def right_to_send(message: Message) -> rules.Right:
    """Return the right that a message needs."""
    return rules.Right(rules.SEND.name, message.type)


def is_fleeting(message: Message | Sending) -> bool:
    """Return whether a message is ephemeral and passed on as it is. A handler makes it an ordinary one."""
    return message.ephemeral and handler_of(message.group, message.type) is None


def check_sent(admission: Admission) -> None:
    """Refuse a message that may not be sent. Raises WireError."""
    if admission.granted:
        return
    if admission.failed:
        raise unavailable()
    raise WireError("forbidden", "You may not send messages of this type to this group.", 403)


def send_here(message: Message, admission: Admission, request: Any) -> Any:
    """Send a message of a client that may, from a thread; return the answer. Raises WireError.

    One that is ephemeral is gathered if this process has streams to serve.
    """
    loop, sender = serving_loop(), _sender_of(admission, request)
    if loop is None:
        return take(message, admission, request)
    if is_fleeting(message):
        event = _event(message, admission, _stamp(admission))
        posted.add(sender)
        if _in_loop(loop, partial(_offer, sender, event)):
            return None
    else:
        gone: Future[None] = Future()
        group = tenants.stored(message.group, admission.tenant)
        if _in_loop(loop, partial(_let_go, sender, group, gone)) and sender in posted:
            with suppress(TimeoutError):  # or the message might overtake the others on its way to other processes
                gone.result(LET_GO)
    return take(message, admission, request)


def _in_loop(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> bool:
    """Have something done in a loop; return whether the loop is open."""
    try:
        loop.call_soon_threadsafe(work, context=Context())
    except RuntimeError:
        return False
    return True


def _offer(sender: Hashable, event: Event) -> None:
    gatherer().offer(sender, event)


def _let_go(sender: Hashable, group: str, gone: Future[None]) -> None:
    gatherer().let_go(sender, group)
    posted.discard(sender)
    gone.set_result(None)


class Allowed(NamedTuple):
    """What one client's ephemeral messages to a group, of one type, go out by for a while."""

    until: float
    """When the rule is asked again (``time.monotonic()``)."""
    sender: Hashable
    """Whose messages take each other's place."""
    event: Event
    """An event like theirs, with other data."""


class Outgoing:
    """Sends the messages of one WebSocket's client."""

    def __init__(self) -> None:
        self._remembered: dict[tuple[str, str], Allowed] = {}

    async def send(self, message: Message, admit: Callable[..., Any], request: Any, language: Callable[[], str]) -> Any:
        """Send a message; return the answer. ``admit`` asks the rules. Raises WireError.

        ``language`` is that of a handler's sentences. It is asked for where there is a handler: thousands of cursors
        have none.
        """
        if is_fleeting(message):
            return await self._pass_on(message, admit)
        admission = await admit((message.group,), right_to_send(message))
        check_sent(admission)
        gatherer().let_go(self._sender(admission), tenants.stored(message.group, admission.tenant))
        in_thread = partial(process.in_thread, level=LATER)
        return await take_async(message, admission, request, in_thread, process.tidy, language())

    def end(self) -> None:
        """Send the ephemeral messages that wait: the client goes on as somebody else."""
        for known in self._remembered.values():
            gatherer().let_go(known.sender, known.event.groups[0])

    async def _pass_on(self, message: Message, admit: Callable[..., Any]) -> None:
        known = self._remembered.get((message.group, message.type))
        if known is None or known.until < time.monotonic():
            known = await self._ask(message, admit)
        try:
            event = publish.another(known.event, message.data)
        except InvalidEvent as error:
            raise WireError("bad_event", str(error)) from error
        gatherer().offer(known.sender, event)

    def _sender(self, admission: Admission) -> Hashable:
        """Return whose ephemeral messages take each other's place: a user's, or those of this connection."""
        return admission.identity.name or self

    async def _ask(self, message: Message, admit: Callable[..., Any]) -> Allowed:
        """Ask the rule whether a message may go out, and remember the answer. Raises WireError: it may not."""
        now = time.monotonic()
        admission = await admit((message.group,), right_to_send(message))
        check_sent(admission)
        stamp = await process.in_thread(lambda: _stamp(admission), LATER)
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        event = _event(message._replace(data=None), admission, stamp)
        found = self._remembered[message.group, message.type] = Allowed(
            now + REMEMBERED, self._sender(admission), event
        )
        return found


def _event(message: Message, admission: Admission, stamp: str) -> Event:
    try:
        with tenants.active(admission.tenant):
            return publish.ephemeral(stamp, message.group, message.type, message.data)
    except InvalidEvent as error:
        raise WireError("bad_event", str(error)) from error


def _sender_of(admission: Admission, request: Any) -> Hashable:
    """Return whose ephemeral messages take each other's place: a user's, a visitor's, or else nobody's."""
    if admission.identity.name is not None:
        return admission.identity.name
    secret = secret_of(cookies_of(request), request.session_key)
    return object() if secret is None else ("visitor", secret)


def _stamp(admission: Admission) -> str:
    with tenants.active(admission.tenant):
        return publish.stamp(admission.identity.user)
