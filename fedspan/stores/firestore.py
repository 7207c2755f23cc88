"""A store in Firestore (Native mode): a document lies at ``ROOT/{partition}/documents/{sort}``,
its names escaped, and is listed by its field `sort`.

Firestore orders strings by their UTF-8 bytes, as the contract asks, up to 1,500 of them. Only that
order needs an index, which every field has by itself; `body` and `version` need none.

No transaction: a write that replaces asks for the versions first, then commits on the condition
that nothing was written since. Nobody waits for a lock, and there is none to leave behind.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote

from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError
from google.cloud.firestore import Client

from fedspan.errors import Conflict, Corrupt, FedspanError, StoreError, StoreUnavailable
from fedspan.stores.base import Change, Key, Put, Stored
from fedspan.stores.limits import check_changes

ROOT: Final = "fedspan"
DOCUMENTS: Final = "documents"
MAX_NAME_BYTES: Final = 1_500

CALL_SECONDS: Final = 20.0
RETRY_SECONDS: Final = 8.0
"""How long a call that failed is repeated: a function has 30 s for all it does."""

Codes = Mapping[type[Exception], type[FedspanError]]

CODES: Final[Codes] = {
    exceptions.Aborted: StoreUnavailable,
    exceptions.Cancelled: StoreUnavailable,
    exceptions.DeadlineExceeded: StoreUnavailable,
    exceptions.InternalServerError: StoreUnavailable,
    exceptions.ResourceExhausted: StoreUnavailable,
    exceptions.ServiceUnavailable: StoreUnavailable,
    exceptions.Unknown: StoreUnavailable,
    exceptions.RetryError: StoreUnavailable,
}

REPEATED: Final = if_exception_type(
    exceptions.DeadlineExceeded,
    exceptions.InternalServerError,
    exceptions.ResourceExhausted,
    exceptions.ServiceUnavailable,
)

COMMIT_CODES: Final[Codes] = {
    **CODES,
    exceptions.AlreadyExists: Conflict,
    exceptions.Aborted: Conflict,  # another commit was under way: nothing was written
}

REPLACE_CODES: Final[Codes] = {
    **COMMIT_CODES,
    # Of a database that has just been read. Of any other call they mean that there is none, or
    # none in Native mode.
    exceptions.FailedPrecondition: Conflict,
    exceptions.NotFound: Conflict,
}


@contextmanager
def translated(action: str, codes: Codes = CODES) -> Iterator[None]:
    try:
        yield
    except (exceptions.GoogleAPIError, GoogleAuthError) as exc:
        raise codes.get(type(exc), StoreError)(f"firestore {action}: {exc}") from exc


class FirestoreStore:
    """Stateless but for `client`, which threads may share. Whoever passes it chooses project,
    database, endpoint and credentials. All is under the collection `root`."""

    def __init__(
        self, client: Client, root: str = ROOT, *, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self._client = client
        self._root = root
        self._retry_seconds = retry_seconds

    def get(self, key: Key) -> Stored | None:
        with translated(f"get {key}"):
            found = self._document(key).get(retry=self._retry(), timeout=CALL_SECONDS)
        return _stored(key.partition, found) if found.exists else None

    def list(
        self, partition: str, *, after: str = "", limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Stored]:
        if limit < 1:
            return []
        direction = "DESCENDING" if newest_first else "ASCENDING"
        query = self._partition(partition).order_by("sort", direction=direction).limit(limit)
        if after:
            query = query.start_after({"sort": after})
        with translated(f"list {partition}"):
            found = list(query.stream(retry=self._retry(), timeout=CALL_SECONDS))
        # A stream that broke off and was taken up again begins to count anew.
        return [_stored(partition, one) for one in found[:limit]]

    def write(self, changes: Sequence[Change]) -> None:
        check_changes(changes)
        if not changes:
            return
        action = f"write {', '.join(str(c.key) for c in changes[:3])}"
        replaced = [c for c in changes if isinstance(c, Put) and c.expected]
        with translated(action):
            held = self._held(replaced, ["version"])
        mark = secrets.token_hex(8)
        batch = self._batch(changes, held, mark)
        lost: list[Exception] = []
        try:
            with translated(action, REPLACE_CODES if replaced else COMMIT_CODES):
                batch.commit(retry=self._retry(lost.append), timeout=CALL_SECONDS)
        except Conflict as exc:
            if not lost:
                raise
            # What stood in the way of the repeat may be the write itself, whose answer was lost.
            if not self._bears(changes, mark, action):
                raise StoreUnavailable(f"firestore {action}: no answer, then {exc}") from exc

    def close(self) -> None:
        # The client's own `close` leaves its channel open.
        self._client._firestore_api.transport.close()

    def _retry(self, on_error: Any = None) -> Retry:
        return Retry(
            predicate=REPEATED,
            initial=0.1,
            maximum=1.0,
            timeout=self._retry_seconds,
            on_error=on_error,
        )

    def _partition(self, partition: str) -> Any:
        return self._client.collection(self._root, _name(partition), DOCUMENTS)

    def _document(self, key: Key) -> Any:
        return self._partition(key.partition).document(_name(key.sort))

    def _held(self, changes: Sequence[Change], fields: Sequence[str]) -> dict[str, Any]:
        """What is there of `changes`, by path: of each only `fields`, and when it was written."""
        if not changes:
            return {}
        found = self._client.get_all(
            [self._document(change.key) for change in changes],
            field_paths=fields,
            retry=self._retry(),
            timeout=CALL_SECONDS,
        )
        return {one.reference.path: one for one in found if one.exists}

    def _batch(self, changes: Sequence[Change], held: Mapping[str, Any], mark: str) -> Any:
        """All `changes` as one commit. Raises `Conflict` if a version is already another."""
        batch = self._client.batch()
        for change in changes:
            document = self._document(change.key)
            if not isinstance(change, Put):
                batch.delete(document)
            elif change.expected == 0:
                batch.create(document, _fields(change, mark))
            else:
                one = held.get(document.path)
                version = one.to_dict().get("version") if one else 0
                if one is None or version != change.expected:
                    raise Conflict(f"{change.key} is at version {version}, not {change.expected}")
                unchanged = self._client.write_option(last_update_time=one.update_time)
                batch.update(document, _fields(change, mark), option=unchanged)
        return batch

    def _bears(self, changes: Sequence[Change], mark: str, action: str) -> bool:
        """Whether the write called `mark` was made. All of it was, if any."""
        puts = [change for change in changes if isinstance(change, Put)]
        with translated(action):
            held = self._held(puts, ["mark"])
        return any(one.to_dict().get("mark") == mark for one in held.values())


def _name(text: str) -> str:
    """One part of a path, another for each `text`. Firestore forbids "/", ".", ".." and "__x__"."""
    name = quote(text, safe="").replace(".", "%2E").replace("_", "%5F")
    # No escaped name has a dot.
    return name if len(name) <= MAX_NAME_BYTES else f"sha256.{sha256(text.encode()).hexdigest()}"


def _fields(put: Put, mark: str) -> dict[str, Any]:
    """`mark` names the write, by which a repeat of it knows itself."""
    return {"sort": put.key.sort, "body": put.body, "version": put.expected + 1, "mark": mark}


def _stored(partition: str, found: Any) -> Stored:
    match found.to_dict():
        case {"sort": str(sort), "body": str(body), "version": int(version)}:
            return Stored(Key(partition, sort), body, version)
        case _:
            raise Corrupt(f"firestore: a document at {found.reference.path} is none of ours")
