"""Encodes JSON and times as livepush writes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NoReturn

_encoder = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def dumps(value: Any) -> str:
    """Return a value as compact JSON, for livepush's own messages."""
    return _encoder.encode(value)  # json.dumps makes an encoder each time


def loads(text: str) -> Any:
    """Return what JSON says. Raises ValueError: it is no JSON (RFC 8259), which has no NaN. Raises RecursionError."""
    return json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def timestamp(when: datetime) -> str:
    """Return an aware datetime as RFC 3339 in UTC with microseconds, e.g. ``2026-01-31T12:00:00.000000Z``."""
    return f"{when.astimezone(UTC).isoformat(timespec='microseconds')[:-6]}Z"
