"""The only door of an aggregator: Flower's Fleet API, and whether the aggregator is well.

A SuperLink serves its Fleet, Control and Runtime API on one port and asks no one who they are
before it lets them start a run, which is to say run code on every participant. So it listens on
loopback, and this stands before it. Each request is parsed by h11, must be one of the few
requests a SuperNode makes, to the letter, and is then written anew: of what a stranger sent,
only the headers' values and the counted bytes of the body go on, so no framing of theirs is ever
read by the SuperLink. Everything else is answered here and its connection closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import h11

from fedspan.flower.certificates import LOOPBACK, ServerCertificate

ALLOWED: Final = re.compile(rb"POST /v1/fleet/[a-z]+(?:-[a-z]+)*|GET /health")
MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""Flower sends arrays in chunks of 5 MiB."""

MAX_HEAD_BYTES: Final = 16 * 1024
MAX_CONNECTIONS: Final = 1024
IDLE_SECONDS: Final = 150.0
HEAD_SECONDS: Final = 10.0
STALL_SECONDS: Final = 60.0
UPSTREAM_IDLE_SECONDS: Final = 4.0
"""A stock SuperLink closes an idle connection after five."""

CHUNK_BYTES: Final = 256 * 1024
OURS: Final = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade expect host content-length date server".split()
)
"""Headers that speak of one connection, or that the front sets itself."""


class Refused(Exception):
    """Answered without a word to the SuperLink."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Lost(Exception):
    """The other side went away, or said nothing for too long."""


@dataclass(slots=True)
class Wire:
    """One connection and what h11 knows of it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    state: h11.Connection
    used: float = 0.0

    async def event(self, seconds: float) -> h11.Event | type[h11.PAUSED]:
        """The next event. Raises `Lost`, or h11's error for what is no HTTP."""
        while True:
            event = self.state.next_event()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]  # h11's sentinels are types
            try:
                async with asyncio.timeout(seconds):
                    data = await self.reader.read(CHUNK_BYTES)
            except (OSError, TimeoutError) as exc:
                raise Lost from exc
            if not data and self.state.their_state is h11.IDLE:
                raise Lost
            self.state.receive_data(data)

    async def send(self, *events: h11.Event) -> None:
        try:
            for event in events:
                for part in self.state.send_with_data_passthrough(event) or ():
                    self.writer.write(part)
            async with asyncio.timeout(STALL_SECONDS):
                await self.writer.drain()
        except (OSError, TimeoutError) as exc:
            raise Lost from exc

    async def body(self) -> AsyncIterator[h11.Data]:
        """The parts of the message under way, to its end."""
        while isinstance(event := await self.event(STALL_SECONDS), h11.Data):
            yield event
        if not isinstance(event, h11.EndOfMessage):
            raise Lost

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.writer.close()


class Upstream:
    """The SuperLink on loopback: a few TLS connections, used again while they are fresh."""

    def __init__(self, port: int, ca: Path) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._idle: deque[Wire] = deque()

    async def connection(self) -> Wire:
        while self._idle:
            wire = self._idle.pop()
            fresh = time.monotonic() - wire.used < UPSTREAM_IDLE_SECONDS
            if fresh and not wire.reader.at_eof() and not wire.writer.is_closing():
                return wire
            wire.close()
        try:
            reader, writer = await asyncio.open_connection(
                LOOPBACK, self._port, ssl=self._tls, limit=2 * CHUNK_BYTES
            )
        except OSError as exc:
            raise Lost from exc
        return Wire(reader, writer, h11.Connection(h11.CLIENT))

    def release(self, wire: Wire) -> None:
        if wire.state.our_state is h11.DONE and wire.state.their_state is h11.DONE:
            wire.state.start_next_cycle()
            wire.used = time.monotonic()
            self._idle.append(wire)
        else:
            wire.close()


