"""For a project's own tests: see what would be sent on commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

from livepush import publishing
from livepush.publishing import Delivery, Sent

__all__ = ["Captured", "Sent", "capture_events"]


class Captured(list[Sent]):
    """The events sent in a block, in order; complete when the block has ended."""

    def to(self, group: publishing.Group) -> list[Sent]:
        """Return those sent to one group."""
        name = publishing.group_name(group)
        return [sent for sent in self if name in sent.groups]

    def types(self) -> list[str]:
        """Return their types."""
        return [sent.type for sent in self]


@contextmanager
def capture_events() -> Iterator[Captured]:
    """Capture what is sent in a block: what was committed in it and, in a ``TestCase``, what would be on commit.

    What a rolled-back transaction or savepoint sent is not there::

        with capture_events() as events:
            order.ship()
        self.assertEqual([(sent.type, sent.payload) for sent in events], [("status", {"status": "shipped"})])
    """
    captured = Captured()
    deliveries: list[Delivery] = []
    before = {alias: len(_pending(alias)) for alias in connections}
    publishing.watchers.append(deliveries.append)
    try:
        yield captured
    finally:
        publishing.watchers.remove(deliveries.append)
        for alias in connections:
            deliveries += _pending(alias)[before[alias] :]
        ordered = {delivery.number: delivery.sent for delivery in deliveries}
        captured += [ordered[number] for number in sorted(ordered)]


def _pending(alias: str) -> list[Any]:
    return [hook[1] for hook in connections[alias].run_on_commit if isinstance(hook[1], Delivery)]
