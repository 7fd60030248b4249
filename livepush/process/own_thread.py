"""Does work in a thread of its own, which no other work holds up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


def in_own_thread(work: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Do some work in a thread of its own, whether or not somebody waits for it; return a future of its result.

    The threads of the event loop's executor are few, and the project's code, name lookups and the server's end need
    them too. Python does not end before the work has.
    """
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # nobody can cancel it any more

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(result)

    threading.Thread(target=copy_context().run, args=(run,), name=name, daemon=False).start()
    return asyncio.wrap_future(done)
