"""What every object store promises, asked of each."""

from __future__ import annotations

import secrets
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedspan.errors import Conflict, InvalidRequest, NotFound
from fedspan.objects.base import ObjectInfo
from fedspan.objects.bucket import PART_BYTES
from fedspan.objects.keys import STAGING

KEY = "jobs/7f/rounds/000003.json"
LARGE = PART_BYTES * 2 + 12_345

ODD_KEYS = [
    "a b#1~%2F+&=.json",
    "é/日本😀",
    "x/..y/z..",
    ".hidden/.x",
    "back\\slash",
    "a/[x]{y}^`|<>\"'?*",
    "/".join(["d" * 89] * 10),
    "n" * 255,
]
NO_KEYS = [
    "",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a\nb",
    "a\x00",
    "\x7f",
    "\ufffe",
]
NO_KEYS += [f"{STAGING}/a", "n" * 256, "/".join(["d" * 90] * 10), "\ud800"]


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(secrets.token_bytes(LARGE))
    return path


def keys(found):
    return [info.key for info in found]


def test_what_is_put_is_got(objects):
    objects.put(KEY, b"{}")

    assert objects.get(KEY) == b"{}"
    assert list(objects.list("")) == [ObjectInfo(KEY, 2)]


def test_an_empty_object_is_an_object(objects, tmp_path):
    objects.put(KEY, b"")
    objects.download(KEY, tmp_path / "to")

    assert objects.get(KEY) == b""
    assert list(objects.chunks(KEY)) == []
    assert (tmp_path / "to").read_bytes() == b""


def test_a_second_put_replaces(objects):
    objects.put(KEY, b"first, and longer")
    objects.put(KEY, b"second")

    assert objects.get(KEY) == b"second"
    assert list(objects.list("")) == [ObjectInfo(KEY, 6)]


@pytest.mark.parametrize("new", [False, True])
def test_a_large_file_goes_in_and_out_in_chunks(objects, large, tmp_path, new):
    objects.put(KEY, large, new=new)
    objects.download(KEY, tmp_path / "to")
    chunks = list(objects.chunks(KEY))

    assert b"".join(chunks) == large.read_bytes() == (tmp_path / "to").read_bytes()
    assert len(chunks) > 2
    assert list(objects.list("")) == [ObjectInfo(KEY, LARGE)]


@pytest.mark.parametrize("size", [0, 3, LARGE])
@pytest.mark.parametrize("as_path", [False, True], ids=["bytes", "path"])
def test_a_new_object_replaces_nothing(objects, tmp_path, size, as_path):
    objects.put(KEY, b"kept")
    source = b"x" * size
    if as_path:
        (tmp_path / "source").write_bytes(source)
        source = tmp_path / "source"

    with pytest.raises(Conflict):
        objects.put(KEY, source, new=True)

    assert objects.get(KEY) == b"kept"
    assert keys(objects.list("")) == [KEY]


