"""The clients that others have made read streams in their own formats."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest

from livepush.streams import adapters
from tests.integration.clients import http
from tests.patience import PATIENCE, eventually
from tests.servers import processes
from tests.servers.fresh import Databases
from tests.servers.processes import Server
from tests.streams.readers import address
from tests.streams.site import words

HERE = Path(__file__).parent / "node_clients"
PARTS = [
    {"type": "reasoning-start", "id": "r"},
    {"type": "reasoning-delta", "id": "r", "delta": "Where is it?"},
    {"type": "reasoning-end", "id": "r"},
    {"type": "tool-input-start", "toolCallId": "t", "toolName": "track"},
    {"type": "tool-input-delta", "toolCallId": "t", "inputTextDelta": '{"parcel":7}'},
    {"type": "tool-input-available", "toolCallId": "t", "toolName": "track", "input": {"parcel": 7}},
    {"type": "tool-output-available", "toolCallId": "t", "output": "on its way"},
]


@pytest.fixture(scope="module")
def server(databases: Databases) -> Iterator[Server]:
    with (
        databases.fresh("postgresql") as database,
        processes.server("uvicorn", database, may_fail=True) as found,
    ):
        yield found


async def under_node(folder: Path, client: str, url: str, **asked: Any) -> Any:
    """Have a client under node ask for a stream; return what it made of it."""
    process = await asyncio.create_subprocess_exec(
        "node", str(HERE / "read.mjs"), client, url, json.dumps(asked),
        env={**os.environ, "LIVEPUSH_STREAM_CLIENTS": str(folder)},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0
    return json.loads(out)


def client(server: Server) -> Any:
    import openai  # it takes seconds, which each worker would spend as it collects the tests

    return openai.AsyncOpenAI(base_url=f"{server.url}/streams/v1", api_key="none", max_retries=0)


async def chunks(client: Any, **asked: Any) -> list[Any]:
    """Return what OpenAI's client for Python gets."""
    given: Any = [{"role": "user", "content": json.dumps(asked)}]
    async with client:
        return [each async for each in await client.chat.completions.create(
            model="lark-1", messages=given, stream=True)]  # fmt: skip


async def test_openai_s_client_for_python_reads_chunks_to_the_end(server):
    found = await chunks(client(server), words=20)
    assert "".join(each.choices[0].delta.content or "" for each in found) == words(20)
    assert [each.choices[0].finish_reason for each in found if each.choices[0].finish_reason] == ["stop"]
    assert {(each.model, each.object) for each in found} == {("lark-1", "chat.completion.chunk")}
    assert found[0].choices[0].delta.role == "assistant"
    assert len({each.id for each in found}) == 1


async def test_openai_s_client_for_python_raises_what_failed(server):
    import openai

    with pytest.raises(openai.APIError, match="The stream failed"):
        await chunks(client(server), words=20, fail=3)


@pytest.mark.long
async def test_openai_s_client_for_node_reads_chunks_to_the_end_and_raises_what_failed(server, node_clients):
    url = f"{server.url}/streams/v1"
    whole = await under_node(node_clients, "openai", url, words=20)
    assert whole == {"text": words(20), "reasons": ["stop"], "model": "lark-1", "error": ""}
    failed = await under_node(node_clients, "openai", url, words=20, fail=3)
    assert (failed["text"], "The stream failed" in failed["error"]) == (words(3), True)


@pytest.mark.long
async def test_the_ai_sdk_reads_text_reasoning_and_tools(server, node_clients):
    found = await under_node(
        node_clients, "ai", f"{server.url}/streams/chat/sdk/", words=5, parts=[*PARTS, {"progress": 0.5}]
    )
    assert found["errors"] == []
    kinds = {part["type"]: part for part in found["parts"]}
    assert list(kinds) == ["reasoning", "tool-track", "data-livepush", "text"]
    assert (kinds["reasoning"]["text"], kinds["reasoning"]["state"]) == ("Where is it?", "done")
    assert (kinds["tool-track"]["input"], kinds["tool-track"]["output"]) == ({"parcel": 7}, "on its way")
    assert kinds["data-livepush"]["data"] == {"progress": 0.5}
    assert (kinds["text"]["text"], kinds["text"]["state"]) == (words(5), "done")
    assert len(found["id"]) == 22


@pytest.mark.long
async def test_the_ai_sdk_is_told_of_a_failure(server, node_clients):
    found = await under_node(node_clients, "ai", f"{server.url}/streams/chat/sdk/", words=5, fail=2)
    assert found["errors"] == ["The stream failed."]
    assert found["parts"][0]["text"] == words(2)


@pytest.fixture
def half(databases: Databases) -> Iterator[tuple[Server, str]]:
    """A server, and a stream that another process writes and has not ended."""
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database) as elsewhere,
        processes.server("uvicorn", database, {"DRAIN": 0.2}, may_fail=True) as server,
    ):
        id = elsewhere.do("open_stream", group="room:half", format="openai")
        elsewhere.do("write", stream=id, text="half an a")
        yield server, id


@pytest.mark.parametrize("format", ["openai", pytest.param("text", marks=pytest.mark.long)])
async def test_a_deploy_in_mid_answer_does_not_look_like_its_end(half, format):
    import openai

    server, id = half
    body, ending = b"", None
    async with http() as client, client.stream("GET", address(server.url, id, format=format)) as response:
        with pytest.raises(httpx.RemoteProtocolError) if format == "text" else nullcontext():
            async for raw in response.aiter_raw():
                body += raw
                if b"half an a" in body and ending is None:
                    ending = asyncio.create_task(asyncio.to_thread(server.stop))
    assert ending is not None
    await ending
    if format == "text":
        assert body == b"half an a"
        return
    answer = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    transport = httpx.MockTransport(lambda request: answer)
    sdk = openai.OpenAI(base_url="http://any/", api_key="none", http_client=httpx.Client(transport=transport))
    with pytest.raises(openai.APIError, match="before the end of the stream"):
        list(sdk.chat.completions.create(model="any", messages=[], stream=True))


@pytest.mark.long
async def test_the_ai_sdk_is_told_of_a_deploy_in_mid_answer(half, node_clients):
    server, _ = half
    reading = asyncio.create_task(
        under_node(node_clients, "ai", f"{server.url}/streams/chat/half/stream/?format=ai-sdk")
    )
    await eventually(lambda: asyncio.to_thread(lambda: server.holds() == 1))
    await asyncio.to_thread(server.stop)
    found = await reading
    assert found["errors"] == ["The response was cut before the end of the stream."]
    assert found["parts"][0]["text"] == "half an a"


async def test_the_sdk_s_own_objects_are_taken_too(server):
    async def given():
        for each in await chunks(client(server), words=3):
            yield each

    assert "".join([piece async for piece in adapters.openai(given())]) == words(3)
