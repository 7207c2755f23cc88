"""SQLite's own promises: processes, crashes, a full disk, its error table."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from fedspan.errors import Conflict, Corrupt, StorageFull, StoreError, StoreUnavailable
from fedspan.stores import sqlite
from fedspan.stores.base import Key, Put, Stored
from fedspan.stores.sqlite import SqliteStore

KEY = Key("jobs", "a")
COUNT = Key("count", "all")

OPEN = """
import sys
from pathlib import Path
from fedspan.errors import Conflict
from fedspan.stores.base import Key, Put
from fedspan.stores.sqlite import SqliteStore

store = SqliteStore(Path(sys.argv[1]))
"""

COUNTER = (
    OPEN
    + """
key, done = Key("count", "all"), 0
while done < 25:
    now = store.get(key)
    try:
        store.write([Put(key, str(int(now.body) + 1), now.version)])
        done += 1
    except Conflict:
        pass
store.close()
"""
)

WRITER = (
    OPEN
    + """
for n in range(1, 10**9):
    count = Put(Key("count", "all"), str(n), expected=n - 1)
    store.write([Put(Key("jobs", f"{n:09}"), "x" * 5000, expected=0), count])
    print(n, flush=True)
"""
)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def opened(file):
    store = SqliteStore(file)
    yield store
    store.close()


def test_processes_racing_for_one_counter_lose_no_step(file, opened, python):
    opened.write([Put(COUNT, "0", expected=0)])
    racers = [python(COUNTER, file) for _ in range(4)]
    said = [racer.communicate(timeout=120)[0] for racer in racers]

    assert said == [""] * 4
    assert opened.get(COUNT) == Stored(COUNT, "100", 101)


def test_processes_may_open_a_new_file_at_once(file, python):
    openers = [python(OPEN + "store.close()", file) for _ in range(6)]

    assert [opener.communicate(timeout=120)[0] for opener in openers] == [""] * 6


def test_after_a_killed_writer_there_is_a_prefix_of_what_it_wrote(file, python):
    writer = python(WRITER, file)
    last = max(int(writer.stdout.readline()) for _ in range(40))
    writer.kill()
    writer.wait()
    store = SqliteStore(file)
    numbers = [int(document.key.sort) for document in store.list("jobs", limit=10**6)]
    count = store.get(COUNT)
    store.close()

    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= last
    assert int(count.body) == count.version == len(numbers)


def test_what_was_written_is_there_when_opened_again(file):
    first = SqliteStore(file)
    first.write([Put(KEY, "kept", expected=0)])
    first.close()
    second = SqliteStore(file)
    found = second.get(KEY)
    second.close()

    assert found == Stored(KEY, "kept", 1)


def test_a_full_disk_refuses_the_write_and_keeps_the_rest(opened):
    opened.write([Put(KEY, "kept", expected=0)])
    pages = opened._connection.execute("PRAGMA page_count").fetchone()[0]
    opened._connection.execute(f"PRAGMA max_page_count = {pages + 2}")

    with pytest.raises(StorageFull):
        opened.write([Put(KEY, "new", expected=1), Put(COUNT, "x" * 100_000, expected=0)])

    assert opened.get(KEY) == Stored(KEY, "kept", 1)
    assert opened.get(COUNT) is None
    opened.write([Put(KEY, "small", expected=1)])


def test_a_writer_that_waits_too_long_is_told_to_try_again(file):
    store, other = SqliteStore(file, busy_seconds=0.05), sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreUnavailable):
        store.write([Put(KEY, "x", expected=0)])

    assert store.get(KEY) is None  # a reader does not wait
    other.execute("ROLLBACK")
    store.write([Put(KEY, "x", expected=0)])
    other.close()
    store.close()


def test_a_file_that_is_no_database_is_corrupt(file):
    file.write_bytes(b"no database" * 1000)

    with pytest.raises(Corrupt):
        SqliteStore(file)


def test_a_damaged_database_is_corrupt(file):
    store = SqliteStore(file)
    store.write([Put(Key("jobs", str(n)), "x" * 3000, expected=0) for n in range(50)])
    store.close()
    with file.open("r+b") as damaged:
        damaged.seek(4096)
        damaged.write(b"\xff" * 40_000)
    store = SqliteStore(file)

    with pytest.raises(Corrupt):
        store.list("jobs")

    store.close()


def test_a_folder_that_is_missing_is_a_store_error(tmp_path):
    with pytest.raises(StoreError) as raised:
        SqliteStore(tmp_path / "missing" / "store.db")

    assert raised.type is StoreError


def test_a_closed_store_is_a_store_error(file):
    store = SqliteStore(file)
    store.close()
    store.close()

    with pytest.raises(StoreError):
        store.get(KEY)


@pytest.mark.parametrize(
    "code, kind",
    [
        *sqlite.CODES.items(),
        (sqlite3.SQLITE_FULL, StorageFull),
        (sqlite3.SQLITE_IOERR, StoreError),
    ],
)
def test_each_sqlite_code_means_what_the_table_says(code, kind, tmp_path):
    error = sqlite3.OperationalError("as SQLite says")
    error.sqlite_errorcode = code | 0x200  # the detail in the higher byte does not matter

    with pytest.raises(StoreError) as raised, sqlite.translated("write", tmp_path / "fedspan.db"):
        raise error

    assert raised.type is kind
    assert raised.value.__cause__ is error


def test_a_store_waits_for_no_other_thread_after_a_fault(opened):
    with pytest.raises(Conflict):
        opened.write([Put(KEY, "x", expected=5)])
    thread = threading.Thread(target=opened.write, args=([Put(KEY, "x", expected=0)],))
    thread.start()
    thread.join(timeout=120)

    assert opened.get(KEY) == Stored(KEY, "x", 1)
