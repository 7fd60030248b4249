"""The stream of one client of django-eventstream's protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

from livepush.bridges import responding
from livepush.bridges.eventstream import encoding
from livepush.consumers.entering import Entry
from livepush.hub import Connection


class EventStream(Connection):
    """A connection that livepush's metrics count under a name of its own."""

    transport = "eventstream"


def stream(entry: Entry, channels: Collection[str]) -> AsyncIterator[bytes]:
    """Serve a client that was let in, until it leaves or its connection closes."""
    name = entry.admission.identity.name
    user = "anonymous" if name is None else name

    def translate(envelope: str) -> tuple[bytes, bool]:
        part = encoding.translated(envelope)
        content = encoding.reset(channels, part.reset) if part.reset else part.content
        return b"" if user in part.skip else content, part.is_last

    return responding.stream(entry, EventStream, translate)
