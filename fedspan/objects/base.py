"""What every object store does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    key: str
    bytes: int


class Objects(Protocol):
    """Keys are relative POSIX paths (``jobs/7f/rounds/000003.json``) of at most 900 printable
    characters; ``.``, ``..``, an empty part, or a slash at either end raises `InvalidRequest`.
    No key is the folder of another: a bucket would take both, a folder cannot."""

    def put(self, key: str, source: bytes | Path, *, new: bool = False) -> None:
        """Write all of `source` under `key`, or nothing: a reader never sees a part.

        A path streams; that it is not there is a plain `FileNotFoundError`. With `new`, an
        object that exists raises `Conflict` and stays.

        Raises:
            Conflict, StorageFull, StoreUnavailable
        """

    def get(self, key: str) -> bytes:
        """A small object, whole. Raises `NotFound`."""

    def chunks(self, key: str) -> Iterator[bytes]:
        """An object of any size, a few MiB at a time. Raises `NotFound` at the call, not at the
        first chunk."""

    def download(self, key: str, to: Path) -> None:
        """Stream an object into the file `to`, which appears whole. Raises `NotFound`."""

    def copy(self, source: str, target: str) -> None:
        """Copy inside the store, without passing the bytes through here. Raises `NotFound`."""

    def list(self, prefix: str) -> Sequence[ObjectInfo]:
        """All objects whose key starts with `prefix` (a folder: end it with ``/``), by key."""

    def delete(self, key: str) -> None:
        """Idempotent: an unknown object counts as deleted."""

    def uri(self, key: str) -> str:
        """Where a person finds it: ``file:///...``, ``s3://bucket/key`` or ``gs://...``."""
