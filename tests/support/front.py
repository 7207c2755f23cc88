"""A server that says to everybody what a test wants said."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Front:
    """Answers every request alike, and remembers who asked."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    wait: threading.Event | None = None
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)


@contextmanager
def standing(front: Front) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            front.connections.append(self.connection)

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            front.asked.append((self.path, dict(self.headers)))
            if front.wait is not None:
                front.wait.wait(30)
            self.send_response(front.status)
            for name, value in {"Content-Length": str(len(front.body)), **front.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(front.body)

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = False  # who is still connected at the end is cut off

        def handle_error(self, *_: object) -> None:
            """That nobody listens any more is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        if front.wait is not None:
            front.wait.set()
        server.shutdown()
        thread.join()
        for connection in front.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        server.server_close()
