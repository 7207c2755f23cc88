"""Objects as a ServerApp wants them: a store that is away for minutes costs those minutes only.

A round is trained over hours, perhaps, by everyone; that its checkpoint meets an outage must not
throw it away. So a passing error is waited for, with everything kept in memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from fedspan.errors import FedspanError, StoreUnavailable
from fedspan.objects.base import ObjectInfo, Objects

T = TypeVar("T")

PATIENCE_SECONDS: Final = 15 * 60.0
"""How long one operation is tried. Machines of a job wait longer than that for everything."""

PAUSE_SECONDS: Final = (0.5, 10.0)
"""Between attempts: at first, and at most."""

SAID_SECONDS: Final = 10.0
"""How often an attempt that lasts is told of: a network that drops packets says nothing itself."""


class Patient:
    """`objects`, tried again for as long as they are `StoreUnavailable`.

    `waiting` is told why before each pause, and "" when that is over; while an attempt lasts it is
    told of that, from another thread. What it raises before a pause ends the wait. A write that was
    done though nobody heard of it is done again, so one with `new` may raise `Conflict` because of
    itself.
    """

    def __init__(self, objects: Objects, waiting: Callable[[str], None]) -> None:
        self._objects = objects
        self._waiting = waiting

    def put(self, key: str, source: bytes | Path, *, new: bool = False) -> None:
        self._patiently(f"put {key}", lambda: self._objects.put(key, source, new=new))

    def get(self, key: str) -> bytes:
        return self._patiently(f"get {key}", lambda: self._objects.get(key))

    def chunks(self, key: str) -> Iterator[bytes]:
        """Patient at the call alone: what was read cannot be taken back."""
        return self._patiently(f"get {key}", lambda: self._objects.chunks(key))

    def download(self, key: str, to: Path) -> None:
        self._patiently(f"get {key}", lambda: self._objects.download(key, to))

    def copy(self, source: str, target: str) -> None:
        self._patiently(f"copy {source}", lambda: self._objects.copy(source, target))

    def list(self, prefix: str) -> Sequence[ObjectInfo]:
        return self._patiently(f"list {prefix}", lambda: self._objects.list(prefix))

    def delete(self, key: str) -> None:
        self._patiently(f"delete {key}", lambda: self._objects.delete(key))

    def uri(self, key: str) -> str:
        return self._objects.uri(key)

    def _patiently(self, what: str, act: Callable[[], T]) -> T:
        end, pause, attempts = time.monotonic() + PATIENCE_SECONDS, PAUSE_SECONDS[0], 0
        while True:
            attempts += 1
            try:
                with self._watched(what) as said:
                    result = act()
            except StoreUnavailable as exc:
                if time.monotonic() >= end:
                    spent = f"tried {attempts} times in {PATIENCE_SECONDS / 60:g} minutes"
                    raise StoreUnavailable(f"{exc}; {spent}") from exc
                self._waiting(f"{exc}; tried {attempts} times")
                time.sleep(pause)
                pause = min(PAUSE_SECONDS[1], 2 * pause)
            else:
                if attempts > 1 or said.is_set():
                    self._waiting("")
                return result

    @contextmanager
    def _watched(self, what: str) -> Iterator[threading.Event]:
        """Meanwhile `what` is told to last; whether it was."""
        began, said, over = time.monotonic(), threading.Event(), threading.Event()

        def tell() -> None:
            while not over.wait(SAID_SECONDS):
                said.set()
                with suppress(FedspanError):  # who waits finds out by itself
                    lasts = time.monotonic() - began
                    self._waiting(f"objects {what}: no end of it after {lasts:.0f} s")

        teller = threading.Thread(target=tell, name="patience", daemon=True)
        teller.start()
        try:
            yield said
        finally:
            over.set()
            teller.join()
