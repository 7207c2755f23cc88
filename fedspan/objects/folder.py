"""Objects in a folder of this machine: one file each, at the path that is its key.

Python's own file calls, not obstore's `LocalStore`, which lacks what a checkpoint needs: it
never syncs to the disk, reports a full one as any other failure, holds all of an object in
memory to create it conditionally, and leaves the pieces of a killed writer behind.
"""

from __future__ import annotations

import fcntl
import io
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Final

from fedspan.errors import Conflict, NotFound
from fedspan.objects.base import ObjectInfo
from fedspan.objects.files import CHUNK_BYTES, appearing, durable, reading, writing
from fedspan.objects.keys import STAGING, check_key, folder_of

LOCK: Final = "lock"


class FolderObjects:
    """Threads and processes may share the folder, which is made if need be, for us alone.

    An object is written under `STAGING`, then moved to its place in one step: readers see all
    of it or nothing, and what a killed writer left there goes when the folder is next opened.
    Unlike a bucket, it cannot hold both an object `a` and an object `a/b`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._staging = self._root / STAGING
        with writing(str(root)):
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._staging.mkdir(mode=0o700, exist_ok=True)
            self._sweep()

    def put(self, key: str, source: bytes | Path, *, new: bool = False) -> None:
        target = self._path(key)
        with _opened(source) as origin, writing(key), self._staged() as staged:
            with durable(staged) as file:
                shutil.copyfileobj(origin, file, CHUNK_BYTES)
            self._publish(staged, target, new=new)

    def get(self, key: str) -> bytes:
        with reading(key):
            return self._path(key).read_bytes()

    def chunks(self, key: str) -> Iterator[bytes]:
        stream = _read(self._path(key), key)
        # The first chunk is read here: a missing object is found now, not in the caller's loop.
        head = list(islice(stream, 1))
        return chain(head, stream)

    def download(self, key: str, to: Path) -> None:
        chunks = self.chunks(key)
        with writing(str(to)), appearing(to) as file:
            file.writelines(chunks)

    def copy(self, source: str, target: str) -> None:
        origin, place = self._path(source), self._path(target)
        with writing(target), self._staged() as staged:
            if not origin.is_file():
                raise NotFound(f"no object {source}")
            # A second name for the same bytes is a copy, at once and for free: no object is ever
            # changed in place.
            with reading(source):
                staged.hardlink_to(origin)
            self._publish(staged, place, new=False)

    def list(self, prefix: str) -> Sequence[ObjectInfo]:
        with reading(prefix):
            found = list(self._walk(self._root / folder_of(prefix)))
        return sorted((o for o in found if o.key.startswith(prefix)), key=lambda o: o.key)

    def delete(self, key: str) -> None:
        with suppress(NotFound), reading(key):
            path = self._path(key)
            if not path.is_dir():
                path.unlink()

    def uri(self, key: str) -> str:
        return self._path(key).as_uri()

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    @contextmanager
    def _staged(self) -> Iterator[Path]:
        """A name for an object not yet whole, free again afterwards."""
        with self._locked(fcntl.LOCK_SH):
            staged = self._staging / secrets.token_hex(8)
            try:
                yield staged
            finally:
                staged.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what killed writers left, unless one that lives is at work: then another time."""
        with suppress(BlockingIOError), self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
            for left in self._staging.iterdir():
                if left.name != LOCK:
                    left.unlink()

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        """The kernel lets go of the lock when its holder dies, however it dies."""
        with (self._staging / LOCK).open("ab") as file:
            fcntl.flock(file, how)
            yield

    def _publish(self, staged: Path, target: Path, *, new: bool) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if new:
            # Unlike a rename, a link never replaces: of two that create, one is refused.
            try:
                target.hardlink_to(staged)
            except FileExistsError:
                raise Conflict(f"the object {target.relative_to(self._root)} exists") from None
        else:
            staged.replace(target)
        for folder in target.parents:
            _sync_folder(folder)
            if folder == self._root:
                break

    def _walk(self, folder: Path | str) -> Iterator[ObjectInfo]:
        # What others delete meanwhile is passed over.
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.path != str(self._staging):
                        yield from self._walk(entry.path)
                    continue
                with suppress(FileNotFoundError):
                    key = Path(entry.path).relative_to(self._root).as_posix()
                    yield ObjectInfo(key, entry.stat().st_size)


def _opened(source: bytes | Path) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _read(path: Path, key: str) -> Iterator[bytes]:
    with reading(key), path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _sync_folder(folder: Path) -> None:
    """A new name is on the disk only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
