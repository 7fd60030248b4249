"""The streams that the clients of one hub read, and how the hub finds in the database what no hint brought."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple, TypeVar

from livepush import process
from livepush.conf import get_settings
from livepush.hub import Hub
from livepush.streams import announcing, store
from livepush.streams.announcing import Told
from livepush.streams.buffer import Passage
from livepush.streams.feed import Feed, Portion
from livepush.streams.here import local
from livepush.streams.models import Stream

logger = logging.getLogger("livepush")

T = TypeVar("T")
LEVEL = 1
"""The level of reads in the server's threads: who is let in goes first."""
SOON = 0.03
"""How long (seconds) to wait before the database is read for what a hint says is missing."""
OWN_INTERVAL = 2.0
"""How often (seconds) the streams that this process writes are looked up: their news come without the database."""
PAUSE = 0.5
"""How long (seconds) to wait after the database failed."""
NAME = "livepush.streams"


class Opened(NamedTuple):
    """The database's row of a stream when its first reader comes."""

    row: Stream
    end: int
    follows_text: bool


def look_up(using: str, id: str) -> Opened | None:
    """Return a stream, and where it ends now; ``None`` if there is none."""
    row = Stream.objects.using(using).filter(id=id).first()
    if row is None:
        return None
    end = row.length if row.length is not None else store.ends(using, [id]).get(id, 0)
    return Opened(row, end, store.is_after_text(using, id, end))


class Feeds:
    """One hub's feeds. Call its methods in the hub's loop."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._using = get_settings().DATABASE
        self._feeds: dict[str, Feed] = {}
        self._pages: dict[tuple[str, int, int], asyncio.Task[Passage]] = {}
        self._wake = asyncio.Event()
        self._all_from = 0.0
        hub.keep(self._run())
        announcing.listeners.append(self._hear_soon)

    @property
    def draining(self) -> bool:
        """Whether the server ends."""
        return self._hub.draining

    def again_in(self) -> int:
        """Return in how many milliseconds a client is to come back that is sent away because the server ends."""
        return self._hub.again_in()

    def open(self, opened: Opened) -> Feed:
        """Return the feed of a stream. Call ``close`` when no reader is left that needs it."""
        id = opened.row.id
        feed = self._feeds.get(id)
        if feed is None:
            feed = self._feeds[id] = Feed(opened.row, opened.end, opened.follows_text, self._look_soon, self.again_in)
            if feed.ending is None:
                self._hub.add(feed)
            self._take_local(feed)
            self._look_soon()  # it may have ended or grown since it was looked up
        return feed

    def close(self, feed: Feed) -> None:
        """Forget a feed that nobody reads any more."""
        if not feed.listeners and self._feeds.get(feed.id) is feed:
            del self._feeds[feed.id]
            self._hub.remove(feed)

    async def page(self, id: str, after: int, upto: int) -> Portion:
        """Return what the database has of a stream between two offsets, or the first part of it.

        Readers that need the same share one read.
        """
        key = (id, after, upto)
        reading = self._pages.get(key)
        if reading is None:
            begin = max(0, after - 1)  # the piece before says whether text came before
            reading = self._hub.loop.create_task(self._in_thread(partial(store.read, self._using, id, begin, upto)))
            self._pages[key] = reading
            reading.add_done_callback(lambda done: self._pages.pop(key, None))
        found = await asyncio.shield(reading)
        return Portion(found if found.end > after else Passage(after, [], after), False).after(after)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await process.in_thread(work, LEVEL)

    # What this process writes

    def _hear_soon(self, told: Told) -> None:
        """Take what this process has written, from any thread."""
        mine = [each for each in told if each[0] in self._feeds]
        if self._hub.loop.is_closed():
            announcing.listeners.remove(self._hear_soon)
        elif mine:
            with suppress(RuntimeError):  # the loop is being closed
                self._hub.loop.call_soon_threadsafe(self._hear, mine)

    def _hear(self, told: Told) -> None:
        for id, passage in told:
            feed = self._feeds.get(id)
            if feed is not None and passage is not None:
                feed.take(passage)
            elif feed is not None:
                self._look_soon()

    # The database

    def _look_soon(self) -> None:
        self._wake.set()

    async def _run(self) -> None:
        while True:
            hurried = await self._pause()
            try:
                now = self._hub.loop.time()
                everything = hurried or now >= self._all_from
                if everything:
                    self._all_from = now + OWN_INTERVAL
                await self._look(everything)
            except Exception as error:
                logger.warning("Streams could not be read (%s); trying again.", error)
                await asyncio.sleep(PAUSE)
                self._wake.set()

    async def _pause(self) -> bool:
        """Wait until the database is to be read; return whether something is missing."""
        settings = get_settings()
        trusts = self._hub.hint_state == "trusted"
        interval = settings.TAIL_INTERVAL_WITH_LAYER if trusts else settings.TAIL_INTERVAL
        try:
            async with asyncio.timeout(interval if self._feeds else None):
                await self._wake.wait()
            await asyncio.sleep(SOON)  # what is missing is being stored
        except TimeoutError:
            return False
        finally:
            self._wake.clear()
        return True

    async def _look(self, everything: bool) -> None:
        """Find what the running streams have got, and which have ended."""
        running = [feed for feed in self._feeds.values() if feed.ending is None]
        if not everything:
            running = [feed for feed in running if local(feed.id) is None]
        for start in range(0, len(running), store.AT_ONCE):
            after = {feed.id: feed.end for feed in running[start : start + store.AT_ONCE]}
            found = await self._in_thread(partial(store.news, self._using, after))
            for id in after:
                if id in self._feeds:
                    self._learn(self._feeds[id], found.rows.get(id), found.passages.get(id))
            if found.cut:
                self._wake.set()

    def _learn(self, feed: Feed, row: Stream | None, passage: Passage | None) -> None:
        self._take_local(feed)
        if passage is not None:
            feed.take(passage)
        if row is None:
            feed.send_away()  # somebody has deleted it
        else:
            feed.know(row)

    def _take_local(self, feed: Feed) -> None:
        """Take what this process has written and not stored yet."""
        buffer = local(feed.id)
        if buffer is not None:
            feed.take(buffer.unstored())


def feeds_of(hub: Hub) -> Feeds:
    """Return a hub's feeds."""
    found = hub.attached.get(NAME)
    if not isinstance(found, Feeds):
        found = hub.attached[NAME] = Feeds(hub)
    return found
