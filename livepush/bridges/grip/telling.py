"""Answers to the proxy about a WebSocket: messages for its client, and the channels to listen to."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from livepush.bridges.grip import frames, holds
from livepush.bridges.grip.config import Edge
from livepush.bridges.grip.frames import Frame
from livepush.bridges.grip.holds import Hold
from livepush.consumers.base import websocket_refusal
from livepush.consumers.views import FoundEvents
from livepush.wire import Close, Format, Frames, Position, WireError, encode, join, system_frames

CONTROL = "c:"
"""How a text begins that is for the proxy and not for its client."""
MAX_ANSWER = 16_000
"""How many bytes one answer says to the client, twice Pushpin's usual ``client_buffer_size``.

The proxy of Pushpin 1.36 may stall for good once about 32,000 bytes are on their way to a client.
"""


class Told:
    """Gathers an answer."""

    def __init__(self, hold: Hold | None, edge: Edge) -> None:
        self._hold = hold
        self._edge = edge
        self._frames: list[Frame] = []
        self._room = MAX_ANSWER

    @property
    def hold(self) -> Hold:
        """The client, with what it may read."""
        assert self._hold is not None, "the client was not let in"
        return self._hold

    def body(self) -> bytes:
        """Return the answer's body."""
        return b"".join(frame.encoded() for frame in self._frames)

    def add(self, frame: Frame) -> None:
        """Have something happen at the client, unless its WebSocket is to be closed before."""
        if not self._frames or self._frames[-1].kind != frames.CLOSE:
            self._frames.append(frame)

    def say(self, said: Frames) -> None:
        """Say messages to the client. One that the proxy can't carry closes it: the client takes another transport."""
        for each in said:
            content = each if isinstance(each, bytes) else each.encode()
            if len(content) > MAX_ANSWER:
                self.close(Close.TOO_BIG)
            self.add(Frame(frames.BINARY if isinstance(each, bytes) else frames.TEXT, content))
            self._room -= len(content)

    def events(self, found: FoundEvents, since: Position) -> Position:
        """Say events, as many as have room; return the place up to which the client has everything then."""
        epoch, format = found.position.epoch, self.hold.format
        fitting: list[Any] = []
        room = self._room
        for event in found.events:
            part = encode(event, epoch, format)
            room -= len(part if isinstance(part, bytes) else part.encode()) + len(",")
            if room < len("[]") and (fitting or self._room < MAX_ANSWER):
                break
            fitting.append(part)
            since = Position(epoch, event.number or 0)
        is_whole = len(fitting) == len(found.events)
        if fitting:
            self.say(join(fitting, format))
        if not is_whole or found.has_more:
            self.ask_again()
        return found.position if is_whole else since

    def ask_again(self) -> None:
        """Have the proxy ask again once the client has all this: it answers a ping."""
        self.add(Frame(frames.PING))

    def close(self, code: Close, reason: str = "") -> None:
        """Close the client's WebSocket after all this."""
        self.add(Frame(frames.CLOSE, int(code).to_bytes(2, "big") + (reason or code.reason).encode()))

    def refuse(self, error: WireError) -> None:
        """Close a WebSocket whose client is not let in, with the error's code as the reason."""
        said, code = websocket_refusal(error, Format.TEXT)
        self.say(said)
        self.close(code, error.code)

    def follow(self, hold: Hold) -> None:
        """Listen to the channels of a hold, and to no others of the one before. Raises WireError: they are too many."""
        wanted = holds.subscriptions(hold, self._edge)
        had = [] if self._hold is None else holds.subscriptions(self._hold, self._edge)
        for name in wanted:
            if name not in had:
                self._control("subscribe", channel=name)
        for name in had:
            if name not in wanted:
                self._control("unsubscribe", channel=name)
        self._hold = hold

    def limit(self, **changes: Any) -> None:
        """Change the hold, and listen to its channels. Raises WireError: they are too many."""
        self.follow(replace(self.hold, **changes))

    def keep_alive(self, seconds: float) -> None:
        """Have the proxy say something whenever it has said nothing for so long."""
        (text,) = system_frames("heartbeat", self.hold.format)
        self._control("keep-alive", **{"message-type": "text", "content": str(text), "timeout": max(1, round(seconds))})

    def _control(self, type: str, **fields: Any) -> None:
        self.add(Frame(frames.TEXT, (CONTROL + json.dumps({"type": type, **fields})).encode()))
