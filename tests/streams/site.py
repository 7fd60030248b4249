"""A site that answers in streams: views as a project has them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.template import engines
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from livepush import streams

BULK = 60_000
"""How many characters each of the ``bulk`` texts has that a generator yields before its words."""


def words(count: int) -> str:
    """Return the text that a generator of so many words yields."""
    return "".join(f"word{number} " for number in range(count))


async def generate(asked: dict[str, Any]) -> AsyncIterator[Any]:
    """Yield words, one every ``pause`` seconds; raise after ``fail`` of them."""
    for part in asked.get("parts", ()):
        yield part
    for _ in range(int(asked.get("bulk", 0))):
        yield "x" * BULK
    for number in range(int(asked.get("words", 5))):
        if number == int(asked.get("fail", -1)):
            raise RuntimeError("the model is gone")
        yield f"word{number} "
        await asyncio.sleep(float(asked.get("pause", 0.01)))


async def answer(request: HttpRequest) -> HttpResponseBase:
    """Start a stream as the query says; answer with it, or with its id if ``json`` is asked for."""
    asked = {**request.GET.dict(), **(json.loads(request.body) if request.body else {})}
    format = asked.get("format", "text")
    stream = await streams.start(asked.get("group", "room:1"), generate(asked), format=format, metadata={"of": "test"})
    return JsonResponse({"stream": stream.id}) if "json" in asked else stream.response()


@csrf_exempt
async def completions(request: HttpRequest) -> HttpResponseBase:
    """Answer as OpenAI's chat completions do."""
    asked = json.loads(request.body)
    given = json.loads(asked["messages"][-1]["content"])
    stream = await streams.start("room:openai", generate(given), format="openai", metadata={"model": asked["model"]})
    return stream.response()


@csrf_exempt
async def chat(request: HttpRequest, chat: str) -> HttpResponseBase:
    """Answer a chat of the AI SDK, whose last message says what to generate."""
    last = json.loads(request.body)["messages"][-1]
    given = json.loads(last["parts"][0]["text"])
    stream = await streams.start(f"room:{chat}", generate(given), format="ai-sdk")
    return stream.response()


async def resume(request: HttpRequest, chat: str) -> HttpResponseBase:
    """Go on with the answer that a chat of the AI SDK waits for."""
    found = await streams.arunning(f"room:{chat}")
    return HttpResponse(status=204) if found is None else found.response(format=request.GET.get("format", ""))


def plain(request: HttpRequest, stream: str) -> HttpResponseBase:
    """Answer with a stream from a sync view."""
    found = streams.get(stream)
    return HttpResponse(status=404) if found is None else found.response(format="text")


def page(request: HttpRequest, stream: str) -> HttpResponse:
    """A page with a stream, under a strict policy."""
    template = engines["django"].from_string(
        '<!doctype html><html lang="en"><title>stream</title><link rel="icon" href="/static/livepush/bell.svg">'
        "{% load livepush %}<body>{% livepush_stream stream %}{% livepush 'board' %}</body></html>"
    )
    policy = (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'; require-trusted-types-for 'script'"
    )
    html = template.render({"stream": stream}, request)
    return HttpResponse(html, headers={"Content-Security-Policy": policy})


urlpatterns = [
    path("page/<str:stream>/", page),
    path("answer/", csrf_exempt(answer)),
    path("plain/<str:stream>/", plain),
    path("v1/chat/completions", completions),
    path("chat/<slug:chat>/", chat),
    path("chat/<slug:chat>/stream/", csrf_exempt(resume)),
]
