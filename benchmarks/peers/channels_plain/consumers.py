"""The consumer."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer


class Board(AsyncWebsocketConsumer):
    """Passes on what is sent to the group."""

    async def connect(self) -> None:
        await self.channel_layer.group_add("board", self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard("board", self.channel_name)

    async def board_event(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])
