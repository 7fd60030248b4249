"""A Kafka broker for the tests (librdkafka's mock cluster), with producers and readers for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

from confluent_kafka import Consumer, Producer, TopicPartition

from tests.patience import PATIENCE
from tests.servers.fresh import ROOT

QUICK = {"session.timeout.ms": 1_000, "heartbeat.interval.ms": 100}
"""Options with which a relay that was killed holds up others for a short time only."""


class Kafka:
    """A cluster that can go away and come back. What it keeps is lost when it is killed."""

    def __init__(self, brokers: int) -> None:
        words = [sys.executable, "-m", "tests.servers.mock_kafka", str(brokers)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(words, cwd=ROOT, text=True, **pipes)
        self.brokers = range(1, brokers + 1)
        self.address = self._process.stdout.readline().strip()
        self.url = f"kafka://{self.address}"

    def do(self, *words: object) -> None:
        """Do what ``tests.servers.mock_kafka`` can do."""
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline().strip() == "0", words

    def down(self) -> None:
        """Have no broker take connections."""
        for each in self.brokers:
            self.do("down", each)

    def up(self) -> None:
        """Have all brokers take connections again, with what they have kept."""
        for each in self.brokers:
            self.do("up", each)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.communicate(timeout=PATIENCE)

    async def make(self, stream: str, partitions: int = 1) -> None:
        """Make a topic."""
        self.do("create", stream, partitions, len(self.brokers))

    async def remove(self, stream: str) -> None:
        """Remove a topic with its messages."""
        self.do("delete", stream)

    async def publish(self, stream: str, *bodies: object, partition: int = -1) -> None:
        """Append messages; each body's ``id`` is the key."""
        await asyncio.to_thread(self._publish, stream, bodies, partition)

    def _publish(self, stream: str, bodies: tuple[object, ...], partition: int) -> None:
        producer = Producer({"bootstrap.servers": self.address, "enable.idempotence": True})
        for body in bodies:
            key = str(body["id"]) if isinstance(body, dict) and "id" in body else None
            value = None if body is None else json.dumps(body)
            producer.produce(stream, value, key, partition, headers=[("source", b"tests")])
            if len(producer) > 50_000:
                producer.flush(PATIENCE)
        assert producer.flush(PATIENCE) == 0

    async def taken(self, stream: str) -> list[tuple[str, dict[str, object]]]:
        """Return what a relay has sent to a topic: the ids and the events, one partition after another."""
        return [(dict(each.headers())["id"].decode(), json.loads(each.value())) for each in await self.messages(stream)]

    async def messages(self, stream: str) -> list[object]:
        """Return the messages of a topic, one partition after another."""
        return await asyncio.to_thread(self._messages, stream)

    def _messages(self, stream: str) -> list[object]:
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "tests", "enable.auto.commit": False})
        found = []
        for partition in consumer.list_topics(stream, PATIENCE).topics[stream].partitions:
            place = TopicPartition(stream, partition, 0)
            begin, end = consumer.get_watermark_offsets(place, PATIENCE)
            place.offset = begin
            consumer.assign([place])
            while begin < end:
                for each in consumer.consume(min(1_000, end - begin), PATIENCE):
                    assert each.error() is None, each.error()
                    begin = each.offset() + 1
                    found.append(each)
        consumer.close()
        return found


@contextlib.contextmanager
def kafka_broker(brokers: int = 1) -> Iterator[Kafka]:
    """Run a cluster."""
    found = Kafka(brokers)
    try:
        yield found
    finally:
        found.kill()
