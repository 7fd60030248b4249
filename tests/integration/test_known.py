"""A user whom a middleware named at the handshake: who subscribes later is asked as who that is by then."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.integration import clients
from tests.scale import some
from tests.servers import processes


@pytest.mark.parametrize("kind", ["postgresql"])
@pytest.mark.parametrize("comes_back", some([False, True]))
async def test_a_websocket_that_subscribes_again_does_not_get_what_was_sent_meanwhile(
    databases: Any, kind: str, comes_back: bool
) -> None:
    group, application = "inbox:of:club", "tests.servers.known:application"
    with (
        databases.fresh(kind) as database,
        processes.server("uvicorn", database, application=application) as server,
        processes.publisher(database) as elsewhere,
    ):

        async def do(name: str, **arguments: Any) -> Any:
            return await asyncio.to_thread(elsewhere.do, name, **arguments)

        async def enter() -> None:
            await do("join", username="ann", group="club")

        async def leave() -> None:
            await do("leave", username="ann", group="club")

        cookie, start = await do("session", username="ann"), elsewhere.position()
        await enter()
        subscribe = json.dumps({"command": "subscribe", "groups": [group], "since": start})
        async with clients.websocket(server.url, "board", headers={"Cookie": cookie}) as socket:

            async def until(type: str) -> dict[str, Any]:
                while (found := await clients.frame(socket))["type"] != type:
                    types.append(found["type"])
                return dict(found)

            types: list[str] = []
            await until("livepush.hello")
            await socket.send(subscribe)
            assert (await until("livepush.reply"))["ok"]
            await leave()
            await until("livepush.revoked")
            await do("send", groups=group, type="meanwhile", data=None)
            if comes_back:
                await enter()
            await socket.send(subscribe)
            assert (await until("livepush.reply"))["ok"] is comes_back
            await do("send", groups=[group, "board"], type="end", data=None)
            assert (await until("end")).get("groups", ["board"]) == (["board", group] if comes_back else ["board"])
            assert "meanwhile" not in types
