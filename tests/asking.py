"""Asks livepush's endpoints by way of its ASGI application, without a server."""

from __future__ import annotations

from collections.abc import Mapping

from asgiref.testing import ApplicationCommunicator

from tests.asgi import application
from tests.patience import PATIENCE


async def request(path: str, query: str | bytes, headers: Mapping[str, str]) -> ApplicationCommunicator:
    """Send a ``GET`` request; return what talks to the application."""
    given = {"host": "testserver", **headers}
    scope = {
        "type": "http",
        "method": "GET",
        "http_version": "1.1",
        "path": path,
        "query_string": query if isinstance(query, bytes) else query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        "server": ("127.0.0.1", 1),
        "client": ("127.0.0.1", 2),
    }
    found = ApplicationCommunicator(application, scope)
    await found.send_input({"type": "http.request"})
    return found


async def ask(path: str, query: str | bytes, headers: Mapping[str, str]) -> tuple[int, str]:
    """Send a ``GET`` request; return the status and the whole body."""
    found = await request(path, query, headers)
    status, body, more = (await found.receive_output(PATIENCE))["status"], b"", True
    while more:
        message = await found.receive_output(PATIENCE)
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await found.wait(PATIENCE)
    return status, body.decode()
