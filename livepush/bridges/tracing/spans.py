"""The spans ``livepush send`` and ``livepush settle``, and ``livepush deliver`` in each process with readers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import NamedTuple

from opentelemetry import context, trace
from opentelemetry.trace import SpanKind

from livepush import process
from livepush.bridges.tracing.contexts import contexts_of, is_sampled, key_of
from livepush.conf import get_settings
from livepush.hub import Hub
from livepush.hub.fanout import Round, Share
from livepush.hub.figures import Meter
from livepush.hub.routes import Subscriber
from livepush.notes import Rarely
from livepush.publish import Sent
from livepush.wire import Batch, Event, public_name

logger = logging.getLogger("livepush")

TELL = 0.2
"""How often (seconds) a process makes the spans of what it has delivered."""
MAX_WAITING = 10_000
"""Of how many events the deliveries may wait for that. Those of further ones have no span."""
SYSTEM = {"messaging.system": "livepush"}
_failures = Rarely(every=10.0)


@contextmanager
def sending(sent: Sent) -> Iterator[str | None]:
    """Open the span of a send; yield the key by which the event carries it, if it can and somebody will see it."""
    attributes = {
        **SYSTEM,
        "messaging.operation.type": "send",
        "messaging.destination.name": ",".join(sent.groups[:10]),
        "livepush.type": sent.type,
    }
    with _tracer().start_as_current_span("livepush send", kind=SpanKind.PRODUCER, attributes=attributes) as span:
        yield key_of(context.get_current()) if is_sampled(span) else None


def settled(using: str, batch: Batch) -> None:
    """Make the span of each event that got its position: from its send until now."""
    numbers = [event.number for event in batch.events if event.number is not None]
    found, now = contexts_of(using, numbers), time.time_ns()
    for event in batch.events:
        if event.number in found:
            attributes = {**_attributes(event), "messaging.operation.type": "settle"}
            begun = min(_nanoseconds(event.time), now)
            span = _tracer().start_span(
                "livepush settle", found[event.number], SpanKind.INTERNAL, attributes, start_time=begun
            )
            span.end(now)


class Delivery(NamedTuple):
    """The delivery of one event to the readers of this process."""

    event: Event
    readers: int
    begun: int
    """Nanoseconds since 1970."""
    ended: int


class TracingMeter(Meter):
    """Counts, and notes which events are delivered to how many readers."""

    def __init__(self) -> None:
        super().__init__()
        self._noted: dict[int, Delivery] = {}

    def count(self, round: Round, groups: tuple[str, ...], share: Share, subscribers: Collection[Subscriber]) -> None:
        """Note what a round brought to all subscribers that read the same groups of it."""
        super().count(round, groups, share, subscribers)
        if round.ephemeral:
            return
        now = time.time_ns()
        for place in sorted({place for group in groups for place in round.by_group[group]}):
            event = round.events[place]
            number = event.number or 0
            known = self._noted.get(number)
            if known is not None:
                self._noted[number] = known._replace(readers=known.readers + len(subscribers), ended=now)
            elif len(self._noted) < MAX_WAITING:
                self._noted[number] = Delivery(event, len(subscribers), now, now)

    def take(self) -> dict[int, Delivery]:
        """Return what was delivered since the last call."""
        noted, self._noted = self._noted, {}
        return noted


def follow(hub: Hub) -> None:
    """Make the spans of what a hub delivers, for as long as it lives."""
    meter = TracingMeter()
    hub.router.meter = meter
    hub.keep(_tell_on(meter))


async def _tell_on(meter: TracingMeter) -> None:
    while True:
        await asyncio.sleep(TELL)
        if noted := meter.take():
            try:
                await process.in_thread(partial(_tell, noted), 1)
            except Exception as error:
                if _failures.times():
                    logger.warning("Deliveries could not be traced: %s", error)


def _tell(noted: dict[int, Delivery]) -> None:
    found = contexts_of(get_settings().DATABASE, noted)
    for number, parent in found.items():
        event, readers, begun, ended = noted[number]
        attributes = {**_attributes(event), "messaging.operation.type": "process", "livepush.readers": readers}
        span = _tracer().start_span("livepush deliver", parent, SpanKind.CONSUMER, attributes, start_time=begun)
        span.end(ended)


def _attributes(event: Event) -> dict[str, str | int]:
    names = ",".join(map(public_name, event.groups[:10]))
    position = event.number or 0
    return {
        **SYSTEM,
        "messaging.destination.name": names,
        "livepush.type": event.type,
        "livepush.position": position,
    }


def _nanoseconds(timestamp: str) -> int:
    return round(datetime.fromisoformat(timestamp).timestamp() * 1e6) * 1000


def _tracer() -> trace.Tracer:
    return trace.get_tracer("livepush")
