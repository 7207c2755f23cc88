"""A process that dies somewhere between two calls to its cloud."""

from __future__ import annotations

import threading

from tests.clouds.proxy import Fault, FaultProxy


class Death:
    """After `calls` more calls nothing reaches the cloud, as of a process that was killed. Of the
    call after them nothing is heard: with `done` it reached the cloud all the same."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: int | None = None
        self._done = False

    def comes(self, *, after: int, done: bool) -> None:
        self._left, self._done = after, done

    def is_over(self) -> None:
        self._left = None

    def strikes(self) -> Fault | None:
        with self._lock:
            if self._left is None:
                return None
            self._left -= 1
            if self._left >= 0:
                return None
            return Fault(cut="after" if self._left == -1 and self._done else "before")


class MortalProxy(FaultProxy):
    """The way to a cloud of a process that `death` comes to. Several ways may share one."""

    def __init__(self, target_url: str, death: Death) -> None:
        super().__init__(target_url)
        self._death = death

    def fault(self, method: str, path: str) -> Fault | None:
        return self._death.strikes() or super().fault(method, path)
