"""Topics and their groups: the topic ``https://example.com/1`` is the group ``mercure:https://example.com/1``.

Characters that no group's name may have are escaped. A digest stands for a name that would be too long. All updates are
in the group ``EVERY`` too, for those who subscribe with templates.
"""

from __future__ import annotations

import hashlib
import unicodedata

from livepush.bridges.escaping import escaped
from livepush.bridges.mercure.selectors import ALL
from livepush.wire import WireError

PREFIX = "mercure:"
IDS = "mercure.id:"
"""The prefix of groups that no client reads: each finds the update with an id that its publisher chose."""
MAX_LENGTH = 1000
"""How many characters a topic, a selector, an id or a type may have."""
MAX_NAME = 110
"""How many characters of a name stand as they are: a tenant's name has to find room too."""
EARLIEST = "earliest"


def group_of(topic: str) -> str:
    """Return the group that a topic's updates go to."""
    return PREFIX + _named(topic)


def group_of_id(id: str) -> str:
    """Return the group by which an update with a publisher's own id is found."""
    return IDS + _named(id)


EVERY = f"{PREFIX}=2A"
"""The group of all updates, which is that of ``*``."""


def problem_of(text: str) -> str | None:
    """Return the problem with a topic, a selector, an id or a type; ``None`` if there is none."""
    if not 0 < len(text) <= MAX_LENGTH:
        return f"has {len(text)} characters: expected 1 to {MAX_LENGTH}"
    if any(unicodedata.category(each) in ("Cc", "Cs") for each in text):
        return f"has a control character, such as a line break: {text[:100]!r}"
    return None


def check_text(text: object, what: str) -> str:
    """Return a topic, an id or a type. Raises WireError: it is no text, empty, too long, or has control characters."""
    if not isinstance(text, str):
        raise WireError("bad_event", f"{what} is {text!r:.100}: expected a text.")
    if problem := problem_of(text):
        raise WireError("bad_event", f"{what} {problem}.", 413 if len(text) > MAX_LENGTH else 400)
    return text


def check_topic(text: object) -> str:
    """Return a topic. Raises WireError: it is malformed."""
    if text == ALL:
        raise WireError("bad_event", "'*' is no topic: it stands for all topics. Publish to a topic of its own.")
    return check_text(text, "The topic")


def check_id(given: object) -> str:
    """Return an update's id. Raises WireError: it is malformed, or one that only the hub gives."""
    text = check_text(given, "The id")
    if text.startswith("#") or text == EARLIEST:
        raise WireError("bad_event", f"The id {text[:100]!r} is reserved: expected one that does not begin with '#'.")
    return text


def _named(text: str) -> str:
    name = escaped(text)
    return name if len(name) <= MAX_NAME else f"=sha256:{hashlib.sha256(text.encode()).hexdigest()}"
