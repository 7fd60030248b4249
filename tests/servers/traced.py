"""The project with OpenTelemetry's SDK, as ``tests.servers.traced:application``.

``/spans/`` are the spans that the process has made, and ``/sell/?group=…`` sends an event within a span of its own.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

from tests.asgi import application as project  # isort: skip (it sets Django up, which livepush's modules need)

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import livepush
from livepush.consumers.base import answer

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)


def told(span: ReadableSpan) -> dict[str, Any]:
    """Return what a test wants to know of a span."""
    return {
        "name": span.name,
        "trace": f"{span.context.trace_id:032x}",
        "id": f"{span.context.span_id:016x}",
        "parent": None if span.parent is None else f"{span.parent.span_id:016x}",
        "begun": span.start_time,
        "ended": span.end_time,
        **dict(span.attributes or {}),
    }


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Serve the two addresses, else the project."""
    if scope.get("path") == "/spans/":
        await answer(scope, send, json.dumps([told(span) for span in exporter.get_finished_spans()]).encode())
    elif scope.get("path") == "/sell/":
        query = parse_qs(scope["query_string"].decode())
        with trace.get_tracer("shop").start_as_current_span("sell"):
            await livepush.asend(query["group"], "sold", 1, key=query.get("key", [None])[0])
        await answer(scope, send, b"{}")
    else:
        await project(scope, receive, send)
