"""An attempt that lasts is told of while it does."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fedspan.errors import JobCancelled, StoreUnavailable
from fedspan.flower.patience import Patient
from fedspan.objects.folder import FolderObjects


class Slow(FolderObjects):
    """Answers a `get` once `enough` is set."""

    enough: threading.Event

    def get(self, key: str) -> bytes:
        assert self.enough.wait(60)
        return super().get(key)


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slow:
    monkeypatch.setattr("fedspan.flower.patience.SAID_SECONDS", 0.02)
    objects = Slow(tmp_path / "objects")
    objects.put("a", b"x")
    objects.enough = threading.Event()
    return objects


def test_an_attempt_that_lasts_is_told_of_until_it_is_over(slow: Slow) -> None:
    heard: list[str] = []

    def waiting(what: str) -> None:
        heard.append(what)
        if len(heard) == 3:
            slow.enough.set()

    found = Patient(slow, waiting).get("a")

    assert found == b"x"
    assert heard[-1] == "" and len(heard) >= 4
    assert {one[:32] for one in heard[:-1]} == {"objects get a: no end of it after"[:32]}


def test_a_job_that_is_stopped_meanwhile_loses_no_answer(slow: Slow) -> None:
    heard: list[str] = []

    def waiting(what: str) -> None:
        heard.append(what)
        slow.enough.set()
        if what:
            raise JobCancelled("stopped")

    assert Patient(slow, waiting).get("a") == b"x"
    assert heard[-1] == ""


def test_an_attempt_that_ends_soon_is_not_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    objects = FolderObjects(tmp_path / "objects")
    Patient(objects, heard.append).put("a", b"x")

    assert (objects.get("a"), heard) == (b"x", [])


def test_what_fails_for_good_ends_no_thread_late(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedspan.flower.patience.PATIENCE_SECONDS", 0.0)

    def away(key: str) -> bytes:
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(slow, "get", away)
    with pytest.raises(StoreUnavailable, match="tried 1 times"):
        Patient(slow, print).get("a")

    assert not [one for one in threading.enumerate() if one.name == "patience"]
