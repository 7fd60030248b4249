"""Turn the events of language models' SDKs into what ``start`` takes: text, and parts as the AI SDK has them.

They look at the events' attributes and import neither SDK. Events that they do not know are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterable, AsyncIterator
from types import SimpleNamespace
from typing import Any

from livepush.streams import pieces

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
    """Return a piece that databases can store: a part with NUL or half a surrogate pair has U+FFFD in their place.

    A model may write either into the input of a tool, and an answer must not fail for that. In text, ``write`` does it.
    """
    if isinstance(piece, str):
        return piece
    given = json.dumps(piece, ensure_ascii=False)
    found = _NUL.sub(rf"\1{pieces.REPLACEMENT}", pieces.text(given))
    part: Part = piece if found == given else json.loads(found)
    return part


class _Parts:
    """The tool calls and the reasoning that have begun and not ended."""

    def __init__(self) -> None:
        self._calls: dict[Any, tuple[str, str, list[str]]] = {}
        self._reasoning = 0
        self._is_reasoning = False

    def reason(self, text: str) -> list[Part]:
        id = f"reasoning-{self._reasoning}"
        begin = [] if self._is_reasoning else [{"type": "reasoning-start", "id": id}]
        self._is_reasoning = True
        return [*begin, {"type": "reasoning-delta", "id": id, "delta": text}]

    def end_reasoning(self) -> list[Part]:
        if not self._is_reasoning:
            return []
        self._is_reasoning, self._reasoning = False, self._reasoning + 1
        return [{"type": "reasoning-end", "id": f"reasoning-{self._reasoning - 1}"}]

    def begin_call(self, key: Any, id: str, name: str) -> list[Part]:
        """Begin a call. Some services repeat its id with each piece, and some give all their calls the same key."""
        if key in self._calls and self._calls[key][0] == id:
            return []
        ended = self.end_call(key)
        self._calls[key] = (id, name, [])
        return [*self.end_reasoning(), *ended, {"type": "tool-input-start", "toolCallId": id, "toolName": name}]

    def call(self, key: Any, text: str) -> list[Part]:
        if key not in self._calls or not text:
            return []
        id, _, texts = self._calls[key]
        texts.append(text)
        return [{"type": "tool-input-delta", "toolCallId": id, "inputTextDelta": text}]

    def end_call(self, key: Any) -> list[Part]:
        if key not in self._calls:
            return []
        id, name, texts = self._calls.pop(key)
        try:
            given = json.loads("".join(texts) or "{}")
        except ValueError as error:
            problem = f"The input is no JSON: {error}."
            base = {"type": "tool-input-error", "toolCallId": id, "toolName": name}
            return [{**base, "input": "".join(texts), "errorText": problem}]
        return [{"type": "tool-input-available", "toolCallId": id, "toolName": name, "input": given}]

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
