"""A forked child and a signal's handler wait for no lock that nobody will give back."""

from __future__ import annotations

import ast
import ctypes
import functools
import os
import pkgutil
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from math import inf
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import django.dispatch
import pytest

import livepush
from livepush import audit, hints, log, tallies
from livepush.access import limits
from livepush.bridges import settling
from livepush.bridges.grip import sending
from livepush.bridges.mercure import publishing as mercure
from livepush.bridges.publishing import authorizing
from livepush.hints import layer, sender
from livepush.hints.outbox import Outbox
from livepush.streams import announcing, here, leases
from livepush.streams.buffer import MAX_WAITING, Buffer, Ending
from livepush.streams.models import StreamState
from livepush.wire import Batch, Event
from tests.patience import PATIENCE

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork.")

PLAIN, REENTRANT = type(threading.Lock()), type(threading.RLock())
OWN = ("livepush", "threading", "queue", "concurrent.futures")
"""The packages whose objects are looked into: livepush's, and what locks are part of."""


def locks() -> dict[str, Any]:
    """Return each lock that the package's modules reach, by where it is."""
    found: dict[str, Any] = {}
    seen: dict[int, object] = {}
    for name, module in sorted(sys.modules.items()):
        if name.split(".")[0] == "livepush" and isinstance(module, ModuleType):
            for path, lock in _locks_of(vars(module), name, seen):
                found[path] = lock
    return found


def _locks_of(value: object, path: str, seen: dict[int, object]) -> Iterator[tuple[str, Any]]:
    if id(value) in seen:
        return
    seen[id(value)] = value
    if isinstance(value, PLAIN | REENTRANT):
        yield path, value
    for name, each in _parts(value):
        yield from _locks_of(each, f"{path}{name}", seen)


def _parts(value: object) -> list[tuple[str, object]]:
    """Return what a value holds of which locks may be a part, each with how it is reached."""
    kind = value if isinstance(value, type) else type(value)
    if isinstance(value, ModuleType | threading.Thread):  # a thread's own locks are Python's
        return []
    if isinstance(value, threading.Condition):  # those that wait in it are Python's too
        return [("._lock", value._lock)]
    if isinstance(value, Mapping):
        return [(f".{key}" if isinstance(key, str) else f"[{key!r}]", each) for key, each in list(value.items())]
    if isinstance(value, list | tuple | set | frozenset):
        return [(f"[{number}]", each) for number, each in enumerate(list(value))]
    if isinstance(value, FunctionType):
        cells = [
            (f"<{number}>", cell.cell_contents) for number, cell in enumerate(value.__closure__ or ()) if _is_full(cell)
        ]
        return [*cells, *((f".{name}", each) for name, each in vars(value).items())]
    if isinstance(value, functools.partial):
        return [(".args", value.args), (".keywords", value.keywords)]
    if isinstance(value, django.dispatch.Signal) or not kind.__module__.startswith(OWN):
        return []
    slots = [
        (f".{name}", getattr(value, name, None)) for each in kind.__mro__ for name in getattr(each, "__slots__", ())
    ]
    return [*slots, *((f".{name}", each) for name, each in dict(getattr(value, "__dict__", {})).items())]


def _is_full(cell: Any) -> bool:
    with suppress(ValueError):
        return cell.cell_contents is not cell
    return False


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """All modules of the package."""
    for each in pkgutil.walk_packages(livepush.__path__, "livepush."):
        with suppress(ImportError):  # an extra that is not installed
            import_module(each.name)


