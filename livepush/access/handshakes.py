"""``LIVEPUSH["HANDSHAKE"]``: the project's own checks of a client, before its user and the rules are asked.

livepush's ASGI endpoints pass over the project's middleware. So a project names here what has to run all the same: for
example an allow-list of addresses, a redirect to HTTPS, or a maintenance mode.
"""

from __future__ import annotations

import inspect
import logging
import random
import re
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed, PermissionDenied
from django.core.signals import setting_changed
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import parse_http_date_safe

from livepush.access import awaiting, identity
from livepush.cancelling import contained
from livepush.conf import get_settings, load
from livepush.notes import Rarely, last_of
from livepush.wire import Close, WireError

logger = logging.getLogger("livepush")

Check = Callable[[HttpRequest], Any]
InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
PASSING = (WireError, OperationalError, InterfaceError, TimeoutError)
"""The errors that pass through a check: refusals, and failures of the database, after which a client comes back."""
MAX_RETRY_AFTER = 86_400.0
"""The longest time (seconds) for which a check can send a client away."""
_LET_THROUGH = "_livepush_passed"
_raising: defaultdict[str, Rarely] = defaultdict(partial(Rarely, every=1.0))
"""When to log what a check has raised, by its name: all clients come back at once, again and again."""


class Prepared(NamedTuple):
    """A check as it is asked."""

    ask: Check
    is_async: bool


_DROPPED_HEADERS = frozenset({"content-type", "content-length", "content-encoding", "transfer-encoding"})


def checks() -> list[Prepared]:
    """Return the project's checks in their order.

    Raises ImproperlyConfigured: one of them can't be imported, can't be called, or would let everybody in.
    """
    found = [_prepared(load("HANDSHAKE", each)) for each in get_settings().HANDSHAKE]
    return [each for each in found if each is not None]


async def check_async(request: HttpRequest, in_thread: InThread, around: awaiting.Around) -> None:
    """Ask the checks, the sync ones in a thread, the async ones each inside ``around()``.

    Raises WireError: one of them refuses the client; TimeoutError: an async one takes longer than ``DATABASE_TIMEOUT``.
    """
    found = checks()
    if found:
        identity.host_of(request)  # raises WireError, so that no check meets a host that is not allowed
    for check, is_async in found:
        if is_async:
            await awaiting.within(partial(_aask, check, request), get_settings().DATABASE_TIMEOUT, around)
        else:
            await in_thread(partial(_ask, check, request))


def check_sync(request: HttpRequest) -> None:
    """Ask the checks in this thread. Raises WireError: one of them refuses the client."""
    found = checks()
    if found:
        identity.host_of(request)
    for check, is_async in found:
        if is_async:
            awaiting.here(partial(_aask, check, request))
        else:
            _ask(check, request)


def _ask(check: Check, request: HttpRequest) -> None:
    with _refusals_of(check):
        _judge(check(request))


async def _aask(check: Check, request: HttpRequest) -> None:
    with _refusals_of(check):
        _judge(await check(request))


@contextmanager
def _refusals_of(check: Check) -> Iterator[None]:
    """Take what a check raises for a refusal."""
    try:
        with contained():
            yield
    except PASSING:
        raise
    except Exception as error:
        raise _refusal_of(check, error) from error


def _prepared(found: Any) -> Prepared | None:
    if isinstance(found, type) or _takes_get_response(found):
        return _of_middleware(found)
    return Prepared(found, awaiting.is_async(found))


@lru_cache(64)
def _of_middleware(found: Callable[..., Any]) -> Prepared | None:
    """Return a check that asks whether a middleware passes the request on; ``None`` if it is not used."""
    is_sync = getattr(found, "sync_capable", True)
    try:
        middleware = found(_pass_on if is_sync else _apass_on)
    except MiddlewareNotUsed:
        return None
    if hasattr(middleware, "process_view"):
        raise ImproperlyConfigured(
            f"LIVEPUSH['HANDSHAKE'] has {found.__qualname__}, a middleware with process_view. A handshake has no view, "
            "so what is decided there would let everybody in: write a function that decides."
        )

    def check(request: HttpRequest) -> Any:
        request.__dict__.pop(_LET_THROUGH, None)  # of an attempt that failed afterwards
        return _outcome(request, middleware(request))

    async def acheck(request: HttpRequest) -> Any:
        request.__dict__.pop(_LET_THROUGH, None)
        return _outcome(request, await middleware(request))

    check.__qualname__ = acheck.__qualname__ = found.__qualname__  # for the log
    return Prepared(check, False) if is_sync else Prepared(acheck, True)


def _takes_get_response(found: Any) -> bool:
    """Return whether a function is a middleware, told by its parameter ``get_response``."""
    code = getattr(found, "__code__", None)
    return code is not None and "get_response" in code.co_varnames[: code.co_argcount]


def _forget(**kwargs: Any) -> None:
    _of_middleware.cache_clear()


setting_changed.connect(_forget, dispatch_uid="livepush.handshakes")


def _pass_on(request: HttpRequest) -> HttpResponse:
    """Stand for the rest of the project, which a middleware would call next."""
    setattr(request, _LET_THROUGH, True)
    return HttpResponse()


async def _apass_on(request: HttpRequest) -> HttpResponse:
    return _pass_on(request)


def _outcome(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase | None:
    return None if request.__dict__.pop(_LET_THROUGH, False) else response


def _judge(answer: Any) -> None:
    """Raise WireError unless a check's answer admits the client. Only ``None`` and ``True`` do."""
    if answer is None or answer is True:
        return
    if answer is False:
        raise _refused()
    if isinstance(answer, HttpResponseBase):
        headers = {name: value for name, value in answer.items() if name.lower() not in _DROPPED_HEADERS}
        raise _refused(status=answer.status_code if answer.status_code >= 300 else 403, headers=headers)
    if inspect.iscoroutine(answer):
        answer.close()
    raise TypeError(f"it returned {answer!r}: expected None or True to go on, False or an HttpResponse to refuse.")


def _refusal_of(check: Check, error: Exception) -> WireError:
    """Return the refusal for what a check raised: one that fails refuses."""
    if isinstance(error, PermissionDenied):
        return _refused(str(error))
    name = getattr(check, "__qualname__", type(check).__qualname__)
    if times := _raising[name].times():
        logger.error("The handshake's check %s raised, so it refuses.%s", name, last_of(times), exc_info=error)
    return _refused()


def _refused(message: str = "", status: int = 403, headers: dict[str, str] | None = None) -> WireError:
    error = WireError("refused", message or "The site does not let this client in.", status, Close.FORBIDDEN)
    error.headers = headers or {}
    error.retry = _seconds_of({name.lower(): value for name, value in error.headers.items()}.get("retry-after", ""))
    return error


def _seconds_of(after: str) -> float | None:
    """Return how long a ``Retry-After`` says to wait, and a little more; ``None`` if it says nothing.

    See RFC 9110, 10.2.3. Clients that all get one date do not come back in one moment.
    """
    at = parse_http_date_safe(after)
    if re.fullmatch(r"\d{1,9}", after, re.ASCII):
        seconds = float(after)
    elif at is not None:
        seconds = at - time.time()
    else:
        return None
    return min(max(seconds, 1.0), MAX_RETRY_AFTER) * random.uniform(1.0, 1.1)
