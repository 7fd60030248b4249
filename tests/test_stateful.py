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
from contextlib import contextmanager
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

from livepush import log, publish, wire
from livepush.hub import pages
from livepush.hub.connection import Connection, Reason, State
from livepush.hub.hub import Hub, Options
from livepush.log import planning
from livepush.models import ChannelGroup, Event, LogFloor, LogHead
from livepush.process.database_log import DatabaseLog
from livepush.process.threads import Threads
from livepush.publish import pipeline
from livepush.wire import Batch, Format, Frames, LogPage, Position
from livepush.wire import Event as WireEvent
from tests.conftest import ALIASES, kind
from tests.scale import EXAMPLES, FULL, some
from tests.transports import Transport

set_hypothesis_home_dir(Path(__file__).parents[1] / ".cache" / "hypothesis")

GROUPS = ("a", "b", "c")
FORMATS = (Format.TEXT, Format.ARRAY, Format.SSE_ENVELOPE)
"""One for each client."""
PAGE = 3
"""The most events that one read of the log returns, so that a few make several pages."""
SESSIONS = 2
PARTS = 4 if FULL else 1
"""How many tests share the examples of a full run, so that several processes can."""
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


class SteppedThreads(Threads):
    """The hub's thread, which does a job when it is told to."""

    def __init__(self) -> None:
        super().__init__(1, "livepush-hub", 60.0, lambda: None)
        self.jobs: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()

    async def run(self, work: Callable[[], Any]) -> Any:
        future = asyncio.get_running_loop().create_future()
        self.jobs.append((work, future))
        return await future


class SteppedHub(Hub):
    """A hub whose database answers when it is told to."""

    def __init__(self, using: str, listen: Any, options: Options) -> None:
        threads = SteppedThreads()
        super().__init__(DatabaseLog(using, 7 * 86_400, threads), listen, options)
        self.jobs = threads.jobs


class Send(NamedTuple):
    """A send that was committed."""

    number: int
    groups: tuple[str, ...]
    key: str | None

    @property
    def data(self) -> str:
        return str(self.number)


class Model:
    """What the log is to hold."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.lives: dict[str, list[WireEvent]] = {epoch: []}
        """The settled events of each epoch; the one with number n is at n - 1."""
        self.keys: list[str | None] = []
        self.floors = {epoch: 0}
        """The floor of each epoch, its last one where it has ended."""
        self.waiting: list[Send] = []

    @property
    def events(self) -> list[WireEvent]:
        return self.lives[self.epoch]

    @property
    def floor(self) -> int:
        return self.floors[self.epoch]

    def commit(self, sends: Sequence[Send]) -> None:
        self.waiting = sorted([*self.waiting, *sends])

    def settle(self, batch: Batch) -> None:
        """Take a batch, which must bring the next of the committed sends, each to the groups that it is new to."""
        assert batch.epoch == self.epoch
        for event in batch.events:
            send, groups = self._next()
            assert (event.number, event.groups, event.data) == (len(self.events) + 1, groups, send.data)
            self.events.append(event)
            self.keys.append(send.key)

    def nothing_waits(self) -> bool:
        return not any(self._fresh(send) for send in self.waiting)

    def pruned(self, before: datetime, most: int) -> tuple[int, int]:
        """Return the floor after some of the oldest rows were pruned, and how many rows go: those of whole sends."""
        floor, count = self.floor, 0
        for event in self.events[self.floor :]:
            if time_of(event) >= before or count >= most:
                break
            floor, count = floor + 1, count + len(event.groups)
        return floor, count

    def begin_epoch(self, epoch: str, upto: int) -> None:
        self.lives[epoch] = self.events[:upto]
        self.floors[epoch] = min(self.floor, upto)
        self.epoch = epoch
        del self.keys[upto:]

    def _next(self) -> tuple[Send, tuple[str, ...]]:
        while not (groups := self._fresh(self.waiting[0])):
            del self.waiting[0]
        return self.waiting.pop(0), groups

    def _fresh(self, send: Send) -> tuple[str, ...]:
        """Return those of a send's groups that have not had its key."""
        retained = zip(self.events[self.floor :], self.keys[self.floor :], strict=True)
        had = {group for event, key in retained if key is not None and key == send.key for group in event.groups}
        return tuple(group for group in send.groups if group not in had)


