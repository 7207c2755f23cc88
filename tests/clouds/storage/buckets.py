"""What Cloud Storage keeps: buckets, objects with their generations, uploads in parts, and who
may do what. An answer that is no success is a `Refused`."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

SMALLEST_PART: Final = 5 * 2**20
MOST_KEYS: Final = 1000
MOST_PARTS: Final = 10_000
MOST_NAME_BYTES: Final = 1024
PERMISSIONS: Final = frozenset(
    {
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.get",
        "storage.objects.list",
        "storage.multipartUploads.create",
        "storage.multipartUploads.abort",
    }
)

_generations = itertools.count(1_795_000_000_000_000)


class Refused(Exception):
    """`code` is the error's name in the body."""

    def __init__(self, status: int, code: str, message: str, details: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = details


@dataclass(frozen=True)
class Object:
    """One generation of an object, which never changes: readers keep what they began to read."""

    body: bytes
    etag: str
    generation: int = field(default_factory=lambda: next(_generations))
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))  # noqa: TID251 - a server


@dataclass
class Upload:
    name: str
    parts: dict[int, tuple[str, bytes]] = field(default_factory=dict)


@dataclass
class Bucket:
    """`allowed`: by e-mail of a service account, what it may do."""

    name: str
    allowed: dict[str, frozenset[str]] = field(default_factory=dict)
    objects: dict[str, Object] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def demand(self, caller: str, *permissions: str) -> None:
        for one in permissions:
            if one not in self.allowed.get(caller, frozenset()):
                said = f"{caller} does not have {one} access to the Google Cloud Storage object. "
                said += f"Permission '{one}' denied on resource (or it may not exist)."
                raise Refused(403, "AccessDenied", "Access denied.", said)

    def read(self, caller: str, name: str) -> Object:
        self.demand(caller, "storage.objects.get")
        found = self.objects.get(name)
        if found is None:
            # Who may not list is not told what there is not.
            self.demand(caller, "storage.objects.list")
            raise _no_key(self.name, name)
        return found

    def write(self, caller: str, name: str, body: bytes, match: str | None) -> Object:
        return self._keep(caller, name, Object(body, _etag(body)), match)

    def copy(self, caller: str, origin: Object, name: str, match: str | None) -> Object:
        return self._keep(caller, name, Object(origin.body, origin.etag), match)

    def delete(self, caller: str, name: str) -> None:
        self.demand(caller, "storage.objects.delete")
        with self.lock:
            if self.objects.pop(name, None) is None:
                raise _no_key(self.name, name)

    def list(
        self, caller: str, prefix: str, after: str, limit: int
    ) -> tuple[Sequence[tuple[str, Object]], bool]:
        """A page of what starts with `prefix`, beyond `after`, and whether there is more."""
        self.demand(caller, "storage.objects.list")
        with self.lock:
            every = list(self.objects.items())
        found = sorted(
            ((name, one) for name, one in every if name.startswith(prefix) and name > after),
            key=lambda pair: pair[0].encode(),
        )
        limit = min(limit, MOST_KEYS)
        return found[:limit], len(found) > limit

    def begin(self, caller: str, name: str) -> str:
        self.demand(caller, "storage.multipartUploads.create", "storage.objects.create")
        id = f"VXBsb2FkIElE{next(_generations)}"
        self.uploads[id] = Upload(name)
        return id

    def part(self, caller: str, name: str, id: str, number: int, body: bytes) -> str:
        self.demand(caller, "storage.multipartUploads.create", "storage.objects.create")
        if not 1 <= number <= MOST_PARTS:
            raise Refused(400, "InvalidArgument", f"Invalid part number: {number}")
        etag = _etag(body)
        self._upload(name, id).parts[number] = etag, body
        return etag

    def complete(
        self, caller: str, name: str, id: str, wanted: Sequence[tuple[int, str]]
    ) -> Object:
        self.demand(caller, "storage.multipartUploads.create", "storage.objects.create")
        parts = self._upload(name, id).parts
        if not wanted:
            raise Refused(400, "MalformedCompleteMultipartUploadRequest", "Has no parts.")
        if [number for number, _ in wanted] != sorted({number for number, _ in wanted}):
            raise Refused(400, "InvalidPartOrder", "Parts must be in ascending order.")
        for number, etag in wanted:
            if number not in parts or parts[number][0] != etag:
                raise Refused(400, "InvalidPart", "A part could not be found, or is another.")
        bodies = [parts[number][1] for number, _ in wanted]
        if any(len(body) < SMALLEST_PART for body in bodies[:-1]):
            raise Refused(400, "EntityTooSmall", "A part but the last is smaller than 5 MiB.")
        etag = f'"{hashlib.md5("".join(e for _, e in wanted).encode()).hexdigest()}-{len(wanted)}"'
        made = self._keep(caller, name, Object(b"".join(bodies), etag), None)
        del self.uploads[id]
        return made

    def abort(self, caller: str, name: str, id: str) -> None:
        self.demand(caller, "storage.multipartUploads.abort")
        self._upload(name, id)
        del self.uploads[id]

    def _keep(self, caller: str, name: str, made: Object, match: str | None) -> Object:
        """`match` is the generation that must be there; "0" means that there must be none."""
        self.demand(caller, "storage.objects.create")
        if not name or len(name.encode()) > MOST_NAME_BYTES or "\n" in name or "\r" in name:
            raise Refused(400, "InvalidObjectName", "The specified object name is not valid.")
        with self.lock:
            held = self.objects.get(name)
            if match is not None and match != str(held.generation if held else 0):
                said = "At least one of the pre-conditions you specified did not hold."
                raise Refused(412, "PreconditionFailed", said)
            if held:
                self.demand(caller, "storage.objects.delete")
            self.objects[name] = made
        return made

    def _upload(self, name: str, id: str) -> Upload:
        found = self.uploads.get(id)
        if found is None or found.name != name:
            raise Refused(404, "NoSuchUpload", "The requested upload was not found.")
        return found


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'


def _no_key(bucket: str, name: str) -> Refused:
    said = f"No such object: {bucket}/{name}"
    return Refused(404, "NoSuchKey", "The specified key does not exist.", said)
