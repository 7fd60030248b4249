"""The formats of streams on the wire; pure functions.

``livepush`` is Server-Sent Events whose data are JSON, ``{"offset", "parts"}``. In the parts, strings are text, and
``[value]`` is a part of JSON. The last event has the stream's ``state`` too. ``text`` is plain text without the parts.
``openai`` has the chunks of OpenAI's chat completions. ``ai-sdk`` is the UI message stream of the AI SDK (npm ``ai``,
version 5 and later).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from livepush.exceptions import InvalidData
from livepush.streams.buffer import Ending, Passage
from livepush.streams.models import Stream, StreamState
from livepush.streams.pieces import Data, Piece, dumps, join

HEARTBEAT = ":\n"
"""Keeps a quiet stream of events alive (WHATWG HTML, section 9.2.7)."""
DONE = "data: [DONE]\n\n"
CUT = "The response was cut before the end of the stream."
END_MARK = "end"
"""The last event id of a stream that was read to its end."""
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_EVENTS = "text/event-stream; charset=utf-8"
_MESSAGES = {
    StreamState.INTERRUPTED: "The stream was interrupted.",
    StreamState.FAILED: "The stream failed.",
}


class About(NamedTuple):
    """The facts about a stream that formats show."""

    id: str
    created: int
    """Seconds since 1970."""
    metadata: dict[str, Any]


def about(row: Stream) -> About:
    """Return what formats say of a stream."""
    return About(row.id, int(row.created.timestamp()), row.details)


class Format:
    """Plain text, and what the other formats have in common with it."""

    content_type = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    heartbeat = ""
    """The bytes that are sent in quiet times, if any may be."""
    resumes = False
    """Whether clients come back after any end of a response, unless it said how the stream ended."""

    def begin(self, about: About, after: int) -> str:
        """Return what comes before the first piece."""
        return ""

    def passage(self, about: About, passage: Passage, after_text: bool) -> str:
        """Return some pieces; ``after_text`` says whether text came before them."""
        return "".join(piece for piece in passage.pieces if isinstance(piece, str))

    def end(self, about: About, ending: Ending, offset: int, after_text: bool) -> str:
        """Return what comes after the last piece."""
        return ""

    def bye(self, offset: int, retry: int) -> str:
        """Return what says that the server goes away, and the client should come back in ``retry`` milliseconds."""
        return self.cut()

    def cut(self) -> str:
        """Return what says that the response ends before the stream, if anything can."""
        return ""


class Own(Format):
    """livepush's own."""

    content_type = _EVENTS
    heartbeat = HEARTBEAT
    resumes = True

    def begin(self, about: About, after: int) -> str:
        return HEARTBEAT

    def passage(self, about: About, passage: Passage, after_text: bool) -> str:
        return f"id: {passage.end}\ndata: {answer(passage)}\n\n"

    def end(self, about: About, ending: Ending, offset: int, after_text: bool) -> str:
        body = answer(Passage(offset, [], offset), ending, about.metadata)
        return f"id: {END_MARK}\ndata: {body}\n\n"

    def bye(self, offset: int, retry: int) -> str:
        return f'retry: {retry}\ndata: {{"offset":{offset},"parts":[],"retry":{retry}}}\n\n'


class OpenAI(Format):
    """Chunks of chat completions."""

    content_type = _EVENTS
    heartbeat = HEARTBEAT

    def begin(self, about: About, after: int) -> str:
        return "" if after else self._chunk(about, {"role": "assistant", "content": ""})

    def passage(self, about: About, passage: Passage, after_text: bool) -> str:
        return "".join(self._piece(about, piece) for piece in passage.pieces)

    def end(self, about: About, ending: Ending, offset: int, after_text: bool) -> str:
        if ending.state in _MESSAGES:
            error = {"message": ending.error or _MESSAGES[ending.state], "type": "server_error"}
            return _event({"error": error}) + DONE
        return self._chunk(about, {}, "stop") + DONE

    def cut(self) -> str:
        return _event({"error": {"message": CUT, "type": "server_error"}})

    def _piece(self, about: About, piece: Piece) -> str:
        if isinstance(piece, str):
            return self._chunk(about, {"content": piece})
        value = piece.value
        return _event(value) if isinstance(value, dict) and "choices" in value else ""

    def _chunk(self, about: About, delta: dict[str, Any], reason: str | None = None) -> str:
        return _event(
            {
                "id": f"chatcmpl-{about.id}",
                "object": "chat.completion.chunk",
                "created": about.created,
                "model": str(about.metadata.get("model", "livepush")),
                "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
            }
        )


class AISDK(Format):
    """The AI SDK's UI message stream, version 1 of the protocol."""

    content_type = _EVENTS
    headers = (("x-vercel-ai-ui-message-stream", "v1"),)
    heartbeat = HEARTBEAT

    def begin(self, about: About, after: int) -> str:
        if after:
            return ""
        return _event({"type": "start", "messageId": str(about.metadata.get("messageId", about.id))})

    def passage(self, about: About, passage: Passage, after_text: bool) -> str:
        found = []
        for piece in passage.pieces:
            is_text = isinstance(piece, str)
            if is_text != after_text:
                found.append(_event({"type": "text-start" if is_text else "text-end", "id": "text"}))
            found.append(_event({"type": "text-delta", "id": "text", "delta": piece}) if is_text else _part(piece))
            after_text = is_text
        return "".join(found)

    def end(self, about: About, ending: Ending, offset: int, after_text: bool) -> str:
        close = _event({"type": "text-end", "id": "text"}) if after_text else ""
        if ending.state in _MESSAGES:
            last = {"type": "error", "errorText": ending.error or _MESSAGES[ending.state]}
        else:
            last = {"type": "abort" if ending.state is StreamState.STOPPED else "finish"}
        return close + _event(last) + DONE

    def cut(self) -> str:
        return _event({"type": "error", "errorText": CUT})


FORMATS: dict[str, Format] = {"text": Format(), "livepush": Own(), "openai": OpenAI(), "ai-sdk": AISDK()}


def check_format(name: str) -> str:
    """Return the name of a format. Raises InvalidData: there is none of that name."""
    if name not in FORMATS:
        raise InvalidData(f"{name!r} is no format of streams: expected one of {', '.join(map(repr, FORMATS))}.")
    return name


def answer(passage: Passage, ending: Ending | None = None, metadata: dict[str, Any] | None = None) -> str:
    """Return a passage as JSON, with how the stream ended if it has."""
    parts = f'{{"offset":{passage.end},"parts":{dumps(join(passage.pieces))}'
    if ending is None:
        return f"{parts}}}"
    told = {"state": ending.state.value, "error": ending.error, "metadata": metadata or {}}
    return f"{parts},{_json(told)[1:]}"


def after_text(pieces: Sequence[Piece], before: bool = False) -> bool:
    """Return whether text comes last."""
    return isinstance(pieces[-1], str) if pieces else before


def _part(piece: Piece) -> str:
    """Return a part as the AI SDK has it: what names no type of its own becomes a part of data."""
    assert isinstance(piece, Data)
    value = piece.value
    if isinstance(value, dict) and isinstance(value.get("type"), str):
        return f"data: {piece.json}\n\n"
    return f'data: {{"type":"data-livepush","data":{piece.json}}}\n\n'


def _event(value: object) -> str:
    return f"data: {_json(value)}\n\n"
