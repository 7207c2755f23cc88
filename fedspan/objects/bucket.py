"""Objects in a bucket, by way of obstore: no cloud's SDK in the images.

S3 and Cloud Storage differ in how they are reached; what is done there is the same.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import obstore
from obstore import exceptions
from obstore.store import GCSStore, S3Store

from fedspan.errors import (
    Conflict,
    FedspanError,
    InvalidRequest,
    NotFound,
    StorageFull,
    StoreError,
    StoreUnavailable,
)
from fedspan.objects.base import ObjectInfo
from fedspan.objects.files import CHUNK_BYTES, appearing, writing
from fedspan.objects.keys import STAGING, check_key, folder_of

PART_BYTES: Final = 8 * 2**20
PARTS_AT_ONCE: Final = 4
"""Of an upload, 32 MiB are in memory. 10,000 parts, all that a bucket takes, make 80 GiB."""

KINDS: Final[dict[type[Exception], type[FedspanError]]] = {
    exceptions.AlreadyExistsError: Conflict,
    exceptions.PreconditionError: Conflict,
    exceptions.InvalidPathError: InvalidRequest,
    exceptions.PermissionDeniedError: StoreError,
    exceptions.UnauthenticatedError: StoreError,
}

STATUSES: Final[dict[int, type[FedspanError]]] = {
    408: StoreUnavailable,
    429: StoreUnavailable,
    507: StorageFull,  # MinIO and Ceph, whose disks are somebody's
}

CODES: Final[dict[str, type[FedspanError]]] = {
    "NoSuchBucket": StoreError,
    "AccessDenied": StoreError,
    # The answer to its completion was lost, or a lifecycle rule ended it: put once more.
    "NoSuchUpload": StoreUnavailable,
}

CLIENT_OPTIONS: Final[dict[str, Any]] = {
    # obstore's 30 s cover all of a body, so a slow link could never fetch a large object.
    "timeout": "1h",
    "read_timeout": "2m",
}


class BucketObjects:
    """All objects that `store` holds; `at` is the URI of where it begins.

    Uploads that a killed writer began stay, hidden and billed: give the bucket lifecycle rules
    that end incomplete multipart uploads and delete what is under `STAGING`.
    """

    def __init__(self, store: S3Store | GCSStore, at: str) -> None:
        self._at = at.rstrip("/")
        self._store = store

    def put(self, key: str, source: bytes | Path, *, new: bool = False) -> None:
        check_key(key)
        # Asked for first, so that a missing source is the caller's FileNotFoundError.
        large = isinstance(source, Path) and source.stat().st_size > PART_BYTES
        with _translated(f"put {key}"):
            if new and large:
                self._create_large(key, source)
            else:
                self._upload(key, source, mode="create" if new else "overwrite")

    def get(self, key: str) -> bytes:
        with self._missing_told(key), _translated(f"get {check_key(key)}", missing=NotFound):
            return bytes(obstore.get(self._store, key).bytes())

    def chunks(self, key: str) -> Iterator[bytes]:
        with self._missing_told(key), _translated(f"get {check_key(key)}", missing=NotFound):
            return _read(obstore.get(self._store, key), key)

    def download(self, key: str, to: Path) -> None:
        chunks = self.chunks(key)
        with writing(str(to)), appearing(to) as file:
            file.writelines(chunks)

    def copy(self, source: str, target: str) -> None:
        # S3 copies up to 5 GB in one call; anything larger is refused there. Google has no limit.
        with _translated(f"copy {check_key(source)}", missing=NotFound):
            obstore.copy(self._store, source, check_key(target))

    def list(self, prefix: str) -> Sequence[ObjectInfo]:
        # obstore knows only whole folders as prefixes.
        folder = folder_of(prefix)
        with _translated(f"list {prefix}"):
            pages = obstore.list(self._store, folder or None, chunk_size=1000)
            found = [ObjectInfo(meta["path"], meta["size"]) for page in pages for meta in page]
        found = [
            o for o in found if o.key.startswith(prefix) and not o.key.startswith(f"{STAGING}/")
        ]
        return sorted(found, key=lambda o: o.key)

    def delete(self, key: str) -> None:
        # S3 finds nothing wrong with an object that is not there, Cloud Storage does.
        with suppress(NotFound), _translated(f"delete {check_key(key)}", missing=NotFound):
            obstore.delete(self._store, key)

    def uri(self, key: str) -> str:
        return f"{self._at}/{check_key(key)}"

    @contextmanager
    def _missing_told(self, key: str) -> Iterator[None]:
        """Who may not list all of a bucket is told of a missing object that it is forbidden. A
        machine may list the objects of its job, and so finds out."""
        try:
            yield
        except StoreError as exc:
            denied = isinstance(exc.__cause__, exceptions.PermissionDeniedError)
            if denied and self._unlisted(key):
                raise NotFound(f"no object {key}") from exc
            raise

    def _unlisted(self, key: str) -> bool:
        try:
            return all(one.key != key for one in self.list(key))
        except StoreError:
            return False

    def _upload(self, key: str, source: bytes | Path, *, mode: Any) -> None:
        obstore.put(
            self._store,
            key,
            source,
            mode=mode,
            chunk_size=PART_BYTES,
            max_concurrency=PARTS_AT_ONCE,
        )

    def _create_large(self, key: str, source: bytes | Path) -> None:
        """obstore creates conditionally only in one request, all of it in memory. So: upload in
        parts beside, then let the bucket copy it here on the condition."""
        staged = f"{STAGING}/{secrets.token_hex(8)}"
        try:
            self._upload(staged, source, mode="overwrite")
            obstore.copy(self._store, staged, key, overwrite=False)
        finally:
            # Already decided either way; what this leaves, the lifecycle rule takes.
            with suppress(exceptions.BaseError, FileNotFoundError):
                obstore.delete(self._store, staged)


def _read(result: obstore.GetResult, key: str) -> Iterator[bytes]:
    with _translated(f"get {key}", missing=NotFound):
        for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
            yield bytes(chunk)


@contextmanager
def _translated(action: str, *, missing: type[FedspanError] = StoreError) -> Iterator[None]:
    """`missing` is what a 404 means: of a call that needs no object, that there is no bucket."""
    try:
        yield
    except (FileNotFoundError, exceptions.BaseError) as exc:
        raise _kind(exc, missing)(f"objects {action}: {_brief(exc)}") from exc


def _kind(exc: Exception, missing: type[FedspanError]) -> type[FedspanError]:
    """obstore names code and status in its text only. No status means that no answer came."""
    # As S3 writes it, and as obstore tells of one among many deletions.
    said = re.findall(r"<Code>(\w+)</Code>|\(code: (\w+)\)", str(exc))
    named = [CODES[code] for pair in said for code in pair if code in CODES]
    if named:
        return named[0]
    if isinstance(exc, FileNotFoundError):
        return missing
    if not isinstance(exc, exceptions.GenericError):
        return KINDS.get(type(exc), StoreError)
    status = re.search(r"status code: (\d{3})", str(exc))
    code = int(status[1]) if status else 503
    return STATUSES.get(code, StoreUnavailable if code >= 500 else StoreError)


def _brief(exc: Exception) -> str:
    """The first lines: obstore adds a page of its inner structure."""
    return " ".join(str(exc).partition("\n\nDebug source")[0].split())[:600]
