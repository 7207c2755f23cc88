"""What every store promises, asked of each."""

from __future__ import annotations

import threading
from itertools import chain

import pytest

from fedspan.errors import Conflict, StoreUnavailable, TooLarge
from fedspan.stores.base import (
    MAX_BODY_BYTES,
    MAX_CHANGES,
    MAX_WRITE_BYTES,
    Delete,
    Key,
    Put,
    Stored,
)
from fedspan.stores.memory import MemoryStore

KEY = Key("jobs", "a")
OTHER = Key("jobs", "b")

# In the order of UTF-8 bytes, which UTF-16 would change: the last is beyond its surrogates.
SORTS = [
    "\x00",
    " ",
    "#",
    "00",
    "10",
    "9",
    "A",
    "a",
    "a ",
    "a/b",
    "aa",
    "é",
    "日本",
    "\uffff",
    "😀",
]


def fill(store, sorts, partition="jobs"):
    for sort in sorts:
        store.write([Put(Key(partition, sort), f"body of {sort}", expected=0)])


def sorts(documents):
    return [document.key.sort for document in documents]


def test_what_was_never_written_is_none(store):
    assert store.get(KEY) is None
    assert list(store.list("jobs")) == []


def test_the_version_is_1_at_first_and_one_more_with_each_write(store):
    store.write([Put(KEY, "first", expected=0)])
    first = store.get(KEY)
    store.write([Put(KEY, "second", expected=1)])

    assert first == Stored(KEY, "first", 1)
    assert store.get(KEY) == Stored(KEY, "second", 2)


@pytest.mark.parametrize("stale", [0, 1, 3])
def test_a_stale_write_loses(store, stale):
    store.write([Put(KEY, "one", expected=0)])
    store.write([Put(KEY, "two", expected=1)])

    with pytest.raises(Conflict):
        store.write([Put(KEY, "late", expected=stale)])

    assert store.get(KEY) == Stored(KEY, "two", 2)


def test_a_write_to_what_is_gone_loses(store):
    with pytest.raises(Conflict):
        store.write([Put(KEY, "two", expected=1)])

    assert store.get(KEY) is None


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_of_several_changes_one_that_loses_undoes_all(store, bad):
    third = Key("rounds", "c")
    store.write([Put(OTHER, "kept", expected=0)])
    changes = [Put(KEY, "new", expected=0), Delete(OTHER)]
    changes.insert(bad, Put(third, "stale", expected=7))

    with pytest.raises(Conflict):
        store.write(changes)

    assert store.get(KEY) is None
    assert store.get(OTHER) == Stored(OTHER, "kept", 1)
    assert store.get(third) is None


def test_several_partitions_change_together(store):
    store.write([Put(KEY, "a", expected=0), Put(OTHER, "b", expected=0)])
    elsewhere = Key("rounds", "1")
    store.write([Put(KEY, "aa", expected=1), Delete(OTHER), Put(elsewhere, "r", expected=0)])

    assert list(store.list("jobs")) == [Stored(KEY, "aa", 2)]
    assert list(store.list("rounds")) == [Stored(elsewhere, "r", 1)]


def test_no_change_is_no_write(store):
    store.write([])

    assert list(store.list("jobs")) == []


def test_a_deleted_document_starts_again_at_version_1(store):
    store.write([Put(KEY, "old", expected=0)])
    store.write([Put(KEY, "old", expected=1)])
    store.write([Delete(KEY)])
    gone = store.get(KEY)
    store.write([Put(KEY, "new", expected=0)])

    assert gone is None
    assert store.get(KEY) == Stored(KEY, "new", 1)


def test_deleting_what_is_not_there_is_no_error(store):
    store.write([Delete(KEY)])
    store.write([Delete(KEY), Put(OTHER, "b", expected=0)])

    assert sorts(store.list("jobs")) == ["b"]


def test_a_list_is_ordered_by_utf8_bytes(store):
    fill(store, reversed(SORTS))

    assert sorted(SORTS, key=str.encode) == SORTS
    assert sorts(store.list("jobs")) == SORTS
    assert sorts(store.list("jobs", newest_first=True)) == SORTS[::-1]


