"""Private files of a machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from fedspan.flower.certificates import write_private


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "work" / "node.key"


def test_it_is_nobody_elses_whatever_the_umask(file: Path) -> None:
    before = os.umask(0)
    try:
        write_private(file, b"secret")
    finally:
        os.umask(before)

    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"secret", 0o600)


def test_a_full_disk_has_room_for_the_next_as_the_same_blocks_hold_it(file: Path) -> None:
    write_private(file, b"first and longest")
    before = file.stat()
    write_private(file, b"second")

    assert (file.read_bytes(), file.stat().st_ino) == (b"second", before.st_ino)


def test_what_others_may_have_open_is_left_to_them(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"theirs")
    file.chmod(0o644)
    with file.open("rb") as theirs:
        write_private(file, b"secret")

        assert theirs.read() == b"theirs"
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"secret", 0o600)


@pytest.mark.parametrize("link", (os.link, os.symlink))
def test_no_link_leads_it_elsewhere(file: Path, link: Callable[[Path, Path], None]) -> None:
    elsewhere = file.parent / "elsewhere"
    write_private(elsewhere, b"theirs")
    link(elsewhere, file)
    write_private(file, b"secret")

    assert (file.read_bytes(), elsewhere.read_bytes()) == (b"secret", b"theirs")
    assert not file.is_symlink()
