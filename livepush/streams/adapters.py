"""Turn the events of language models' SDKs into what ``start`` takes: text, and parts as the AI SDK has them.

They look at the events' attributes and import neither SDK. Events that they do not know are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterable, AsyncIterator
from types import SimpleNamespace
from typing import Any, NamedTuple

from livepush.conf import get_settings
from livepush.exceptions import InvalidEvent
from livepush.streams import pieces
from livepush.wire import loads

Part = dict[str, Any]
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
"""NUL as JSON escapes it, after any backslashes that are escaped themselves."""


async def openai(events: AsyncIterable[Any]) -> AsyncIterator[str | Part]:
    """Yield what a stream of OpenAI's SDK says: of chat completions, or of the Responses API.

    Text comes as ``str``. Tool calls come as parts, ``tool-input-start``, ``tool-input-delta`` and
    ``tool-input-available``; reasoning as ``reasoning-start``, ``reasoning-delta`` and ``reasoning-end``. A refusal is
    text. An error event raises RuntimeError, so that the stream fails.
    """
    parts = _Parts()
    async for given in events:
        event = _as_object(given)
        if getattr(event, "type", "") == "chunk":  # the SDK's helper stream() wraps chunks, and repeats what they say
            event = event.chunk
        if hasattr(event, "choices"):
            for piece in _of_completion(event, parts):
                yield _storable(piece)
        else:
            for piece in _of_response(event, parts):
                yield _storable(piece)
    for piece in parts.close():
        yield _storable(piece)


async def anthropic(events: AsyncIterable[Any]) -> AsyncIterator[str | Part]:
    """Yield what a stream of Anthropic's SDK says, of ``messages.create(stream=True)`` or ``messages.stream``.

    Text comes as ``str``; tool calls and thinking as the parts that ``openai`` yields. An error event raises
    RuntimeError, so that the stream fails.
    """
    parts = _Parts()
    async for event in events:
        for piece in _of_message(_as_object(event), parts):
            yield _storable(piece)
    for piece in parts.close():
        yield _storable(piece)


def _as_object(event: Any) -> Any:
    """Return an event whose fields are attributes: some clients yield dicts."""
    return (
        json.loads(json.dumps(event), object_hook=lambda fields: SimpleNamespace(**fields))
        if isinstance(event, dict)
        else event
    )


def _storable(piece: str | Part) -> str | Part:
    """Return a piece that databases can store. In text, ``write`` sees to it."""
    return piece if isinstance(piece, str) else _storable_part(piece)


def _storable_part(part: Part) -> Part:
    """Return a part with U+FFFD in place of NUL and of half a surrogate pair.

    A model may write either into the input of a tool, and an answer must not fail for that.
    """
    given = json.dumps(part, ensure_ascii=False)
    found = _NUL.sub(rf"\1{pieces.REPLACEMENT}", pieces.text(given))
    changed: Part = part if found == given else json.loads(found)
    return changed


def _room() -> int:
    """Return how many characters of text fit into a part, whatever they are: as JSON each has 6 bytes at most."""
    return max(1, get_settings().MAX_EVENT_BYTES // 8)


class _Deltas:
    """Parts with the pieces of one text. A service may cut it inside a character, and give much of it at once."""

    def __init__(self, field: str, **part: str) -> None:
        self._field, self._part, self._half = field, part, ""

    def add(self, text: str) -> list[Part]:
        text, self._half = pieces.whole_characters(self._half, text)
        room = _room()
        return [self._with(text[start : start + room]) for start in range(0, len(text), room)]

    def end(self) -> list[Part]:
        """Return a part for half a character that nothing has followed, if there is one."""
        return [self._with(pieces.REPLACEMENT)] if self._half else []

    def _with(self, text: str) -> Part:
        return {**self._part, self._field: text}


class _Call(NamedTuple):
    """A tool call, with its input so far."""

    id: str
    name: str
    texts: list[str]
    deltas: _Deltas


class _Parts:
    """The tool calls and the reasoning that have begun and not ended."""

    def __init__(self) -> None:
        self._calls: dict[Any, _Call] = {}
        self._reasoning: _Deltas | None = None
        self._reasonings = 0

    def reason(self, text: str) -> list[Part]:
        begin: list[Part] = []
        if self._reasoning is None:
            id = f"reasoning-{self._reasonings}"
            begin = [{"type": "reasoning-start", "id": id}]
            self._reasoning = _Deltas("delta", type="reasoning-delta", id=id)
        return [*begin, *self._reasoning.add(text)]

    def end_reasoning(self) -> list[Part]:
        if self._reasoning is None:
            return []
        rest, self._reasoning, id = self._reasoning.end(), None, f"reasoning-{self._reasonings}"
        self._reasonings += 1
        return [*rest, {"type": "reasoning-end", "id": id}]

    def begin_call(self, key: Any, id: str, name: str) -> list[Part]:
        """Begin a call. Some services repeat its id with each piece, and some give all their calls the same key."""
        if key in self._calls and self._calls[key].id == id:
            return []
        ended = self.end_call(key)
        deltas = _Deltas("inputTextDelta", type="tool-input-delta", toolCallId=id)
        self._calls[key] = _Call(id, name, [], deltas)
        return [*self.end_reasoning(), *ended, {"type": "tool-input-start", "toolCallId": id, "toolName": name}]

    def call(self, key: Any, text: str) -> list[Part]:
        if key not in self._calls or not text:
            return []
        self._calls[key].texts.append(text)
        return self._calls[key].deltas.add(text)

    def end_call(self, key: Any) -> list[Part]:
        """End a call. If its input can't be used, its part says so, and the answer goes on."""
        if key not in self._calls:
            return []
        call = self._calls.pop(key)
        text, about = "".join(call.texts), {"toolCallId": call.id, "toolName": call.name}
        try:
            ended = _storable_part({"type": "tool-input-available", **about, "input": loads(text or "{}")})
            pieces.data(ended, get_settings().MAX_EVENT_BYTES)
        except (ValueError, RecursionError) as error:
            what = "can't be sent" if isinstance(error, InvalidEvent) else "is no JSON"
            problem = f"The input {what}: {str(error).rstrip('.')}."
            ended = {"type": "tool-input-error", **about, "input": text[: _room()], "errorText": problem}
        return [*call.deltas.end(), ended]

    def close(self) -> list[Part]:
        return [*self.end_reasoning(), *(part for key in list(self._calls) for part in self.end_call(key))]


