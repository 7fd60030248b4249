"""The fan-out of one event loop. It knows neither Django nor the database: the log and the layer are passed in."""

from __future__ import annotations

from livepush.hub.connection import FAREWELL, Connection, Reason, State
from livepush.hub.fanout import Share
from livepush.hub.hub import Hub, Options
from livepush.hub.registry import hubs, known_position
from livepush.hub.waiter import Waiter

__all__ = [
    "FAREWELL",
    "Connection",
    "Hub",
    "Options",
    "Reason",
    "Share",
    "State",
    "Waiter",
    "hubs",
    "known_position",
]
