"""A hub's copy of a stream that clients read: its newest text, and how it ended."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import Any, Protocol

from livepush.hub import Share
from livepush.streams import formats, pieces
from livepush.streams.announcing import channel
from livepush.streams.buffer import Ending, Passage
from livepush.streams.formats import FORMATS, About
from livepush.streams.models import Stream, StreamState
from livepush.wire import on_the_wire

logger = logging.getLogger("livepush")

WINDOW = 65_536
"""How many of a stream's newest characters a hub keeps for its readers; those of a part are its JSON's. Slower readers
read the database."""
NEWEST = 8
"""At least so many of its newest portions are kept as they came: readers that are a little late share their bytes. At
twice as many, the older half is joined."""
BLOCK = 4_096
"""Older portions are joined to blocks of about so many characters. One object for each token of each stream would cost
far more memory than the text, and long stops of Python's garbage collector."""


class Portion:
    """A passage, encoded once for each format."""

    __slots__ = ("_frames", "_raw", "after_text", "follows_text", "passage", "size")

    def __init__(self, passage: Passage, after_text: bool) -> None:
        self.passage = passage
        self.size = pieces.size(passage.pieces)
        """How many characters it has, unlike the offsets, which count a part as one."""
        self.after_text = after_text
        """Whether text came before it."""
        self.follows_text = formats.after_text(passage.pieces, after_text)
        """Whether what comes after it comes after text."""
        self._frames: dict[str, bytes] = {}
        self._raw: dict[str, bytes] = {}

    def frames(self, about: About, format: str) -> bytes:
        """Return it in a format."""
        found = self._frames.get(format)
        if found is None:
            text = FORMATS[format].passage(about, self.passage, self.after_text)
            found = self._frames[format] = text.encode()
        return found

    def raw(self, about: About, format: str) -> bytes:
        """Return it in a format as bytes on the wire; none if it is nothing in that format."""
        found = self._raw.get(format)
        if found is None:
            frames = self.frames(about, format)
            found = self._raw[format] = on_the_wire((frames,)) if frames else b""
        return found

    def after(self, offset: int) -> Portion:
        """Return what follows an offset in it."""
        start, whole, end = self.passage
        if offset <= start:
            return self
        before = pieces.head(whole, offset - start)
        rest = Passage(offset, pieces.skip(whole, offset - start), end)
        return Portion(rest, formats.after_text(before, self.after_text))


class Listener(Protocol):
    """A listener of a feed."""

    def offer(self, portion: Portion) -> None: ...
    def wake(self) -> None: ...
    def leave(self, retry: int) -> None: ...


class Feed:
    """One stream in one hub, which routes the stream's hints here. Call its methods in the loop's thread."""

    def __init__(
        self, row: Stream, end: int, follows_text: bool, missing: Callable[[], object], again_in: Callable[[], int]
    ) -> None:
        self.id = row.id
        self.group = row.group
        self.about = formats.about(row)
        self.format = row.format
        self.groups = {channel(row.id): 0}
        self.end = end
        """Up to which offset it is known to exist. The part outside of the window is in the database, now or soon."""
        self.ending: Ending | None = None
        self.listeners: dict[Listener, None] = {}
        self.heard_at = 0.0
        self._blocks: deque[Portion] = deque()
        self._window: deque[Portion] = deque()
        """What follows the blocks."""
        self._size = 0
        self.follows_text = follows_text
        """Whether text comes last, as far as it is known to exist."""
        self._missing = missing
        self._again_in = again_in
        self.know(row)

    # What the hub tells

    def offer(self, share: Share) -> None:
        """Take hints."""
        for event in share.events:
            try:
                self._hear(json.loads(event.data))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                logger.warning("livepush does not understand a hint about a stream (%s).", error)

    def _hear(self, hint: dict[str, Any]) -> None:
        if "ended" in hint:
            self._missing()
        elif "parts" in hint:
            found = [each if isinstance(each, str) else pieces.part(each[0]) for each in hint["parts"]]
            passage = Passage(hint["start"], found, hint["end"])
            if passage.start + pieces.length(found) != passage.end:
                raise ValueError("its text is not as long as it says")
            self.take(passage)
        elif hint["end"] > self.end:
            self._missing()

    def beat(self, now: float) -> None:
        """Do nothing: each reader keeps its own stream alive."""

    def fall_behind(self, *, reset: bool = False) -> None:
        """Look into the database: hints may have been missed."""
        self._missing()

    def leave(self, retry: int) -> None:
        """Send the readers away, each for a time of its own: the server ends."""
        for listener in list(self.listeners):
            listener.leave(self._again_in())

    def send_away(self) -> None:
        """Send the readers away at once: somebody has deleted the stream."""
        for listener in list(self.listeners):
            listener.leave(0)

    # What is known

    def take(self, passage: Passage) -> None:
        """Take a part of the stream, and offer what is new of it to the readers."""
        if passage.end <= self.end or self.ending is not None:
            return
        if passage.start > self.end:
            self._missing()
            return
        if passage.start < self.end:
            rest = pieces.skip(passage.pieces, self.end - passage.start)
            passage = Passage(self.end, rest, passage.end)
        portion = Portion(passage, self.follows_text)
        self._keep(portion)
        for listener in list(self.listeners):
            listener.offer(portion)

    def know(self, row: Stream) -> None:
        """Take what the database says of the stream: it may have ended."""
        if row.is_running or self.ending is not None:
            return
        self.ending = Ending(StreamState(row.state), row.error)
        self.about = formats.about(row)
        if self.end != row.length:
            self.end = row.length or 0
            self._blocks.clear()
            self._window.clear()
        for listener in list(self.listeners):
            listener.wake()

    def portion(self, after: int) -> Portion | None:
        """Return what follows an offset, if the window has it."""
        oldest = next(chain(self._blocks, self._window), None)
        if oldest is None or after < oldest.passage.start:
            return None
        return next((each.after(after) for each in chain(self._blocks, self._window) if each.passage.end > after), None)

    def _keep(self, portion: Portion) -> None:
        self._window.append(portion)
        self._size += portion.size
        self.end = portion.passage.end
        self.follows_text = portion.follows_text
        if len(self._window) > 2 * NEWEST:
            self._into_block([self._window.popleft() for _ in range(NEWEST)])
        while self._size > WINDOW and (self._blocks or len(self._window) > 1):
            self._size -= (self._blocks or self._window).popleft().size

    def _into_block(self, portions: list[Portion]) -> None:
        last = self._blocks[-1] if self._blocks else None
        if last is not None and last.size < BLOCK:
            portions = [self._blocks.pop(), *portions]
        first = portions[0]
        joined = pieces.join(piece for each in portions for piece in each.passage.pieces)
        passage = Passage(first.passage.start, joined, portions[-1].passage.end)
        self._blocks.append(Portion(passage, first.after_text))
