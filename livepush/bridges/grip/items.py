"""Makes the items that are published to the proxy out of a settled batch, by pure functions."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from livepush.bridges.grip import channels
from livepush.rights.changes import Change, parse_change
from livepush.rights.watch import RIGHTS_TYPE
from livepush.wire import Batch, Close, Event, Position, encode

Item = dict[str, Any]
MAX_ITEM_DATA = 262_144
"""The largest data (bytes) of an item: Pushpin takes a megabyte at once. Larger data become a hint."""
HINT = {
    "http-stream": {"action": "hint"},
    "http-response": {"action": "hint"},
    "ws-message": {"type": "ping", "content": ""},  # every client answers it, and the proxy tells the site that it did
}
CLOSE = {
    "http-stream": {"action": "close"},
    "http-response": {"action": "hint"},
    "ws-message": {"action": "close", "code": int(Close.GOING_AWAY)},
}


def items_of(batch: Batch, previous: MutableMapping[str, int], prefix: str) -> list[Item]:
    """Return a batch's items in order.

    ``previous`` has the number of each group's last event before the batch, 0 if it has none, and is moved on.
    """
    found: list[Item] = []
    for event in batch.events:
        if event.type == RIGHTS_TYPE:
            found += _closing(event, prefix)
        for group in event.groups:
            number, before = event.number or 0, previous.get(group, 0)
            chain = {"id": str(Position(batch.epoch, number)), "prev-id": str(Position(batch.epoch, before))}
            previous[group] = number
            found += ({**item, **chain} for item in _of_group(event.to((group,)), batch.epoch, prefix))
    return found


def is_large(event: Event) -> bool:
    """Return whether the proxy gets a hint in place of an event, and asks for it."""
    return len(event.data.encode()) + len((event.sender or "").encode()) > MAX_ITEM_DATA


def _of_group(event: Event, epoch: str, prefix: str) -> Iterator[Item]:
    (group,) = event.groups
    for format in channels.FORMATS:
        content = str(encode(event, epoch, format))
        formats = HINT if is_large(event) else {"http-stream": {"content": content}}
        yield {"channel": channels.of_content(prefix, group, format), "formats": formats}
    yield {"channel": channels.of_hints(prefix, group), "formats": HINT}


def _closing(event: Event, prefix: str) -> Iterator[Item]:
    """Yield what closes the streams of those whose rights have changed. They come back, and the rules are asked."""
    try:
        change = parse_change(event.data)
    except (ValueError, AttributeError, TypeError):
        return
    yield {"channel": _concerned(change, prefix), "formats": CLOSE}


def _concerned(change: Change, prefix: str) -> str:
    if change.session is not None:
        return channels.of_session(prefix, change.session)
    return channels.of_everybody(prefix) if change.user is None else channels.of_user(prefix, change.user)
