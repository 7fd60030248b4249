"""A process that sends until told to stop, whatever fails: ``python -m tests.servers.scribe PLAN``.

``PLAN`` is JSON: ``{"seed": 1, "groups": […], "rate": 10}``, the rate in transactions a second. It stops at the
end of its input, and prints what it did.
"""

# ruff: noqa: E402 (Django must be ready before its models are imported)
from __future__ import annotations

import json
import random
import sys
import threading
import time

import django

django.setup()

from django.db import Error, connections, transaction

import livepush
from livepush import hints


def send(choose: random.Random, groups: list[str]) -> None:
    """Send in one transaction, some of it rolled back."""
    undone = choose.random() < 0.1
    with transaction.atomic():
        for _ in range(choose.choice((1, 1, 1, 2, 3))):
            chosen = choose.sample(groups, choose.choice((1, 1, 1, 1, 2, 3)))
            data = {"t": time.time(), "more": "é" * choose.choice((1, 50, 400))}
            livepush.send(chosen, "never" if undone else "moved", data)
        if choose.random() < 0.1:
            with transaction.atomic():
                livepush.send(choose.choice(groups), "never")
                transaction.set_rollback(True)
        transaction.set_rollback(undone)


def main(seed: int, groups: list[str], rate: float) -> None:
    """Send at a rate until the input ends."""
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    choose = random.Random(seed)
    sent = failed = 0
    while not stop.wait(choose.expovariate(rate)):
        try:
            send(choose, groups)
            sent += 1
        except Error:
            failed += 1
            connections.close_all()
            stop.wait(0.1)
    hints.flush(2)
    print(json.dumps({"sent": sent, "failed": failed}), flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
