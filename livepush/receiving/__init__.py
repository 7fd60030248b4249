"""Takes the messages of clients: each is checked, stamped with its user, and handled or passed on, once."""

from __future__ import annotations

from livepush.receiving.handlers import handler_of, receive
from livepush.receiving.taking import Message, running, take, take_async

__all__ = ["Message", "handler_of", "receive", "running", "take", "take_async"]
