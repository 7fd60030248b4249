"""Log, hubs and connections driven through random interleavings, against a model that is a list of settled events.

Everything is real but time and chance: the event loop runs until nothing is left to do, its clock moves when it is
told to, and what a hub asks of the database waits until the database may answer. So a run is repeated exactly, and
hypothesis shrinks what it finds.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.db import OperationalError, connections, transaction
from django.db.backends.signals import connection_created
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from livepush import log, wire
from livepush.hub import Connection, Hub, Options, Reason, State, pages
from livepush.log import planning
from livepush.models import ChannelGroup, Event, LogFloor, LogHead
from livepush.process.hubs import DatabaseLog
from livepush.publish import pipeline
from livepush.wire import Batch, Format, LogPage, Position
from livepush.wire import Event as WireEvent
from tests.conftest import ALIASES, kind
from tests.scale import EXAMPLES, FULL

set_hypothesis_home_dir(Path(__file__).parents[1] / ".cache" / "hypothesis")

GROUPS = ("a", "b", "c")
FORMATS = (Format.TEXT, Format.ARRAY, Format.SSE_ENVELOPE)
"""One for each client."""
PAGE = 3
"""The most events that one read of the log returns, so that a few make several pages."""
SESSIONS = 2
BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)
seen: Counter[str] = Counter()
"""What the runs came across, so that a test can say what it has tried."""


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop that stops when nothing is left to do now; its time passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.troubles: list[dict[str, Any]] = []
        super().__init__(_Selector(self))
        self.set_exception_handler(lambda _, context: self.troubles.append(context))

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: object, work: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Do at once what others do in a thread: here it ends threads that were never needed."""
        future = self.create_future()
        future.set_result(work(*args))
        return future

    def do(self, work: Callable[[], Any]) -> Any:
        """Call something inside the loop, then let everything happen that follows; return its result."""
        outcome: Future[Any] = Future()

        def call() -> None:
            try:
                outcome.set_result(work())
            except Exception as error:
                outcome.set_exception(error)

        self.call_soon(call)
        self.run_forever()
        return outcome.result(0)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and everything happen that waited for it."""
        self.now += seconds
        self.run_forever()


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: SteppedLoop) -> None:
        super().__init__()
        self._stepped = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout > 0:
            self._stepped.stop()
        return super().select(0)


class Session:
    """A thread with a database connection of its own, which does one thing at a time while everybody waits."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)

    def do(self, work: Callable[..., Any], *args: Any) -> Any:
        return self._thread.submit(work, *args).result(60)

    def close(self) -> None:
        self.do(connections.close_all)
        self._thread.shutdown()


class Jobs:
    """What a hub asks of its database, in place of its thread: it is answered when it is told to be."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()

    async def run(self, work: Callable[[], Any]) -> Any:
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((work, future))
        return await future

    async def stop(self) -> None:
        pass


class SteppedHub(Hub):
    """A hub whose database answers when it is told to."""

    def __init__(self, using: str, *args: Any) -> None:
        jobs = Jobs()
        super().__init__(DatabaseLog(using, 7 * 86_400, jobs), *args)  # type: ignore[arg-type]
        self.jobs = jobs.waiting


class Copy(NamedTuple):
    """One row of a send that was committed."""

    send: int
    group: str
    data: str
    key: str | None


class Model:
    """What the log is to hold."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.lives: dict[str, list[WireEvent]] = {epoch: []}
        """The settled events of each epoch; the one with number n is at n - 1."""
        self.keys: list[str | None] = []
        self.floor = 0
        self.waiting: list[list[Copy]] = []
        """The rows of each send."""

    @property
    def events(self) -> list[WireEvent]:
        return self.lives[self.epoch]

    def commit(self, copies: Sequence[Copy]) -> None:
        sends: dict[int, list[Copy]] = {}
        for copy in copies:
            sends.setdefault(copy.send, []).append(copy)
        self.waiting = sorted([*self.waiting, *sends.values()], key=lambda rows: rows[0].send)

    def settle(self, batch: Batch) -> None:
        """Take a batch, which must bring the next of the committed sends, and all their fields."""
        assert batch.epoch == self.epoch
        for event in batch.events:
            rows = self._next()
            groups = tuple(row.group for row in rows)
            assert (event.number, event.groups, event.data) == (len(self.events) + 1, groups, rows[0].data)
            self.events.append(event)
            self.keys.append(rows[0].key)

    def nothing_waits(self) -> bool:
        return not any(self._fresh(rows) for rows in self.waiting)

    def prunable(self, before: datetime) -> int:
        """Return how many events may be pruned."""
        count = 0
        for event in self.events[self.floor :]:
            if time_of(event) >= before:
                break
            count += 1
        return count

    def begin_epoch(self, epoch: str, upto: int) -> None:
        self.lives[epoch] = self.events[:upto]
        self.epoch = epoch
        del self.keys[upto:]
        self.floor = min(self.floor, upto)

    def _next(self) -> list[Copy]:
        while not (rows := self._fresh(self.waiting.pop(0))):
            pass
        return rows

    def _fresh(self, rows: Sequence[Copy]) -> list[Copy]:
        """Return the rows whose key their group has not had."""
        retained = list(zip(self.events[self.floor :], self.keys[self.floor :], strict=True))
        return [
            row
            for row in rows
            if row.key is None or not any(row.group in event.groups and key == row.key for event, key in retained)
        ]


