"""A process that sends many events in transactions of varying size: ``python -m tests.servers.writer PLAN``.

It says when it is ready, waits for a line on its input, and at the end prints what it handed to the layer.
"""

# ruff: noqa: E402 (Django must be ready before its models are imported)
from __future__ import annotations

import json
import random
import sys

import django

django.setup()

from django.db import transaction

import livepush
from livepush import hints
from tests.servers import probe


def write(name: str, seed: int, count: int, groups: list[str]) -> None:
    """Send until so many events are committed."""
    choose = random.Random(seed)
    number = 0

    def send(type: str) -> int:
        nonlocal number
        number += 1
        chosen = choose.sample(groups, choose.choice((1, 1, 1, 1, 1, 1, 1, 1, 2, 3)))
        livepush.send(chosen, type, {"writer": name, "number": number, "more": "é" * choose.choice((1, 50, 800))})
        return len(chosen)

    left = count
    while left > 0:
        undone = choose.random() < 0.1
        with transaction.atomic():
            events = 0
            for _ in range(choose.choice((1, 1, 1, 2, 3, 5, 8, 40))):
                if events < left:
                    events += send("never" if undone else "moved")
                if choose.random() < 0.05:
                    with transaction.atomic():
                        send("never")
                        transaction.set_rollback(True)
            transaction.set_rollback(undone)
        left -= 0 if undone else events


if __name__ == "__main__":
    plan = json.loads(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    write(**plan)
    hints.flush(10)
    print(json.dumps(probe.counts()), flush=True)
