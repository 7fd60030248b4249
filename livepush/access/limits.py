"""The limits of one process: for all its clients together, and for each user and address.

They are checked before work is done. A client over a limit gets 429, or 4429, and is told when to try again. A limit of
a user or address refuses nobody else; one of the process refuses everybody who comes while it is reached.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from typing import Any

from django.conf import settings as django_settings
from django.http import HttpRequest, RawPostDataException

from livepush.access.addresses import address_of
from livepush.access.authenticating import token_of
from livepush.conf import get_settings
from livepush.forking import renewed
from livepush.notes import Rarely
from livepush.wire import MORE_BYTES, Close, WireError

logger = logging.getLogger("livepush")
_rarely = Rarely(every=10.0)

ALL = "all"
"""The key under which everybody is counted."""
HANDSHAKES_PER_LEVEL = 4
"""How many handshakes one client may have under way before its next ones let others go first."""
LAST_LEVEL = 3
"""The level of work that lets all others go first."""
BURST = 5.0
"""How many seconds' worth of commands, messages or bytes may come at once."""
MAX_BUDGETS = 1000
"""After so many users' budgets, those that are unspent are looked for."""

_lock = renewed(globals(), "_lock", RLock)  # there may be several event loops, and ``Seat.__del__`` comes in between
_handshakes: Counter[Hashable] = renewed(globals(), "_handshakes", Counter)
_connections: Counter[Hashable] = renewed(globals(), "_connections", Counter)


class Seat:
    """The place of one client among the process's. It is free again after ``leave``, or when nothing refers to it."""

    def __init__(self, keys: tuple[Hashable, ...]) -> None:
        self._keys = keys
        self._counts = _connections  # a forked child has counts of its own

    def count_for(self, user: Hashable) -> None:
        """Count the client for a user too, who was not known when it came. Raises WireError: there are too many."""
        with _lock:
            if user is not None and user not in self._keys:
                check_user(user)
                self._counts[user] += 1
                self._keys = (*self._keys, user)

    def leave(self) -> None:
        """Give the place back. Further calls do nothing."""
        with _lock:
            _subtract(self._counts, self._keys)
            self._keys = ()

    def __del__(self) -> None:
        if self._keys:  # the client left while it was let in
            self.leave()


