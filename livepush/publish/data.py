"""The data of events as JSON: what databases can store and clients can read."""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from livepush.conf import get_settings
from livepush.exceptions import EventTooLarge, InvalidData

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_encoder = DjangoJSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def as_json(data: Any) -> str:
    """Return data as the log's databases can store it and clients get it. Raises InvalidData: it can't be that."""
    try:
        text = _encoder.encode(data)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidData(
            f"The data can't be sent as JSON: {error}. Send dicts, lists, strings, numbers, dates, decimals and UUIDs."
        ) from error
    if _NUL.search(text):
        raise InvalidData("The data holds a NUL character, which databases can't store in text: take it out.")
    return text


def encode(data: Any) -> str:
    """Return an event's data as JSON, bytes as base64. Raises InvalidData, EventTooLarge."""
    if isinstance(data, bytes | bytearray | memoryview):
        data = {"$bytes": base64.b64encode(bytes(data)).decode()}
    elif isinstance(data, dict) and "$bytes" in data:
        _check_bytes(data)
    text, limit = as_json(data), get_settings().MAX_EVENT_BYTES
    size = len(text.encode())
    if size > limit:
        raise EventTooLarge(
            f"The data is {size} bytes as JSON, over the {limit} of LIVEPUSH['MAX_EVENT_BYTES']: "
            f"send a reference that the client can fetch, or raise the limit."
        )
    return text


def _check_bytes(data: dict[Any, Any]) -> None:
    """Check data that clients take for bytes. Raises InvalidData: they are none."""
    if len(data) == 1 and isinstance(data["$bytes"], str):
        with suppress(ValueError):
            if base64.b64encode(base64.b64decode(data["$bytes"], validate=True)).decode() == data["$bytes"]:
                return  # Python takes more than browsers do, such as surplus padding
    raise InvalidData('Data with the key "$bytes" stand for bytes: expected that key alone, with base64.')
