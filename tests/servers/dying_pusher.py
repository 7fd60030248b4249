"""The tests' site of Pusher's protocol in a process that kills itself between two steps of the webhooks.

``LIVEPUSH_TEST_DIES`` is ``POINT:COUNT``: it dies when it gets to the point for the COUNTth time.
"""

from __future__ import annotations

import os
import signal
from functools import wraps
from typing import Any

from tests.servers.pusher import application  # isort: skip (it sets Django up, which livepush's modules need)

from livepush.bridges.pusher import posting
from livepush.roster import table

__all__ = ["application"]

POINTS: dict[str, tuple[Any, str]] = {
    "occupied": (table, "write"),
    "taken": (posting.Place, "take"),
    "read": (posting, "_part"),
    "posted": (posting, "_post"),
    "written": (posting.Place, "write"),
}
"""What is done last, and the function after which the process dies."""


def die_at(point: str, count: int) -> None:
    """Have this process end as it gets to a point for the given time."""
    owner, name = POINTS[point]
    plain, left = getattr(owner, name), count

    @wraps(plain)
    def dying(*args: Any, **more: Any) -> Any:
        nonlocal left
        result = plain(*args, **more)
        is_step = result.said if isinstance(result, posting.Part) else True  # nothing to tell is no step
        left -= bool(is_step)
        if left <= 0 and is_step:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying)


if dies := os.environ.get("LIVEPUSH_TEST_DIES"):
    point, _, count = dies.partition(":")
    die_at(point, int(count))
