"""Updates: checked, then sent as events of the log."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async

import livepush
from livepush import publish
from livepush.bridges.mercure.topics import EVERY, check_id, check_text, check_topic, group_of, group_of_id
from livepush.exceptions import InvalidEvent
from livepush.wire import WireError

UPDATE_TYPE = "mercure.update"
KEYS = "mercure:"
MAX_TOPICS = 100


class Update(NamedTuple):
    """An update that may be sent."""

    topics: tuple[str, ...]
    """The canonical topic, then the alternate ones."""
    data: str
    private: bool
    id: str | None
    """The id that its publisher chose."""
    type: str
    retry: int | None

    def send(self, using: str | None = None) -> str:
        """Send it, when the caller's transaction commits; return its id. Raises InvalidEvent, as ``send`` does."""
        id = self.id or f"urn:uuid:{uuid.uuid4()}"
        told: dict[str, Any] = {"topics": self.topics, "data": self.data, "id": id}
        told |= {"private": True} if self.private else {}
        told |= {"type": self.type} if self.type else {}
        told |= {"retry": self.retry} if self.retry is not None else {}
        groups = [EVERY, *map(group_of, self.topics)]
        if self.id is not None:  # an id of its own is no key: those who use one twice want both updates
            groups.append(group_of_id(id))
        key = f"{KEYS}{id}" if self.id is None else None
        livepush.send(groups, UPDATE_TYPE, told, key=key, using=using)
        return id


def checked(
    topics: Iterable[str],
    data: str = "",
    private: bool = False,
    id: str | None = None,
    type: str = "",
    retry: int | None = None,
) -> Update:
    """Return an update. Raises WireError: a field is malformed, or there is no topic, or there are too many."""
    found = tuple(map(check_topic, dict.fromkeys(topics)))
    if not found:
        raise WireError("no_group", "An update needs a topic: add topic=…, once for each.")
    if len(found) > MAX_TOPICS:
        raise WireError("too_many_groups", f"An update has {len(found)} topics: expected {MAX_TOPICS} at most.", 413)
    if type:
        check_text(type, "The type")
    if retry is not None and not 0 <= retry < 10**10:
        raise WireError("bad_event", f"retry is {retry}: expected milliseconds, 0 or more.")
    return Update(found, data, private, None if id is None else check_id(id), type, retry)


def of_event(data: Any) -> Update | None:
    """Return the update in an event's data; ``None`` if there is none: others too may send to a topic's group."""
    if not isinstance(data, dict) or not isinstance(data.get("data"), str):
        return None
    more = {name: data[name] for name in ("private", "type", "retry") if name in data}
    try:
        return checked(data["topics"], data["data"], id=data["id"], **more)
    except (LookupError, TypeError, WireError):
        return None


@publish.has_async_twin
def send_update(
    topics: str | Iterable[str],
    data: Any = "",
    *,
    private: bool = False,
    id: str | None = None,
    type: str = "",
    retry: int | None = None,
    using: str | None = None,
) -> str:
    """Send an update of one topic or several when the caller's transaction commits (at once outside of one).

    Return its id. ``data`` is a text, or what becomes JSON. A ``private`` update goes to those subscribers alone whose
    token's ``mercure.subscribe`` has a selector for one of the topics. ``retry`` is after how many milliseconds a
    client that lost the connection comes back. ``using`` is that of ``livepush.send``.

    Raises InvalidEvent before anything is written: a field is malformed, or the data are too large.
    """
    listed = [topics] if isinstance(topics, str) else topics
    text = data if isinstance(data, str) else publish.as_json(data)
    try:
        update = checked(listed, text, private, id, type, retry)
    except WireError as error:
        raise InvalidEvent(str(error)) from error
    return update.send(using)


async def asend_update(topics: str | Iterable[str], data: Any = "", **options: Any) -> str:
    """Send an update from async code; see ``send_update``."""
    return await sync_to_async(publish.on_good_connections)(send_update, topics, data, **options)
