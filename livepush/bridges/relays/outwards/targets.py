"""Targets: what takes the events of an outward relay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from livepush.bridges.relays.config import OutwardRelay
from livepush.bridges.relays.outwards.reading import Outbound

TARGETS = {
    "redis": "redis_streams.RedisStream",
    "nats": "jetstream.JetStream",
    "rabbit": "rabbitmq.Exchange",
    "mqtt": "mqtt.Topics",
    "kafka": "kafka.Topic",
    "webhook": "webhooks.Webhook",
}


class Rejected(Exception):
    """The target will never take a message. It has taken those before it."""

    def __init__(self, message: Outbound, reason: str) -> None:
        super().__init__(reason)
        self.message = message


class Later(Exception):
    """The target did not take a message now, and says how long (seconds) to wait at least."""

    def __init__(self, reason: str, seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Target(Protocol):
    """Takes messages. ``send`` returns when all are taken, and takes them in their order, also if it fails halfway."""

    at_once: int
    """How many messages one ``send`` may have."""
    longest_pause: float
    """How long (seconds) the relay waits at most before it tries again."""

    async def open(self) -> None:
        """Connect."""

    async def send(self, messages: Sequence[Outbound]) -> None:
        """Send messages. Raises Rejected, Later, or errors of the target's client: then it is opened anew."""

    async def close(self) -> None:
        """Disconnect."""


def target_of(relay: OutwardRelay) -> Target:
    """Return what takes a relay's events. Raises ImproperlyConfigured: the client that it needs is not installed."""
    try:
        found: Target = import_string(f"livepush.bridges.relays.outwards.{TARGETS[relay.kind]}")(relay)
        return found
    except ModuleNotFoundError as error:
        packages = {
            "redis": "redis",
            "nats": "nats-py",
            "rabbit": "aio-pika",
            "mqtt": "zmqtt",
            "kafka": "confluent-kafka",
        }
        package = packages[relay.kind]
        what = f"The relay {relay.name!r} needs a client: pip install {package} ({error})."
        raise ImproperlyConfigured(what) from error
