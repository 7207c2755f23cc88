"""A reverse proxy on loopback that injects faults between a client and the cloud it talks to."""

from __future__ import annotations

import http.client
import re
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, Self
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(slots=True)
class Fault:
    """What happens to one request: the first, after `skip` others, whose method is `method` and
    in whose path and query the regular expression `path` is found.

    With `status` the proxy answers it, and the cloud never sees it; with `cut` the connection
    ends without an answer, "before" or "after" the cloud did what was asked."""

    status: int = 0
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    cut: Literal["", "before", "after"] = ""
    method: str = ""
    path: str = ""
    skip: int = 0

    def strikes(self, method: str, path: str) -> bool:
        if (self.method and self.method != method) or not re.search(self.path, path):
            return False
        self.skip -= 1
        return self.skip < 0


class FaultProxy:
    """Forwards to `target_url` (its path is put before the request's), with the Host header the
    client sent, so that signatures hold and links lead back here. `faults` strike once each, in
    their order; `seen` has the method and path of each request. With `tls` it speaks HTTPS."""

    def __init__(self, target_url: str, tls: ssl.SSLContext | None = None) -> None:
        self.faults: list[Fault] = []
        self.seen: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._target = urlsplit(target_url)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def reset(self) -> None:
        with self._lock:
            self.faults.clear()
            self.seen.clear()

    def fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            self.seen.append((method, path))
            for one in self.faults:
                if one.strikes(method, path):
                    self.faults.remove(one)
                    return one
        return None

    def forward(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> Fault:
        """What the cloud answers, in the form of a fault."""
        kind = (
            http.client.HTTPSConnection
            if self._target.scheme == "https"
            else http.client.HTTPConnection
        )
        connection = kind(self._target.hostname or "", self._target.port, timeout=60)
        try:
            connection.putrequest(
                method, self._target.path + path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in headers:
                if name.lower() not in HOP_BY_HOP | {"expect"}:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in HOP_BY_HOP}
            return Fault(answer.status, content, kept)
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that hangs up, or that does not like our certificate, is no error here."""


def _handler(proxy: FaultProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.close_connection = True
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = proxy.fault(self.command, self.path)
            if fault is not None and fault.cut == "before":
                return
            if fault is None or fault.cut == "after":
                try:
                    said = proxy.forward(self.command, self.path, self.headers.items(), body)
                except OSError:
                    return  # the cloud is gone: so is the connection
                if fault is None:
                    self.tell(said)
                return
            self.tell(fault)

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = answer

        def tell(self, said: Fault) -> None:
            self.send_response_only(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            if said.status not in (204, 304):
                self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(said.body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
