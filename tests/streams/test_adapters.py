"""The events of language models' SDKs become text and parts; they have the shapes that the SDKs' objects have."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from livepush.streams import adapters


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
