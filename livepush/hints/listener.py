"""Hears what other processes announce in the Channels layer, and notices when the layer fails or falls silent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from livepush.cancelling import end, heed_cancellation
from livepush.hints import layer, signing
from livepush.notes import one_line
from livepush.wire import Batch

logger = logging.getLogger("livepush")

BEAT = 2.0
"""How often (seconds) a listener joins its group again, and says something where it has heard nobody else.

Memberships lapse, and a Redis that was restarted knows nobody.
"""
MAX_UNHEARD = 3
"""How many times a listener may speak and not hear itself before it gives its connections up for dead."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""How long (seconds) ``listen`` waits after a failure before it listens again: at first, and at most."""
LEAVE_TIMEOUT = 1.0
"""How long (seconds) a listener takes to leave its group, and to close its connections, where Redis does not answer."""


async def listen(receive: Callable[[Batch], None], healthy: Callable[[bool], None]) -> None:
    """Call ``receive`` with each batch that another process announces, for ever.

    ``healthy`` is called with False when the layer fails, again at each attempt that fails, and with True when the
    layer works again.
    """
    inspector = signing.Inspector()
    listener: Listener | None = None
    pause = FIRST_PAUSE
    while layer.configured() is not None:
        try:
            if listener is None or not listener.usable:
                listener = Listener(inspector, receive, healthy)
            await listener.run_until_failure()
        except (Exception, asyncio.CancelledError) as error:  # the layer may cancel a task of its own
            heed_cancellation()
            healthy(False)
            logger.info("The channel layer fails (%s); the log is read more often meanwhile.", one_line(error))
        pause = FIRST_PAUSE if listener is not None and listener.heard else min(pause * 2, LONGEST_PAUSE)
        await asyncio.sleep(pause)


class Listener:
    """A hub's place in the site's group, on a layer of its own: its connections can be closed at no cost to others."""

    def __init__(
        self, inspector: signing.Inspector, receive: Callable[[Batch], None], healthy: Callable[[bool], None]
    ) -> None:
        self.usable = True
        """Whether the connections could be closed after the last failure, so that the layer can be used again."""
        self.heard = False
        """Whether anything came since it last began to listen."""
        self._inspector = inspector
        self._receive = receive
        self._healthy = healthy
        self._layer = layer.new_layer()
        self._channel = ""
        self._alone = True
        """Whether no other process was heard since the last beat."""
        self._unheard = 0
        """How many times it has spoken since it last heard anything."""

    async def run_until_failure(self) -> None:
        """Pass on what comes until the layer fails.

        Raises what the layer raised, and ConnectionError where it fell silent.
        """
        self.heard, self._alone, self._unheard = False, True, 0
        receiving = beating = None
        try:
            if not self._channel:  # once: in Redis each name stays a member for a day
                self._channel = await layer.call(self._layer.new_channel("livepush"))
            receiving = asyncio.create_task(self._receive_all())  # first: the pub/sub layer joins channels it knows
            beating = asyncio.create_task(self._beat())
            done, _ = await asyncio.wait((receiving, beating), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except asyncio.CancelledError:
            await end(beating)  # first: a beat joins the group
            await self._leave()
            raise
        finally:
            try:
                await end(beating)
                await self._close()
            finally:  # it may be told to stop meanwhile
                await end(receiving)  # last: on an open connection the pub/sub layer would first unsubscribe

    async def _receive_all(self) -> None:
        """Pass on what comes. Never timed: the pub/sub layer forgets a channel whose receiver is cancelled."""
        while True:
            try:
                message = await self._layer.receive(self._channel)
            except Exception as error:
                if not layer.is_timeout(error):
                    raise
                # The layer may be idle. The beat finds out whether it still answers.
                await asyncio.sleep(FIRST_PAUSE)
            else:
                self._take(message)

    def _take(self, message: object) -> None:
        found = self._inspector.open(message)
        if found is None:
            return
        self._unheard = 0
        if not self.heard:
            self.heard = True
            self._healthy(True)
        if found.origin != layer.origin():
            self._alone = False
            if found.batch is not None:
                self._receive(found.batch)

    async def _beat(self) -> None:
        """Join the group again and again; raise ConnectionError when what is said in it does not come back.

        A connection whose other end has vanished, or that a firewall forgot, looks idle for ever.
        """
        while self._unheard < MAX_UNHEARD:
            groups = signing.groups()
            for group in groups:
                await layer.call(self._layer.group_add(group, self._channel))
            if self._alone:
                self._unheard += 1
                await layer.call(self._layer.group_send(groups[0], signing.sign(None)))
            self._alone = True
            await asyncio.sleep(BEAT * random.uniform(0.75, 1.25))
        raise ConnectionError("what is sent does not arrive")

    async def _leave(self) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(LEAVE_TIMEOUT):
                for group in signing.groups():
                    try:
                        await self._layer.group_discard(group, self._channel)
                    except Exception:  # a connection that was cut raises at its next use, and works again after that
                        await self._layer.group_discard(group, self._channel)

    async def _close(self) -> None:
        """Close the connections, whatever state they are in."""
        close = layer.closer(self._layer)
        self.usable = False
        if close is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(LEAVE_TIMEOUT):
                    await close()
                self.usable = True
