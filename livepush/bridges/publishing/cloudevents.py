"""Parses CloudEvents 1.0: structured, batched and binary (the HTTP protocol binding, sections 3.1 to 3.3).

``type`` is the event's type, and ``data`` its data. The groups are in the extension ``livepushgroups``, several with
commas between them, else ``subject`` is the one group. ``source`` and ``id`` together are the key, since they name an
event (the specification, section 3.1.1): what a producer repeats is delivered once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from livepush.bridges.publishing.drafts import Draft, check_count, parse_json
from livepush.wire import WireError, dumps

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
REQUIRED = ("id", "source", "type")
GROUPS = "livepushgroups"
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
"""A quoted string (RFC 7230, section 3.2.6)."""
ESCAPED = re.compile(r"\\(.)")


def structured(body: bytes) -> list[Draft]:
    """Return the event of a body that has it whole. Raises WireError."""
    return [_event(parse_json(body), "The body")]


def batch(body: bytes) -> list[Draft]:
    """Return the events of a batch. Raises WireError."""
    found = parse_json(body)
    if not isinstance(found, list):
        raise WireError("bad_body", "The body is no JSON array: expected one with 1 to 100 CloudEvents.")
    check_count(len(found), 0)
    drafts = [_event(item, f"Item {place}") for place, item in enumerate(found)]
    check_count(len(drafts), sum(len(draft.groups) for draft in drafts))
    return drafts


def is_binary(headers: Mapping[str, str]) -> bool:
    """Return whether a request has an event's attributes in its headers."""
    return "ce-specversion" in {name.lower() for name in headers}


def binary(headers: Mapping[str, str], media_type: str, body: bytes) -> list[Draft]:
    """Return the event whose attributes are headers, and whose data are the body. Raises WireError."""
    named = {name.lower()[3:]: _plain(value) for name, value in headers.items() if name.lower().startswith("ce-")}
    draft = _event(named, "The request")
    return [draft._replace(data=_decoded(body, media_type, "The request") if body else None)]


def _plain(value: str) -> str:
    """Return what a header says (the HTTP protocol binding, section 3.1.3.2). Raises WireError: it is not UTF-8."""
    if quoted := QUOTED.fullmatch(value):
        value = ESCAPED.sub(r"\1", quoted[1])
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError as error:
        raise WireError("bad_event", f"The request: a ce- header is not UTF-8: {error}.") from error


def attributes(headers: Mapping[str, str]) -> str:
    """Return a request's headers that hold an event's attributes, in an order that is always the same."""
    return dumps(sorted((name.lower(), value) for name, value in headers.items() if name.lower().startswith("ce-")))


def _event(item: Any, where: str) -> Draft:
    if not isinstance(item, dict):
        raise WireError("bad_body", f"{where} is no JSON object: expected a CloudEvent.")
    item = {name: value for name, value in item.items() if value is not None}  # null is unset (JSON format, 2.2)
    if item.get("specversion") != "1.0":
        raise WireError("bad_event", f"{where}: specversion is {item.get('specversion')!r}: expected '1.0'."[:300])
    for name in REQUIRED:
        if not isinstance(item.get(name), str) or not item[name]:
            raise WireError("bad_event", f"{where}: {name} is {item.get(name)!r}: expected a text."[:300])
    return Draft(_groups(item, where), item["type"], _data(item, where), own_key=_key(item, where))


def _groups(item: dict[str, Any], where: str) -> tuple[str, ...]:
    """Return the groups. A subject is one group as it is: it may hold what others have written."""
    listed, subject = item.get(GROUPS), item.get("subject")
    names = [subject] if isinstance(subject, str) and subject else []
    if listed is not None:
        names = [name.strip() for name in listed.split(",") if name.strip()] if isinstance(listed, str) else []
    if not names:
        raise WireError("bad_event", f"{where} names no group: put it into subject, or several into {GROUPS}.")
    return tuple(dict.fromkeys(names))


def _data(item: dict[str, Any], where: str) -> Any:
    if item.get("data_base64") is None:
        return item.get("data")
    if item.get("data") is not None:
        raise WireError("bad_event", f"{where} has data and data_base64: expected one of them.")
    try:
        content = base64.b64decode(item["data_base64"], validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise WireError("bad_event", f"{where}: data_base64 is not base64: {error}.") from error
    media_type = item.get("datacontenttype")
    return _decoded(content, media_type if isinstance(media_type, str) else "application/octet-stream", where)


def _decoded(content: bytes, media_type: str, where: str) -> Any:
    """Return data as JSON has them: JSON itself, text as a string, and anything else as base64."""
    kind = media_type.partition(";")[0].strip().lower()
    try:
        if kind == "application/json" or kind.endswith("+json") or not kind:
            return json.loads(content)
        if kind.startswith("text/"):
            return content.decode()
    except (ValueError, RecursionError) as error:
        raise WireError("bad_event", f"{where}: the data are not {kind or 'JSON'} in UTF-8: {error}.") from error
    return base64.b64encode(content).decode()


def _key(item: dict[str, Any], where: str) -> str:
    try:
        return f"ce:{hashlib.sha256(dumps([item['source'], item['id']]).encode()).hexdigest()}"
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise WireError("bad_event", f"{where}: source or id is no Unicode text.") from error