def test_of_many_that_create_one_wins(objects):
    won = []

    def create(body):
        try:
            objects.put(KEY, body, new=True)
        except Conflict:
            return
        won.append(body)

    threads = [threading.Thread(target=create, args=[b"%d" % n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert won == [objects.get(KEY)]


def test_readers_see_one_put_or_another_never_a_mixture(objects):
    bodies = [bytes([n]) * 300_000 for n in range(6)]
    objects.put(KEY, bodies[0])
    writer = threading.Thread(target=lambda: [objects.put(KEY, body) for body in bodies])
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.add(objects.get(KEY))
    writer.join()

    assert seen <= set(bodies)
    assert objects.get(KEY) == bodies[-1]


@pytest.mark.parametrize("missing", ["none", "a", "a/b/c"])
def test_what_is_not_there_is_not_found(objects, tmp_path, missing):
    objects.put("a/b", b"x")

    with pytest.raises(NotFound):
        objects.get(missing)
    with pytest.raises(NotFound):
        objects.chunks(missing)
    with pytest.raises(NotFound):
        objects.download(missing, tmp_path / "to")
    with pytest.raises(NotFound):
        objects.copy(missing, "target")
    objects.delete(missing)

    assert keys(objects.list("")) == ["a/b"]
    assert not (tmp_path / "to").exists()


def test_a_missing_source_is_the_callers_mistake(objects, tmp_path):
    with pytest.raises(FileNotFoundError):
        objects.put(KEY, tmp_path / "none")

    assert keys(objects.list("")) == []


def test_a_download_replaces_what_was_there(objects, tmp_path):
    to = tmp_path / ("n" * 255)
    to.write_bytes(b"older, and longer")
    objects.put(KEY, b"x")
    objects.download(KEY, to)

    assert to.read_bytes() == b"x"
    assert [path for path in tmp_path.iterdir() if path.is_file()] == [to]


def test_a_deleted_object_is_gone_and_may_be_new_again(objects):
    objects.put(KEY, b"x", new=True)
    objects.delete(KEY)
    gone = keys(objects.list(""))
    objects.delete(KEY)
    objects.put(KEY, b"y", new=True)

    assert gone == []
    assert objects.get(KEY) == b"y"


def test_a_copy_stands_by_itself(objects):
    objects.put("a", b"first")
    objects.copy("a", "deep/er/b")
    objects.copy("a", "deep/er/b")
    objects.put("a", b"second")
    again = objects.get("deep/er/b")
    objects.copy("a", "deep/er/b")
    objects.delete("a")

    assert again == b"first"
    assert objects.get("deep/er/b") == b"second"
    assert keys(objects.list("")) == ["deep/er/b"]


def test_a_list_has_all_that_starts_with_the_prefix_by_key(objects):
    every = ["é", "a/b", "a-b", "ab/x", "b", "a/bc"]
    for key in every:
        objects.put(key, key.encode())

    assert keys(objects.list("")) == sorted(every, key=str.encode)
    assert keys(objects.list("a")) == ["a-b", "a/b", "a/bc", "ab/x"]
    assert keys(objects.list("a/")) == ["a/b", "a/bc"]
    assert keys(objects.list("a/b")) == ["a/b", "a/bc"]
    assert keys(objects.list("a/b/")) == []
    assert keys(objects.list("none/at/all/")) == []
    assert objects.list("é") == [ObjectInfo("é", 2)]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_keys(objects, key):
    objects.put(key, b"odd")
    objects.copy(key, "copy")
    objects.copy("copy", key)

    assert objects.get(key) == b"odd"
    assert sorted(keys(objects.list(""))) == sorted(["copy", key])


@pytest.mark.parametrize("key", NO_KEYS, ids=lambda key: ascii(key)[:20])
def test_no_path_leads_out_or_to_nowhere(objects, tmp_path, key):
    objects.put("a", b"kept")
    for call in [
        lambda: objects.put(key, b"x"),
        lambda: objects.get(key),
        lambda: objects.chunks(key),
        lambda: objects.download(key, tmp_path / "to"),
        lambda: objects.copy("a", key),
        lambda: objects.copy(key, "a"),
        lambda: objects.delete(key),
        lambda: objects.uri(key),
    ]:
        with pytest.raises(InvalidRequest):
            call()

    assert objects.get("a") == b"kept"


@pytest.mark.parametrize("prefix", ["/", "../", "a/../b", "a//", f"{STAGING}/"])
def test_no_prefix_leads_out(objects, prefix):
    with pytest.raises(InvalidRequest):
        objects.list(prefix)


parts = st.text("ab.é #%", min_size=1, max_size=4).filter(lambda part: part not in (".", ".."))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(bodies=st.dictionaries(st.builds("{}/{}".format, parts, parts), st.binary(max_size=9)))
def test_objects_behave_like_a_dict(objects, bodies):
    for info in objects.list(""):
        objects.delete(info.key)
    for key, body in bodies.items():
        objects.put(key, body, new=True)

    assert list(objects.list("")) == [ObjectInfo(k, len(b)) for k, b in sorted(bodies.items())]
    assert {key: objects.get(key) for key in bodies} == bodies