def held_in_child(then: Callable[[], object] = lambda: None) -> list[str]:
    """Hold every lock in a thread; return which of them a child that is forked meanwhile finds locked.

    The child does some work with the locks too. Raises AssertionError: it has not ended.
    """
    taken, over = threading.Event(), threading.Event()

    def hold() -> None:
        mine = [lock for lock in locks().values() if lock.acquire(timeout=1.0)]
        taken.set()
        over.wait()
        for lock in mine:
            lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    read, write = os.pipe()
    try:
        child = os.fork()
        if child == 0:
            _be_child(write, then)
    finally:
        over.set()
        thread.join()
    os.close(write)
    ended = _ended(child)
    with os.fdopen(read) as heard:
        said = heard.read().split("\n")
    assert ended, f"The child hangs: {said}"
    assert said[-1] == "done", said
    return said[:-1]


def _be_child(write: int, then: Callable[[], object]) -> None:
    """Say which locks are locked, a line each, do the work unless there are any, and say that all is done."""
    try:
        with os.fdopen(write, "w") as said:
            try:
                found = [path for path, lock in locks().items() if not _is_free(lock)]
                said.writelines(f"{path}\n" for path in found)
                said.flush()
                if not found:
                    then()
                said.write("done")
            except BaseException:
                said.write(traceback.format_exc())
    finally:
        os._exit(0)


def _is_free(lock: Any) -> bool:
    if is_free := lock.acquire(blocking=False):
        lock.release()
    return is_free


def _ended(child: int) -> bool:
    """Return whether a child has ended in time; it has in any case when this returns."""
    until = time.monotonic() + PATIENCE
    is_running = True
    try:
        while is_running and time.monotonic() < until:
            time.sleep(0.005)
            is_running = os.waitpid(child, os.WNOHANG)[0] == 0
    finally:
        if is_running:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return not is_running


BATCH = Batch("e", (Event(None, ("board",), "x", '"x"', "2026-01-01T00:00:00Z"),))


class Silent:
    """A layer that takes everything."""

    async def group_send(self, group: str, message: Any) -> None:
        pass


@pytest.fixture
def used(monkeypatch) -> Callable[[], object]:
    """Return a function that uses what each of the package's locks guards. There is one object of each kind."""
    buffer = Buffer("id", "board", "text", "{}")
    gatherer = here.Gatherer("default")
    gatherer._buffers["id"] = buffer
    monkeypatch.setattr(layer, "configured", Silent)
    monkeypatch.setattr(hints, "chosen", lambda: hints.Hint.NONE)
    monkeypatch.setattr(here, "_gatherer", gatherer)
    monkeypatch.setattr(sender, "_current", Outbox())
    monkeypatch.setattr(sending.Proxy, "_post", lambda self, body: None)
    monkeypatch.setattr(sending, "_proxies", {"http://proxy": sending.Proxy("http://proxy")})
    monkeypatch.setitem(leases._from, "nowhere", inf)

    def use() -> None:
        tallies.note("x")
        tallies.settles.note(0.001)
        limits.budget_of("ann")
        limits.take_seat({}, "ann").leave()
        settling._wake("default", BATCH)
        mercure.budget.spend()
        authorizing.forget()
        audit.tell("connected", user=None, tenant=None, transport="sse", address=None, groups=())
        audit.KINDS["connected"].lines.left_out()
        audit._receivers.wait(0.0)
        leases.look("nowhere")
        sender._sender().put(BATCH)
        for proxy in sending._proxies.values():
            proxy.publish([])
        buffer.write("x")
        announcing.live.tell(buffer)
        here.gatherer().hurry()

    return use


# Children


@forks
def test_no_lock_that_the_parent_held_is_locked_in_a_child(used):
    used()
    assert {"livepush.tallies._lock", "livepush.bridges.settling._settled._lock"} <= set(locks())
    assert held_in_child(used) == []


@forks
@pytest.mark.parametrize("make", [threading.Lock, threading.Condition, queue.Queue, Outbox])
def test_a_lock_that_somebody_adds_and_does_not_renew_is_found(make, monkeypatch):
    monkeypatch.setattr(tallies, "_another", {"within": [make()]}, raising=False)
    assert any("livepush.tallies._another.within[0]" in path for path in held_in_child())


