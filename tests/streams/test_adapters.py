"""The events of language models' SDKs become text and parts; they have the shapes that the SDKs' objects have."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from livepush.streams import adapters, pieces
from tests.scale import some


def shape(value: Any) -> Any:
    """Return JSON as an SDK's object: its fields are attributes."""
    return json.loads(json.dumps(value), object_hook=lambda found: SimpleNamespace(**found))


async def adapted(adapter: Any, events: list[Any]) -> list[Any]:
    async def given():
        for event in events:
            yield shape(event)

    return [piece async for piece in adapter(given())]


RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())


@pytest.mark.parametrize("name", list(RECORDED))
async def test_an_sdk_s_events_become_text_and_parts(name):
    adapter = adapters.anthropic if name.startswith("anthropic") else adapters.openai
    assert await adapted(adapter, RECORDED[name]["events"]) == RECORDED[name]["pieces"]


async def test_what_other_clients_yield_is_taken_too():
    def events(*given):
        async def yielded():
            for each in given:
                yield each

        return yielded()

    chunk = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}
    wrapped = shape({"type": "chunk", "chunk": chunk}), shape({"type": "content.delta", "delta": "Hi"})
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
    assert [each async for each in adapters.openai(events(*wrapped))] == ["Hi"]
    assert [each async for each in adapters.openai(events(chunk, {"choices": None}))] == ["Hi"]
    assert [each async for each in adapters.anthropic(events(delta))] == ["Hi"]


@asynccontextmanager
async def service(events: list[Any]) -> AsyncIterator[str]:
    """Serve events as the models' services do; yield the address."""
    lines = [f"event: {each['type']}\n" if "type" in each else "" for each in events]
    body = "".join(f"{line}data: {json.dumps(each)}\n\n" for line, each in zip(lines, events, strict=True))
    done = "" if any(lines) else "data: [DONE]\n\n"
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"{head}{body}{done}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def asked(name: str, url: str) -> AsyncIterator[Any]:
    """Yield the events as an SDK's client gets them."""
    said: Any = [{"role": "user", "content": "?"}]
    if name.startswith("anthropic"):
        import anthropic  # it takes seconds, which each worker would spend as it collects the tests

        async with anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as client:
            async for event in await client.messages.create(model="m", max_tokens=9, messages=said, stream=True):
                yield event
        return
    import openai

    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        given = (
            client.chat.completions.create(model="m", messages=said, stream=True)
            if "completions" in name
            else client.responses.create(model="m", input="?", stream=True)
        )
        async for event in await given:
            yield event


@pytest.mark.parametrize("name", some(list(RECORDED), 2))
async def test_what_the_sdks_clients_give_becomes_text_and_parts(name):
    adapter = adapters.anthropic if name.startswith("anthropic") else adapters.openai
    async with service(RECORDED[name]["events"]) as url:
        assert [piece async for piece in adapter(asked(name, url))] == RECORDED[name]["pieces"]


@pytest.mark.parametrize(
    ("adapter", "event"),
    [
        (adapters.openai, {"type": "error", "message": "overloaded"}),
        (adapters.openai, {"type": "response.failed", "response": {"error": {"message": "overloaded"}}}),
        (adapters.anthropic, {"type": "error", "error": {"type": "overloaded_error", "message": "overloaded"}}),
    ],
)
async def test_an_error_of_the_service_fails_the_stream(adapter, event):
    with pytest.raises(RuntimeError, match="The model's service failed: overloaded"):
        await adapted(adapter, [event])


def completion(*calls: tuple[int, str | None, str | None, str], finish: str | None = None) -> Any:
    found = [
        {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}
        for index, id, name, arguments in calls
    ]
    return {"choices": [{"index": 0, "delta": {"tool_calls": found}, "finish_reason": finish}]}


