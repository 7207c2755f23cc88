"""HTTP to addresses that strangers name: only where a cloud may be, only so long, and so much."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from functools import partial
from typing import Any, Final, cast
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from fedspan.errors import CloudUnavailable, ProviderError
from fedspan.providers.addresses import check_address, check_peer
from fedspan.providers.openstack.errors import Hidden

TIMEOUT: Final = (5.0, 20.0)
"""Seconds to connect, and to the next byte."""
MOST_S: Final = 25.0
"""Seconds from the end of a request to the end of its answer."""
MOST_BYTES: Final = 1 << 24
CHUNK_BYTES: Final = 1 << 16


class Guarded(HTTPAdapter):
    """Checks every address a request goes to: Keystone's, those of its catalogue, and those that
    versions documents lead to; all of them are what a stranger's cloud says. A redirect is
    followed only to where it came from: Nova sends ``/v2.1`` to ``/v2.1/``. What is sent as a
    token is `hidden` from then on."""

    def __init__(
        self,
        context: ssl.SSLContext | None,
        allow_loopback: bool,
        hidden: Hidden,
        most_s: float = MOST_S,
    ) -> None:
        self._context = context
        self._allow_loopback = allow_loopback
        self._hidden = hidden
        self._checked: set[str] = set()
        kinds = {"http": _Plain, "https": _Tls}
        self._kinds = {
            scheme: partial(kind, allow_loopback=allow_loopback, most_s=most_s)
            for scheme, kind in kinds.items()
        }
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = self._kinds[pool.scheme]
        return pool

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        self._check(request.url)
        self._hidden.add(request.headers.get("X-Auth-Token"))
        answer = super().send(request, *args, **kwargs | {"timeout": TIMEOUT, "stream": True})
        try:
            self._stays(request.url, answer)
            _read(answer)
        except BaseException:
            answer.close()
            raise
        return answer

    def _check(self, url: str) -> None:
        origin = _origin(url)
        if origin not in self._checked:
            check_address(url, allow_loopback=self._allow_loopback, field="auth_url")
            self._checked.add(origin)

    def _stays(self, here: str, answer: requests.Response) -> None:
        if answer.is_redirect:
            there = urljoin(here, answer.headers["Location"])
            if _origin(there) != _origin(here):
                raise ProviderError(
                    f"openstack: {_origin(here)} redirects to {_origin(there)}, where we do "
                    "not follow; name that address"
                )


def _read(answer: requests.Response) -> None:
    """The whole body, as `requests` would do it but for the limit."""
    body = bytearray()
    for chunk in answer.iter_content(CHUNK_BYTES):
        body += chunk
        if len(body) > MOST_BYTES:
            raise CloudUnavailable(
                f"openstack: {_origin(answer.url)} answers over {MOST_BYTES:,} bytes"
            )
    answer._content = bytes(body)  # what `content` is of, and nothing public sets it


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class _Guard:
    """A connection that looks whom it has reached: a name may have led elsewhere when it was
    checked. Nothing is sent before. An operator's own proxy may be anywhere."""

    def __init__(self, *args: Any, allow_loopback: bool, most_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._allow_loopback = allow_loopback
        cast(Any, self).response_class = partial(_Answer, most_s=most_s)

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # it stands before a connection
        this = cast(HTTPConnection, self)
        if this.proxy is None:
            peer = this.sock.getpeername()[0]
            check_peer(this.host, peer, allow_loopback=self._allow_loopback, field="auth_url")


class _Plain(_Guard, HTTPConnection):
    pass


class _Tls(_Guard, HTTPSConnection):
    pass


class _Answer(http.client.HTTPResponse):
    """Of which the last byte has to come in time, its status and headers included: a timeout of a
    socket begins anew with each byte."""

    def __init__(self, sock: socket.socket, *args: Any, most_s: float, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_Until(sock, time.monotonic() + most_s))


class _Until(io.RawIOBase):
    def __init__(self, sock: socket.socket, end: float) -> None:
        self._sock, self._end = sock, end
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        self._sock.settimeout(min(left, TIMEOUT[1]))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
