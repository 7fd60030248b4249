"""One subscriber of a hub: what it gets, how far it got, and what happens when it reads too slowly."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from livepush.hub.fanout import Came, Frames, Joined, Replay
from livepush.process.servers import uvicorn
from livepush.wire import COPIES, LARGEST_NUMBER, Event, Format, Position, join, own

if TYPE_CHECKING:
    from livepush.hub.fanout import Share
    from livepush.hub.hub import Hub

Write = Callable[[Frames], Coroutine[Any, Any, None]]
UNKNOWN = -1
"""Stands for the send of the event at the cursor that a client came with, before it was read."""
FAREWELL = 2.0
"""How long (seconds) a farewell may wait for a client that does not read."""


class State(Enum):
    """What a connection is doing."""

    REPLAYING = "replaying"
    """It reads what lies before the hub's position."""
    LIVE = "live"
    """It has had everything up to the hub's position, or holds it in its buffer."""
    BEHIND = "behind"
    """It was too slow for its buffer, or lost the hub's thread, and reads from the log at its own pace."""
    CLOSED = "closed"
    """It gets nothing any more; ``reason`` says why."""


class Reason(Enum):
    """Why a connection was closed."""

    GONE = "gone"
    """The client went away."""
    SLOW = "slow"
    """A write made no progress for ``WRITE_TIMEOUT``."""
    DRAIN = "drain"
    """The server is going away."""
    REVOKED = "revoked"
    """No right to any of its groups is left."""
    FAILED = "failed"
    """A write failed, or the log could not be read."""


class Subscriber(Protocol):
    """What the hub's routes lead to."""

    groups: dict[str, int]

    def offer(self, share: Share) -> None:
        """Take what a round brings to some of its groups."""

    def beat(self, now: float) -> None:
        """Keep a quiet stream alive; notice a stuck one."""

    def fall_behind(self) -> None:
        """Read on from the log: the hub's memory does not continue what went before."""

    def leave(self, retry: int) -> None:
        """Tell the client to come back after some milliseconds, and close."""