@pytest.mark.parametrize(
    "events",
    [
        [completion((0, "a", "track", '{"n":')), completion((0, "a", "track", "7}")), completion(finish="stop")],
        [completion((0, "a", "track", '{"n":')), completion((0, "a", None, "7}"), finish="stop")],
    ],
)
async def test_a_service_may_repeat_the_id_of_a_tool_call_with_each_piece_of_its_input(events):
    assert await adapted(adapters.openai, events) == [
        {"type": "tool-input-start", "toolCallId": "a", "toolName": "track"},
        {"type": "tool-input-delta", "toolCallId": "a", "inputTextDelta": '{"n":'},
        {"type": "tool-input-delta", "toolCallId": "a", "inputTextDelta": "7}"},
        {"type": "tool-input-available", "toolCallId": "a", "toolName": "track", "input": {"n": 7}},
    ]


@pytest.mark.parametrize(
    "events",
    [
        [completion((0, "a", "track", '{"n":7}')), completion((0, "b", "track", '{"n":8}')), completion(finish="stop")],
        [completion((0, "a", "track", '{"n":7}'), (0, "b", "track", '{"n":8}'), finish="stop")],
    ],
)
async def test_a_service_may_give_all_tool_calls_the_same_index(events):
    found = await adapted(adapters.openai, events)
    assert [(part["type"], part["toolCallId"], part.get("input")) for part in found] == [
        ("tool-input-start", "a", None),
        ("tool-input-delta", "a", None),
        ("tool-input-available", "a", {"n": 7}),
        ("tool-input-start", "b", None),
        ("tool-input-delta", "b", None),
        ("tool-input-available", "b", {"n": 8}),
    ]


async def test_what_no_database_can_store_costs_a_character_and_not_the_answer():
    arguments = '{"a": "\\u0000b\\ud83d", "c": "\\\\u0000"}'
    call = {"index": 0, "id": "t", "function": {"name": "track", "arguments": arguments}}
    event = {"choices": [{"index": 0, "delta": {"reasoning": "\ud83d", "tool_calls": [call]}, "finish_reason": "stop"}]}
    found = await adapted(adapters.openai, [event])
    assert found[1]["delta"] == "\ufffd"
    assert found[-1]["input"] == {"a": "\ufffdb\ufffd", "c": "\\u0000"}
    for part in found:
        pieces.data(part, 1000)


def joined(found: list[Any], field: str) -> str:
    """Return the text of the parts that have a field."""
    return "".join(part[field] for part in found if field in part)


@pytest.mark.parametrize(
    "arguments",
    ['{"n": NaN}', '{"n": 1e999}', '{"n": "' + "x" * 70_000 + '"}', "\x01" * 70_000, "[" * 100_000],
    ids=["NaN", "infinity", "too large", "much of what JSON escapes", "nested too deeply"],
)
async def test_an_input_that_can_not_be_used_fails_its_tool_call_and_not_the_answer(arguments):
    said = {"choices": [{"index": 0, "delta": {"content": "Done."}, "finish_reason": "stop"}]}
    found = await adapted(adapters.openai, [completion((0, "a", "track", arguments), finish="tool_calls"), said])
    *parts, error, text = found
    assert (error["type"], error["toolCallId"], text) == ("tool-input-error", "a", "Done.")
    assert arguments.startswith(error["input"])
    assert joined(parts, "inputTextDelta") == arguments
    for part in (*parts, error):
        pieces.data(part, 65_536)


async def test_a_character_that_is_cut_in_two_arrives_whole_in_reasoning_and_in_a_tool_s_input():
    def thought(text: str) -> Any:
        return {"choices": [{"index": 0, "delta": {"reasoning": text}, "finish_reason": None}]}

    calls = [completion((0, "t", "track", '"\ud83d')), completion((0, None, None, '\ude00"'), finish="stop")]
    found = await adapted(adapters.openai, [thought("a\ud83d"), thought("\ude00"), *calls])
    assert (joined(found, "delta"), joined(found, "inputTextDelta")) == ("a😀", '"😀"')
    assert found[-1]["input"] == "😀"
