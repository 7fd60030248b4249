"""Takes the messages of clients: each is checked, stamped with its user, and handled or passed on, once."""

from __future__ import annotations

from livepush.receiving.handlers import Handler, handler_of, receive
from livepush.receiving.taking import Message, pass_on, running, take, take_async

__all__ = ["Handler", "Message", "handler_of", "pass_on", "receive", "running", "take", "take_async"]
