"""What gets through the front, and what does not: real TLS, and raw bytes on the wire."""

from __future__ import annotations

import hashlib
import multiprocessing
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from fedspan.flower import front
from fedspan.flower.aggregator import free_port
from fedspan.flower.certificates import ServerCertificate, server_certificate

HOST = b"host: x\r\n"
PART = bytes(range(256)) * 1024
EMPTY = b"content-length: 0\r\n\r\n"


@dataclass
class Upstream:
    """An ASGI app in the SuperLink's place: it remembers who asked what and, as the SuperLink
    does, answers once it has the whole request: with its hash, or with many bytes."""

    seen: list[str] = field(default_factory=list)
    first_part: threading.Event = field(default_factory=threading.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(f"{scope['method']} {scope['raw_path'].decode()}")
        headers = dict(scope["headers"])
        assert {b"transfer-encoding", b"connection", b"upgrade"}.isdisjoint(headers)
        digest, more = hashlib.sha256(), True
        while more:
            event = await receive()
            more = event.get("more_body", False)
            digest.update(event.get("body", b""))
            if event.get("body"):
                self.first_part.set()
        start = {"type": "http.response.start", "status": 200}
        await send({**start, "headers": [(b"x-host", headers[b"host"])]})
        if scope["path"] == "/v1/fleet/pull-object":
            for _ in range(32):
                await send({"type": "http.response.body", "body": PART, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.body", "body": digest.hexdigest().encode()})


@dataclass(frozen=True)
class Door:
    port: int
    ca: Path
    upstream: Upstream

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def tls(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.ca))
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return context.wrap_socket(plain, server_hostname="127.0.0.1")

    def says(self, *raw: bytes) -> bytes:
        """Everything that comes back for these bytes, until the front parts."""
        with self.tls() as wire:
            wire.sendall(b"".join(raw))
            answer = b""
            while part := wire.recv(65536):
                answer += part
            return answer


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    now = datetime.fromtimestamp(datetime.now(UTC).timestamp(), UTC)  # noqa: TID251 real TLS
    return server_certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1", now)


@pytest.fixture(scope="module")
def shared(certificate: ServerCertificate) -> Iterator[Door]:
    upstream, port = Upstream(), free_port()
    config = uvicorn.Config(
        upstream,
        host="127.0.0.1",
        port=port,
        log_level="error",
        lifespan="off",
        ws="none",
        ssl_certfile=certificate.certificate,
        ssl_keyfile=certificate.key,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    with _fronted(certificate, port) as listening:
        yield Door(listening, certificate.ca, upstream)
    server.should_exit = True
    thread.join()


class _fronted:
    """The front in a process of its own, before whatever listens on `upstream`."""

    def __init__(self, certificate: ServerCertificate, upstream: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        spawn = multiprocessing.get_context("spawn")
        arguments = (self._listener, certificate, upstream)
        self._process = spawn.Process(target=front.run, args=arguments)

    def __enter__(self) -> int:
        self._process.start()
        port: int = self._listener.getsockname()[1]
        return port

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._listener.close()


@pytest.fixture
def door(shared: Door) -> Door:
    shared.upstream.seen.clear()
    shared.upstream.first_part.clear()
    return shared


def test_a_call_of_a_supernode_and_a_look_at_its_health_get_through(door: Door) -> None:
    with httpx.Client(verify=ssl.create_default_context(cafile=str(door.ca))) as client:
        health = client.get(f"{door.url}/health")
        pulled = client.post(f"{door.url}/v1/fleet/pull-messages", content=b"ask")

    asked = hashlib.sha256(b"ask").hexdigest()
    assert (health.status_code, pulled.status_code, pulled.text) == (200, 200, asked)
    assert door.upstream.seen == ["GET /health", "POST /v1/fleet/pull-messages"]
    assert pulled.headers["x-host"] == "127.0.0.1"


TRICKS = {
    "control": b"POST /v1/control/start-run HTTP/1.1\r\n",
    "runtime": b"POST /v1/runtime/acquire-task HTTP/1.1\r\n",
    "docs": b"GET /docs HTTP/1.1\r\n",
    "root": b"GET / HTTP/1.1\r\n",
    "fleet itself": b"POST /v1/fleet/ HTTP/1.1\r\n",
    "dots": b"POST /v1/fleet/../control/start-run HTTP/1.1\r\n",
    "encoded dots": b"POST /v1/fleet/%2e%2e/control/start-run HTTP/1.1\r\n",
    "encoded slash": b"POST /v1/fleet/..%2fcontrol%2fstart-run HTTP/1.1\r\n",
    "encoded letter": b"POST /v1/%63ontrol/start-run HTTP/1.1\r\n",
    "two slashes": b"POST //v1/control/start-run HTTP/1.1\r\n",
    "slash after fleet": b"POST /v1/fleet//pull-messages HTTP/1.1\r\n",
    "backslash": b"POST /v1/fleet/..\\control\\start-run HTTP/1.1\r\n",
    "query": b"POST /v1/fleet/pull-messages?x=/v1/control/ HTTP/1.1\r\n",
    "fragment": b"POST /v1/control/list-runs#/v1/fleet/ HTTP/1.1\r\n",
    "parameter": b"POST /v1/fleet/pull-messages;/../../control/list-runs HTTP/1.1\r\n",
    "absolute form": b"POST https://127.0.0.1/v1/fleet/pull-messages HTTP/1.1\r\n",
    "absolute control": b"POST http://localhost/v1/control/start-run HTTP/1.1\r\n",
    "authority form": b"CONNECT 127.0.0.1:8000 HTTP/1.1\r\n",
    "asterisk form": b"OPTIONS * HTTP/1.1\r\n",
    "odd method": b"TRACE /v1/fleet/pull-messages HTTP/1.1\r\n",
    "get of a call": b"GET /v1/fleet/pull-messages HTTP/1.1\r\n",
    "lower-case method": b"post /v1/fleet/pull-messages HTTP/1.1\r\n",
    "post to health": b"POST /health HTTP/1.1\r\n",
    "upper-case path": b"POST /V1/FLEET/PULL-MESSAGES HTTP/1.1\r\n",
    "tab for a space": b"POST\t/v1/control/start-run\tHTTP/1.1\r\n",
    "null": b"POST /v1/fleet/pull-messages\x00/../control HTTP/1.1\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n",
}


@pytest.mark.parametrize("line", TRICKS.values(), ids=TRICKS.keys())
def test_nothing_else_reaches_the_superlink(door: Door, line: bytes) -> None:
    answer = door.says(line, HOST, EMPTY)

    assert answer.split(b" ", 2)[1] in (b"404", b"400", b"505")
    assert door.upstream.seen == []


SMUGGLED = b"POST /v1/control/start-run HTTP/1.1\r\n" + HOST + EMPTY
CALL = b"POST /v1/fleet/pull-messages HTTP/1.1\r\n" + HOST
FRAMINGS = {
    "both lengths": b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked": b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "obscured chunked": b"content-length: 4\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "folded": b"content-length: 4\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"content-length: 0\r\ncontent-length: 80\r\n\r\n",
    "a signed length": b"content-length: +0\r\n\r\n",
    "a hexadecimal length": b"content-length: 0x10\r\n\r\n",
    "an upgrade": b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 0\r\n\r\n",
    "an expectation": b"expect: 100-continue\r\ncontent-length: 4\r\n\r\n",
    "no colon": b"content-length\r\n\r\n",
    "a return in a header": b"x: a\rtransfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("rest", FRAMINGS.values(), ids=FRAMINGS.keys())
def test_a_request_that_two_could_read_differently_is_read_by_nobody(
    door: Door, rest: bytes
) -> None:
    answer = door.says(CALL, rest, SMUGGLED)

    assert answer.split(b" ", 2)[1] in (b"400", b"411")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert door.upstream.seen == []


def test_a_second_request_on_an_allowed_connection_is_looked_at_too(door: Door) -> None:
    answer = door.says(CALL, b"content-length: 3\r\n\r\nabc", SMUGGLED, CALL, EMPTY)

    assert answer.startswith(b"HTTP/1.1 200") and b"HTTP/1.1 404" in answer
    assert answer.count(b"HTTP/1.1 ") == 2
    assert door.upstream.seen == ["POST /v1/fleet/pull-messages"]


def test_what_follows_a_counted_body_is_no_part_of_it(door: Door) -> None:
    answer = door.says(CALL, b"content-length: 5\r\n\r\n", b"hello", SMUGGLED)

    assert hashlib.sha256(b"hello").hexdigest().encode() in answer
    assert door.upstream.seen == ["POST /v1/fleet/pull-messages"]


def test_the_callers_host_is_not_passed_on(door: Door) -> None:
    answer = door.says(
        b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: a/v1/control/start-run?\r\n",
        EMPTY[:-2],
        b"connection: close\r\n\r\n",
    )

    assert b"x-host: 127.0.0.1\r\n" in answer


def test_a_body_streams_to_the_superlink(door: Door) -> None:
    body = PART * 32
    with door.tls() as wire:
        wire.sendall(CALL + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body))
        wire.sendall(body[: len(PART)])
        assert door.upstream.first_part.wait(10), "the front waits for the whole body"
        wire.sendall(body[len(PART) :])
        answer = b"".join(iter(lambda: wire.recv(65536), b""))

    assert hashlib.sha256(body).hexdigest().encode() in answer


def test_a_body_of_any_size_comes_back_whole(door: Door) -> None:
    with httpx.Client(verify=ssl.create_default_context(cafile=str(door.ca))) as client:
        pulled = client.post(f"{door.url}/v1/fleet/pull-object", content=b"which")

    assert pulled.content == PART * 32


def test_a_body_over_the_limit_is_refused_before_it_is_sent(door: Door) -> None:
    answer = door.says(CALL, b"content-length: %d\r\n\r\n" % (front.MAX_BODY_BYTES + 1))

    assert answer.startswith(b"HTTP/1.1 413")
    assert door.upstream.seen == []


def test_a_head_without_end_is_refused(door: Door) -> None:
    answer = door.says(CALL, b"x: " + b"y" * 2 * front.MAX_HEAD_BYTES)

    assert answer.startswith(b"HTTP/1.1 431")
    assert door.upstream.seen == []


def test_a_superlink_that_is_gone_is_a_bad_gateway(certificate: ServerCertificate) -> None:
    with _fronted(certificate, free_port()) as port:
        answer = Door(port, certificate.ca, Upstream()).says(CALL, EMPTY)

    assert answer.startswith(b"HTTP/1.1 502")
