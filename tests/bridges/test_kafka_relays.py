"""Kafka: messages become events exactly once, and events go out in order, whatever is killed and when."""

from __future__ import annotations

import asyncio

import pytest

from tests.patience import PATIENCE, eventually
from tests.servers import processes, relays
from tests.servers.kafka import QUICK, kafka_broker


def relaying(database, broker, may_fail=False, die=(), **changed):
    """Relay the orders of a broker in a process of its own."""
    given = {"URL": broker.url, "STREAM": "orders", "GROUP": "order:{key}", "OPTIONS": QUICK, **changed}
    return relays.relaying(database, {"orders": given}, die=die, may_fail=may_fail)


def numbers(elsewhere):
    return [int(row["data"]["n"]) for row in elsewhere.rows() if row["type"] == "message"]


async def test_messages_are_relayed_in_order_as_they_come(databases):
    with (
        databases.fresh("postgresql") as database,
        kafka_broker() as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()  # the log begins
        await broker.make("orders")
        await broker.publish("orders", *({"id": n % 7, "n": str(n)} for n in range(100)))
        with relaying(database, broker):
            await eventually(lambda: len(numbers(elsewhere)) == 100)
            await broker.publish("orders", {"id": 1, "n": "100"})
            await eventually(lambda: len(numbers(elsewhere)) == 101)
        assert numbers(elsewhere) == list(range(101))
        assert elsewhere.rows()[1]["group"] == "order:1"
