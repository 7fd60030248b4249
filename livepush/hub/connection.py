"""One client's stream: does what its flow decides."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

from livepush.hub.direct import write_now
from livepush.hub.fanout import Joined, Share
from livepush.hub.flow import Flow, Next, Reason, State, Step
from livepush.hub.source import Limits, Source
from livepush.wire import Binary, Event, Floors, Format, Frames, LogPage, Position, join, public_name, system_frames

__all__ = ["FAREWELL", "Connection", "Reason", "State", "Write"]

Write = Callable[[Frames], Coroutine[Any, Any, None]]
FAREWELL = 2.0
"""How long (seconds) a farewell may wait for a client that does not read."""


class OfEachEvent:
    """The attributes that each event needs, side by side in memory, since a base's slots come first.

    For each event, thousands of clients are fetched from memory, and each cache line counts. With these and the short
    way of ``offer``, a client takes 0.4 µs beside the write itself, and 0.9 µs without.
    """

    __slots__ = ("_at_once", "_last_write", "_limit", "_upto", "format")


class Connection(OfEachEvent):
    """A stream to one client.

    ``write`` sends frames and returns when the server has accepted them. Where there is a ``transport``, live events
    are written to it, past the server. ``on_close`` is called after the connection has closed, unless by the client.
    """

    __slots__ = ("_leaving", "_limits", "_loop", "_source", "_state", "_task", "_transport", "_write", "on_close")

    def __init__(
        self,
        source: Source,
        groups: Iterable[str],
        cursor: Position,
        format: Format,
        write: Write,
        limits: Limits,
        transport: asyncio.WriteTransport | None = None,
        floors: Floors | None = None,
    ) -> None:
        self.format = format
        self.on_close: Callable[[], object] | None = None
        self._state = Flow(groups, cursor, limits.buffer_bytes, limits.write_timeout)
        self._state.limit_to((), floors or {})
        self._at_once: asyncio.WriteTransport | None = None
        self._upto = 0
        self._limit = limits.buffer_bytes
        self._source = source
        self._write = write
        self._transport = transport
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._last_write = self._loop.time()
        self._leaving: asyncio.TimerHandle | None = None

    @property
    def _flow(self) -> Flow:
        """The flow, whose cursor is up to date now: the short way of ``offer`` does not move it, and ends here."""
        if self._at_once is not None:
            self._state.cursor, self._at_once = self._upto, None
        return self._state

    @property
    def groups(self) -> dict[str, int]:
        """Each group with the number after which the client wants its events."""
        return self._state.groups

    @property
    def state(self) -> State:
        """What the connection is doing."""
        return self._state.state

    @property
    def reason(self) -> Reason | None:
        """Why the connection was closed; ``None`` while it is open."""
        return self._state.reason

    @property
    def buffered(self) -> int:
        """How many bytes wait for the client."""
        return self._state.buffered

    def start(self, frames: Frames) -> None:
        """Write the first frames, then the events after the cursor, then live events."""
        self._flow.say(frames)
        self._go_on()

    def add(self, groups: Iterable[str], since: int | None = None) -> None:
        """Add groups from the hub's position on, or from a number before it."""
        if since is None:
            self._flow.add(groups, self._source.position.number)
        else:
            self._flow.add_from(groups, since)
            self._loop.call_soon(self._go_on)  # the reply comes first; what is begun at once may end at once

    def limit_to(self, groups: Iterable[str], floors: Floors) -> None:
        """Note since when the client may read some groups: all of them, but for those that have a floor."""
        self._flow.limit_to(groups, floors)

    def drop(self, groups: Iterable[str]) -> None:
        """Drop groups from now on."""
        self._flow.drop(groups)

    def revoke(self, groups: Iterable[str], reason: str) -> None:
        """Drop groups that the client may no longer read (none if only its login ends), with what waits; say so."""
        groups = list(groups)
        names = [public_name(group) for group in groups]
        frames = system_frames("revoked", self.format, groups=names, reason=reason)
        self.drop(groups)
        if self.groups or not groups:
            self.say(frames)  # a buffer is dropped for it, and read again without these groups
        else:
            self.close(Reason.REVOKED, frames)

    def say(self, frames: Frames) -> None:
        """Write frames of livepush's own after the earlier events."""
        if self.state is State.LIVE and self._task is None:
            self._offer(Joined(frames, self._loop.time(), max(self._flow.cursor, self._source.offered)), any_size=True)
        elif self.state is not State.CLOSED:
            if self._flow.say(frames):
                self.close(Reason.SLOW)
            else:
                self._go_on()

    def offer(self, share: Share) -> None:
        # The short way: what the last event found (live, idle, no floors) holds, since nothing has looked at the flow.
        if self._at_once is not None:
            joined = share[self.format]
            if joined.size <= self._limit and write_now(self._at_once, joined.raw):
                self._upto, self._last_write = joined.upto, joined.time
                return
        flow = self._flow
        if flow.state is State.LIVE:
            found = share.above(flow.floors, flow.highest, self.format) if flow.floors else share[self.format]
            if found is not None:
                self._offer(found)

    def beat(self, now: float) -> None:
        if self._flow.is_stuck(now):
            self.close(Reason.SLOW)
        elif self._task is None and self.state is State.LIVE and now - self._last_write >= self._limits.heartbeat / 2:
            self._offer(self._source.heartbeat(self.format))

    def fall_behind(self, *, reset: bool = False) -> None:
        if reset:
            self._flow.lose_history()
        self._flow.fall_behind()
        self._go_on()

    def leave(self, retry: int) -> None:
        self.close(Reason.DRAIN, system_frames("bye", self.format, retry=retry, reason=Reason.DRAIN.value))

    def leave_after(self, seconds: float) -> None:
        """Tell the client in a while to come back at once, so that it is asked anew what it may read."""
        if self.state is State.CLOSED:
            return
        if self._leaving is not None:
            if self._leaving.when() <= self._loop.time() + seconds:
                return
            self._leaving.cancel()
        self._leaving = self._loop.call_later(seconds, self.leave, 0)

    def close(self, reason: Reason, farewell: Frames = ()) -> None:
        """Close: nothing but the farewell is sent any more."""
        if self.state is State.CLOSED:
            return
        if self._leaving is not None:
            self._leaving.cancel()
        self._flow.close(reason, farewell)
        if self._task is None:
            self._go_on()
        elif not farewell:
            self._task.cancel()
        else:
            self._give_up_soon()

    # Writing

    def _offer(self, joined: Joined, any_size: bool = False) -> None:
        if self._flow.offer(joined, self._task is None, any_size):
            if self._transport is not None and write_now(self._transport, joined.raw):
                self._last_write = joined.time
                if not self._state.floors:
                    self._at_once, self._upto = self._transport, joined.upto
            else:
                self._spawn(self._write(joined.frames))
        elif self._task is None:
            self._go_on()

    def _go_on(self) -> None:
        """Do the next thing, unless a write is going on: the end of the write calls this again."""
        if self._task is not None:
            return
        match self._flow.next():
            case Next.WRITE:
                self._spawn(self._write(self._flow.take()))
                if self._task is not None and self.state is State.CLOSED:
                    self._give_up_soon()
            case Next.READ:
                self._spawn(self._read_on())
            case Next.END:
                on_close, self.on_close = self.on_close, None
                if on_close is not None and self.reason is not Reason.GONE:
                    on_close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin to write. If nothing blocks, the write has ended on return, without a task switch."""
        task = eager_task(work, self._loop)
        if task.done():
            self._finished(task)
            return
        self._task, self._flow.busy_since = task, self._loop.time()
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._task = self._flow.busy_since = None
        self._last_write = self._loop.time()
        failed = task.cancelled() or task.exception() is not None
        if failed and self.state is State.CLOSED:
            self._flow.drop_farewell()
        elif failed:
            self.close(Reason.FAILED)
            return
        self._go_on()

    def _give_up_soon(self) -> None:
        """Give up the farewell after a while if the client does not read."""
        self._loop.call_later(FAREWELL, self._give_up)

    def _give_up(self) -> None:
        if self._task is not None:
            self._flow.reason = Reason.SLOW
            self._task.cancel()

    # Reading

    async def _read_on(self) -> None:
        """Send pages from the log until the cursor has reached the hub's position; then the connection is live."""
        flow, source = self._flow, self._source
        while (step := flow.step(source.position, source.floor)) is not Step.DONE:
            if step is Step.SAY:
                await self._write_timed(flow.take())
            elif step is Step.PAGE:
                await self._write_page(await source.page(flow.groups, flow.cursor))
            else:
                await self._reset(step.value)

    async def _write_page(self, page: LogPage) -> None:
        flow = self._flow
        if page.state.position.epoch != flow.epoch:
            return  # the hub has noticed the new epoch by now
        if page.state.floor > flow.cursor:
            await self._reset(Step.RESET_PRUNED.value)
            return
        for frames in self._chunks(flow.wanted(page.events)):
            await self._write_timed(frames)
        flow.cursor = page.upto

    async def _reset(self, reason: str) -> None:
        position = self._source.begin_anew(reason)
        self._flow.reset(position)
        await self._write_timed(system_frames("reset", self.format, position=position, reason=reason))

    async def _write_timed(self, frames: Frames) -> None:
        self._flow.busy_since = self._loop.time()
        await self._write(frames)

    def _chunks(self, events: Iterable[Event]) -> Iterator[Frames]:
        """Yield the frames of a replay in writes of a bounded size."""
        encode, epoch = self._source.encoder.encode, self._flow.epoch
        parts: list[str | Binary] = []
        room = self._limits.buffer_bytes
        for event in events:
            parts.append(encode(event, epoch, self.format))
            room -= len(parts[-1])
            if room <= 0:
                yield join(parts, self.format)
                parts, room = [], self._limits.buffer_bytes
        if parts:
            yield join(parts, self.format)


def eager_task(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
    """Return a task that has run up to its first wait already, where Python has such tasks (3.12)."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(work, loop=loop, eager_start=True)
    return loop.create_task(work)
