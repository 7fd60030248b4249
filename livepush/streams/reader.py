"""One client that reads a stream: what it gets next, from memory while it keeps up, else from the database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable

from livepush.consumers.base import retry_in_ms
from livepush.notes import Rarely, last_of, one_line
from livepush.streams.feed import Feed, Portion
from livepush.streams.feeds import Feeds
from livepush.streams.formats import FORMATS
from livepush.wire import Floors, WireError, unavailable

logger = logging.getLogger("livepush")
_failures = Rarely(every=10.0)

AGAIN = 0.05
"""After how long (seconds) the database is read again for text that is being stored."""
PATIENCE = 200
"""How many times it is read in vain before the client is sent away: somebody deleted the text, or can't store it."""


class Reader:
    """A client that reads a feed from an offset on. Use it as a context; then call ``next`` until it returns ``None``.

    ``write_now`` writes bytes to the server's transport and returns whether it accepted them. While the client keeps
    up, text takes that way as it comes, and ``next`` goes on waiting.
    """

    def __init__(
        self,
        feeds: Feeds,
        feed: Feed,
        after: int,
        format: str,
        heartbeat: float = 15.0,
        write_now: Callable[[bytes], bool] | None = None,
    ) -> None:
        self.feed = feed
        self.cursor = after
        self.ended = False
        """Whether the client was told that the stream, or the response, has ended."""
        self.must_break = not FORMATS[format].resumes
        """Whether the connection must break for the client to see that the response ends before the stream."""
        self.reason = ""
        """Why the client may not read the stream any more."""
        self.retry: int | None = None
        """After how many milliseconds the client should come back, since the server ends."""
        self.groups = {feed.group: 0}
        """The stream's group, as long as the client may read it."""
        self._feeds = feeds
        self._after_text = feed.follows_text and after == feed.end
        self._name = format
        self._format = FORMATS[format]
        self._heartbeat = heartbeat
        self._write_now = write_now
        self._loop = asyncio.get_running_loop()
        self._has_begun = False
        self._fruitless = 0
        self._waiting: asyncio.Future[None] | None = None
        self._last_write = self._loop.time()

    def __enter__(self) -> Reader:
        self.feed.listeners[self] = None
        if self._feeds.draining and self.feed.ending is None:
            self.leave(self._feeds.again_in())
        return self

    def __exit__(self, *error: object) -> None:
        self.feed.listeners.pop(self, None)
        self._feeds.close(self.feed)

    # What others say

    def offer(self, portion: Portion) -> None:
        """Take what is new, if the client has everything before it and waits."""
        waiting, write_now = self._waiting, self._write_now
        if waiting is None or waiting.done():
            return
        if write_now is not None and self._has_begun and portion.passage.start == self.cursor:
            raw = portion.raw(self.feed.about, self._name)
            if not raw or write_now(raw):
                self._moved(portion)
                return
        self.wake()

    def wake(self) -> None:
        """Look again what is there."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def leave(self, retry: int) -> None:
        """Send the client away."""
        self.retry = retry
        self.wake()

    def revoke(self, groups: Iterable[str], reason: str) -> None:
        """Take the stream away from a client that may no longer read it."""
        for group in groups:
            self.groups.pop(group, None)
        self.reason = reason
        self.wake()

    def limit_to(self, groups: Collection[str], floors: Floors) -> None:
        """Take no notice: whether a stream is too old for a client is asked when it comes."""

    # What is next

    async def next(self) -> bytes | None:
        """Return what to write next; ``None`` if nothing will come any more."""
        if not self._has_begun:
            self._has_begun = True
            if begin := self._format.begin(self.feed.about, self.cursor):
                return begin.encode()
        while not self.ended and self.groups:
            if self.retry is not None:
                return self._last(self._format.bye(self.cursor, self.retry))
            try:
                portion = await self.portion()
            except WireError as error:
                self.retry = retry_in_ms(error)
                continue
            if not self.groups:
                break
            if portion is not None:
                if data := portion.frames(self.feed.about, self._name):
                    return data
            elif self.is_at_end:
                return self._end()
            elif not await self.wait(self._heartbeat) and self._is_quiet():
                return self._format.heartbeat.encode()
        return None if self.ended else self._last(self._format.cut())

    @property
    def is_at_end(self) -> bool:
        """Whether the client has all of a stream that has ended."""
        return self.feed.ending is not None and self.cursor >= self.feed.end

    async def portion(self) -> Portion | None:
        """Return what follows the cursor, and move it; ``None`` if nothing is there yet.

        Raises WireError: the database could not be read.
        """
        feed = self.feed
        while self.cursor < feed.end:
            found = feed.portion(self.cursor)
            if found is None:
                found = await self._page()
            if found.passage.pieces:
                self._moved(found)
                self._fruitless = 0
                return found
            self._fruitless += 1
            if self._fruitless > PATIENCE:
                self.retry = retry_in_ms(unavailable())
                return None
            await self.wait(AGAIN)
        return None

    async def _page(self) -> Portion:
        try:
            return await self._feeds.page(self.feed.id, self.cursor, self.feed.end)
        except Exception as error:
            if times := _failures.times():
                logger.warning("A stream could not be read (%s).%s", one_line(error), last_of(times))
            raise unavailable() from error

    async def wait(self, seconds: float) -> bool:
        """Wait until something happens; return whether that was within the time."""
        self._waiting = self._loop.create_future()
        try:
            await asyncio.wait({self._waiting}, timeout=seconds)
            return self._waiting.done()
        finally:
            self._waiting = None

    def _moved(self, portion: Portion) -> None:
        self.cursor = portion.passage.end
        self._after_text = portion.follows_text
        self._last_write = self._loop.time()

    def _is_quiet(self) -> bool:
        now = self._loop.time()
        if now - self._last_write < self._heartbeat / 2 or not self._format.heartbeat:
            return False
        self._last_write = now
        return True

    def _end(self) -> bytes | None:
        self.must_break = False
        ending = self.feed.ending
        assert ending is not None
        return self._last(self._format.end(self.feed.about, ending, self.feed.end, self._after_text))

    def _last(self, text: str) -> bytes | None:
        self.ended = True
        self.must_break = self.must_break and not text
        return text.encode() or None
