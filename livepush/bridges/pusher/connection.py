"""One client of Pusher's: a connection of the hub that speaks in channels."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from livepush.bridges.pusher import frames
from livepush.bridges.pusher.channels import SERVER_TO_USER, Channel
from livepush.bridges.pusher.frames import Told
from livepush.hub import Connection, Reason
from livepush.wire import PRESENCE_PREFIX, Position, position_of_header, public_name

MAX_PINGS = 4
"""How many of the server's pings may stay unanswered by a client that has answered one before."""
LEFT_OUT = "An event was left out, since it is too large for this server: load your state again."
REVOKED = "You may not read this channel any more."
RESUMES = 30.0
"""How long (seconds) after a client has resumed, or signed in, its subscriptions go on from the position of that."""
CAUGHT_UP = 40.0
"""For how long (seconds) such a client is told that position, and no later one.

A position counts for all channels, and the last of those subscriptions must have its events first. Otherwise a client
that is cut off earlier would come back with a position that this channel has not reached.
"""
EXPECTED_FOR = 3.0
"""How long (seconds) a member may take from the subscription until it is written down."""
RECONNECT, UNAUTHORIZED, NO_PONG, OVER_CAPACITY = 4200, 4009, 4201, 4100


class PusherConnection(Connection):
    """A connection whose ``write`` gets livepush's envelopes, and sends what ``translated`` makes of them."""

    transport = "pusher"
    """The name under which livepush's metrics count it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.socket = f"{secrets.randbelow(10**9) + 1}.{secrets.randbelow(10**9) + 1}"
        """The connection's id: nobody can guess it, since signatures are for one id."""
        self.channels: dict[str, Channel] = {}
        """The channels to which it is subscribed, by name."""
        self.members: dict[str, dict[str, Any]] = {}
        """The members that its client knows of, by channel and id."""
        self.own: dict[str, tuple[str, Any]] = {}
        """The member that its client is, by channel: the id and the info. A member who leaves is dropped."""
        self._expected: dict[str, set[str]] = {}
        """Members whose clients have subscribed, and who are not written down yet."""
        self.on_channel: Callable[[str, int], None] = lambda channel, by: None
        """Is told of each channel that the client comes to (1) or leaves (-1)."""
        self.fits: Callable[[str], bool] = lambda text: True
        """Returns whether the server lets a message be so large."""
        self.user: str | None = None
        """Who has signed in."""
        self._signed_in: tuple[Position, float] | None = None
        """The position of the sign-in, from which the user's own channel goes on, and its time."""
        self._resumed: tuple[Position, float] | None = None
        self._gone_on: set[str] = set()
        """The channels that have gone on from where the client resumed: each does so once."""
        self._reached: dict[str, int] = {}
        """The number of each channel's last event. Those up to it may be read again for another channel."""
        self._busy_since: float | None = None
        """Since when the server has been working for the client, and has read nothing more from it."""
        self._busy_for = 0.0
        """How long (seconds) it has done so before."""
        self.tells_position = False
        """Whether the client wants to know up to where it has everything."""
        self.code: int | None = None
        """With which code the WebSocket is closed, if this side closes it for a reason of its own."""
        self.pings = 0
        """How many pings have gone out since the client was last heard of."""
        self.answers_pings = False
        """Whether it has answered one. Pusher's libraries for Java, Swift and .NET never do."""

    # Resuming

    def since_of(self, channel: str) -> Position | None:
        """Return from where a subscription to a channel goes on if the client resumed or signed in a moment ago."""
        own = self._signed_in if channel == f"{SERVER_TO_USER}{self.user}" else None
        return None if channel in self._gone_on else self._begun(RESUMES, self._resumed, own)

    def _begun(self, seconds: float, *starts: tuple[Position, float] | None) -> Position | None:
        """Return the position of the first of some starts that is not older than some seconds."""
        for start in starts:
            if start is not None and self._time() <= start[1] + seconds:
                return start[0]
        return None

    def kept_waiting(self) -> float:
        """Return how long (seconds) the server has worked for the client so far: what it said next had to wait."""
        return self._busy_for + (0.0 if self._busy_since is None else self._loop.time() - self._busy_since)

    def _time(self) -> float:
        """Return the time, without what the server took."""
        return self._loop.time() - self.kept_waiting()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Note that the server works for the client, and reads nothing more from it until that is done."""
        self._busy_since = begun = self._loop.time()
        try:
            yield
        finally:
            self._busy_for += self._loop.time() - begun
            self._busy_since = None

    def sign_in(self, user: str, position: Position) -> None:
        """Note who has signed in, and from where on the connection reads the user's own group."""
        self.user, self._signed_in = user, (position, self._time())

    def resume(self, position: Position) -> None:
        """Have the channels go on from a position: those that there are, and those that it subscribes to soon."""
        self._resumed = position, self._time()
        self._gone_on = set(self.channels)
        self._reached.clear()

    def begin_anew(self, position: Position) -> None:
        """The client's position is lost: use the new one wherever the old one was to be used."""
        self._resumed = self._resumed and (position, self._resumed[1])
        self._signed_in = self._signed_in and (position, self._signed_in[1])

    # Its channels

    def enter(self, channel: Channel) -> None:
        """Note that it is subscribed to a channel."""
        self.channels[channel.name] = channel
        self._gone_on.add(channel.name)
        self.on_channel(channel.name, 1)

    def meet(self, channel: Channel, members: dict[str, Any], expected: set[str]) -> None:
        """Note which members the client knows. Those who are only expected are forgotten if they do not come soon."""
        self.members[channel.name] = members
        if expected:
            self._expected[channel.name] = expected
            self._loop.call_later(EXPECTED_FOR, self._stop_expecting, channel.name)

    def _stop_expecting(self, name: str) -> None:
        for id in self._expected.pop(name, ()):
            if self.members.get(name, {}).pop(id, None) is not None:
                self.say((frames.message("pusher_internal:member_removed", {"user_id": id}, name),))

    def forget(self, name: str) -> str | None:
        """Forget a channel; return its group if no other channel of this connection stands for it."""
        channel = self.channels.pop(name, None)
        for known in (self.members, self.own, self._expected, self._reached):
            known.pop(name, None)
        if channel is not None:
            self.on_channel(name, -1)
        if channel is None or any(each.group == channel.group for each in self.channels.values()):
            return None
        return channel.group

    def revoke(self, groups: Iterable[str], reason: str) -> None:
        """Drop groups that the client may no longer read, and say so of each channel.

        It stays open, since it may subscribe to something else; but a user who has signed in, and loses the own
        group, is shown out.
        """
        groups = list(groups)
        gone = {public_name(group) for group in groups}
        told = []
        for channel in [each for each in self.channels.values() if each.group in gone]:
            self.forget(channel.name)
            told.append(frames.refused(channel.name, REVOKED, 403))
        self.drop(groups)
        if self.user is not None and f"user:{self.user}" in gone:
            self.code = UNAUTHORIZED
            self.close(Reason.REVOKED, (*told, frames.error(UNAUTHORIZED, "The connection was terminated.")))
        elif told:
            self.say(tuple(told))

    def end(self, code: int, text: str) -> None:
        """Close it with a code, and tell the client why."""
        self.code = code
        self.close(Reason.FAILED, (frames.error(code, text),))

    # What its client gets

    def translated(self, written: Iterable[bytes | str]) -> Iterator[str]:
        """Yield Pusher's messages for what the hub writes."""
        last = ""
        for each in written:
            frame = str(each)
            if frame.startswith(frames.BEGINNING):
                yield frame if self.fits(frame) else frames.error(None, LEFT_OUT)
                continue
            found = frames.told(frame)
            last = found.id or last
            yield from self._of_own(found) if found.is_own else self._of_event(frame, found)
        if last and self.tells_position:
            held = self._begun(CAUGHT_UP, self._resumed, self._signed_in)
            yield frames.position(last if held is None else _earlier(held, last))

    def _of_event(self, frame: str, found: Told) -> Iterator[str]:
        if found.socket == self.socket:
            return
        number = position_of_header(found.id).number if found.id else 0
        for channel in list(self.channels.values()):
            if channel.group in found.groups and self._is_new(channel.name, number):
                if found.type.startswith(PRESENCE_PREFIX):
                    yield from self._of_members(channel, found)
                elif text := frames.event(frame, channel.name, channel.has_members):
                    yield from (text,) if self.fits(text) else self._left_out(found.id)

    def _left_out(self, position: str) -> Iterator[str]:
        """Yield what tells a client that it does not get an event."""
        yield frames.error(None, LEFT_OUT)
        if position:  # else the event is in no log
            yield frames.message("livepush:reset", {"position": position, "reason": "too_large"})

    def _is_new(self, channel: str, number: int) -> bool:
        """Return whether a channel has not had an event yet. An ephemeral one has no number, which is 0, and is new."""
        if 0 < number <= self._reached.get(channel, 0):
            return False
        if number:
            self._reached[channel] = number
        return True

    def _of_members(self, channel: Channel, found: Told) -> Iterator[str]:
        """Yield who has come and gone. A client that knows so already is not told again."""
        known = self.members.get(channel.name)
        if known is None:
            return
        for member in frames.members_of(found.data):
            id = str(member["id"])
            self._expected.get(channel.name, set()).discard(id)
            if found.type == f"{PRESENCE_PREFIX}leave":
                if self.own.get(channel.name, ("", None))[0] == id:
                    del self.own[channel.name]  # the table says from now on whether this client's member is there
                if known.pop(id, None) is not None:
                    yield frames.message("pusher_internal:member_removed", {"user_id": id}, channel.name)
            elif id not in known:
                known[id] = member["info"]
                told = {"user_id": id, "user_info": member["info"]}
                yield frames.message("pusher_internal:member_added", told, channel.name)

    def _of_own(self, found: Told) -> Iterator[str]:
        """Yield what a message of livepush's own means to Pusher's clients."""
        if found.name == "position":
            self.pings += 1
            if self.answers_pings and self.pings > MAX_PINGS:
                self._loop.call_soon(self._give_up_on_silence)
            yield frames.message("pusher:ping")
        elif found.name == "reset":
            self._reached.clear()
            self.begin_anew(position_of_header(found.id))
            yield frames.message("livepush:reset", {"position": found.id, "reason": found.data["reason"]})
        elif found.name == "bye":
            yield frames.error(RECONNECT, "The server asks you to connect again.")

    def _give_up_on_silence(self) -> None:
        self.end(NO_PONG, "No answer came to the server's pings.")


def _earlier(held: Position, last: str) -> str:
    """Return the earlier of two positions: a sign-in may come before a slow client has what was sent before it."""
    reached = position_of_header(last)
    return last if reached.epoch == held.epoch and reached.number < held.number else str(held)