@pytest.mark.parametrize("newest_first", [False, True])
def test_pages_join_to_the_whole(store, newest_first):
    fill(store, SORTS)
    pages, after = [], ""
    while page := store.list("jobs", after=after, limit=4, newest_first=newest_first):
        pages.append(sorts(page))
        after = pages[-1][-1]

    assert [len(page) for page in pages] == [4, 4, 4, 3]
    assert list(chain(*pages)) == (SORTS[::-1] if newest_first else SORTS)


def test_a_page_may_start_after_what_is_not_there(store):
    fill(store, ["a", "c"])

    assert sorts(store.list("jobs", after="b")) == ["c"]
    assert sorts(store.list("jobs", after="b", newest_first=True)) == ["a"]
    assert sorts(store.list("jobs", after="c")) == []
    assert sorts(store.list("jobs", after="a", newest_first=True)) == []


def test_a_page_of_nothing_is_empty(store):
    fill(store, ["a"])

    assert list(store.list("jobs", limit=0)) == []


def test_a_list_sees_only_its_partition(store):
    fill(store, ["a"], "round#7")
    fill(store, ["b"], "round#71")
    fill(store, ["c"], "Round#7")

    assert sorts(store.list("round#7")) == ["a"]


@pytest.mark.parametrize("body", ["", "{}", "\x00", "é日本😀", '"' * 1000], ids=ascii)
def test_any_text_comes_back_as_it_was(store, body):
    store.write([Put(KEY, body, expected=0)])

    assert store.get(KEY) == Stored(KEY, body, 1)


def test_as_many_changes_as_allowed_are_written(store):
    keys = [Key("jobs", f"{n:03}") for n in range(MAX_CHANGES)]
    store.write([Put(key, "", expected=0) for key in keys])

    assert [document.key for document in store.list("jobs")] == keys


def test_more_changes_than_allowed_are_our_own_mistake(store):
    with pytest.raises(ValueError, match="at most 100"):
        store.write([Delete(Key("jobs", str(n))) for n in range(MAX_CHANGES + 1)])


def test_a_key_twice_in_one_write_is_our_own_mistake(store):
    with pytest.raises(ValueError, match="twice"):
        store.write([Put(KEY, "", expected=0), Delete(KEY)])

    assert store.get(KEY) is None


def test_the_largest_body_fits(store):
    body = "é" * (MAX_BODY_BYTES // 2)
    store.write([Put(KEY, body, expected=0)])

    assert store.get(KEY) == Stored(KEY, body, 1)


def test_a_body_a_byte_larger_is_refused_and_nothing_written(store):
    with pytest.raises(TooLarge):
        store.write([Put(OTHER, "", expected=0), Put(KEY, "é" * 175_000 + "x", expected=0)])

    assert list(store.list("jobs")) == []


def test_bodies_too_large_together_are_refused(store):
    largest = MAX_WRITE_BYTES // MAX_BODY_BYTES
    puts = [Put(Key("jobs", f"{n:02}"), "x" * MAX_BODY_BYTES, expected=0) for n in range(largest)]
    with pytest.raises(TooLarge):
        store.write([*puts, Put(KEY, "x", expected=0)])
    store.write(puts)

    # More than one answer of DynamoDB holds, so the list takes several.
    assert [document.key for document in store.list("jobs")] == [put.key for put in puts]


def test_threads_racing_for_one_counter_lose_no_step(store):
    store.write([Put(KEY, "0", expected=0)])

    def count():
        done = 0
        while done < 5:
            now = store.get(KEY)
            try:
                store.write([Put(KEY, str(int(now.body) + 1), expected=now.version)])
                done += 1
            except Conflict:
                pass

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert store.get(KEY) == Stored(KEY, "40", 41)


@pytest.mark.parametrize("call", ["get", "list", "write"])
def test_a_fault_put_into_memory_is_raised_once_and_does_nothing(call):
    store = MemoryStore()
    args = {"get": KEY, "list": "jobs", "write": [Put(KEY, "x", expected=0)]}
    store.fail_next = StoreUnavailable("as asked")

    with pytest.raises(StoreUnavailable, match="as asked"):
        getattr(store, call)(args[call])

    assert store.get(KEY) is None
