"""A process that dies at some point of a send: ``python -m tests.servers.dying GROUP TYPE [POINT [SIGNAL]]``.

``POINT`` is one of ``POINTS``, ``commit`` by default: what was done last. ``SIGNAL`` is ``SIGKILL`` by default; with
``SIGSTOP`` it goes on from there when it is continued. Several points with commas between are gone through one after
the other, each by a child that dies there; the types are then ``TYPE-0``, ``TYPE-1`` and so on.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import django

if __name__ == "__main__":
    django.setup()

from django.db import transaction

import livepush
from livepush import hints, log
from livepush.conf import get_settings
from livepush.log.dialects import base
from livepush.publish import pipeline

POINTS: dict[str, tuple[Any, str, bool]] = {
    "insert": (base.Dialect, "append", True),
    "commit": (log, "settle", False),
    "positions": (base.Dialect, "plan", False),
    "settle": (pipeline, "announce", False),
    "announce here": (hints, "announce", False),
    "announce": (hints, "announce", True),
}
"""What is done last, and the function before or after (``True``) which the process dies."""


def die_at(point: str, number: int) -> None:
    """Have a signal sent to this process as it gets to a point."""
    owner, name, after = POINTS[point]
    if owner is base.Dialect:
        owner = log.dialect(get_settings().DATABASE).__class__  # it may do this in a way of its own
    plain: Callable[..., Any] = getattr(owner, name)

    def dying(*args: Any, **more: Any) -> Any:
        if after:
            plain(*args, **more)
        os.kill(os.getpid(), number)
        return None if after else plain(*args, **more)

    setattr(owner, name, dying)


def send(group: str, type: str, point: str, number: int) -> None:
    """Send an event, and have a signal sent to this process on the way."""
    die_at(point, number)
    with transaction.atomic():
        livepush.send(group, type, "from a process that died")


def send_in_child(*args: Any) -> None:
    """Send in a process of its own, until one dies of it: another may settle first, and leave it nothing to do."""
    status = 0
    while not os.WIFSIGNALED(status):
        child = os.fork()
        if not child:
            send(*args)
            os._exit(0)
        _, status = os.waitpid(child, 0)


if __name__ == "__main__":
    group, type, *more = sys.argv[1:]
    point, name = (*more, *("commit", "SIGKILL")[len(more) :])
    base.TIME_LIMIT_MS = int(os.environ.get("LIVEPUSH_TEST_TIME_LIMIT_MS", base.TIME_LIMIT_MS))
    if "," in point:
        for number, each in enumerate(point.split(",")):
            send_in_child(group, f"{type}-{number}", each, signal.Signals[name])
    else:
        send(group, type, point, signal.Signals[name])
