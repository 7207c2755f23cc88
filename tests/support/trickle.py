"""A server that answers one byte at a time."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Dripping:
    url: str
    said: int = 0


@contextlib.contextmanager
def dripping(begin: bytes, count: int) -> Iterator[Dripping]:
    """Says `begin` at once and then so many letters, one by one, to one who asks."""
    enough = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError), listening.accept()[0] as there:
            there.recv(65_536)
            there.sendall(begin)
            for _ in range(count):
                enough.wait(0.05)
                there.sendall(b"x")
                made.said += 1

    with socket.create_server(("127.0.0.1", 0)) as listening:
        made = Dripping(f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield made
        finally:
            enough.set()
            thread.join()
