"""A webhook's receiver, which notes what it gets and answers as it is told."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Received(NamedTuple):
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Runs in a thread. ``answer`` returns the status, and may return headers and a body after it."""

    def __init__(self, certificate: tuple[str, str] | None = None) -> None:
        self.requests: list[Received] = []
        self.answer: Callable[[Received], Any] = lambda request: 204
        self.connections = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                receiver.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Received(self.path, headers, body)
                receiver.requests.append(request)
                found = receiver.answer(request)
                status, more, content = (*found, {}, b"")[:3] if isinstance(found, tuple) else (found, {}, b"")
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}/hook?site=1"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def ids(self) -> list[str]:
        """Return the ids of the requests, in their order."""
        return [request.headers["webhook-id"] for request in self.requests]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def receiver(certificate: tuple[str, str] | None = None) -> Iterator[Receiver]:
    """Run a receiver."""
    found = Receiver(certificate)
    try:
        yield found
    finally:
        found.close()