@contextmanager
def handshake(scope: Mapping[str, Any], request: HttpRequest, *, is_new: bool = True) -> Iterator[int]:
    """Count a handshake; yield the level of its work: the more of them one client has, the later it is done.

    A client that is not new, but asks for more, has its connection already.

    Raises WireError: there are too many, or too many connections already.
    """
    settings, address = get_settings(), address_of(scope)
    own = _key_of(request)
    keys = [ALL, *(each for each in (own, address) if each)]
    with _lock:
        if is_new and _connections[ALL] >= settings.MAX_CONNECTIONS:
            raise too_many("connections", 20.0)
        if is_new and address and _connections[address] >= settings.MAX_CONNECTIONS_PER_ADDRESS:
            raise too_many("connections of one address", 20.0)
        if _handshakes[ALL] >= settings.MAX_HANDSHAKES:
            raise too_many("handshakes")
        if any(_handshakes[key] >= settings.MAX_HANDSHAKES_PER_CLIENT for key in keys[1:]):
            raise too_many("handshakes of one client")
        level = max((_handshakes[key] // HANDSHAKES_PER_LEVEL for key in keys[1:]), default=0)
        counts = _handshakes  # a forked child has counts of its own
        counts.update(keys)
    try:
        yield min(level, LAST_LEVEL)
    finally:
        with _lock:
            _subtract(counts, keys)


def handshakes() -> int:
    """Return how many clients are being let in."""
    return _handshakes[ALL]


def check_user(user: Hashable) -> None:
    """Refuse a user who has too many connections. Raises WireError."""
    with _lock:
        if _connections[user] >= get_settings().MAX_CONNECTIONS_PER_USER:
            raise too_many("connections of one user", 20.0)


def take_seat(scope: Mapping[str, Any], user: Hashable) -> Seat:
    """Count a connection of a user, who is ``None`` if nobody is logged in. Raises WireError: there are too many."""
    settings, address = get_settings(), address_of(scope)
    keys = tuple(each for each in (ALL, address, user) if each is not None)
    most = {
        ALL: ("connections", settings.MAX_CONNECTIONS),
        address: ("connections of one address", settings.MAX_CONNECTIONS_PER_ADDRESS),
        user: ("connections of one user", settings.MAX_CONNECTIONS_PER_USER),
    }
    with _lock:
        for key in keys:
            what, limit = most[key]
            if _connections[key] >= limit:
                raise too_many(what, 20.0)
        _connections.update(keys)
    return Seat(keys)


def max_groups(is_known: bool) -> int:
    """Return how many groups one connection may ask for, of a user who is known or of nobody."""
    settings = get_settings()
    return min(settings.MAX_GROUPS, (not is_known and settings.MAX_GROUPS_ANONYMOUS) or settings.MAX_GROUPS)


def check_groups(is_known: bool, count: int) -> None:
    """Refuse a client that asks for more groups than one connection may have. Raises WireError."""
    limit = max_groups(is_known)
    if count > limit:
        remedy = "ask for fewer" if limit == max_groups(True) else "ask for fewer, or log in"
        raise WireError("too_many_groups", f"A connection may have {limit} groups, and would have {count}: {remedy}.")


def user_key(tenant: str | None, name: str | None) -> Hashable:
    """Return the key under which a user is counted; ``None`` if nobody is logged in."""
    return None if name is None else ("user", tenant, name)


def body_of(request: HttpRequest, most: int, remedy: str) -> bytes:
    """Return a request's body. Raises WireError: it has more than ``most`` bytes, or was a form that is read already.

    Without a length Django may read a body of any size. Of such a body no more is read than shows that it is too long.
    """
    length = request.META.get("CONTENT_LENGTH")
    if int(length or 0) <= most:
        try:
            body = request.body if length else request.read(most + 1)
        except RawPostDataException as error:
            raise WireError("bad_body", f"The body is a form: {remedy}.") from error
        if len(body) <= most:
            request._body = body  # where Django keeps it: an authenticator of the project may read it, too
            return body
    raise WireError("too_large", f"The body is over {most} bytes: {remedy}.", 413)


def too_many(what: str, retry: float = 2.0) -> WireError:
    """Return a WireError 429 that says "Too many <what>"; log at intervals how many there were.

    ``retry`` is the shortest wait in seconds; the wait that is sent is up to twice as long.
    """
    if times := _rarely.times():
        logger.warning("%d requests or commands were over a limit. The last one: too many %s.", times, what)
    error = WireError("throttled", f"Too many {what}: try again later.", 429, Close.TOO_MANY)
    error.limit = what
    error.retry = retry * random.uniform(1.0, 2.0)  # so that those who are refused together do not return together
    error.headers = {"Retry-After": f"{max(1, round(error.retry))}"}
    return error


class Bucket:
    """Lets ``rate`` of something pass in a second, and ``burst`` at once (a token bucket)."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, time.monotonic()

    def take(self, count: float = 1.0) -> float:
        """Take some out, and return 0; or take none, and return after how long (seconds) there is enough."""
        now = time.monotonic()
        self._left, self._at = min(self._burst, self._left + (now - self._at) * self._rate), now
        lacking = min(count, self._burst) - self._left
        if lacking > 0:
            return lacking / self._rate
        self._left -= count
        return 0.0

    def is_full(self) -> bool:
        """Return whether nothing is missing by now."""
        return self._left + (time.monotonic() - self._at) * self._rate >= self._burst


class Budget:
    """The commands that one client may send, the messages among them, and the messages' bytes."""

    def __init__(self) -> None:
        settings = get_settings()
        self._commands = bucket_of(settings.COMMANDS_PER_SECOND)
        self._messages = bucket_of(settings.MESSAGES_PER_SECOND)
        self._ephemeral = bucket_of(settings.EPHEMERAL_PER_SECOND)
        self._bytes = bucket_of(settings.MESSAGE_BYTES_PER_SECOND, settings.MAX_EVENT_BYTES + MORE_BYTES)

    def command(self) -> None:
        """Count a command. Raises WireError: there are too many."""
        if wait := self.take_command():
            raise too_many("commands", wait)

    def take_command(self) -> float:
        """Count a command, and return 0; or count none, and return after how long (seconds) there is room for one."""
        return self._commands.take()

    def message(self, size: int) -> None:
        """Count a message of ``size`` bytes. Raises WireError: there are too many, or too many bytes."""
        if wait := self._messages.take():
            raise too_many("messages", wait)
        if wait := self._bytes.take(size):
            raise too_many("bytes of messages", wait)

    def ephemeral(self, size: int) -> None:
        """Count an ephemeral message of ``size`` bytes. Raises WireError: there are too many, or too many bytes."""
        if wait := self._ephemeral.take():
            raise too_many("ephemeral messages", wait)
        if wait := self._bytes.take(size):
            raise too_many("bytes of messages", wait)

    def is_unspent(self) -> bool:
        """Return whether nothing is missing by now."""
        return all(each.is_full() for each in (self._commands, self._messages, self._ephemeral, self._bytes))


_budgets: dict[Hashable, Budget] = {}


def budget_of(user: Hashable) -> Budget:
    """Return what a user may say over all connections to this process. Budgets that are unspent are forgotten."""
    with _lock:
        found = _budgets.get(user)
        if found is None:
            if len(_budgets) >= MAX_BUDGETS:
                for key in [key for key, each in _budgets.items() if each.is_unspent()]:
                    del _budgets[key]
            found = _budgets[user] = Budget()
        return found


def bucket_of(rate: float, least: float = 1.0) -> Bucket:
    """Return a bucket that lets five seconds' worth pass at once, and ``least`` anyway."""
    return Bucket(rate, max(rate * BURST, least))


class PublishingBudget:
    """The events that the publishers of one bridge may send together in this process; any thread may use it."""

    def __init__(self) -> None:
        self._buckets: dict[float, Bucket] = {}  # by rate, so that a setting that has changed counts anew

    def spend(self, count: int = 1) -> None:
        """Count events against ``PUBLISHED_PER_SECOND``. Raises WireError: there are too many."""
        rate = get_settings().PUBLISHED_PER_SECOND
        with _lock:
            wait = self._buckets.setdefault(rate, bucket_of(rate, 100.0)).take(count)
        if wait:
            raise too_many("published events", wait)


def _key_of(request: HttpRequest) -> Hashable:
    """Return a key for a client that is not identified yet: a hash of its session cookie, header or token.

    Returns ``None`` if it sent none of these.
    """
    session = request.COOKIES.get(django_settings.SESSION_COOKIE_NAME)
    shown = session or request.META.get("HTTP_AUTHORIZATION") or token_of(request)
    return None if not shown else ("shown", hash(shown))


def _subtract(counts: Counter[Hashable], keys: Any) -> None:
    for key in keys:
        counts[key] -= 1
        if counts[key] <= 0:
            counts.pop(key, None)  # ``Seat.__del__`` may have come in between