@forks
def test_a_child_counts_its_own_connections_and_settles():
    seat = limits.take_seat({}, "ann")
    tallies.note("x")
    tallies.settles.note(0.001)

    def look() -> None:
        assert (limits._connections.total(), tallies.counts.total(), tallies.settles.sum) == (0, 0, 0.0)
        other = limits.take_seat({}, "ann")
        seat.leave()  # which is none of the child's
        assert limits._connections["ann"] == 1
        other.leave()
        assert limits._connections.total() == 0

    assert held_in_child(look) == []
    assert limits._connections["ann"] == 1
    seat.leave()


# Handlers


def test_a_child_that_python_does_not_know_of_has_a_name_of_its_own():
    mine = layer.origin()
    reads, writes = os.pipe()
    child = ctypes.PyDLL(None).fork()  # as uWSGI forks: no hook of Python's runs
    if child == 0:
        os.write(writes, layer.origin().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reads, 100).decode()
    os.close(reads)
    os.close(writes)
    assert len(theirs) == len(mine) == 16
    assert theirs != mine == layer.origin()


def test_every_lock_is_one_that_a_signals_handler_may_take_again(used):
    used()
    assert [path for path, lock in locks().items() if not isinstance(lock, REENTRANT)] == []


def test_no_module_makes_a_lock_that_one_thread_can_not_take_twice():
    allowed = {("jobs.py", "Event")}  # of one call: its handlers do not reach it
    found = set()
    for path in Path(livepush.__file__).parent.rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if "threading" in text or "queue" in text else ():
            if isinstance(node, ast.ImportFrom) and node.module in ("threading", "queue"):
                found |= {(path.name, each.name) for each in node.names}
            elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in ("threading", "queue"):
                found.add((path.name, node.attr))
    assert {each for each in found if each[1] in ("Lock", "Event", "Semaphore", "BoundedSemaphore", "Queue")} == allowed


def everywhere(work: Callable[[], object]) -> bool:
    """Do some work, and in each of its lines the same again, as a signal's handler may. Return whether that ends."""
    lines: set[Any] = set()
    errors: list[BaseException] = []

    def trace(frame: Any, event: str, argument: object) -> Any:
        if event == "line" and (frame.f_code, frame.f_lineno) not in lines:
            lines.add((frame.f_code, frame.f_lineno))
            work()  # Python does not trace it
        return trace

    def run() -> None:
        sys.settrace(trace)
        try:
            work()
        except BaseException as error:
            errors.append(error)
        finally:
            sys.settrace(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert errors == []
    assert len(lines) > 1
    return not thread.is_alive()


def test_a_signals_handler_may_come_in_any_line_of_what_takes_locks(used):
    assert everywhere(used)


def test_handlers_that_send_at_once_leave_one_sender(used, monkeypatch):
    monkeypatch.setattr(sender, "_current", None)
    given = set()
    assert everywhere(lambda: given.add(sender._sender()))
    assert given == {sender._current}


def test_a_signals_handler_sends_while_its_own_thread_counts(using):
    def handle(number: int, frame: object) -> None:
        livepush.send("board", "handled", using=using)

    before = signal.signal(signal.SIGTERM, handle)
    try:
        with tallies._lock:
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [event.type for event in log.read(using, None, 0, 10, 10, 1000).events] == ["handled"]


# Streams


@forks
def test_what_a_child_writes_to_a_stream_of_its_parents_is_dropped(monkeypatch):
    gatherer = here.Gatherer("default")
    buffer = gatherer._buffers["id"] = Buffer("id", "board", "text", "{}")
    monkeypatch.setattr(here, "_gatherer", gatherer)
    buffer.write("parent")

    def write() -> None:
        buffer.write("child" * MAX_WAITING)
        assert not buffer.is_full
        assert buffer.untold() == (6, [], 6)
        here.gatherer().end(buffer, Ending(StreamState.FINISHED)).result(0)

    assert held_in_child(write) == []
    assert buffer.untold() == (0, ["parent"], 6)
