"""A process that sends in a loop until its input ends: ``python -m tests.servers.sender PLAN``.

Each send stands in a transaction with a row of the project's, or alone. It says of each, in a line of its own, what it
was to write and what became of it: ``{"number": …, "rows": …, "order": …, "outcome": "sent"}``; other outcomes are
``undone``, or the name of the error that was raised.
"""

# ruff: noqa: E402 (Django must be ready before its models are imported)
from __future__ import annotations

import json
import os
import random
import select
import sys
import time
from dataclasses import dataclass
from typing import Any

import django

django.setup()

from django.db import DatabaseError, connection, transaction

import livepush
from livepush import hints
from livepush.log.dialects import base
from tests.servers import clock
from tests.shop.models import Order


@dataclass
class Plan:
    """What to send: ``pause`` are seconds between sends, ``count`` is how many at most (0 for no end)."""

    name: str
    seed: int
    groups: list[str]
    count: int = 0
    pause: float = 0.0
    together: float = 0.5
    """How often the send stands in a transaction with a row of the project's."""


class Undone(Exception):
    """A transaction that is rolled back."""


def send_one(plan: Plan, choose: random.Random, number: int) -> dict[str, Any]:
    groups = choose.sample(plan.groups, min(len(plan.groups), choose.choice((1, 1, 1, 2))))
    data = {"writer": plan.name, "number": number, "t": time.time()}
    together = choose.random() < plan.together
    undone = together and choose.random() < 0.1
    outcome = "sent"
    try:
        if together:
            with transaction.atomic():
                Order.objects.create(note=f"{plan.name} {number}")
                livepush.send(groups, "moved", data)
                if undone:
                    raise Undone
        else:
            livepush.send(groups, "moved", data)
    except Undone:
        outcome = "undone"
    except DatabaseError as error:
        outcome = type(error).__name__
        connection.close()
    return {"number": number, "rows": len(groups), "order": together, "outcome": outcome}


def work(plan: Plan) -> None:
    """Send until the input ends, or there were enough."""
    choose = random.Random(plan.seed)
    number = 0
    while not plan.count or number < plan.count:
        if select.select([sys.stdin], [], [], plan.pause * choose.random())[0]:
            break
        number += 1
        print(json.dumps(send_one(plan, choose, number)), flush=True)


if __name__ == "__main__":
    base.TIME_LIMIT_MS = int(os.environ.get("LIVEPUSH_TEST_TIME_LIMIT_MS", base.TIME_LIMIT_MS))
    plan = Plan(**json.loads(sys.argv[1]))
    print(json.dumps({"clock": clock.OFFSET}), flush=True)
    work(plan)
    hints.flush(10)
