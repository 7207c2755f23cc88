"""API Gateway on loopback: HTTP in, the Chalice app's answer out."""

from __future__ import annotations

import errno
import json
import re
import threading
from typing import Any, Final

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import (
    ChaliceRequestHandler,
    ForbiddenError,
    LocalDevServer,
    LocalGatewayException,
    NotAuthorizedError,
)

from fedspan import wiring
from fedspan.access import bearer
from fedspan.edge import PROBLEM, problem_document
from fedspan.errors import PortInUse, Unauthorized

MOST_BYTES: Final = 10 * 1024 * 1024
"""API Gateway takes no longer body."""
HOST: Final = "127.0.0.1"


class Gateway:
    """Serves `app` in a thread of its own until `stop`."""

    def __init__(self, app: Chalice, port: int) -> None:
        """Raises `PortInUse`. Port 0 takes any that is free."""
        try:
            self._server = LocalDevServer(app, Config(), HOST, port, handler_cls=_Handler).server
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
            raise PortInUse(
                f"port {port} is taken by another program; end it, or name another --port"
            ) from None
        self._thread = threading.Thread(target=self._server.serve_forever, name="gateway")

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Handler(ChaliceRequestHandler):
    """One request at a time reaches the app: Chalice keeps the current one in an attribute."""

    disable_nagle_algorithm = True  # headers and body are two writes
    timeout = 60
    _turn = threading.Lock()

    def _generic_handle(self) -> None:
        length = self.headers.get("content-length", "0")
        if not re.fullmatch("[0-9]{1,9}", length) or int(length) > MOST_BYTES:
            self.close_connection = True
            self._send_http_response(413, {"Connection": "close"}, b'{"message":"too large"}')
            return
        headers, body = self._parse_payload()
        try:
            with self._turn:
                answer = self.local_gateway.handle_request(
                    method=self.command, path=self.path, headers=headers, body=body
                )
        except LocalGatewayException as exc:
            if _by_the_authorizer(exc):
                self._refuse(self.headers.get("authorization", ""))
            else:
                self._send_error_response(exc)
            return
        answer = self._handle_binary(answer)
        shown = {**answer["headers"], **answer["multiValueHeaders"]}
        self._send_http_response(answer["statusCode"], shown, answer["body"])

    def _refuse(self, header: str) -> None:
        """As the gateway responses in ``infra/aws/front.tf`` do: a problem that says why."""
        try:
            wiring.app().tokens.read(bearer(header))
            why = Unauthorized("this token opens nothing")
        except Unauthorized as exc:
            why = exc
        document = json.dumps(problem_document(why)).encode()
        self._send_http_response(why.http, dict(PROBLEM), document)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = do_OPTIONS = _generic_handle

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: services log what they did."""


def _by_the_authorizer(exc: LocalGatewayException) -> bool:
    """Whether a token was wanting, not a route."""
    denied = exc.headers.get("x-amzn-ErrorType") == "AccessDeniedException"
    return isinstance(exc, NotAuthorizedError) or (isinstance(exc, ForbiddenError) and denied)
