"""Posts the webhooks: from one process at a time, in the log's order, each until it is answered with 2xx."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from django.db.models import QuerySet

from livepush import log, process, publish
from livepush.bridges.holding import BEATS, Hold, Superseded, until_one_ends
from livepush.bridges.pusher import hooks, occupying
from livepush.bridges.pusher.config import App, app
from livepush.bridges.pusher.hooks import Said
from livepush.bridges.pusher.models import PusherCursor
from livepush.conf import get_settings
from livepush.hub import Hub
from livepush.notes import Rarely, one_line
from livepush.wire import Position, dumps

logger = logging.getLogger("livepush")
T = TypeVar("T")
failures = Rarely(every=10.0)

LOOK = 0.1
"""How often (seconds) the hub's position is looked at, and the log is read."""
QUIET = 0.5
"""How often (seconds) the log is read, and its position is noted, while nothing in it is to be told."""
AT_ONCE = 100
"""About how many events one request has."""
TIMEOUT = 10.0
"""How long (seconds) an answer may take."""
SHORTEST, LONGEST = 0.2, 60.0
"""How long (seconds) to wait after a request that was not taken."""
LEVEL = 1
ANEW = "The log was made anew: the webhooks of Pusher's app begin with its first event."
PRUNED = "%d positions of the log were pruned before Pusher's webhooks could tell of them; they are lost to it."


MAX_MISSED = 1000
_missed: dict[str, float] = {}
"""When a channel was last found without an event."""


class Refused(Exception):
    """A webhook was not answered with 2xx."""


class Part(NamedTuple):
    """A part of the log."""

    said: list[Said]
    upto: int
    """The position up to which it was read."""
    has_more: bool = False
    """Whether the log goes on after it."""
    lost: str = ""
    """Why events that come before ``upto`` can't be told; empty if there are none."""


class Place(Hold):
    """This process's hold on the cursor of the app's webhooks."""

    def __init__(self, known: App) -> None:
        super().__init__("sends the webhooks", get_settings().PRESENCE_LEASE)
        self._app = known

    def rows(self) -> QuerySet[PusherCursor]:
        return PusherCursor.objects.using(get_settings().DATABASE).filter(pk=self._app.id)

    def begin(self) -> PusherCursor:
        using = get_settings().DATABASE
        row = PusherCursor(app=self._app.id, position=log.state(using).position.number)
        PusherCursor.objects.using(using).bulk_create([row], ignore_conflicts=True)
        return self.rows().get()

    def read_on(self) -> Part:
        """Return the next part of the log, and move past it if nothing is to be told of it. Raises Superseded.

        This is one transaction, so that the log that is read is the one that goes with the row.
        """
        with log.dialect(get_settings().DATABASE).transaction():
            part = _part(self._app, self.position)
            if part.said:
                self.write()
            elif part.upto != self.position:
                self.write(position=part.upto)
        return part


class Poster:
    """Posts while it holds the cursor. Everything runs in the hub's loop."""

    def __init__(self, hub: Hub, known: App) -> None:
        self._hub = hub
        self._app = known
        self._place = Place(known)
        self._beat = get_settings().PRESENCE_LEASE / BEATS
        self._turns = asyncio.Lock()

    async def run(self) -> None:
        """Post for as long as the hub lives."""
        while not self._hub.draining:
            try:
                if await process.in_thread(self._place.take, LEVEL) is not None:
                    await self._post_while_held()
            except Superseded as error:
                logger.info("Pusher's webhooks: %s", error)
            except Exception as error:
                _complain(error)
            await asyncio.sleep(self._beat * random.uniform(0.8, 1.0))

    async def _post_while_held(self) -> None:
        try:
            await until_one_ends(self._post_on(), self._beat_on())
        finally:
            if self._hub.draining:
                await process.in_thread(self._place.release, LEVEL)

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(self._beat)
            await self._in_turn(self._place.write)

    async def _post_on(self) -> None:
        pause = SHORTEST
        while not self._hub.draining:
            if self._hub.position.number == self._place.position:
                await asyncio.sleep(LOOK)
                continue
            part = await self._in_turn(self._place.read_on)
            try:
                if part.said:
                    await asyncio.to_thread(_post, self._app, part.said)
                    await self._in_turn(partial(self._place.write, position=part.upto))
                pause = SHORTEST
            except (Refused, OSError, HTTPException) as error:
                _complain(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST)
                continue
            if part.lost:
                logger.error(part.lost)
            if not part.has_more:
                await asyncio.sleep(LOOK if part.said else QUIET)

    async def _in_turn(self, work: Callable[[], T]) -> T:
        """Do work with the cursor. A beat does not come between: each write looks for what the last one has left."""
        async with self._turns:
            return await process.in_thread(work, LEVEL)


