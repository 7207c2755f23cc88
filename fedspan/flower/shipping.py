"""Logs leave the machine before it does: their tails go to the object store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from fedspan.objects.base import Objects

TAIL_BYTES: Final = 1024 * 1024
EVERY_SECONDS: Final = 10.0
LAST_SECONDS: Final = 10.0


class Shipper:
    """Puts the tail of each log under ``<prefix><name>.log``, while they change and at the end.

    It has a thread of its own: a slow object store must not cost a heartbeat. A log that cannot
    be put is tried again with the next; training never waits for it.
    """

    def __init__(
        self, opened: Callable[[], Objects], prefix: str, logs: Mapping[str, Path]
    ) -> None:
        self._opened = opened
        self._prefix = prefix
        self._logs = dict(logs)
        self._objects: Objects | None = None
        self._shipped: dict[str, tuple[int, int]] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)

    def start(self) -> None:
        """Not before a fork: this makes the process multi-threaded."""
        self._thread.start()

    def finish(self) -> None:
        """Ship what is left; returns after a while even when the store does not answer."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join(LAST_SECONDS)

    def _run(self) -> None:
        while not self._done.wait(EVERY_SECONDS):
            self._ship_somewhere()
        self._ship_somewhere()

    def _ship_somewhere(self) -> None:
        """Access to the objects may come later than the logs."""
        try:
            self._objects = self._objects or self._opened()
        except Exception as exc:
            logging.getLogger("fedspan.aggregator").warning("logs stay here: %s", exc)
        else:
            self._ship(self._objects)

    def _ship(self, objects: Objects) -> None:
        for name, path in self._logs.items():
            try:
                now = path.stat()
                if self._shipped.get(name) != (now.st_size, now.st_mtime_ns):
                    objects.put(f"{self._prefix}{name}.log", tail(path))
                    self._shipped[name] = (now.st_size, now.st_mtime_ns)
            except FileNotFoundError:
                continue
            except Exception as exc:
                logging.getLogger("fedspan.aggregator").warning("log %s: %s", name, exc)


def tail(path: Path) -> bytes:
    """The last `TAIL_BYTES` of a file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return file.read(TAIL_BYTES)
