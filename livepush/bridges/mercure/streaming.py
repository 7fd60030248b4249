"""The stream of one subscriber."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from livepush.bridges import responding
from livepush.bridges.mercure import encoding
from livepush.bridges.mercure.encoding import Part
from livepush.bridges.mercure.selectors import Selectors
from livepush.consumers.entering import Entry
from livepush.hub import Connection


class Subscription(NamedTuple):
    """The topics that a subscriber asks for, and those that it may have."""

    wanted: Selectors
    allowed: Selectors
    """The topics whose private updates it may have."""

    def takes(self, part: Part) -> bool:
        """Return whether the subscriber gets an update."""
        if not part.topics:
            return True
        return self.wanted.match_any(part.topics) and not (part.private and not self.allowed.match_any(part.topics))


class MercureStream(Connection):
    """A connection that livepush's metrics count under a name of its own."""

    transport = "mercure"


def stream(entry: Entry, subscription: Subscription) -> AsyncIterator[bytes]:
    """Serve a subscriber that was let in, until it leaves or its connection closes."""

    def translate(envelope: str) -> tuple[bytes, bool]:
        part = encoding.translated(envelope)
        return part.content if subscription.takes(part) else b"", part.is_last

    return responding.stream(entry, MercureStream, translate)
