"""The names of the proxy's channels.

A stream of one group gets its events' bytes from a channel of that group and the stream's format. A stream or poll of
several groups gets a hint from a channel of each, and the proxy asks for the events: they reach the client in the log's
order, and an event that was sent to two of the groups reaches it once.
"""

from __future__ import annotations

from urllib.parse import quote

from livepush.wire import Format

FORMATS = (Format.SSE, Format.SSE_ENVELOPE, Format.SSE_TEXT)
"""The formats of streams."""


def of_content(prefix: str, group: str, format: Format) -> str:
    """Return the channel with a group's events."""
    return f"{prefix}{format.value}:{_safe(group)}"


def of_hints(prefix: str, group: str) -> str:
    """Return the channel that tells that a group has events."""
    return f"{prefix}hint:{_safe(group)}"


def of_user(prefix: str, name: str) -> str:
    """Return the channel that tells that a user's rights have changed."""
    return f"{prefix}user:{_safe(name)}"


def of_session(prefix: str, digest: str) -> str:
    """Return the channel that tells that a session has ended."""
    return f"{prefix}session:{digest}"


def of_everybody(prefix: str) -> str:
    """Return the channel that tells that anybody's rights may have changed."""
    return f"{prefix}everybody"


def header(name: str, previous: str) -> str:
    """Return a channel as ``Grip-Channel`` names it, with the id of the last item that the client has."""
    return f"{name}; prev-id={previous}"


def last_id(header: str, name: str) -> str | None:
    """Return what ``Grip-Last`` says of a channel: the id of the last item that the client got; ``None`` if nothing."""
    for part in header.split(","):
        channel, _, parameter = part.strip().partition(";")
        if channel == name and parameter.strip().startswith("last-id="):
            return parameter.strip().removeprefix("last-id=")
    return None


def _safe(name: str) -> str:
    return quote(name, safe="")
