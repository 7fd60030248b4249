"""What a connection needs: a hub as the source of its events, and the limits of a client."""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from typing import NamedTuple, Protocol

from livepush.hub.fanout import Encoder, Joined
from livepush.wire import Format, LogPage, Position


class Source(Protocol):
    """What a connection sees of its hub."""

    encoder: Encoder

    @property
    def position(self) -> Position: ...
    @property
    def offered(self) -> int: ...
    @property
    def floor(self) -> int: ...
    def page(self, groups: Collection[str], after: int) -> Awaitable[LogPage]: ...
    def heartbeat(self, format: Format) -> Joined: ...
    def begin_anew(self, reason: str) -> Position: ...


class Limits(NamedTuple):
    """What one client may use; times in seconds."""

    buffer_bytes: int
    """How many bytes may wait for a slow client, and the size of a write in a replay."""
    write_timeout: float
    heartbeat: float
