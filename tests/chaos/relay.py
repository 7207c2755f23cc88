"""A way to the API that can be cut for some machines and not for others.

What is cut stalls, as on a network that drops packets: open connections say nothing more, new
ones are taken and not answered. Nothing is reset, so both ends find out by their own limits.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final, Self

import psutil

from fedspan.providers.local import MARK

CHUNK_BYTES: Final = 65_536
ADDRESS: Final = re.compile(rb'"address":"127\.0\.0\.1:(\d+)"')
"""In a report of an aggregator."""
Cut = Callable[[str], bool]
"""Whether the machine of this name is cut off."""
Named = Callable[[], str]
"""Whose connection it is."""


def nobody(machine: str) -> bool:
    return False


class Relay:
    """Listens on loopback and passes on to `target`, while the block runs."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._cut: Cut = nobody
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._ended = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended = True
        self.cut(nobody)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in tuple(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def cut(self, who: Cut) -> None:
        """From now on these are cut off, and no others."""
        with self._changed:
            self._cut = who
            self._changed.notify_all()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, peer = self._listener.accept()
                threading.Thread(target=self._serve, args=(near, peer[1]), daemon=True).start()

    def _serve(self, near: socket.socket, port: int) -> None:
        machine = cache(lambda: machine_at(port))  # dear, so not asked while nobody is cut off
        self._wait(machine)
        with near, contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", self._target)) as far:
                self._open |= {near, far}
                back = threading.Thread(target=self._pump, args=(far, near, machine), daemon=True)
                back.start()
                self._pump(near, far, machine)
                back.join()
            self._open -= {near, far}

    def _pump(self, source: socket.socket, sink: socket.socket, machine: Named) -> None:
        """Until either end closes; the other hears of it."""
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                self._wait(machine)
                self._pass(sink, data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _pass(self, sink: socket.socket, data: bytes) -> None:
        sink.sendall(data)

    def _is_target(self, sink: socket.socket) -> bool:
        return sink.getpeername()[1] == self._target  # type: ignore[no-any-return]

    def _wait(self, machine: Named) -> None:
        if self._cut is nobody:
            return
        name = machine()
        with self._changed:
            self._changed.wait_for(lambda: self._ended or not self._cut(name))


class Between(Relay):
    """A way to the API, and one to the front of each aggregator whose report passes: participants
    are told of a relay there, which can be cut like this one."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._fronts: dict[int, Relay] = {}
        self._front_cut: Cut = nobody
        self._ways = contextlib.ExitStack()

    def __exit__(self, *exc: object) -> None:
        self._ways.close()
        super().__exit__(*exc)

    def cut_fronts(self, who: Cut) -> None:
        """From now on these are cut off from aggregators, and no others."""
        self._front_cut = who
        for one in tuple(self._fronts.values()):
            one.cut(who)

    def _pass(self, sink: socket.socket, data: bytes) -> None:
        super()._pass(sink, ADDRESS.sub(self._relayed, data) if self._is_target(sink) else data)

    def _relayed(self, found: re.Match[bytes]) -> bytes:
        port = int(found[1])
        with self._changed:
            if port not in self._fronts:
                self._fronts[port] = self._ways.enter_context(Relay(port))
                self._fronts[port].cut(self._front_cut)
        told = found[0].replace(found[1], str(self._fronts[port].port).encode())
        assert len(told) == len(found[0]), "the body would have another length than its header says"
        return told


class Halfway(Relay):
    """Lets nothing more through of the first connection over which `most` bytes went to `target`:
    `halfway` is set then."""

    def __init__(self, target: int, most: int) -> None:
        super().__init__(target)
        self.halfway = threading.Event()
        self._most, self._gone = most, Counter[int]()

    def _pass(self, sink: socket.socket, data: bytes) -> None:
        if self._is_target(sink) and not self.halfway.is_set():
            self._gone[sink.fileno()] += len(data)
            if self._gone[sink.fileno()] > self._most:
                self.halfway.set()
                with self._changed:
                    self._changed.wait_for(lambda: self._ended)
        super()._pass(sink, data)


def machine_at(port: int) -> str:
    """The name of the machine whose process speaks from this port of loopback, or nothing."""
    for one in psutil.net_connections("tcp4"):
        if one.laddr and one.laddr.port == port and one.pid:
            with contextlib.suppress(psutil.Error):
                return Path(psutil.Process(one.pid).environ().get(MARK, "")).name
    return ""
