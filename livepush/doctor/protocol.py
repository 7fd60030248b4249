"""Constants and tokens that the command and the server's endpoints share."""

from __future__ import annotations

import time

from django.core.signing import BadSignature, TimestampSigner, b62_encode

GROUP = "livepush:doctor"
"""The group of the doctor's test events. Nobody reads it, unless a rule of the project admits readers."""
PARAMETER = "doctor"
"""The parameter of the query that carries the token."""
FRAMES, PAUSE = 3, 1.0
"""How many frames a probe sends, and how long (seconds) it waits between them."""
IDLE_HEARTBEATS = 1.5
"""The longest silence of a stream, in heartbeats."""
MAX_AGE = 60
"""How long (seconds) a token is valid."""
_PURPOSE = "doctor"


class _Signer(TimestampSigner):
    """Signs with the time of a clock that is ``ahead`` of this host's by some seconds."""

    def __init__(self, ahead: float) -> None:
        super().__init__(salt="livepush.doctor")
        self._ahead = ahead

    def timestamp(self) -> str:
        return b62_encode(int(time.time() + self._ahead))


def make_token(ahead: float = 0.0) -> str:
    """Return a token for a server whose clock is ahead of this host's by some seconds."""
    return _Signer(ahead).sign(_PURPOSE)


def is_token(token: str) -> bool:
    """Return whether a token is signed with ``SECRET_KEY`` (or a fallback) and fresh."""
    try:
        return _Signer(0).unsign(token, max_age=MAX_AGE) == _PURPOSE
    except BadSignature:
        return False
