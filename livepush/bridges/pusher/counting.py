"""Tells subscribers how many they are: a channel's count in all processes, whenever it changes.

The log has an event for each change, in the group of ``occupying``. Each process reads these and tells its own clients.
"""

from __future__ import annotations

import asyncio

from livepush import process
from livepush.bridges.pusher import frames, hooks, occupying
from livepush.bridges.pusher.channels import channel_of
from livepush.bridges.pusher.config import app
from livepush.bridges.pusher.connection import PusherConnection
from livepush.bridges.pusher.occupying import GROUP, LEVEL, PAUSE, Occupying
from livepush.hub import Hub, Share

LARGE = 100
"""With how many subscribers a channel is large: its count is then told less often. As with Pusher."""
INTERVAL = 5.0
"""How long (seconds) a large channel waits between two counts."""


class Counting:
    """A subscriber of one hub that hears of counts, and tells the clients. Everything runs in the hub's loop."""

    def __init__(self, hub: Hub) -> None:
        self.groups = {GROUP: 0}
        self._hub = hub
        self._counts: dict[str, int] = {}
        """The newest counts of the channels that have subscribers here."""
        self._waiting: dict[str, bool] = {}
        """The large channels that were told a moment ago, and whether there is something to tell again."""
        self._lost_track = asyncio.Event()
        hub.add(self)
        hub.keep(self._look_on())

    def repeat(self, channel: str) -> None:
        """Tell a count that is as before: somebody has come who does not know it, while somebody else left."""
        if channel in self._counts:
            self._note(channel, self._counts[channel])

    def offer(self, share: Share) -> None:
        for event in share.events:
            for said in hooks.said_of(event, ("subscription_count",)):
                self._note(said["channel"], said["subscription_count"])

    def beat(self, now: float) -> None:
        pass

    def fall_behind(self, *, reset: bool = False) -> None:
        self._lost_track.set()

    def leave(self, retry: int) -> None:
        pass

    def _note(self, channel: str, count: int) -> None:
        self._counts[channel] = count
        if channel in self._waiting:
            self._waiting[channel] = True
        else:
            self._tell(channel)

    def _tell(self, channel: str) -> None:
        count, readers = self._counts[channel], self._readers(channel)
        if not readers:
            del self._counts[channel]
            return
        told = frames.message("pusher_internal:subscription_count", {"subscription_count": count}, channel)
        for each in readers:
            each.say((told,))
        if count > LARGE:
            self._waiting[channel] = False
            self._hub.loop.call_later(INTERVAL, self._tell_again, channel)

    def _tell_again(self, channel: str) -> None:
        if self._waiting.pop(channel):
            self._tell(channel)

    def _readers(self, channel: str) -> list[PusherConnection]:
        found = self._hub.router.routes.audiences((channel_of(channel).group,))
        readers = [each for those in found.values() for each in those]
        return [each for each in readers if isinstance(each, PusherConnection) and channel in each.channels]

    async def _look_on(self) -> None:
        """Read all counts after the hub went on at another place of the log, and has missed some events."""
        while True:
            await self._lost_track.wait()
            self._lost_track.clear()
            try:
                found = await process.in_thread(occupying.written, LEVEL)
            except Exception as error:
                occupying.complain(error)
                await asyncio.sleep(PAUSE)
                self._lost_track.set()
                continue
            for channel in set(self._counts) & set(found):
                self._note(channel, found[channel])


def follow(hub: Hub, channels: Occupying) -> None:
    """Tell the clients of a hub how many they are, if the app's settings ask for it."""
    if app().tells_counts and "pusher counts" not in hub.attached:
        counting = hub.attached["pusher counts"] = Counting(hub)
        channels.on_same = counting.repeat
