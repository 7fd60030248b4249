"""Reads requests: what they hold, whether their key allows it, and what it becomes in the log."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest

from livepush import publish, tenants
from livepush.bridges.publishing import cloudevents, drafts, idempotency
from livepush.bridges.publishing.authorizing import Publisher
from livepush.bridges.publishing.drafts import MAX_BODY, Draft, Note
from livepush.bridges.settling import Parcel
from livepush.conf import get_settings
from livepush.exceptions import EventTooLarge, InvalidEvent
from livepush.inbox import kinds
from livepush.inbox.notifying import notify
from livepush.inbox.recipients import audiences_of, everyone
from livepush.wire import WireError, unavailable

logger = logging.getLogger("livepush")
JSON = "application/json"
_ASYNC = re.compile(r"(?:^|,)\s*respond-async\s*(?:$|[,;])", re.IGNORECASE)


class Request(NamedTuple):
    """A request, read."""

    media_type: str
    """As it was sent, with its parameters."""
    headers: dict[str, str]
    body: bytes
    key: str | None
    """Its ``Idempotency-Key``."""
    path: str
    wants_no_positions: bool

    @property
    def kind(self) -> str:
        """The media type alone, in lower case."""
        return self.media_type.partition(";")[0].strip().lower()

    @property
    def fingerprint(self) -> str:
        """A digest of all that makes it the request that it is."""
        parts = self.path, self.media_type, cloudevents.attributes(self.headers)
        return idempotency.fingerprint([*(part.encode(errors="replace") for part in parts), self.body])


class Work(NamedTuple):
    """The work that a request asks for, checked."""

    size: int
    """How many events or notifications."""
    kind: str
    """Their kind: ``event`` or ``notification``."""
    parcels: Callable[[str], Sequence[Parcel]]
    """Returns what is to be sent, given a marker that no other request has."""


def request_of(request: HttpRequest) -> Request:
    """Return a request with its body. Raises WireError: the body is too large, or a header is malformed."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    too_large = WireError("too_large", f"The body is over {MAX_BODY} bytes: send fewer events at once.", 413)
    if not length.isdigit() or int(length[:10]) > MAX_BODY:
        raise too_large
    body = request.read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise too_large
    media_type, key = request.META.get("CONTENT_TYPE", ""), idempotency.key_of(request)
    return Request(media_type, dict(request.headers), body, key, request.path, wants_no_positions(request))


def wants_no_positions(request: HttpRequest) -> bool:
    """Return whether a request prefers an answer at once, ``Prefer: respond-async`` (RFC 7240, section 4.1)."""
    return _ASYNC.search(request.META.get("HTTP_PREFER", "")) is not None


def events(asked: Request, publisher: Publisher) -> Work:
    """Return the events of a request. Raises WireError: it is malformed, or the key does not allow them."""
    found = _drafts(asked)
    for draft in found:
        publisher.check_event(draft.groups, draft.type)
    sents = [_checked(draft, _where(place, found)) for place, draft in enumerate(found)]

    def parcels(marker: str) -> Sequence[Parcel]:
        return [_parcel(*pair, f"new:{marker}:{place}") for place, pair in enumerate(zip(found, sents, strict=True))]

    return Work(len(found), "event", parcels)


def notifications(asked: Request, publisher: Publisher) -> Work:
    """Return the notifications of a request. Raises WireError: it is malformed, or the key does not allow them."""
    if asked.kind not in ("", JSON):
        raise _unsupported(asked.kind, JSON)
    found = drafts.notifications(asked.body)
    for note in found:
        for recipient in note.recipients:
            publisher.check_recipient(recipient)
    groups = [_audiences(note, _where(place, found)) for place, note in enumerate(found)]

    def parcels(marker: str) -> Sequence[Parcel]:
        return [_notice(*pair, f"new:{marker}:{place}") for place, pair in enumerate(zip(found, groups, strict=True))]

    return Work(len(found), "notification", parcels)


def _drafts(asked: Request) -> list[Draft]:
    if asked.kind == cloudevents.STRUCTURED:
        return cloudevents.structured(asked.body)
    if asked.kind == cloudevents.BATCH:
        return cloudevents.batch(asked.body)
    if cloudevents.is_binary(asked.headers):
        return cloudevents.binary(asked.headers, asked.media_type, asked.body)
    if asked.kind not in ("", JSON):
        raise _unsupported(asked.kind, f"{JSON}, {cloudevents.STRUCTURED} or {cloudevents.BATCH}")
    return drafts.events(asked.body)


def _unsupported(kind: str, expected: str) -> WireError:
    return WireError("unsupported_media_type", f"The body is {kind[:100]!r}: expected {expected}.", 415)


def _where(place: int, items: Sequence[Any]) -> str:
    return f"Item {place}: " if len(items) > 1 else ""


def _checked(draft: Draft, where: str) -> publish.Sent:
    try:
        return publish.checked(draft.groups, draft.type, draft.data, draft.key, draft.ephemeral)
    except InvalidEvent as error:
        raise _refused(error, where) from error


def _refused(error: InvalidEvent, where: str) -> WireError:
    is_large = isinstance(error, EventTooLarge)
    return WireError("too_large" if is_large else "bad_event", f"{where}{error}", 413 if is_large else 400)


def _parcel(draft: Draft, sent: publish.Sent, marker: str) -> Parcel:
    own = draft.own_key if draft.own_key or draft.key is not None or draft.ephemeral else marker
    send = partial(publish.send_checked, sent, get_settings().DATABASE, own)
    key = None if draft.ephemeral else draft.key if own is None else publish.own_key_of(own)
    return Parcel(send, key, sent.stored)


def _audiences(note: Note, where: str) -> tuple[str, ...]:
    try:
        names = tuple(dict.fromkeys(audiences_of(_recipients(note))))
        return tenants.stored_groups([everyone] if everyone in names else names, tenants.current())
    except InvalidEvent as error:
        raise _refused(error, where) from error


def _recipients(note: Note) -> list[str]:
    return [everyone if recipient == "everyone" else recipient for recipient in note.recipients]


def _notice(note: Note, groups: tuple[str, ...], marker: str) -> Parcel:
    key = note.texts.get("key", marker)
    return Parcel(partial(_notify, note, key), publish.key_of_own(key), groups)


def _notify(note: Note, key: str) -> None:
    texts = {name: text for name, text in note.texts.items() if name not in ("title", "kind", "key")}
    try:
        title = note.texts["title"] if "title" in note.texts else _kind(note.texts["kind"])
        notify(_recipients(note), title, **texts, data=note.data, key=key, using=get_settings().DATABASE)
    except InvalidEvent as error:
        raise _refused(error, "") from error
    except Exception as error:
        if "kind" not in note.texts or isinstance(error, WireError | OperationalError | InterfaceError):
            raise
        kind = note.texts["kind"]
        logger.warning("The kind %r can't word a notification that was published.", kind, exc_info=True)
        if isinstance(error, OSError):  # something that it asks is away
            raise unavailable() from error
        raise WireError("bad_event", f"The kind {kind!r} can't word this ({type(error).__name__}).") from error


def _kind(key: str) -> type[kinds.NotificationType]:
    found = kinds.registry.get(key)
    if found is None:
        raise WireError("bad_event", f"There is no kind {key!r}: expected the key of a registered one.")
    return type(found)
