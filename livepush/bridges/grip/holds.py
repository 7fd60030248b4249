"""Requests that the proxy may hold: which clients it may serve, and the headers that tell it how."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django.core import signing
from django.http import HttpResponse

from livepush.bridges.grip import channels
from livepush.bridges.grip.config import Edge
from livepush.conf import get_settings
from livepush.wire import EVERYTHING, Floor, Floors, Format, Position, WireError

SALT = "livepush.grip"
TOKEN = "grip"  # noqa: S105
"""The field of the proxy's own requests."""
MAX_TOKEN = 6000
"""How long a link's token may be: servers refuse request lines of more than 8 KB."""
SHORTEST_HOLD = 5
"""Pushpin holds a poll for this long (seconds) at least, so that one with a shorter wait is answered at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A client that was let in."""

    groups: tuple[str, ...]
    """The groups that it may read, as the log has them."""
    format: Format
    user: str | None
    session: str
    """By which the end of its session is known; empty without a session."""
    until: float
    """When it must come back, so that the rules are asked again, as a Unix time."""
    floors: Floors

    def token(self) -> str:
        """Return the hold for a link. Raises WireError: it is too long."""
        found = signing.dumps(asdict(self), salt=SALT, compress=True)
        if len(found) > MAX_TOKEN:
            raise WireError("too_many_groups", "The names of the groups are too long together.")
        return found

    def content_channel(self, prefix: str) -> str | None:
        """Return the channel that brings a stream's events; ``None`` if hints tell of them.

        It brings the same to all, and so nothing to a client that may not read what was sent before some time: an
        event of a long transaction may be older than that.
        """
        if len(self.groups) > 1 or self.floors.get(self.groups[0], EVERYTHING).time:
            return None
        return channels.of_content(prefix, self.groups[0], self.format)

    def last_item(self, header: str, edge: Edge) -> str:
        """Return the id of the last item whose event the client has got; empty if there is none."""
        name = self.content_channel(edge.prefix)
        return (name and channels.last_id(header, name)) or ""

    def reset(self, position: Position) -> Hold:
        """Return the hold of a client that goes on from a position, since the history before it is lost."""
        return replace(self, floors={group: Floor(position.number, each.time) for group, each in self.floors.items()})

    def asks_after(self, check: float) -> int:
        """Return after how many seconds the proxy is to ask: when the client must come back, at the latest."""
        return max(1, round(min(check, self.until - time.time())))

    @property
    def is_over(self) -> bool:
        """Whether the client must come back."""
        return time.time() >= self.until


def hold_of(token: str) -> Hold:
    """Return the hold of a link. Raises WireError: it is none of ours."""
    try:
        told: dict[str, Any] = signing.loads(token, salt=SALT)
    except signing.BadSignature:
        raise WireError("bad_link", "The link was not made by this site.", 403) from None
    floors = {group: Floor(*floor) for group, floor in told["floors"].items()}
    return Hold(**{**told, "groups": tuple(told["groups"]), "format": Format(told["format"]), "floors": floors})


def in_stream(
    response: HttpResponse, hold: Hold, edge: Edge, at: Position, last: Mapping[str, int] | None
) -> HttpResponse:
    """Have a proxy hold a stream whose client has everything up to a position.

    ``last`` has the number of each group's last event up to there; if it is ``None``, the proxy is to go on at once.
    """
    query = urlencode({TOKEN: hold.token(), "since": str(at)})
    response["Grip-Link"] = f"<?{query}>; rel=next; timeout={hold.asks_after(edge.check)}"
    if last is not None:
        response["Grip-Hold"] = "stream"
        response["Grip-Channel"] = _channels(hold, edge, at.epoch, last, hold.content_channel(edge.prefix))
        response["Grip-Keep-Alive"] = f":\\n\\n; format=cstring; timeout={round(get_settings().HEARTBEAT)}"
    return response


def in_poll(
    response: HttpResponse, hold: Hold, edge: Edge, at: Position, last: Mapping[str, int], wait: float
) -> HttpResponse:
    """Have a proxy hold an answer until there are events or the wait is over."""
    response["Grip-Hold"] = "response"
    response["Grip-Channel"] = _channels(hold, edge, at.epoch, last, None)
    response["Grip-Timeout"] = str(round(wait))
    return response


def subscriptions(hold: Hold, edge: Edge) -> list[str]:
    """Return the channels that tell of a hold's rights and, by hints, of its groups. Raises WireError: too many."""
    found = [*_of_rights(hold, edge), *(channels.of_hints(edge.prefix, group) for group in hold.groups)]
    _check_count(len(found), hold, edge)
    return found


def _channels(hold: Hold, edge: Edge, epoch: str, last: Mapping[str, int], content: str | None) -> str:
    """Return the header with a hold's channels. Raises WireError: they are too many."""
    found = _of_rights(hold, edge)
    for group in hold.groups:
        name = content or channels.of_hints(edge.prefix, group)
        found.append(channels.header(name, str(Position(epoch, last.get(group, 0)))))
    _check_count(len(found), hold, edge)
    return ", ".join(found)


def _of_rights(hold: Hold, edge: Edge) -> list[str]:
    found = [channels.of_everybody(edge.prefix)]
    if hold.user is not None:
        found.append(channels.of_user(edge.prefix, hold.user))
    if hold.session:
        found.append(channels.of_session(edge.prefix, hold.session))
    return found


def _check_count(count: int, hold: Hold, edge: Edge) -> None:
    if count > edge.subscriptions:
        raise WireError(
            "too_many_groups",
            f"{len(hold.groups)} groups are too many for the proxy: raise its connection_subscription_max and "
            "LIVEPUSH['GRIP']['SUBSCRIPTIONS'].",
        )