def time_of(event: WireEvent) -> datetime:
    return datetime.strptime(event.time, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


class Term:
    """A span in which a stream reads a group: behind ``start``, and once it has ended at most up to ``end``."""

    def __init__(self, group: str, start: Position, end: int | None = None) -> None:
        self.group = group
        self.start = start
        self.end = end
        self.had: set[int] = set()
        """The numbers of the events that came for it."""

    def holds(self, event: WireEvent) -> bool:
        assert event.number is not None
        upto = event.number if self.end is None else self.end
        return self.group in event.groups and self.start.number < event.number <= upto

    def lacks(self, event: WireEvent) -> bool:
        return self.holds(event) and event.number not in self.had


class Return(NamedTuple):
    """A term for which a stream goes back in the log: for its first events, or for those that it has had already."""

    term: Term
    start: Position
    is_new: bool


class Message(NamedTuple):
    """What a client got, and how often the stream had gone back in the log when it was written."""

    fields: dict[str, Any]
    returns: int


class Stream:
    """One connection as its client sees it: it checks each message against the model.

    ``since`` is what the client presented, ``cursor`` where the hub lets it begin.
    """

    def __init__(
        self,
        model: Model,
        hub: SteppedHub,
        groups: Sequence[str],
        since: Position,
        cursor: Position,
        format: Format,
        has_transport: bool,
    ) -> None:
        self.model = model
        self.hub = hub
        self.admitted = cursor
        self.messages: deque[Message] = deque()
        self.cursors: list[Position] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.sees_first = False
        """Whether a held write has reached the client nevertheless."""
        self.fails = False
        self.closed = False
        self.ephemeral: dict[Any, list[str]] = {}
        """Those that may still come, each with the groups that it is to name."""
        self.greeted = False
        self.asked: deque[int] = deque()
        self.returns: list[Return] = []
        self.written_returns = self.taken_returns = 0
        """How many of them what is written, and what the client has taken, takes into account."""
        transport = Transport(self._have_now, self.gate.is_set) if has_transport else None
        self.connection = Connection(hub, groups, cursor, format, self._write, hub.limits, transport)
        self.connection.on_close = self._close
        self._begin(since, [Term(group, since) for group in groups])

    async def _write(self, frames: Frames) -> None:
        self._note_returns()
        returns = self.written_returns
        for frame in frames:
            if self.sees_first:
                self._have(frame, returns)
            await self.gate.wait()
            if self.fails:
                raise ConnectionResetError
            if not self.sees_first:
                self._have(frame, returns)

    def _have_now(self, frame: bytes | str) -> None:
        seen["written at once"] += 1
        self._note_returns()
        self._have(frame, self.written_returns)

    def _have(self, frame: bytes | str, returns: int) -> None:
        self.messages += [Message(fields, returns) for fields in parsed(frame)]

    def _close(self) -> None:
        """Do what an endpoint does when its connection has closed."""
        self.hub.remove(self.connection)
        self.closed = True

    @property
    def groups(self) -> list[str]:
        return [term.group for term in self.terms if term.end is None]

    def subscribe(self, groups: Sequence[str], since: Position | None) -> None:
        """Add groups, from a position that the hub admits or from now on."""
        self._note_returns()
        here = self.hub.position
        start = here if since is None else min(since, here, key=lambda position: position.number)
        terms = [Term(group, start) for group in groups if group not in self.groups]
        if start != here:
            held = [term for term in self.terms if term.end is None and term.group in groups]
            self.returns += [Return(term, start, is_new=False) for term in held]
            self.returns += [Return(term, start, is_new=True) for term in terms]
        self.terms += terms
        assert self.hub.subscribe(self.connection, groups, since) == start

    def unsubscribe(self, group: str) -> None:
        """End a term; what the hub has routed already may still be on its way."""
        self.hub.unsubscribe(self.connection, [group])
        for term in self.terms:
            if term.group == group and term.end is None:
                same = term.start.epoch == self.hub.position.epoch  # else what is on its way is of an ended epoch
                term.end = self.hub.position.number if same else len(self.model.lives[term.start.epoch])

    def expect_ephemeral(self, data: Any, groups: Sequence[str]) -> None:
        """Note what is routed now, which may come and may not."""
        if mine := [group for group in self.groups if group in groups]:
            self.ephemeral[data] = mine

    def ask(self, ref: int) -> None:
        self.asked.append(ref)
        self.connection.say(wire.system_frames("reply", self.connection.format, ref=ref, ok=True))

    def take_messages(self) -> None:
        while self.messages:
            message = self.messages.popleft()
            self._go_back(message.returns)
            self._take(message.fields)

    def check_complete(self, upto: int) -> None:
        """Check that nothing is missing up to a number."""
        due = [term for term in self._begun() if term.end is None]
        for event in self.events[self.checked : upto]:
            missed = [term.group for term in due if term.lacks(event)]
            assert not missed, f"missed {event} of {missed}"
        self.checked = max(self.checked, upto)

    def check_live(self) -> None:
        """Check that a stream which has come to rest has had everything."""
        self._note_returns()
        self._go_back(self.written_returns)
        assert self.taken_returns == len(self.returns)
        self.check_complete(len(self.events))

    @property
    def events(self) -> list[WireEvent]:
        return self.model.lives[self.cursor.epoch]

    def _note_returns(self) -> None:
        if not self.connection._state._since:  # to look at the flow would end the short way
            self.written_returns = len(self.returns)

    def _begun(self) -> list[Term]:
        """Return the terms whose events come by now, also those that have ended.

        A term may begin in a later epoch than the client has come to: the hub knows it already.
        """
        waiting = [term for term, _, is_new in self.returns[self.taken_returns :] if is_new]
        return [term for term in self.terms if term.start.epoch == self.cursor.epoch and term not in waiting]

    def _go_back(self, returns: int) -> None:
        """Go back in the log, from where everything comes in order again: for the terms, not for the others."""
        for term, start, is_new in self.returns[self.taken_returns : returns]:
            seen["returned" if is_new else "repeated"] += 1
            if start.epoch == self.cursor.epoch:
                self.cursor = min(self.cursor, start)
                self.checked = min(self.checked, start.number)
                term.start = min(term.start, start)
                term.had = {number for number in term.had if number <= start.number}
        self.taken_returns = max(self.taken_returns, returns)

    def _begin(self, cursor: Position, terms: list[Term]) -> None:
        self.cursor = cursor
        self.checked = cursor.number
        self.terms = terms
        self.cursors.append(cursor)

    def _take(self, message: dict[str, Any]) -> None:
        assert self.greeted or message["type"] == "livepush.hello", f"{message} came first"
        if message["type"] == "livepush.hello":
            assert (self.greeted, parse(message["id"])) == (False, self.admitted)
            self.greeted = True
        elif message["type"] == "livepush.reset":
            self._reset(parse(message["id"]), message["reason"])
        elif message["type"] == "livepush.reply":
            assert message["ref"] == self.asked.popleft()
        elif message["type"] == "livepush.position":
            self._move(parse(message["id"]))
        elif message["type"] != "livepush.bye":
            self._take_event(message)

    def _take_event(self, message: dict[str, Any]) -> None:
        if "id" not in message:
            self._take_ephemeral(message)
            return
        position = parse(message["id"])
        assert position.epoch == self.cursor.epoch, f"{message} after {self.cursor}"
        assert position.number > self.cursor.number, f"{message} after {self.cursor}"
        event = self.events[position.number - 1]
        assert (event.number, json.loads(event.data)) == (position.number, message["data"])
        terms = [term for term in self._begun() if term.lacks(event)]
        groups = groups_of(message)
        served = [term for term in terms if term.group in groups]
        names = [term.group for term in served]
        # a group that was dropped and added again stands where it stood, or where it stands now
        orders = (list(dict.fromkeys(names)), list(dict.fromkeys(reversed(names)))[::-1])
        assert groups in orders, f"unexpected {message}, and not {orders}"
        for term in served:
            term.had.add(position.number)
        seen["events received"] += 1
        seen["events of several groups"] += len(groups) > 1
        self._move(position)

    def _take_ephemeral(self, message: dict[str, Any]) -> None:
        assert groups_of(message) == self.ephemeral.pop(message["data"])
        seen["ephemeral events received"] += 1

    def _move(self, position: Position) -> None:
        assert position.epoch == self.cursor.epoch
        assert position.number >= self.cursor.number
        self.check_complete(position.number)
        self.cursor = position
        self.cursors.append(position)

    def _reset(self, position: Position, reason: str) -> None:
        lost = self.model.floors[self.cursor.epoch] > self.cursor.number or self.cursor.epoch != position.epoch
        assert lost or self.cursor == position, f"a reset ({reason}) at {self.cursor}, which is retained"
        seen[f"reset {reason}"] += 1
        terms = []
        for term in self.terms:
            same = term.start.epoch == position.epoch
            term.start = max(position, term.start) if same else position
            term.had.clear()
            if term.end is None or same:
                terms.append(term)
        self._begin(position, terms)


def groups_of(message: dict[str, Any]) -> list[str]:
    """Return the groups that a message names: more than one in a list, of which the first stands alone too."""
    groups: list[str] = message.get("groups", [message["group"]])
    assert groups[0] == message["group"]
    assert len(groups) > 1 or "groups" not in message
    return groups


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
        self.open: list[tuple[transaction.Atomic, list[Send]]] = []


class Client:
    """A client: the groups that it reads, the cursors that it has had, and its stream if it is connected."""

    def __init__(self, format: Format, has_transport: bool) -> None:
        self.format = format
        self.has_transport = has_transport
        self.groups = ["a"]
        self.cursors: list[Position] = []
        self.stream: Stream | None = None
        self.entering: asyncio.Task[None] | None = None
        self.asking: asyncio.Task[None] | None = None

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
    *acts(6, "publish", groups=some_groups, count=counts, hears=st.sampled_from(HEARERS), at_once=st.booleans()),
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
    *acts(5, "subscribe_since", client=clients, groups=some_groups, back=st.sampled_from([1, 3, 6, 12])),
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
        self.clients: list[Client] = []
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
        transports=st.sampled_from([(True, True, False), (False, False, True)]),
    )
    def start(self, window: int, buffer: int, batch: int, transports: tuple[bool, ...]) -> None:
        self.clients = [Client(*each) for each in zip(FORMATS, transports, strict=True)]
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
            client.stream.check_live()
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
                assert subscriber.buffered <= self.options.buffer_bytes  # type: ignore[attr-defined]

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
                    assert (len(list(hub.subscribers)), len(hub.router.routes)) == (0, 0)
                self.check_log()
        finally:
            for hub in self.hubs:
                self.stop_hub(hub)
            self.patch.undo()
            self.loop.close()

    def check_log(self) -> None:
        """Check that the table holds what the model says."""
        rows = Event.objects.using(self.using).order_by("position", "id").values_list("position", "group", "data")
        retained = self.model.events[self.model.floor :]
        wanted = [(event.number, group, event.data) for event in retained for group in event.groups]
        assert self.reader.do(list, rows) == wanted

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
            made = Send(self.sends, tuple(groups), key)
            if found.open:
                found.open[-1][1].append(made)
            else:
                self.model.commit([made])

    def publish(self, groups: list[str], count: int, hears: tuple[int, ...], at_once: bool) -> None:
        """Send outside of transactions, settle, and let some hubs hear of that, but of nothing that came before."""
        writer = self.free_writer()
        if writer is None:
            return
        before = len(self.announcements)
        if at_once:
            for _ in range(count):
                self.sends += 1
                self.model.commit([Send(self.sends, tuple(groups), None)])
                writer.session.do(deliver, self.using, groups, self.sends)
            self.collect()
        else:
            self.send(self.writers.index(writer), groups, None, count)
            self.settle(self.writers.index(writer))
        for hub in hears:
            self.inside(lambda hub=self.hubs[hub]: self.hear(hub, self.announcements[before:]))

    def settle(self, writer: int) -> None:
        found = self.writers[writer]
        if not found.open and self.may_write(found):
            found.session.do(publish.settle, self.using)
            self.collect()

    # Hubs

    def hear(self, hub: SteppedHub, batches: Sequence[Batch]) -> None:
        for batch in batches:
            hub.router.receive(batch)

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
        self.inside(lambda: self.hear(self.hubs[hub], batches))

    def announce_all(self, hub: int) -> None:
        """Bring every announcement that the hub has not routed yet, in order."""
        self.inside(lambda: self.hear(self.hubs[hub], self.announcements))

    def announce_ephemeral(self, hub: int, groups: list[str]) -> None:
        self.sends += 1
        event = WireEvent(None, tuple(groups), "typing", str(self.sends), "time")
        for client in self.clients:
            if client.stream is not None and client.stream.hub is self.hubs[hub]:
                client.stream.expect_ephemeral(self.sends, groups)
        self.inside(lambda: self.hear(self.hubs[hub], [Batch("", (event,))]))

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
            "settle": lambda: writer.session.do(publish.settle, self.using),
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
            self.inside(lambda: stream.subscribe([group], None))
            self.clients[client].groups = stream.groups

    def subscribe_since(self, client: int, groups: list[str], back: int) -> None:
        """Ask for groups from a position that the client has had, as a page does that takes over from another."""
        found = self.clients[client]
        stream = found.stream
        if stream is None or (found.asking is not None and not found.asking.done()):
            return
        since = found.cursors[-min(back, len(found.cursors))]

        async def subscribe() -> None:
            try:
                admitted, _ = await stream.hub.admit(since)
            except OperationalError:
                return
            if found.stream is stream and stream.connection.state is not State.CLOSED:
                stream.subscribe(groups, admitted)
                found.groups = stream.groups

        found.asking = self.loop.do(lambda: self.loop.create_task(subscribe()))
        self.collect()

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
        block, sends = writer.open.pop()

        def end() -> None:
            transaction.set_rollback(not commits, using=self.using)
            block.__exit__(None, None, None)

        writer.session.do(end)
        if commits and writer.open:
            writer.open[-1][1].extend(sends)
        elif commits:
            self.model.commit(sends)

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
        floor, rows = self.model.pruned(before, most)
        assert session.do(log.prune, self.using, before, most) == rows
        self.model.floors[self.model.epoch] = floor

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
        hub: SteppedHub = self.loop.do(partial(SteppedHub, self.using, self.listen, self.options))
        self.loop.do(lambda: hub.ready)
        self.answer_all(hub)
        hub.ready.result()
        return hub

    async def listen(self, *told: object) -> None:
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

        log.harmless_wrappers.append(execute)
        try:
            with connections[self.using].execute_wrapper(execute):
                return work()
        finally:
            log.harmless_wrappers.remove(execute)

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
        start = cursor if since is None else since
        stream = Stream(self.model, hub, client.groups, start, cursor, client.format, client.has_transport)
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


