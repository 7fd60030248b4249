"""The rule for channels: the channel manager says who may read them, over this bridge and over livepush itself."""

from __future__ import annotations

from typing import Any

from livepush.access import rules
from livepush.bridges.eventstream.channelmanager import manager
from livepush.bridges.eventstream.channels import PREFIX, channel_of, group_of


@rules.can_read(f"{PREFIX}<path:name>")
def may_read(user: Any, name: str) -> bool:
    """Ask the project's channel manager."""
    channel = channel_of(name)
    if group_of(channel) != PREFIX + name:
        return False
    return bool(manager().can_read_channel(user if getattr(user, "is_authenticated", False) else None, channel))
