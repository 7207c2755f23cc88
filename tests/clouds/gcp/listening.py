"""HTTP: what comes in is given to one function, and what it says goes out."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answering = Callable[[str, str, str, bytes], tuple[int, Any]]
"""From method, target, ``Authorization`` and body to status and document."""


class Dropped(Exception):
    """The connection ends without an answer."""


class Listening(ThreadingHTTPServer):
    daemon_threads = False  # so that `server_close` waits for them

    def __init__(self, answer: Answering) -> None:
        self.answer = answer
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End what clients keep open."""
        for connection in tuple(self._open):
            connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one go
    server: Listening

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            header = self.headers.get("Authorization", "")
            status, document = self.server.answer(self.command, self.path, header, body)
        except Dropped:
            self.close_connection = True
            return
        encoded = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)
        self.wfile.flush()

    do_POST = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        pass