class Connection:
    """A stream to one client.

    ``write`` sends frames and returns when the server has taken them. ``on_close`` is called once the connection has
    closed, unless it was the client that went. ``transport`` takes what
    is live, where it is known (see ``shortcut``).
    """

    __slots__ = (
        "_aside", "_buffer", "_buffered", "_busy_since", "_had", "_last_write", "_task", "_transport", "_write",
        "cursor", "epoch", "format", "groups", "hub", "on_close", "reason", "state",
    )  # fmt: skip

    def __init__(
        self,
        hub: Hub,
        groups: Iterable[str],
        cursor: Position,
        format: Format,
        write: Write,
        on_close: Callable[[], object] | None = None,
        transport: asyncio.WriteTransport | None = None,
    ) -> None:
        self.hub = hub
        self.groups = dict.fromkeys(groups, 0)
        """Each group with the number behind which its events are wanted."""
        self.epoch, self.cursor = cursor
        self.format = format
        self.state = State.REPLAYING
        self.reason: Reason | None = None
        self._write = write
        self.on_close = on_close
        self._transport = transport
        self._task: asyncio.Task[None] | None = None
        self._busy_since = self._last_write = hub.loop.time()
        self._buffer: list[bytes | str] = []
        self._buffered = 0
        self._aside: list[bytes | str] = []
        self._had: int | None = UNKNOWN

    @property
    def position(self) -> Position:
        """The position behind which every event of its groups is still to be offered."""
        return self.hub.position if self.state is State.LIVE else Position(self.epoch, self.cursor)

    def start(self, frames: Frames) -> None:
        """Write the first frames, then what lies behind the cursor, then live."""
        self._spawn(self._replay(frames))
        if self.hub.draining and self.state is not State.CLOSED:  # it came in while the hub said goodbye
            self.hub.send_away(self)

    def subscribe(self, groups: Iterable[str]) -> Position:
        """Add groups from now on; return the position behind which their events come."""
        position = self.hub.position  # not the cursor: a page without these groups may be on its way
        if self.state is not State.CLOSED:
            self.hub.route_to(self, groups)
        for group in groups:
            self.groups.setdefault(group, position.number)
        return position

    def unsubscribe(self, groups: Iterable[str]) -> None:
        """Drop groups from now on."""
        self.hub.unroute(self, groups)
        for group in groups:
            self.groups.pop(group, None)

    def say(self, frames: Frames) -> None:
        """Write what livepush itself says, behind the events that came before."""
        if self.state is State.LIVE and self._task is None:
            self._take(Joined(frames, self.hub.loop.time()))
        elif self.state is not State.CLOSED:
            self._aside += frames  # apart from the buffer, which may be dropped
            if sum(map(len, self._aside)) > self.hub.options.buffer_bytes:
                self.close(Reason.SLOW)
            else:
                self.fall_behind()

    def offer(self, share: Share) -> None:
        if self.state is State.LIVE:
            self._take(share.joined(self.format))

    def beat(self, now: float) -> None:
        options = self.hub.options
        if self._task is not None:
            if now - self._busy_since > options.write_timeout:
                self.close(Reason.SLOW)
        elif self.state is State.LIVE and now - self._last_write >= options.heartbeat / 2:
            self._take(self.hub.heartbeat(self.format))

    def fall_behind(self) -> None:
        if self.state is State.LIVE:
            self._drop_buffer()
            self.state = State.BEHIND
            if self._task is None:
                self._spawn(self._replay())

    def leave(self, retry: int) -> None:
        self.close(Reason.DRAIN, own("bye", self.format, retry=retry, reason=Reason.DRAIN.value))

    def close(self, reason: Reason, farewell: Frames = ()) -> None:
        """Get nothing any more, but for the farewell."""
        if self.state is State.CLOSED:
            return
        self.state, self.reason = State.CLOSED, reason
        self.hub.remove(self)
        self._drop_buffer()
        self._aside = list(farewell)
        if self._task is None:
            self._close_on()
        elif not farewell:
            self._task.cancel()
        else:
            self._give_up_soon()

    def _give_up_soon(self) -> None:
        """Let a farewell not wait for ever for a client that does not read."""
        self.hub.loop.call_later(FAREWELL, self._give_up)

    def _give_up(self) -> None:
        if self._task is not None:
            self.reason = Reason.SLOW
            self._task.cancel()

    def _take(self, joined: Joined) -> None:
        """Write now if nothing is being written, else keep for the next write."""
        if self._task is None and joined.size <= self.hub.options.buffer_bytes:
            self.cursor = self.hub.number
            if self._transport is not None and uvicorn.can_write_now(self._transport):
                self._transport.write(joined.raw)
                self._last_write = joined.time
            else:
                self._spawn(self._write(joined.frames))
            return
        self._buffer += joined.frames
        self._buffered += joined.size
        if self._buffered > self.hub.options.buffer_bytes:
            self.fall_behind()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin to write; where nothing blocks, it has ended on return, with no task switch."""
        task = eager_task(work, self.hub.loop)
        if task.done():
            self._finished(task)
        else:
            self._busy_since = self.hub.loop.time()
            self._task = task
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._task = None
        self._last_write = self.hub.loop.time()
        failed = task.cancelled() or task.exception() is not None
        if self.state is State.CLOSED:
            if failed:
                self._aside = []
            self._close_on()
        elif failed:
            self.close(Reason.FAILED)
        elif self._buffer:
            frames = merge(self._buffer)
            self._drop_buffer()
            self.cursor = self.hub.number
            self._spawn(self._write(frames))
        elif self.state is State.BEHIND:
            self._spawn(self._replay())

    def _close_on(self) -> None:
        """Write the farewell if there is one, then tell the transport."""
        farewell, self._aside = self._aside, []
        if farewell:
            self._spawn(self._write(farewell))
            if self._task is not None:
                self._give_up_soon()
        elif self.reason is not Reason.GONE and self.on_close is not None:
            self.on_close()

    def _drop_buffer(self) -> None:
        self._buffer, self._buffered = [], 0

    async def _replay(self, frames: Frames = ()) -> None:
        """Page on from the cursor until it has reached the hub's position, then be live."""
        self._aside[:0] = frames
        while self.state is not State.CLOSED:
            if self._aside:
                frames, self._aside = self._aside, []
                await self._write_timed(frames)
            elif self.epoch != self.hub.epoch:
                await self._reset("epoch")
            elif self.cursor < self.hub.floor:
                await self._reset("pruned")
            elif self.cursor >= self.hub.number:
                self.state = State.LIVE
                return
            else:
                await self._replay_page()

    async def _replay_page(self) -> None:
        kept = self._kept()
        if kept is not None:
            self._had = kept.send
            await self._write_timed(kept.frames)
            self.cursor = kept.upto
            return
        page = await self.hub.page(self.groups, self.cursor)
        if page.state.position.epoch != self.epoch:
            await self.hub.refresh()
        elif page.state.floor > self.cursor:
            await self._reset("pruned")
        else:
            came = self._came()
            for frames in self._chunks(self._news(page.events)):
                if came is not None and page.upto == self.hub.number:
                    self._keep(came, Replay(frames, page.upto, self._had))
                came = None
                await self._write_timed(frames)
            self.cursor = page.upto

    def _came(self) -> Came | None:
        """Return how the client came, ``None`` where it has read since or has groups with a position of their own."""
        return (self.cursor, *self.groups) if self._had == UNKNOWN and not any(self.groups.values()) else None

    def _kept(self) -> Replay | None:
        """Return what another that came like this one had, where nothing has come since."""
        came = self._came()
        kept = self.hub.encoder(self.epoch, self.format).replays.get(came) if came is not None else None
        return kept if kept is not None and kept.upto == self.hub.number else None

    def _keep(self, came: Came, replay: Replay) -> None:
        """Keep a replay for those that come alike, where its frames are all of it."""
        if sum(map(len, replay.frames)) < self.hub.options.buffer_bytes:
            self.hub.encoder(self.epoch, self.format).keep(came, replay)

    async def _reset(self, reason: str) -> None:
        self.epoch, self.cursor = self.hub.position
        self.groups = dict.fromkeys(self.groups, 0)
        await self._write_timed(own("reset", self.format, position=self.hub.position, reason=reason))

    async def _write_timed(self, frames: Frames) -> None:
        self._busy_since = self.hub.loop.time()
        await self._write(frames)

    def _news(self, events: Sequence[Event]) -> Iterator[Event]:
        """Yield what the client wants and has not had, each send once, or every copy where its format asks for that.

        What a send made has contiguous numbers, and a cursor that a client came with lies among them only where it had
        the event there, whatever its groups are now.
        """
        if self._had == UNKNOWN:
            self._had = events[0].send if events and events[0].number == self.cursor else None
        for event in events:
            number = event.number or 0
            if number > self.cursor and number > self.groups.get(event.group, LARGEST_NUMBER):
                if event.send is None or event.send != self._had or self.format in COPIES:
                    yield event
                self._had = event.send

    def _chunks(self, events: Iterable[Event]) -> Iterator[Frames]:
        """Yield the frames of a replay in writes of a bounded size."""
        encode = self.hub.encoder(self.epoch, self.format).encode
        parts: list[str] = []
        room = self.hub.options.buffer_bytes
        for event in events:
            parts.append(encode(event))
            room -= len(parts[-1])
            if room <= 0:
                yield join(parts, self.format)
                parts, room = [], self.hub.options.buffer_bytes
        if parts:
            yield join(parts, self.format)


class Waiter:
    """A held poll: it is told that something came for one of its groups, and reads that itself."""

    __slots__ = ("groups", "hub", "woken")

    def __init__(self, hub: Hub, groups: Iterable[str]) -> None:
        self.hub = hub
        self.groups = dict.fromkeys(groups, 0)
        self.woken: asyncio.Future[None] = hub.loop.create_future()

    def offer(self, share: Share) -> None:
        if not share.ephemeral:
            self._wake()

    def beat(self, now: float) -> None:
        pass

    def fall_behind(self) -> None:
        self._wake()

    def leave(self, retry: int) -> None:
        self._wake()

    def _wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)


def merge(frames: Sequence[bytes | str]) -> Frames:
    """Return byte frames joined into one; texts stay messages of their own."""
    if isinstance(frames[0], bytes):
        return (b"".join(frame for frame in frames if isinstance(frame, bytes)),)
    return tuple(frames)


def eager_task(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
    """Return a task that has run up to its first wait already, where Python has such tasks (3.12)."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(work, loop=loop, eager_start=True)
    return loop.create_task(work)
