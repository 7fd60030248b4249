"""Commands of WebSocket clients."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from livepush.wire.errors import WireError
from livepush.wire.messages import Sending, sending
from livepush.wire.names import SURROGATE, check_group
from livepush.wire.positions import Position, parse_position

MAX_REF_LENGTH = 200
COMMANDS = ("subscribe", "unsubscribe", "send", "auth", "ping")


class Command(NamedTuple):
    """A command of a WebSocket client. The answer has the same ``ref``."""

    name: str
    ref: str | int | None
    groups: tuple[str, ...] = ()
    since: Position | None = None
    sending: Sending | None = None
    data: Any = None


def parse_command(text: str, max_groups: int) -> Command:
    """Return the command in a WebSocket client's text, which is one of:

    ``{"command": "subscribe", "groups": [...], "since": POSITION, "ref": 1}`` (without ``since``, from now on),
    ``{"command": "unsubscribe", "groups": [...], "ref": 2}``,
    ``{"command": "send", "group": ..., "type": ..., "data": ..., "key": ..., "ephemeral": false, "ref": 3}`` (the key
    and ``ephemeral`` may be left out),
    ``{"command": "auth", "token": ..., "ref": 4}`` (another token, before the first ends) or
    ``{"command": "ping", "ref": 5}``.

    Raises WireError: the text is not such an object.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError("bad_command", "The command is malformed: expected a JSON object.") from error
    if not isinstance(value, dict):
        raise WireError("bad_command", "The command is malformed: expected a JSON object.")
    ref = value.get("ref")
    if ref is not None and not _is_ref(ref):
        expected = f"a string or a whole number, at most {MAX_REF_LENGTH} characters long"
        raise WireError("bad_command", f"ref is malformed: expected {expected}.")
    try:
        return _command(value, ref, max_groups)
    except WireError as error:
        error.ref = ref
        raise


def _is_ref(value: object) -> bool:
    """Return whether a value can be sent back. JSON can escape half a surrogate pair, but UTF-8 can't encode it."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return False
    return len(str(value)) <= MAX_REF_LENGTH and not SURROGATE.search(str(value))


def _command(value: dict[str, Any], ref: str | int | None, max_groups: int) -> Command:
    name = value.get("command")
    if name not in COMMANDS:
        expected = ", ".join(f'"{known}"' for known in COMMANDS[:-1])
        raise WireError("bad_command", f'The command is unknown: expected {expected} or "{COMMANDS[-1]}".')
    if name == "ping":
        return Command(name, ref)
    if name == "auth":
        return Command(name, ref, data=value.get("token"))
    if name == "send":
        message = sending(value)
        return Command(name, ref, (message.group,), sending=message)
    groups = value.get("groups")
    if not isinstance(groups, list) or not groups or len(groups) > max_groups:
        raise WireError("bad_command", f"groups is malformed: expected a list of 1 to {max_groups} names.")
    since = value.get("since") if name == "subscribe" else None
    if since is not None and not isinstance(since, str):
        since = ""  # malformed, so that parse_position raises its error, which says what to send
    position = None if since is None else parse_position(since)
    return Command(name, ref, tuple(dict.fromkeys(_group_of(group) for group in groups)), position)


def _group_of(value: object) -> str:
    return check_group(value if isinstance(value, str) else "")
