"""Messages of clients, as JSON."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from livepush.wire.errors import WireError
from livepush.wire.names import SURROGATE, check_group, type_problem

MAX_KEY_LENGTH = 200
MORE_BYTES = 4096
"""How many bytes a message may have besides its data."""
EXPECTED = 'expected a JSON object such as {"group": "room:lobby", "type": "chat", "data": {"text": "Hi"}, "key": "…"}'


class Sending(NamedTuple):
    """A client's message."""

    group: str
    type: str
    data: Any
    key: str | None
    """Made by the client: a message that is repeated with the same key takes effect once."""
    ephemeral: bool
    login: str | None
    """The ``data-tabs`` of the page that sends it: empty if the page had no session; ``None`` if it does not tell."""
    size: int = 0
    """How many bytes the body of its ``POST`` had."""


def parse_message(body: bytes) -> Sending:
    """Return the message in the body of ``POST send/``. Raises WireError: it is malformed."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WireError("bad_message", f"The body is malformed: {EXPECTED}.") from error
    if not isinstance(value, dict):
        raise WireError("bad_message", f"The body is malformed: {EXPECTED}.")
    return sending(value)._replace(size=len(body))


def sending(value: dict[str, Any]) -> Sending:
    """Return the message in a JSON object. Raises WireError: a field is malformed."""
    group, type, key = value.get("group"), value.get("type"), value.get("key")
    ephemeral, login = value.get("ephemeral", False), value.get("login")
    group = check_group(group if isinstance(group, str) else "")
    if problem := type_problem(type):
        raise WireError("bad_event", f"type is malformed: {problem}.")
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= MAX_KEY_LENGTH and not SURROGATE.search(key)):
        raise WireError("bad_key", f"key is malformed: expected a text of 1 to {MAX_KEY_LENGTH} characters.")
    if not isinstance(ephemeral, bool) or not isinstance(login, str | None):
        raise WireError("bad_message", "ephemeral must be true or false, and login a text.")
    return Sending(group, str(type), value.get("data"), key, ephemeral, login)