def time_of(event: WireEvent) -> datetime:
    return datetime.strptime(event.time, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


class Term:
    """A span in which a stream reads a group: behind ``start``, and once it has ended at most up to ``end``."""

    def __init__(self, group: str, start: Position, end: int | None = None) -> None:
        self.group = group
        self.start = start
        self.end = end

    def holds(self, event: WireEvent) -> bool:
        assert event.number is not None
        upto = event.number if self.end is None else self.end
        return self.group in event.groups and self.start.number < event.number <= upto


class Stream:
    """One connection as its client sees it: it checks each message against the model."""

    def __init__(self, model: Model, hub: SteppedHub, groups: Sequence[str], cursor: Position, format: Format) -> None:
        self.model = model
        self.hub = hub
        self.messages: deque[dict[str, Any]] = deque()
        self.cursors: list[Position] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.sees_first = False
        """Whether a held write has reached the client nevertheless."""
        self.fails = False
        self.closed = False
        self.ephemeral: set[Any] = set()
        self.greeted = False
        self.asked: deque[int] = deque()
        self.order = list(groups)
        """Its groups as it asked for them; none that it dropped and asked for again."""
        self.connection = Connection(hub, groups, cursor, format, self._write, hub.options.limits)
        self.connection.on_close = self._close
        self._begin(cursor, [Term(group, cursor) for group in groups])

    async def _write(self, frames: Sequence[bytes | str]) -> None:
        for frame in frames:
            if self.sees_first:
                self.messages += parsed(frame)
            await self.gate.wait()
            if self.fails:
                raise ConnectionResetError
            if not self.sees_first:
                self.messages += parsed(frame)

    def _close(self) -> None:
        self.hub.remove(self.connection)
        self.closed = True

    @property
    def groups(self) -> list[str]:
        return [term.group for term in self.terms if term.end is None]

    def subscribe(self, group: str) -> None:
        position = self.hub.subscribe(self.connection, [group])
        if group not in self.groups:
            known = any(term.group == group for term in self.terms)
            self.order = [each for each in self.order if each != group] + ([] if known else [group])
            self.terms.append(Term(group, position))

    def unsubscribe(self, group: str) -> None:
        """End a term; what the hub has routed already may still be on its way."""
        self.hub.unsubscribe(self.connection, [group])
        for term in self.terms:
            if term.group == group and term.end is None:
                same = term.start.epoch == self.hub.position.epoch  # else what is on its way is of an ended epoch
                term.end = self.hub.position.number if same else len(self.model.lives[term.start.epoch])

    def ask(self, ref: int) -> None:
        self.asked.append(ref)
        self.connection.say(wire.system_frames("reply", self.connection.format, ref=ref, ok=True))

    def take_messages(self) -> None:
        while self.messages:
            self._take(self.messages.popleft())

    def check_complete(self, upto: int) -> None:
        """Check that nothing is missing up to a number."""
        for event in self.events[self.checked : upto]:
            wanted = any(term.end is None and term.holds(event) for term in self.terms)
            assert not wanted or event.number in self.had, f"missed {event}"
        self.checked = max(self.checked, upto)

    @property
    def events(self) -> list[WireEvent]:
        return self.model.lives[self.cursor.epoch]

    def _begin(self, cursor: Position, terms: list[Term]) -> None:
        self.cursor = cursor
        self.checked = cursor.number
        self.terms = terms
        self.had: set[int | None] = set()
        self.cursors.append(cursor)

    def _take(self, message: dict[str, Any]) -> None:
        assert self.greeted or message["type"] in ("livepush.hello", "livepush.reset"), f"{message} came first"
        self.greeted = True
        if message["type"] == "livepush.reset":
            self._reset(parse(message["id"]), message["reason"])
        elif message["type"] == "livepush.reply":
            assert message["ref"] == self.asked.popleft()
        elif message["type"] in ("livepush.hello", "livepush.position"):
            self._move(parse(message["id"]))
        elif message["type"] != "livepush.bye":
            self._take_event(message)

    def _take_event(self, message: dict[str, Any]) -> None:
        if "id" not in message:
            self._take_ephemeral(message)
            return
        position = parse(message["id"])
        assert position.epoch == self.cursor.epoch, f"{message} after {self.cursor}"
        event = self.events[position.number - 1]
        assert json.loads(event.data) == message["data"]
        assert position.number > self.cursor.number, f"{message} after {self.cursor}"
        assert event.number not in self.had, f"repeated {message}"
        self._check_groups(message, event)
        self.had.add(event.number)
        seen["events received"] += 1
        self._move(position)

    def _check_groups(self, message: dict[str, Any], event: WireEvent) -> None:
        """Check that a message names all of the stream's groups that the event went to, in its order, and no others."""
        named = message.get("groups", [message["group"]])
        assert message["group"] == named[0]
        assert "groups" not in message or len(named) > 1
        assert set(named) <= {term.group for term in self.terms if term.holds(event)}, f"unexpected {message}"
        assert set(named) >= {term.group for term in self.terms if term.end is None and term.holds(event)}, message
        if set(named) <= set(self.order):
            assert named == [group for group in self.order if group in named], f"{message}, but {self.order}"
        if len(named) > 1:
            seen["several groups"] += 1

    def _take_ephemeral(self, message: dict[str, Any]) -> None:
        assert message["data"] not in self.ephemeral
        assert set(message.get("groups", [message["group"]])) <= {term.group for term in self.terms}
        self.ephemeral.add(message["data"])

    def _move(self, position: Position) -> None:
        assert position.epoch == self.cursor.epoch
        assert position.number >= self.cursor.number
        self.check_complete(position.number)
        self.cursor = position
        self.cursors.append(position)

    def _reset(self, position: Position, reason: str) -> None:
        lost = self.model.floor > self.cursor.number or self.cursor.epoch != position.epoch
        assert lost or self.cursor == position, f"a reset ({reason}) at {self.cursor}, which is retained"
        seen[f"reset {reason}"] += 1
        terms = []
        for term in self.terms:
            same = term.start.epoch == position.epoch
            term.start = max(position, term.start) if same else position
            if term.end is None or same:
                terms.append(term)
        self._begin(position, terms)


def parse(text: str) -> Position:
    return wire.parse_position(text)


def parsed(frame: bytes | str) -> Iterator[dict[str, Any]]:
    if isinstance(frame, str):
        found = json.loads(frame)
        yield from found if isinstance(found, list) else [found]
        return
    for line in frame.decode().split("\n"):
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


class Writer:
    """A session with its open transactions, the innermost last."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.open: list[tuple[transaction.Atomic, list[Copy]]] = []


class Client:
    """A client: the groups that it reads, the cursors that it has had, and its stream if it is connected."""

    def __init__(self, format: Format) -> None:
        self.format = format
        self.groups = ["a"]
        self.cursors: list[Position] = []
        self.stream: Stream | None = None
        self.entering: asyncio.Task[None] | None = None

    @property
    def away(self) -> bool:
        return self.stream is None and (self.entering is None or self.entering.done())

    def collect(self) -> None:
        """Check what the stream brought, and note where it stands; forget it when it has closed."""
        if self.stream is not None:
            self.stream.take_messages()
            self.cursors += self.stream.cursors
            self.stream.cursors.clear()
            if self.stream.closed:
                seen[f"closed {self.stream.connection.reason.value}"] += 1
                self.stream = None


class Act(NamedTuple):
    """One thing to do."""

    name: str
    arguments: dict[str, Any]

    def __call__(self, machine: Delivery) -> None:
        getattr(machine, self.name)(**self.arguments)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"


def acts(weight: int, name: str, **arguments: st.SearchStrategy[Any]) -> list[st.SearchStrategy[Act]]:
    """Return an act as often as it is to be chosen."""
    return [st.fixed_dictionaries(arguments).map(partial(Act, name)) for _ in range(weight)]


HEARERS = [(), (0,), (1,), (0, 1)]
"""Which of the hubs hear an announcement."""
INTERRUPTIONS = ["prune", "settle", "epoch"]
clients = st.integers(0, len(FORMATS) - 1)
hubs = st.integers(0, 1)
writers = st.integers(0, SESSIONS - 1)
counts = st.sampled_from([1, 2, 6])
some_groups = st.lists(st.sampled_from(GROUPS), min_size=1, max_size=3, unique=True)
ACTS = [
    *acts(6, "publish", groups=some_groups, count=counts, hears=st.sampled_from(HEARERS)),
    *acts(4, "send", writer=writers, groups=some_groups, key=st.sampled_from([None, None, "k"]), count=counts),
    *acts(2, "begin", writer=writers),
    *acts(2, "end", writer=writers, commits=st.booleans()),
    *acts(2, "settle", writer=writers),
    *acts(2, "announce", hub=hubs, picks=st.lists(st.integers(0, 5), min_size=1, max_size=3), split=st.booleans()),
    *acts(1, "announce_all", hub=hubs),
    *acts(1, "announce_ephemeral", hub=hubs, groups=some_groups),
    *acts(2, "tail", hub=hubs),
    *acts(4, "answer", hub=hubs, count=st.sampled_from([1, 1, 2, 100])),
    *acts(
        4,
        "answer_interrupted",
        hub=hubs,
        answers=st.integers(0, 2),
        statements=st.integers(1, 2),
        action=st.sampled_from(INTERRUPTIONS),
    ),
    *acts(1, "fail", hub=hubs),
    *acts(5, "come_or_go", client=clients, hub=hubs, back=st.sampled_from([1, 1, 2, 4]), held=st.booleans()),
    *acts(1, "come_anew", client=clients, hub=hubs, groups=some_groups, held=st.booleans()),
    *acts(4, "subscribe", client=clients, group=st.sampled_from(GROUPS)),
    *acts(2, "unsubscribe", client=clients, group=st.sampled_from(GROUPS)),
    *acts(3, "hold", client=clients, sees_first=st.booleans()),
    *acts(3, "let_go", client=clients, fails=st.sampled_from([False, False, True])),
    *acts(1, "ask", client=clients),
    *acts(2, "prune", keep=st.sampled_from([0, 1, 3, 6]), most=st.sampled_from([1000, 2])),
    *acts(1, "begin_epoch", back=st.integers(0, 3)),
    *acts(2, "pass_time", seconds=st.sampled_from([0.01, 8.0, 16.0, 61.0])),
    *acts(1, "replace_hub", hub=hubs, drains=st.booleans()),
    *acts(2, "converge"),
]


class Delivery(RuleBasedStateMachine):
    """Sends, transactions, hubs and clients."""

    def __init__(self, using: str, writers: Sequence[Session], reader: Session) -> None:
        super().__init__()
        self.using = using
        self.writers = [Writer(session) for session in writers]
        self.reader = reader
        self.alone = not connections[using].features.has_select_for_update_skip_locked
        """Whether an open transaction keeps everybody else from writing (SQLite)."""
        self.loop = SteppedLoop()
        self.settled: list[Batch] = []
        self.announcements: list[Batch] = []
        self.sends = 0
        self.interruption: tuple[int, Callable[[], None]] | None = None
        self.broken = False
        self.over = False
        self.clients = [Client(format) for format in FORMATS]
        self.hubs: list[SteppedHub] = []
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(pipeline, "announce", self.settled.append)
        self.patch.setattr(log, "read", partial(read_small, log.read))
        self.patch.setattr(pages, "FIRST_FILL", 2)
        self.patch.setattr(pages, "MAX_FILL", 3)
        reader.do(empty, using)
        self.model = Model(reader.do(log.state, using).position.epoch)

    @initialize(
        window=st.sampled_from([1, 2, 4, 1000]),
        buffer=st.sampled_from([200, 600, 5000]),
        batch=st.sampled_from([2, 500]),
    )
    def start(self, window: int, buffer: int, batch: int) -> None:
        self.patch.setattr(planning, "BATCH", batch)
        self.options = Options(
            tail_interval=60.0,
            tail_interval_with_layer=60.0,
            heartbeat=15.0,
            write_timeout=60.0,
            buffer_bytes=buffer,
            window_events=window,
            window_bytes=1_000_000,
            prune_interval=0.0,
            drain=1.0,
        )
        seen["examples"] += 1
        self.hubs = [self.new_hub() for _ in range(2)]
        for place, client in enumerate(self.clients):
            client.groups = ["a", GROUPS[place]] if place else ["a"]
        self.come_back()

    @rule(act=st.one_of(ACTS))
    def step(self, act: Act) -> None:
        """Do one thing. One rule with a choice: of several, hypothesis prefers those with the fewest arguments."""
        act(self)

    def prune(self, keep: int, most: int) -> None:
        """Prune all but the newest events, or the first of these."""
        writer = self.free_writer()
        if writer is not None:
            self.prune_with(writer.session, keep, most)

    def begin_epoch(self, back: int) -> None:
        """Restore an older backup, or none, and say so."""
        writer = self.free_writer()
        if writer is not None:
            self.begin_epoch_with(writer.session, back)

    def pass_time(self, seconds: float) -> None:
        """Holes are noticed, hearts beat, who makes no progress is closed."""
        self.loop.pass_time(seconds)
        self.collect()

    def replace_hub(self, hub: int, drains: bool) -> None:
        """Stop a hub, with a farewell or without, and start another."""
        if self.free_writer() is None:
            return  # where a new hub could not settle what waits, clients would find none
        old = self.hubs[hub]
        self.answer_all(old)
        if drains:
            self.inside(old.drain)
            self.loop.pass_time(3.0)
            self.collect()
            assert not any(client.stream is not None and client.stream.hub is old for client in self.clients)
        for client in self.clients:
            if client.stream is not None and client.stream.hub is old:
                self.disconnect(client)
        self.stop_hub(old)
        self.hubs[hub] = self.new_hub()

    # What must hold

    def converge(self) -> None:
        """Let everybody come back and everything happen, with no more announcements; then all have had everything."""
        if self.free_writer() is None:
            return
        for _ in range(2):
            self.let_everything_happen()
            self.come_back()
        self.let_everything_happen()
        assert self.model.nothing_waits()
        for hub in self.hubs:
            assert hub.position == Position(self.model.epoch, len(self.model.events))
        for client in self.clients:
            assert client.stream is not None
            assert client.stream.connection.state is State.LIVE
            assert client.stream.cursor.epoch == self.model.epoch
            client.stream.check_complete(len(self.model.events))
            assert not client.stream.asked
            seen["streams complete"] += 1

    @invariant()
    def nothing_escapes(self) -> None:
        assert self.loop.troubles == []

    @invariant()
    def memory_is_bounded(self) -> None:
        for hub in self.hubs:
            assert len(hub.router.window._events) <= self.options.window_events
            for subscriber in hub.subscribers:
                assert subscriber._flow._buffered <= self.options.buffer_bytes  # type: ignore[attr-defined]

    def teardown(self) -> None:
        self.over = failed = sys.exc_info()[0] is not None
        try:
            for writer in self.writers:
                while writer.open:
                    self.end_block(writer, commits=not failed)
            if not failed and self.hubs:
                self.converge()
                for client in self.clients:
                    self.disconnect(client)
                for hub in self.hubs:
                    assert (list(hub.subscribers), len(hub.router.routes)) == ([], 0)
                self.check_log()
        finally:
            for hub in self.hubs:
                self.stop_hub(hub)
            self.patch.undo()
            self.loop.close()

    def check_log(self) -> None:
        """Check that the table holds what the model says."""
        rows = self.reader.do(
            lambda: list(
                Event.objects.using(self.using).order_by("position", "id").values_list("position", "group", "data")
            )
        )
        retained = self.model.events[self.model.floor :]
        assert rows == [(event.number, group, event.data) for event in retained for group in event.groups]

    # Writers

    def begin(self, writer: int) -> None:
        """Open a transaction, or a savepoint in the one that is open."""
        found = self.writers[writer]
        if self.may_write(found) and len(found.open) < 3:
            block = transaction.atomic(using=self.using)
            found.session.do(block.__enter__)
            found.open.append((block, []))

    def end(self, writer: int, commits: bool) -> None:
        """Commit or roll back the innermost transaction or savepoint."""
        found = self.writers[writer]
        if found.open:
            self.end_block(found, commits)

    def send(self, writer: int, groups: list[str], key: str | None, count: int) -> None:
        found = self.writers[writer]
        if not self.may_write(found):
            return
        for _ in range(count):
            self.sends += 1
            found.session.do(append, self.using, groups, self.sends, key)
            copies = [Copy(self.sends, group, str(self.sends), key) for group in groups]
            if found.open:
                found.open[-1][1].extend(copies)
            else:
                self.model.commit(copies)

    def publish(self, groups: list[str], count: int, hears: tuple[int, ...]) -> None:
        """Send outside of transactions, settle, and let some hubs hear of that, but of nothing that came before."""
        writer = self.free_writer()
        if writer is None:
            return
        before = len(self.announcements)
        self.send(self.writers.index(writer), groups, None, count)
        self.settle(self.writers.index(writer))
        for hub in hears:
            self.inside(lambda hub=self.hubs[hub]: [hub.router.receive(batch) for batch in self.announcements[before:]])

    def settle(self, writer: int) -> None:
        found = self.writers[writer]
        if not found.open and self.may_write(found):
            found.session.do(settle, self.using)
            self.collect()

    # Hubs

    def announce(self, hub: int, picks: list[int], split: bool) -> None:
        """Bring announcements: new ones, old ones, several times, in any order, or in parts of which some are lost."""
        if not self.announcements:
            return
        batches = [self.announcements[-1 - pick % len(self.announcements)] for pick in picks]
        if split:
            batches = [
                parts[pick % len(parts)]
                for batch, pick in zip(batches, picks, strict=True)
                if (parts := split_up(batch))
            ]
        self.inside(lambda: [self.hubs[hub].router.receive(batch) for batch in batches])

    def announce_all(self, hub: int) -> None:
        """Bring every announcement that the hub has not routed yet, in order."""
        self.inside(lambda: [self.hubs[hub].router.receive(batch) for batch in self.announcements])

    def announce_ephemeral(self, hub: int, groups: list[str]) -> None:
        self.sends += 1
        event = WireEvent(None, tuple(groups), "typing", str(self.sends), "time")
        self.inside(lambda: self.hubs[hub].router.receive(Batch("", (event,))))

    def tail(self, hub: int) -> None:
        """Look at the log; the database has still to answer."""
        self.refresh(self.hubs[hub])

    def answer(self, hub: int, count: int) -> None:
        """Let the database answer what a hub has asked."""
        for _ in range(count):
            self.answer_one(self.hubs[hub])

    def fail(self, hub: int) -> None:
        """Let the database fail at what a hub has asked."""
        if self.hubs[hub].jobs:
            self.broken = True
            self.answer_one(self.hubs[hub])
            self.broken = False

    def answer_interrupted(self, hub: int, answers: int, statements: int, action: str) -> None:
        """Let the database answer some times, then once more, and between two statements something else happen."""
        found, writer = self.hubs[hub], self.free_writer()
        if writer is None:
            return
        if not found.jobs:
            self.refresh(found)
        for _ in range(answers):
            self.answer_one(found)
        actions: dict[str, Callable[[], None]] = {
            "prune": lambda: self.prune_with(writer.session, 0, 1000),
            "settle": lambda: writer.session.do(settle, self.using),
            "epoch": lambda: self.begin_epoch_with(writer.session, 2),
        }
        self.interruption = (statements, actions[action])
        self.answer_one(found)
        self.interruption = None

    # Clients

    def come_or_go(self, client: int, hub: int, back: int, held: bool) -> None:
        """Leave, or connect with a position that the client has had, the last one as a rule."""
        found = self.clients[client]
        if found.stream is not None:
            self.disconnect(found)
        elif found.away:
            since = found.cursors[-min(back, len(found.cursors))] if found.cursors else None
            self.enter(found, self.hubs[hub], since, held)

    def come_anew(self, client: int, hub: int, groups: list[str], held: bool) -> None:
        """Connect with other groups and no position, as a new page does."""
        found = self.clients[client]
        self.disconnect(found)
        if found.away:
            found.groups, found.cursors = groups, []
            self.enter(found, self.hubs[hub], None, held)

    def subscribe(self, client: int, group: str) -> None:
        stream = self.clients[client].stream
        if stream is not None:
            self.inside(lambda: stream.subscribe(group))
            self.clients[client].groups = stream.groups

    def unsubscribe(self, client: int, group: str) -> None:
        stream = self.clients[client].stream
        if stream is not None and len(stream.groups) > 1:
            self.inside(lambda: stream.unsubscribe(group))
            self.clients[client].groups = stream.groups

    def hold(self, client: int, sees_first: bool) -> None:
        """Block the client's writes from now on."""
        stream = self.clients[client].stream
        if stream is not None and stream.gate.is_set():
            stream.gate.clear()
            stream.sees_first = sees_first

    def let_go(self, client: int, fails: bool) -> None:
        """Let the client's writes go on, or fail."""
        stream = self.clients[client].stream
        if stream is not None:
            stream.fails = fails
            self.inside(stream.gate.set)

    def ask(self, client: int) -> None:
        """Have a command answered."""
        stream = self.clients[client].stream
        if stream is not None:
            self.sends += 1
            self.inside(lambda: stream.ask(self.sends))

    # How it is done

    def let_everything_happen(self) -> None:
        for hub in self.hubs:
            for client in self.clients:
                if client.stream is not None:
                    client.stream.fails = False
                    self.inside(client.stream.gate.set)
            for _ in range(2):
                self.refresh(hub)
                self.answer_all(hub)

    def come_back(self) -> None:
        """Let every client that is away connect."""
        for place, client in enumerate(self.clients):
            if client.away:
                since = client.cursors[-1] if client.cursors else None
                self.enter(client, self.hubs[place % 2], since, held=False)

    def may_write(self, writer: Writer) -> bool:
        return not self.alone or not any(other.open for other in self.writers if other is not writer)

    def free_writer(self) -> Writer | None:
        """Return a writer outside of transactions that need not wait for anybody."""
        return next((writer for writer in self.writers if not writer.open and self.may_write(writer)), None)

    def end_block(self, writer: Writer, commits: bool) -> None:
        block, copies = writer.open.pop()

        def end() -> None:
            transaction.set_rollback(not commits, using=self.using)
            block.__exit__(None, None, None)

        writer.session.do(end)
        if commits and writer.open:
            writer.open[-1][1].extend(copies)
        elif commits:
            self.model.commit(copies)

    def settle_all(self, session: Session) -> None:
        """Settle everything, repeats too: when their keys are free again, they are no repeats any more."""
        session.do(settle_all, self.using)
        self.collect_settled()
        assert self.model.nothing_waits()
        self.model.waiting.clear()

    def prune_with(self, session: Session, keep: int, most: int) -> None:
        self.settle_all(session)
        if len(self.model.events) - self.model.floor <= keep:
            return
        before = datetime.now(UTC) if not keep else time_of(self.model.events[-keep])
        old = self.model.prunable(before)
        count = session.do(log.prune, self.using, before, most)
        floor = session.do(log.state, self.using).floor
        gone = self.model.events[self.model.floor : floor]
        rows = sum(len(event.groups) for event in self.model.events[self.model.floor : self.model.floor + old])
        assert len(gone) <= old
        assert count == sum(len(event.groups) for event in gone) >= min(rows, most)
        self.model.floor = floor

    def begin_epoch_with(self, session: Session, back: int) -> None:
        self.settle_all(session)
        upto = max(len(self.model.events) - back, 0)

        def restore() -> str:
            with transaction.atomic(using=self.using):
                Event.objects.using(self.using).filter(position__gt=upto).delete()
                LogFloor.objects.using(self.using).filter(position__gt=upto).update(position=upto)
                LogHead.objects.using(self.using).update(position=upto)
                log.begin_epoch(self.using)
            return log.state(self.using).position.epoch

        self.model.begin_epoch(session.do(restore), upto)

    def inside(self, work: Callable[[], Any]) -> Any:
        """Do something inside the loop, let follow what follows, and check what came of it."""
        result = self.loop.do(work)
        self.collect()
        return result

    def collect_settled(self) -> None:
        for batch in self.settled:
            self.model.settle(batch)
            self.announcements.append(batch)
        self.settled.clear()

    def collect(self) -> None:
        if self.over:
            return
        self.collect_settled()
        for client in self.clients:
            client.collect()
            if client.stream is not None and client.stream.connection.state is State.BEHIND:
                seen["behind"] += 1

    def new_hub(self) -> SteppedHub:
        make = partial(SteppedHub, self.using, self.listen, self.options)
        hub: SteppedHub = self.loop.do(make)
        self.loop.do(lambda: hub.ready)
        self.answer_all(hub)
        hub.ready.result()
        return hub

    async def listen(self, receive: object, healthy: object) -> None:
        await asyncio.Event().wait()

    def stop_hub(self, hub: SteppedHub) -> None:
        task = self.loop.do(lambda: self.loop.create_task(hub.stop()))
        self.answer_all(hub)
        self.loop.pass_time(0)
        assert task.done()

    def refresh(self, hub: SteppedHub) -> None:
        task = self.loop.do(lambda: self.loop.create_task(hub.tail.refresh()))
        task.add_done_callback(lambda task: task.cancelled() or task.exception())

    def answer_all(self, hub: SteppedHub) -> None:
        for _ in range(1000):
            if not hub.jobs:
                return
            self.answer_one(hub)
        raise AssertionError("the hub asks without end")

    def answer_one(self, hub: SteppedHub) -> None:
        if not hub.jobs:
            return
        work, future = hub.jobs.popleft()
        if future.done():
            return
        try:
            result = self.reader.do(self.carry_out, work)
        except OperationalError as error:
            raised = error
            self.inside(lambda: future.done() or future.set_exception(raised))
        else:
            self.inside(lambda: future.done() or future.set_result(result))

    def carry_out(self, work: Callable[[], Any]) -> Any:
        if self.broken:
            raise OperationalError("the database fails")
        if self.interruption is None:
            return work()
        statements, action = self.interruption

        def execute(call: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
            nonlocal statements
            statements -= 1
            if statements == 0 and not context["connection"].in_atomic_block:
                seen["interrupted"] += 1
                action()
            return call(sql, params, many, context)

        with connections[self.using].execute_wrapper(execute):
            return work()

    def enter(self, client: Client, hub: SteppedHub, since: Position | None, held: bool) -> None:
        client.entering = self.loop.do(lambda: self.loop.create_task(self._enter(client, hub, since, held)))
        self.collect()

    async def _enter(self, client: Client, hub: SteppedHub, since: Position | None, held: bool) -> None:
        """Come in as the endpoints let clients in."""
        try:
            cursor, lost = await hub.admit(since)
        except OperationalError:
            return
        assert lost is not None or since in (None, cursor)
        start = cursor if since is None or lost is None else since
        stream = Stream(self.model, hub, client.groups, start, client.format)
        stream.connection._flow.epoch, stream.connection._flow.cursor = cursor
        if held:
            stream.gate.clear()
        client.stream = stream
        hub.start(stream.connection, greeting(cursor, lost, client))

    def disconnect(self, client: Client) -> None:
        stream = client.stream
        if stream is not None:
            self.inside(lambda: stream.connection.close(Reason.GONE))
            stream.hub.remove(stream.connection)
            client.stream = None


def greeting(cursor: Position, lost: str | None, client: Client) -> tuple[bytes | str, ...]:
    if lost is not None:
        return wire.system_frames("reset", client.format, position=cursor, reason=lost)
    return wire.hello(cursor, client.format, heartbeat=15.0, retry=1000, groups=tuple(client.groups), refused=())


def append(using: str, groups: Sequence[str], number: int, key: str | None) -> None:
    """Append an event, an hour after the one before: not as fast as the clocks of host and database differ."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timezone, "now", lambda: BEGINNING + timedelta(hours=number))
        log.append(groups, "t", str(number), key, using)


def read_small(
    read: Callable[..., LogPage], using: str, groups: object, after: int, upto: int, limit: int = PAGE, *more: object
) -> LogPage:
    return read(using, groups, after, upto, min(limit, PAGE), *more)


def settle(using: str) -> None:
    for batch in log.settle(using):
        pipeline.announce(batch)


def settle_all(using: str) -> None:
    while log.state(using).waiting:
        settle(using)


def split_up(batch: Batch) -> list[Batch]:
    return [wire.parse_batch(message) for message in wire.batch_messages(batch, "origin", 2)]


def empty(using: str) -> None:
    for model in (Event, LogHead, LogFloor, ChannelGroup):
        model.objects.using(using).all()._raw_delete(using)


def never_wait(sender: object, connection: Any, **kwargs: object) -> None:
    """Let SQLite fail at once where it would wait for a transaction: here nothing goes on meanwhile."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 0")


@pytest.fixture
def sessions() -> Iterator[list[Session]]:
    connection_created.connect(never_wait)
    found = [Session() for _ in range(SESSIONS + 1)]
    yield found
    for session in found:
        session.close()
    connection_created.disconnect(never_wait)


@pytest.fixture(params=[alias for alias in ALIASES if kind(alias) != "mariadb"], ids=kind)
def log_database(request: pytest.FixtureRequest, transactional_db: None) -> str:
    """PostgreSQL, where several transactions are open at a time, and SQLite, where one is."""
    return str(request.param)


@pytest.mark.django_db(transaction=True, databases=ALIASES)
@pytest.mark.timeout(14_400 if FULL else 900)  # to find the smallest case of a failure takes minutes
def test_random_interleavings_deliver_what_the_model_says(log_database: str, sessions: list[Session]) -> None:
    seen.clear()
    run_state_machine_as_test(
        lambda: Delivery(log_database, sessions[:-1], sessions[-1]),
        settings=settings(
            max_examples=3000 if FULL else 30 * EXAMPLES,
            stateful_step_count=60,
            deadline=None,
            database=None,
            derandomize=not FULL,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        ),
    )
    print(kind(log_database), dict(seen))
    assert set(seen) >= {
        "behind",
        "closed drain",
        "closed failed",
        "closed slow",
        "events received",
        "interrupted",
        "reset epoch",
        "reset pruned",
        "several groups",
        "streams complete",
    }