def greeting(cursor: Position, lost: str | None, client: Client) -> Frames:
    hello = wire.hello(cursor, client.format, heartbeat=15.0, retry=1000, groups=tuple(client.groups), refused=())
    if lost is None:
        return hello
    return (*hello, *wire.system_frames("reset", client.format, position=cursor, reason=lost))


def append(using: str, groups: Sequence[str], number: int, key: str | None) -> None:
    with made_at(number):
        log.append(log.Content(groups, "t", str(number)), key, using)


@contextmanager
def made_at(number: int) -> Iterator[None]:
    """Date a send an hour after the one before: not as fast as the clocks of host and database differ."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timezone, "now", lambda: BEGINNING + timedelta(hours=number))
        yield


def deliver(using: str, groups: Sequence[str], number: int) -> None:
    """Send as most sends go: outside of transactions, and settled at once where that can be."""
    with made_at(number):
        publish.deliver(using, log.append_settled(log.Content(groups, "t", str(number)), None, using))


def read_small(
    read: Callable[..., LogPage], using: str, groups: object, after: int, upto: int, limit: int = PAGE, *more: object
) -> LogPage:
    return read(using, groups, after, upto, min(limit, PAGE), *more)


def settle_all(using: str) -> None:
    while log.state(using).waiting:
        publish.settle(using)


def split_up(batch: Batch) -> list[Batch]:
    return wire.split_batch(batch, 2)


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


@pytest.fixture(params=some([alias for alias in ALIASES if kind(alias) != "mariadb"]), ids=kind)
def log_database(request: pytest.FixtureRequest, transactional_db: None) -> str:
    """PostgreSQL, where several transactions are open at a time, and SQLite, where one is."""
    return str(request.param)


@pytest.mark.django_db(transaction=True, databases=ALIASES)
@pytest.mark.timeout(14_400 if FULL or EXAMPLES > 10 else 900)  # to find the smallest case of a failure takes minutes
@pytest.mark.parametrize("part", range(PARTS))
def test_random_interleavings_deliver_what_the_model_says(
    part: int, log_database: str, sessions: list[Session]
) -> None:
    seen.clear()
    run_state_machine_as_test(
        lambda: Delivery(log_database, sessions[:-1], sessions[-1]),
        settings=settings(
            max_examples=3000 // PARTS if FULL else 12 * EXAMPLES,
            stateful_step_count=60,
            deadline=None,
            database=None,
            derandomize=not FULL,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        ),
    )
    print(kind(log_database), part, dict(seen))
    assert set(seen) >= {
        "behind",
        "closed drain",
        "closed failed",
        "closed slow",
        "ephemeral events received",
        "events of several groups",
        "events received",
        "interrupted",
        "reset epoch",
        "reset pruned",
        "repeated",
        "returned",
        "streams complete",
        "written at once",
    }
