"""Events as servers publish them over HTTP, checked before anything is written."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from livepush import publish
from livepush.bridges.patterns import CLOSED
from livepush.bridges.pusher import frames, signing
from livepush.bridges.pusher.channels import channel_of
from livepush.bridges.settling import Parcel
from livepush.conf import get_settings
from livepush.exceptions import EventTooLarge, InvalidEvent
from livepush.wire import WireError, dumps

MAX_CHANNELS = 100


class Draft(NamedTuple):
    """An event that is to be published."""

    channels: tuple[str, ...]
    sent: publish.Sent
    info: str
    """The attributes of the channels that are to be answered."""

    def parcel(self, using: str) -> Parcel:
        """Return it ready to be sent."""
        return Parcel(partial(publish.send_checked, self.sent, using), None, self.sent.stored)


def max_body() -> int:
    """Return how many bytes a body may have: JSON inside of JSON may take twice as many as it says."""
    return 10 * (2 * get_settings().MAX_EVENT_BYTES + 4096)


def draft_of(given: Any) -> Draft:
    """Return the event in a JSON object. Raises WireError: a field is malformed."""
    if not isinstance(given, dict):
        raise WireError("bad_event", 'An event is malformed: expected {"name", "data", "channels"}.')
    name, data, socket = given.get("name"), given.get("data"), given.get("socket_id")
    if not isinstance(name, str) or not 0 < len(name) <= frames.MAX_NAME or name.startswith(frames.PROTECTED):
        raise WireError("bad_event", f"name is malformed: expected 1 to {frames.MAX_NAME} characters, not 'pusher:…'.")
    if not isinstance(data, str):
        raise WireError("bad_event", "data are malformed: expected a text, as a rule JSON.")
    if socket is not None:
        signing.check_socket(socket)
    names = _channels(given)
    groups = list(dict.fromkeys(channel_of(each).group for each in names))
    if closed := [group for group in groups if group.startswith(CLOSED)]:
        raise WireError("forbidden", f"Only livepush itself sends to {closed[0]!r}.", 403)
    info = given.get("info", "")
    return Draft(names, _sent(groups, name, data, socket), info if isinstance(info, str) else "")


def _channels(given: dict[str, Any]) -> tuple[str, ...]:
    names = given["channels"] if "channels" in given else [given.get("channel")]
    if not isinstance(names, list) or not 0 < len(names) <= MAX_CHANNELS:
        raise WireError("bad_channel", f"channels are malformed: expected a list of 1 to {MAX_CHANNELS} names.")
    return tuple(dict.fromkeys(channel_of(name).name for name in names))


def _sent(groups: list[str], name: str, data: str, socket: str | None) -> publish.Sent:
    found = frames.content(name, data)
    try:
        sent = publish.checked(groups, found.type, found.data)
    except EventTooLarge as error:
        raise WireError("too_large", str(error), 413) from error
    except InvalidEvent as error:
        raise WireError("bad_event", str(error)) from error
    if socket is None:
        return sent
    return sent._replace(sender=dumps({"id": None, "name": "", "socket": socket}))
