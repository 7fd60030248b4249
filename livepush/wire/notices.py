"""The announcements that PostgreSQL's NOTIFY carries: signed, in at most 7,999 bytes.

A notice is ``origin serial signature body``: 16, 16 and 64 hexadecimal digits and the announcement's body. It is signed
with a key that serves for this one notice: HMAC-SHA256 of origin and serial, with the site's key. So the database can
sign a notice whose position and time only it knows, and whoever reads its statements learns no key that is of any use.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import NamedTuple

from livepush.wire.announcements import Announcement, body_of
from livepush.wire.encoding import dumps

MAX_NOTICE_BYTES = 7_999
"""The largest payload of a NOTIFY."""
_FILLED_IN = 64
"""The most bytes that the database adds to a template: epoch, number and time."""
_NAME, _SIGNED = 32, 96
"""The places in a notice at which the signature and the body begin."""


class Template(NamedTuple):
    """A notice of one event that the database completes, since it alone knows its position and its time.

    The body is the parts with epoch, number and time between them.
    """

    name: str
    """The notice's first digits: origin and serial."""
    key: bytes
    """The key that signs this notice alone: SHA-256 of the key and the SHA-256 of key and body."""
    parts: tuple[str, str, str, str]


def notice(announcement: Announcement, key: bytes) -> str | None:
    """Return an announcement as a notice; ``None`` if it is too long."""
    name, body = _name(announcement.origin, announcement.serial), body_of(announcement)
    found = f"{name}{_sign(body, _once(name, key))}{body}"
    return found if len(found.encode()) <= MAX_NOTICE_BYTES else None


def template(
    announcement: Announcement, groups: Sequence[str], type: str, data: str, sender: str | None, key: bytes
) -> Template:
    """Return the notice of an event that will be settled. If the event is too long, the notice has its number alone."""
    name = _name(announcement.origin, announcement.serial)
    begin = body_of(announcement)[:-5]  # up to the quote before the epoch
    parts = _parts(begin, groups, type, data, sender)
    if _SIGNED + _FILLED_IN + sum(len(part.encode()) for part in parts) > MAX_NOTICE_BYTES:
        parts = _parts(begin, (), "", "", None)
    return Template(name, _once(name, key), parts)


def open_notice(found: str, keys: Sequence[bytes]) -> str:
    """Return the body of a notice that was signed with one of the keys.

    Raises ValueError: it was not, or it is no notice.
    """
    name, signature, body = found[:_NAME], found[_NAME:_SIGNED], found[_SIGNED:]
    expected = (_sign(body, _once(name, key)) for key in keys)
    if not any(hmac.compare_digest(signature.encode(), each.encode()) for each in expected):
        raise ValueError("its signature is not made with SECRET_KEY or one of SECRET_KEY_FALLBACKS")
    return body


def is_named(found: str, announcement: Announcement) -> bool:
    """Return whether a notice has the name of the announcement in it: a key that serves once signs no other."""
    return found.startswith(_name(announcement.origin, announcement.serial))


def _parts(begin: str, groups: Sequence[str], type: str, data: str, sender: str | None) -> tuple[str, str, str, str]:
    return (begin, '",[[', f',{dumps(groups)},{dumps(type)},{dumps(data)},"', f'",{dumps(sender)}]]]')


def _name(origin: str, serial: int) -> str:
    return f"{origin}{serial:016x}"


def _once(name: str, key: bytes) -> bytes:
    return hmac.digest(key, name.encode(), "sha256")


def _sign(body: str, once: bytes) -> str:
    inner = hashlib.sha256(once + body.encode()).digest()
    return hashlib.sha256(once + inner).hexdigest()