def follow(hub: Hub) -> None:
    """Post webhooks for as long as a hub lives, whenever no other process does."""
    occupying.of(hub)
    hub.keep(Poster(hub, app()).run())


async def note_cache_miss(channel: str) -> None:
    """Have a webhook tell that a channel had no last event, if it is to: once a second at most."""
    known = app()
    if not known.webhook or "cache_miss" not in known.events or time.monotonic() - _missed.get(channel, 0.0) < 1.0:
        return
    if len(_missed) >= MAX_MISSED:
        _missed.clear()
    _missed[channel] = time.monotonic()
    try:
        await process.in_thread(partial(_append_miss, channel), LEVEL)
    except Exception as error:  # the client is subscribed all the same
        _complain(error)


def _append_miss(channel: str) -> None:
    using = get_settings().DATABASE
    log.append(log.Content((occupying.GROUP,), hooks.CACHE_MISS, dumps({"channel": channel})), None, using)
    publish.deliver(using)


def _part(known: App, after: int) -> Part:
    """Return what webhooks are to say of the events after a position, about as many as one request has.

    If the log ends before the position, it was made anew, or has lost events: then a new epoch begins.
    """
    using = get_settings().DATABASE
    state = log.state(using)
    epoch, end = state.position
    if end < after:  # or it was read from a standby that is a moment behind: the log itself tells, where it is written
        anew = log.new_epoch(using, Position(epoch, after))
        return Part([], state.floor, lost=ANEW) if anew else Part([], after)
    page = log.read(using, None, after, end, AT_ONCE)
    if page.state.floor > after:
        return Part([], page.state.floor, has_more=True, lost=PRUNED % (page.state.floor - after))
    if page.state.position.epoch != epoch or page.state.position.number < end:
        return Part([], after)  # read it again
    said = [said for event in page.events for said in hooks.said_of(event, known.events)]
    return Part(said, page.upto, has_more=page.upto < end)


def _post(known: App, said: list[Said]) -> None:
    """Make one request. Raises Refused, OSError and HTTPException: it was not taken."""
    body, headers = hooks.request(known, said, round(1000 * time.time()))
    url = urlsplit(known.webhook)
    connection = _connection(url.scheme, url.hostname or "", url.port)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    in_time = threading.Timer(TIMEOUT, _hang_up, [connection])
    in_time.start()
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read(65_536)
    finally:
        in_time.cancel()
        connection.close()
    if not 200 <= answer.status < 300:
        raise Refused(f"the answer was {answer.status}")


def _hang_up(connection: HTTPConnection) -> None:
    """Have whoever reads from a connection fail: an answer may come a byte at a time, each of them soon enough."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _connection(scheme: str, host: str, port: int | None) -> HTTPConnection:
    if scheme == "http":
        return HTTPConnection(host, port, timeout=TIMEOUT)
    return HTTPSConnection(host, port, timeout=TIMEOUT, context=ssl.create_default_context())


def _complain(error: BaseException) -> None:
    if times := failures.times():
        logger.warning("Pusher's webhooks failed %d times and go on. The last time: %s", times, one_line(error))
