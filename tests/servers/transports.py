"""An application that says whether livepush gets at the transport beneath a request."""

from __future__ import annotations

from typing import Any

from tests.asgi import application as project  # isort: skip (it sets Django up, which livepush's modules need)

from livepush.process.servers import daphne, hypercorn, uvicorn


def found(send: Any) -> str:
    """Return which of livepush's modules finds the transport."""
    modules = (uvicorn, hypercorn, daphne)
    return " ".join(each.__name__.rpartition(".")[2] for each in modules if each.transport(send) is not None)


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await project(scope, receive, send)
    elif scope["type"] == "http":
        body = found(send).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    else:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": found(send)})
        await send({"type": "websocket.close"})
