"""A store in one SQLite file, shared by the threads and processes of one machine."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

from fedspan.errors import Conflict, Corrupt, StorageFull, StoreError, StoreUnavailable
from fedspan.stores.base import Change, Delete, Key, Put, Stored
from fedspan.stores.limits import check_changes

BUSY_SECONDS: Final = 10.0
"""How long a writer waits for another one before it is told `StoreUnavailable`."""

CODES: Final[dict[int, type[StoreError]]] = {
    sqlite3.SQLITE_BUSY: StoreUnavailable,
    sqlite3.SQLITE_LOCKED: StoreUnavailable,
    sqlite3.SQLITE_PROTOCOL: StoreUnavailable,
    sqlite3.SQLITE_CORRUPT: Corrupt,
    sqlite3.SQLITE_NOTADB: Corrupt,
}

# WITHOUT ROWID clusters a partition's documents in the order of `sort`. SQLite compares text as
# BINARY unless told otherwise: byte by byte, as UTF-8.
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS documents (
    partition TEXT NOT NULL,
    sort TEXT NOT NULL,
    body TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (partition, sort)
) WITHOUT ROWID
"""


NO_ROOM_BYTES: Final = 128 * 1024
"""With less than this left, an I/O error of SQLite means that its files cannot grow."""


@contextmanager
def translated(action: str, path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        # The low byte is the kind of error, the others its detail; Python's own have no code.
        kind = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if kind == sqlite3.SQLITE_IOERR and shutil.disk_usage(path.parent).free < NO_ROOM_BYTES:
            kind = sqlite3.SQLITE_FULL
        if kind == sqlite3.SQLITE_FULL:
            raise StorageFull(f"sqlite {action}: no room left on the disk of {path}") from exc
        raise CODES.get(kind, StoreError)(f"sqlite {action}: {exc}") from exc


class SqliteStore:
    """One connection behind a lock: a call holds it for the milliseconds of one commit.

    After a crash of a process or of the machine, the file holds exactly the writes that
    returned, and perhaps the one that was under way. Open it anew in each process: a connection
    does not survive a fork. The file lies on a local disk, for WAL shares memory.
    """

    def __init__(self, path: Path, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self._lock = Lock()
        self._path = path
        self._busy_seconds = busy_seconds
        with translated("open", path):
            self._connection = sqlite3.connect(
                path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def get(self, key: Key) -> Stored | None:
        with self._lock, translated(f"get {key}", self._path):
            row = self._connection.execute(
                "SELECT body, version FROM documents WHERE partition = ? AND sort = ?",
                (key.partition, key.sort),
            ).fetchone()
        return Stored(key, *row) if row else None

    def list(
        self, partition: str, *, after: str = "", limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Stored]:
        beyond, direction = ("<", "DESC") if newest_first else (">", "ASC")
        range_sql, range_values = (f"AND sort {beyond} ?", [after]) if after else ("", [])
        with self._lock, translated(f"list {partition}", self._path):
            rows = self._connection.execute(
                f"SELECT sort, body, version FROM documents WHERE partition = ? {range_sql} "
                f"ORDER BY sort {direction} LIMIT ?",
                [partition, *range_values, max(limit, 0)],  # SQLite takes -1 for no limit
            ).fetchall()
        return [Stored(Key(partition, sort), body, version) for sort, body, version in rows]

    def write(self, changes: Sequence[Change]) -> None:
        check_changes(changes)
        with self._lock, translated("write", self._path), self._transaction():
            for change in changes:
                if isinstance(change, Put):
                    self._put(change)
                else:
                    self._delete(change)

    def close(self) -> None:
        with self._lock, translated("close", self._path):
            self._connection.close()

    def _prepare(self) -> None:
        self._use_wal()
        # FULL, not NORMAL: a write that returned survives a power cut. Machines are launched and
        # epochs counted on the strength of it, and a forgotten epoch would fence nobody.
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(SCHEMA)

    def _use_wal(self) -> None:
        """Readers then never wait. The mode stays with the file, so only its first opening counts.

        Of two processes that switch a new file at once, SQLite tells one "locked" without
        waiting for the busy timeout, lest they block each other; so we wait here.
        """
        give_up = time.monotonic() + self._busy_seconds
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL").fetchall()
                return
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                    raise
                time.sleep(0.02)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE takes the write lock first, waiting its turn. A deferred transaction that reads
        # before it writes fails at once if another process wrote in between.
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # SQLite rolls back by itself when the disk is full
                self._connection.execute("ROLLBACK")
            raise

    def _put(self, put: Put) -> None:
        at = (put.key.partition, put.key.sort)
        if put.expected == 0:
            done = self._connection.execute(
                "INSERT INTO documents (partition, sort, body, version) VALUES (?, ?, ?, 1) "
                "ON CONFLICT DO NOTHING",
                (*at, put.body),
            )
        else:
            done = self._connection.execute(
                "UPDATE documents SET body = ?, version = version + 1 "
                "WHERE partition = ? AND sort = ? AND version = ?",
                (put.body, *at, put.expected),
            )
        if done.rowcount == 0:
            raise Conflict(f"{put.key} is not at version {put.expected}")

    def _delete(self, delete: Delete) -> None:
        self._connection.execute(
            "DELETE FROM documents WHERE partition = ? AND sort = ?",
            (delete.key.partition, delete.key.sort),
        )
