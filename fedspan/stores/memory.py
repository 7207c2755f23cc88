"""A store in this process's memory: the honest fake of the others, lost when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from fedspan.errors import Conflict, FedspanError
from fedspan.stores.base import Change, Key, Put, Stored
from fedspan.stores.limits import check_changes


class MemoryStore:
    """Safe across threads. `fail_next` is raised by the next call, which then does nothing."""

    def __init__(self) -> None:
        self.fail_next: FedspanError | None = None
        self._lock = Lock()
        self._documents: dict[Key, Stored] = {}

    def get(self, key: Key) -> Stored | None:
        with self._lock:
            self._fail()
            return self._documents.get(key)

    def list(
        self, partition: str, *, after: str = "", limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Stored]:
        with self._lock:
            self._fail()
            # Python orders strings by code point, which is also the order of their UTF-8 bytes.
            found = sorted(
                (d for d in self._documents.values() if d.key.partition == partition),
                key=lambda d: d.key.sort,
                reverse=newest_first,
            )
        if after and newest_first:
            found = [d for d in found if d.key.sort < after]
        elif after:
            found = [d for d in found if d.key.sort > after]
        return found[: max(limit, 0)]

    def write(self, changes: Sequence[Change]) -> None:
        check_changes(changes)
        with self._lock:
            self._fail()
            for change in changes:
                if isinstance(change, Put):
                    self._check_version(change)
            for change in changes:
                if isinstance(change, Put):
                    stored = Stored(change.key, change.body, change.expected + 1)
                    self._documents[change.key] = stored
                else:
                    self._documents.pop(change.key, None)

    def close(self) -> None:
        """Nothing to give back."""

    def _check_version(self, put: Put) -> None:
        there = self._documents.get(put.key)
        version = there.version if there else 0
        if version != put.expected:
            raise Conflict(f"{put.key} is at version {version}, not {put.expected}")

    def _fail(self) -> None:
        error, self.fail_next = self.fail_next, None
        if error is not None:
            raise error
