"""Finds streams: by their id, or the one that runs in a group."""

from __future__ import annotations

from typing import NamedTuple

from asgiref.sync import sync_to_async

from livepush import publish, tenants
from livepush.conf import get_settings
from livepush.publish import Group
from livepush.streams import leases, pieces, store
from livepush.streams.models import Stream, StreamState
from livepush.streams.responding import StreamResponse
from livepush.wire import public_name


class Found(NamedTuple):
    """A stream as it is now."""

    id: str
    group: str
    state: str
    """``running``, ``finished``, ``failed``, ``stopped`` or ``interrupted``."""
    format: str
    metadata: dict[str, object]
    error: str
    """The sentence that readers are told if it failed."""

    @property
    def is_running(self) -> bool:
        """Whether more may come."""
        return self.state == StreamState.RUNNING

    def response(self, after: int = 0, format: str = "") -> StreamResponse:
        """Return a response that streams it from an offset, in a format of ``docs/streams.md`` (its own by default).

        The view decides who may read it. Raises InvalidData: there is no such format.
        """
        return StreamResponse(self.id, format or self.format, after)

    def text(self) -> str:
        """Return all of its text that is stored. Uses the database."""
        return "".join(piece for piece in read_all(self.id) if isinstance(piece, str))

    async def atext(self) -> str:
        """Return all of its text that is stored, in async code."""
        return await sync_to_async(publish.on_good_connections)(self.text)


def read_all(id: str) -> pieces.Pieces:
    """Return all of a stream that is stored."""
    using = get_settings().DATABASE
    row = store.find(using, id)
    found, _ = store.read_all(using, id, 0, 0 if row is None else row.length)
    return pieces.join(found)


@publish.has_async_twin
def get(id: str) -> Found | None:
    """Return a stream; ``None`` if there is none, or it was deleted after its retention, or is another tenant's.

    Raises InvalidGroup: there are tenants, and none is active.
    """
    using = get_settings().DATABASE
    leases.look(using)
    row = store.find(using, id)
    return None if row is None or row.group != tenants.stored(public_name(row.group), tenants.current()) else _of(row)


async def aget(id: str) -> Found | None:
    """Return a stream in async code; see ``get``."""
    return await sync_to_async(publish.on_good_connections)(get, id)


@publish.has_async_twin
def running(group: Group) -> Found | None:
    """Return the stream of a group that runs, the newest if there are several; ``None`` if there is none.

    Raises InvalidGroup: the group is malformed, or there are tenants and none is active.
    """
    name = tenants.stored(publish.group_name(group), tenants.current())
    using = get_settings().DATABASE
    leases.look(using)
    rows = Stream.objects.using(using).filter(group=name, state=StreamState.RUNNING)
    row = rows.order_by("-created").first()
    return None if row is None else _of(row)


async def arunning(group: Group) -> Found | None:
    """Return the stream of a group that runs, in async code; see ``running``."""
    return await sync_to_async(publish.on_good_connections)(running, group)


def _of(row: Stream) -> Found:
    return Found(row.id, public_name(row.group), row.state, row.format, row.details, row.error)
