"""Files that appear whole, and the operating system's errors in our words."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from fedspan.errors import FedspanError, NotFound, StorageFull, StoreError

CHUNK_BYTES: Final = 4 * 2**20

ERRNOS: Final[dict[int, type[FedspanError]]] = {
    errno.ENOSPC: StorageFull,
    errno.EDQUOT: StorageFull,
    errno.EFBIG: StorageFull,
}

MISSING: Final[dict[int, type[FedspanError]]] = {
    errno.ENOENT: NotFound,
    errno.ENOTDIR: NotFound,  # of the key a/b, when a is an object
    errno.EISDIR: NotFound,  # of the key a, when a/b is an object
}


@contextmanager
def writing(name: str, full: type[FedspanError] = StorageFull) -> Iterator[None]:
    """Translate what the operating system says while `name` is written; `full` is that there is
    no room."""
    with _translated(f"write {name}", dict.fromkeys(ERRNOS, full)):
        yield


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Translate what the operating system says while `name` is read; missing is `NotFound`."""
    with _translated(f"read {name}", ERRNOS | MISSING):
        yield


@contextmanager
def _translated(action: str, kinds: dict[int, type[FedspanError]]) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        kind = kinds.get(exc.errno or 0, StoreError)
        raise kind(f"cannot {action}: {exc.strerror}") from exc


@contextmanager
def appearing(to: Path) -> Iterator[BinaryIO]:
    """A file to write, which replaces `to` when the block ends well and vanishes otherwise."""
    part = to.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with durable(part) as file:
            yield file
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def durable(path: Path) -> Iterator[BinaryIO]:
    """A new file at `path`, whose bytes are on the disk when the block ends well: a name must
    never come to mean a file that a power cut emptied."""
    with path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
