"""Several clouds at once: one that hangs, or talks nonsense, costs the others nothing."""

from __future__ import annotations

import threading

from fedspan.errors import CloudUnavailable, Denied
from fedspan.services.asking import at_once


def fails() -> int:
    raise Denied("no")


def test_each_answer_stands_by_itself() -> None:
    said = at_once({"a": lambda: 1, "b": fails, "c": lambda: 3})

    assert (said["a"], said["c"]) == (1, 3)
    assert isinstance(said["b"], Denied)
    assert list(said) == ["a", "b", "c"]


def test_who_hangs_is_late_and_holds_up_nobody() -> None:
    release = threading.Event()
    said = at_once({"mute": release.wait, "quick": lambda: True}, seconds=0.2)
    release.set()

    assert said["quick"] is True
    assert isinstance(said["mute"], CloudUnavailable)


def test_all_are_asked_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=60)  # broken, and so raised, unless all three come
    said = at_once(dict.fromkeys("abc", meeting.wait))

    assert sorted(said.values()) == [0, 1, 2]


def test_nobody_asked_nothing_said() -> None:
    assert at_once({}) == {}
