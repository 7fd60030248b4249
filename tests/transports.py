"""A server's transport whose bytes a test takes: live events are written to it at once."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator

from livepush.hub.direct import HIGH_WATER
from livepush.wire import Frames

WIDE = {126: "!H", 127: "!Q"}
"""The widths of a WebSocket message's length, by the code that announces it (RFC 6455, section 5.2)."""


class Transport(asyncio.WriteTransport):
    """Hands over the frames that are written, each in turn, while ``accepts`` says so."""

    def __init__(self, take: Callable[[bytes | str], object], accepts: Callable[[], bool]) -> None:
        super().__init__()
        self._take, self._accepts = take, accepts
        self.writes = 0

    def get_write_buffer_size(self) -> int:
        return 0 if self._accepts() else HIGH_WATER + 1

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes += 1
        for frame in frames_of(bytes(data)):
            self._take(frame)


def frames_of(data: bytes) -> Frames:
    """Return the frames in the bytes of chunks (RFC 9112, section 7.1) or of unmasked WebSocket messages."""
    return tuple(_messages(data) if data[0] > 0x7F else _chunks(data))


def _chunks(data: bytes) -> Iterator[bytes]:
    while data:
        size, _, rest = data.partition(b"\r\n")
        end = int(size, 16)
        assert rest[end : end + 2] == b"\r\n"
        yield rest[:end]
        data = rest[end + 2 :]


def _messages(data: bytes) -> Iterator[str]:
    while data:
        kind, size = data[:2]
        assert kind == 0x81
        begin = 2
        if size in WIDE:
            begin += struct.calcsize(WIDE[size])
            (size,) = struct.unpack(WIDE[size], data[2:begin])
        yield data[begin : begin + size].decode()
        data = data[begin + size :]
