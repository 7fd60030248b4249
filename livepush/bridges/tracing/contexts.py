"""The trace contexts of events, as their keys in the log hold them."""

from __future__ import annotations

from collections.abc import Collection

from opentelemetry.context import Context
from opentelemetry.trace import Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from livepush import publish
from livepush.models import Event

PREFIX = "new:trace:"
"""What these keys begin with: no earlier event can have one, so that the log need not look."""
FIELD = "traceparent"
_propagator = TraceContextTextMapPropagator()


def key_of(context: Context) -> str | None:
    """Return the key that holds a context; ``None`` if there is none to hold."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context)
    return publish.own_key_of(PREFIX + carrier[FIELD]) if FIELD in carrier else None


def contexts_of(using: str, numbers: Collection[int]) -> dict[int, Context]:
    """Return the context of each of some events that has one, with one query."""
    begin = publish.own_key_of(PREFIX)
    rows = Event.objects.using(using).filter(position__in=numbers, key__startswith=begin)
    found = dict(rows.values_list("position", "key").distinct())
    return {
        number: _propagator.extract({FIELD: key.removeprefix(begin)})
        for number, key in found.items()
        if number is not None and key is not None
    }


def is_sampled(span: Span) -> bool:
    """Return whether anybody will see a span."""
    return span.is_recording() and span.get_span_context().trace_flags.sampled
