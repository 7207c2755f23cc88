"""What every metadata store does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Where a document lies. A `partition` (say ``round#<job>``) is listed by itself, its
    documents in the order of `sort` as UTF-8 bytes. Neither is empty; DynamoDB takes 2,048
    bytes of the first and 1,024 of the second."""

    partition: str
    sort: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A document and its version: 1 when made, one more with each write."""

    key: Key
    body: str
    version: int


@dataclass(frozen=True, slots=True)
class Put:
    """Write `body` if the version there is `expected`; 0 means there must be nothing yet."""

    key: Key
    body: str
    expected: int


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove what is there, if anything is."""

    key: Key


Change = Put | Delete

MAX_CHANGES = 100
"""DynamoDB's limit on one transaction, so everybody's."""

MAX_BODY_BYTES = 350_000
"""An item of DynamoDB has at most 400 KB, its keys included; so has everybody's."""


MAX_WRITE_BYTES = 10 * MAX_BODY_BYTES
"""A transaction of DynamoDB carries at most 4 MB; so does everybody's."""


class Store(Protocol):
    def get(self, key: Key) -> Stored | None:
        """The document at `key` as the last completed write left it, or None."""

    def list(
        self, partition: str, *, after: str = "", limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Stored]:
        """Up to `limit` documents of `partition` in the order of their `sort`.

        With `newest_first` the order is reversed. Only those strictly beyond `after` (in the
        direction of listing) are returned; ``""`` means from the start.
        """

    def write(self, changes: Sequence[Change]) -> None:
        """Make all `changes` or none. Each key appears once; at most `MAX_CHANGES`.

        Raises:
            Conflict: a version was not the expected one, or another write was under way at the
                same key; nothing was written.
            TooLarge: a body has more than `MAX_BODY_BYTES` as UTF-8, or all together more than
                `MAX_WRITE_BYTES`; nothing was written.
            StoreUnavailable: whether it was written is unknown; write again, and a `Conflict`
                means that it was.
            StorageFull: there is no room; nothing was written.
            ValueError: too many changes, or a key twice: the mistake is in our own code.
        """

    def close(self) -> None:
        """Give connections back. The store is not used afterwards."""
