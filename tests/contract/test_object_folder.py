"""The folder's own promises: a full disk, killed writers, its error table."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from fedspan.errors import NotFound, StoreError
from fedspan.objects import files
from fedspan.objects.base import ObjectInfo
from fedspan.objects.folder import FolderObjects
from fedspan.objects.keys import STAGING
from fedspan.objects.opening import open_objects

MIB = 2**20

OPEN = """
import sys
from pathlib import Path
from fedspan.errors import FedspanError
from fedspan.objects.opening import open_objects

objects = open_objects(sys.argv[1])
"""

FULL = (
    OPEN
    + """
import resource

resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
for call in [
    lambda: objects.put("new", Path(sys.argv[2])),
    lambda: objects.put("new", Path(sys.argv[2]), new=True),
    lambda: objects.put("kept", b"x" * 2_000_000),
    lambda: objects.download("large", Path(sys.argv[3])),
]:
    try:
        call()
    except FedspanError as exc:
        print(type(exc).__name__)
"""
)

NEVER_WHOLE = (
    OPEN
    + """
objects.put("kept", Path(sys.argv[2]))
"""
)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "objects"


def sparse(path, size):
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_a_full_disk_leaves_nothing_half_written(folder, tmp_path, python):
    objects = FolderObjects(folder)
    objects.put("kept", b"kept")
    source = sparse(tmp_path / "source", 2_000_000)
    objects.put("large", source)
    script = python(FULL, folder.as_uri(), source, tmp_path / "to")
    said, _ = script.communicate(timeout=180)

    assert said.split() == ["StorageFull"] * 4
    assert objects.list("") == [ObjectInfo("kept", 4), ObjectInfo("large", 2_000_000)]
    assert objects.get("kept") == b"kept"
    assert [path.name for path in (folder / STAGING).iterdir()] == ["lock"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["objects", "source"]


def test_what_a_killed_writer_leaves_is_never_seen_and_swept_later(folder, tmp_path, python):
    objects = FolderObjects(folder)
    objects.put("kept", b"kept")
    os.mkfifo(tmp_path / "slow")
    writer = python(NEVER_WHOLE, folder.as_uri(), tmp_path / "slow")
    with (tmp_path / "slow").open("wb") as slow:
        slow.write(b"x" * 10 * MIB)
        during = len(list((folder / STAGING).iterdir()))
        FolderObjects(folder)  # another opens it meanwhile, and must not sweep what is at work
        after_another = len(list((folder / STAGING).iterdir()))
        writer.kill()
        writer.wait()
        found = objects.list("")
        again = FolderObjects(folder)

    assert during == after_another == 2
    assert found == [ObjectInfo("kept", 4)]
    assert again.get("kept") == b"kept"
    assert [path.name for path in (folder / STAGING).iterdir()] == ["lock"]


def test_the_folder_is_for_us_alone(folder):
    open_objects((folder / "deep").as_uri())

    assert stat.S_IMODE((folder / "deep").stat().st_mode) == 0o700


def test_a_folder_cannot_hold_an_object_inside_another(folder):
    objects = FolderObjects(folder)
    objects.put("a", b"x")

    with pytest.raises(StoreError):
        objects.put("a/b", b"y")
    with pytest.raises(StoreError):
        objects.copy("a", "a/b/c")

    assert objects.list("") == [ObjectInfo("a", 1)]


@pytest.mark.parametrize("number", [*files.ERRNOS, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("context", [files.writing, files.reading])
def test_each_errno_means_what_the_table_says(number, context):
    error = OSError(number, os.strerror(number))

    with pytest.raises(StoreError) as raised, context("a"):
        raise error

    assert raised.type is files.ERRNOS.get(number, StoreError)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("number", files.MISSING)
def test_what_is_missing_is_so_only_to_a_reader(number):
    with pytest.raises(NotFound), files.reading("a"):
        raise OSError(number, os.strerror(number))
    with pytest.raises(StoreError), files.writing("a"):
        raise OSError(number, os.strerror(number))
