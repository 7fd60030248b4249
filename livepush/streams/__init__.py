"""Streams: text that grows and then ends, such as a language model's answer or a job's log. ::

    with livepush.streams.open("job:7") as log:
        log.write("Importing\\n")

Readers resume from any process, tab or device; see ``docs/streams.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livepush.streams.adapters import anthropic, openai
    from livepush.streams.finding import aget, arunning, get, running
    from livepush.streams.jobs import arun, follow, run
    from livepush.streams.starting import start, start_in_thread
    from livepush.streams.writing import open

__all__ = [
    "aget",
    "anthropic",
    "arun",
    "arunning",
    "follow",
    "get",
    "open",
    "openai",
    "run",
    "running",
    "start",
    "start_in_thread",
]
_HOMES = {
    "aget": "finding",
    "anthropic": "adapters",
    "arun": "jobs",
    "arunning": "finding",
    "follow": "jobs",
    "get": "finding",
    "open": "writing",
    "openai": "adapters",
    "run": "jobs",
    "running": "finding",
    "start": "starting",
    "start_in_thread": "starting",
}


def __getattr__(name: str) -> Any:
    """Import on first use: Django imports this package before its models can be."""
    if name not in _HOMES:
        raise AttributeError(f"module 'livepush.streams' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"livepush.streams.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__]