class Front:
    """Serves connections from outside; each carries one request after another."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer, h11.Connection(h11.SERVER, MAX_HEAD_BYTES))
        self._open += 1
        try:
            while self._open <= MAX_CONNECTIONS and await self._one(wire):
                wire.state.start_next_cycle()
        except (Lost, h11.ProtocolError):
            pass  # there is nobody to tell
        finally:
            self._open -= 1
            wire.close()

    async def _one(self, wire: Wire) -> bool:
        """Answer one request; whether the connection may carry another."""
        try:
            request = await self._request(wire)
            if request is None:
                return False
            await self._pass_on(wire, request)
        except h11.RemoteProtocolError as exc:
            await _refuse(wire, exc.error_status_hint)
        except Refused as exc:
            await _refuse(wire, exc.status)
        return wire.state.our_state is h11.DONE and wire.state.their_state is h11.DONE

    async def _request(self, wire: Wire) -> h11.Request | None:
        if not wire.state.trailing_data[0]:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    wire.state.receive_data(await wire.reader.read(CHUNK_BYTES))
        if wire.state.their_state is h11.IDLE and not wire.state.trailing_data[0]:
            return None
        event = await wire.event(HEAD_SECONDS)
        if not isinstance(event, h11.Request):
            return None
        check(event)
        return event

    async def _pass_on(self, wire: Wire, request: h11.Request) -> None:
        """Stream the body there, then the answer back: a SuperLink reads before it answers."""
        try:
            upstream = await self._upstream.connection()
        except Lost:
            raise Refused(502) from None
        try:
            await upstream.send(anew(request))
            async for part in wire.body():
                await upstream.send(part)
            await upstream.send(h11.EndOfMessage())
            answer = await upstream.event(STALL_SECONDS)
            if not isinstance(answer, h11.Response):
                raise Lost
            await wire.send(_answer(answer))
            async for part in upstream.body():
                await wire.send(part)
            await wire.send(h11.EndOfMessage())
        except (Lost, h11.ProtocolError):
            upstream.close()
            if wire.state.our_state is h11.SEND_RESPONSE:
                raise Refused(502) from None
            raise
        self._upstream.release(upstream)


def check(request: h11.Request) -> None:
    """Whether a SuperNode would ask this, in these words. Raises `Refused`."""
    if not ALLOWED.fullmatch(request.method + b" " + request.target):
        raise Refused(404)
    headers = dict(request.headers)
    if b"transfer-encoding" in headers:
        raise Refused(411)
    if b"expect" in headers or b"upgrade" in headers:
        raise Refused(400)
    if int(headers.get(b"content-length", b"0")) > MAX_BODY_BYTES:
        raise Refused(413)


def anew(request: h11.Request) -> h11.Request:
    """`request` in our words."""
    headers = dict(request.headers)
    length = b"%d" % int(headers.get(b"content-length", b"0"))
    kept = [(name, value) for name, value in request.headers if name not in OURS]
    return h11.Request(
        method=request.method,
        target=request.target,
        headers=[(b"host", LOOPBACK.encode()), (b"content-length", length), *kept],
    )


def _answer(response: h11.Response) -> h11.Response:
    headers = dict(response.headers)
    kept = [(name, value) for name, value in response.headers if name not in OURS]
    if b"content-length" in headers:
        kept.append((b"content-length", headers[b"content-length"]))
    return h11.Response(status_code=response.status_code, headers=kept)


async def _refuse(wire: Wire, status: int) -> None:
    """Answer and part: what else the stranger sent is not read."""
    if wire.state.our_state in (h11.IDLE, h11.SEND_RESPONSE):
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        await wire.send(h11.Response(status_code=status, headers=headers), h11.EndOfMessage())
    raise Lost


def run(listener: socket.socket, certificate: ServerCertificate, superlink_port: int) -> None:
    """Serve until killed. `listener` is bound."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate.certificate, certificate.key)
    tls.set_alpn_protocols(["http/1.1"])
    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(_serve(listener, tls, Front(Upstream(superlink_port, certificate.ca))))


async def _serve(listener: socket.socket, tls: ssl.SSLContext, front: Front) -> None:
    server = await asyncio.start_server(
        front.serve,
        sock=listener,
        ssl=tls,
        backlog=256,
        limit=2 * CHUNK_BYTES,
        ssl_handshake_timeout=HEAD_SECONDS,
    )
    async with server:
        await server.serve_forever()


def _loop() -> asyncio.AbstractEventLoop:
    """uvloop where there is one: it comes with uvicorn, and its TLS is twice as fast."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
