"""Runs one hub for each event loop of a server, with its threads, and ends it on the server's signals."""

from __future__ import annotations

from livepush.process.async_orm import queries_in_threads
from livepush.process.connections import tidy
from livepush.process.hubs import get_hub, in_thread, on_start, serving, stop, stop_all
from livepush.process.own_thread import in_own_thread
from livepush.process.responses import note_client, serving_response
from livepush.process.stalled import expect_progress

__all__ = [
    "expect_progress",
    "get_hub",
    "in_own_thread",
    "in_thread",
    "note_client",
    "on_start",
    "queries_in_threads",
    "serving",
    "serving_response",
    "stop",
    "stop_all",
    "tidy",
]
