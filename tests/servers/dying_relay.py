"""A relay that dies between two steps: ``python -m tests.servers.dying_relay POINT COUNT NAME...``.

It runs ``livepush_relay NAME...``, and kills itself at the point when it gets there for the COUNTth time. With
``COUNT:STOP`` it only stops, until somebody lets it go on.
"""

# ruff: noqa: E402 (Django must be ready before its models are imported)
from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import django

django.setup()

from django.core.management import call_command

from livepush.bridges.relays import kafka
from livepush.bridges.relays import running as inwards
from livepush.bridges.relays.outwards import cursor, jetstream, mqtt, rabbitmq, redis_streams, running, webhooks
from livepush.bridges.relays.outwards import kafka as kafka_outwards

TARGETS = (
    jetstream.JetStream, redis_streams.RedisStream, rabbitmq.Exchange, mqtt.Topics, kafka_outwards.Topic,
    webhooks.Webhook,
)  # fmt: skip
POINTS: dict[str, list[tuple[Any, str]]] = {
    "assigned": [(kafka.Receiver, "_assign")],
    "received": [(kafka.Receiver, "_receive")],
    "told": [(kafka.Receiver, "_tell_kafka")],
    "taken": [(inwards, "take")],
    "held": [(cursor.Cursor, "take")],
    "read": [(running, "next_page")],
    "sent": [(target, "send") for target in TARGETS],
    "moved": [(cursor.Cursor, "move")],
}
"""What is done last, and the functions after which the process dies."""


def die_at(point: str, count: int, number: int = signal.SIGKILL) -> None:
    """Have this process get a signal as it gets to a point for the given time."""
    left = count

    def died() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)

    for owner, name in POINTS[point]:
        plain = getattr(owner, name)

        def dying(*args: Any, plain: Any = plain) -> Any:
            result = plain(*args)
            if result != []:  # a batch without messages is no step
                died()
            return result

        async def dying_later(*args: Any, plain: Any = plain) -> Any:
            result = await plain(*args)
            died()
            return result

        setattr(owner, name, dying_later if asyncio.iscoroutinefunction(plain) else dying)


if __name__ == "__main__":
    point, how, *names = sys.argv[1:]
    count, _, stop = how.partition(":")
    die_at(point, int(count), signal.SIGSTOP if stop else signal.SIGKILL)
    call_command("livepush_relay", *names)