def _of_completion(event: Any, parts: _Parts) -> list[str | Part]:
    found: list[str | Part] = []
    for choice in event.choices or ():
        if getattr(choice, "index", 0):
            continue  # one answer of several
        delta = getattr(choice, "delta", None)
        reasoning = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
        if isinstance(reasoning, str):
            found += parts.reason(reasoning)
        if text := getattr(delta, "content", None) or getattr(delta, "refusal", None):
            found += [*parts.end_reasoning(), text]
        for call in getattr(delta, "tool_calls", None) or ():
            function = getattr(call, "function", None)
            if getattr(call, "id", None):
                found += parts.begin_call(call.index, call.id, getattr(function, "name", None) or "")
            found += parts.call(call.index, getattr(function, "arguments", None) or "")
        if getattr(choice, "finish_reason", None):
            found += parts.close()
    return found


def _of_response(event: Any, parts: _Parts) -> list[str | Part]:
    type, item = getattr(event, "type", ""), getattr(event, "item", None)
    key = getattr(event, "output_index", None)
    if type in ("response.output_text.delta", "response.refusal.delta"):
        return [*parts.end_reasoning(), event.delta]
    if type in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
        return [*parts.reason(event.delta)]
    if type == "response.output_item.added" and getattr(item, "type", "") == "function_call" and item is not None:
        return [*parts.begin_call(key, item.call_id, item.name)]
    if type == "response.function_call_arguments.delta":
        return [*parts.call(key, event.delta)]
    if type == "response.output_item.done":
        return [*parts.end_reasoning(), *parts.end_call(key)]
    if type in ("error", "response.failed"):
        raise RuntimeError(f"The model's service failed: {_message(event)}")
    return []


def _of_message(event: Any, parts: _Parts) -> list[str | Part]:
    type, delta = getattr(event, "type", ""), getattr(event, "delta", None)
    if type == "content_block_start" and getattr(event.content_block, "type", "") == "tool_use":
        return [*parts.begin_call(event.index, event.content_block.id, event.content_block.name)]
    if type == "content_block_delta":
        kind = getattr(delta, "type", "")
        if kind == "text_delta" and delta is not None:
            return [*parts.end_reasoning(), delta.text]
        if kind == "thinking_delta" and delta is not None:
            return [*parts.reason(delta.thinking)]
        if kind == "input_json_delta" and delta is not None:
            return [*parts.call(event.index, delta.partial_json)]
    if type == "content_block_stop":
        return [*parts.end_reasoning(), *parts.end_call(event.index)]
    if type == "error":
        raise RuntimeError(f"The model's service failed: {_message(event)}")
    return []


def _message(event: Any) -> str:
    error = getattr(event, "error", None) or getattr(getattr(event, "response", None), "error", None)
    return str(getattr(error, "message", None) or getattr(event, "message", None) or "no reason was given")
