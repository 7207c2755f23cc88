"""A machine that is taken back: what it keeps of its round is not trained again."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from flwr.app import Message

from fedspan.domain.reports import Notice, Phase
from fedspan.domain.rounds import Status
from fedspan.errors import StorageFull, StoreUnavailable
from fedspan.flower.checkpoints import latest
from fedspan.flower.files import ServerStatus
from fedspan.flower.server import serve
from fedspan.flower.warm import NO_ROOM
from fedspan.objects.folder import FolderObjects

Make = Callable[..., Any]

NOTICE = Notice(expires=datetime(2100, 1, 1, tzinfo=UTC), source="test")


def noticed(one: Any, order: str, replies: int) -> None:
    """The machine is noticed in round 2, after `replies` of its participants, in `order`."""
    one.grid.order = list(order)
    for name in order:
        one.grid.answers[name] = _until(one, name, replies)


def _until(one: Any, name: str, replies: int) -> Callable[[Message, Any], Message | None]:
    real, order = one.real(name), one.grid.order

    def answer(message: Message, context: Any) -> Message | None:
        second = latest(one.objects, "job-1") is not None
        if message.metadata.message_type != "train" or not second:
            return real(message, context)
        if order.index(name) >= replies:
            one.work.write_notice(NOTICE)
            return None
        return real(message, context)

    return answer


def noticed_at(one: Any, kind: str, nth: int) -> None:
    sent = []

    def at_push(message_type: str) -> None:
        sent.append(message_type)
        if message_type == kind and sent.count(kind) == 3 * (nth - 1) + 1:
            one.work.write_notice(NOTICE)

    one.grid.at_push = at_push


def replaced(one: Any) -> Any:
    """The next incarnation, on another machine, with healthy participants."""
    one.work.notice_file.unlink()
    one.grid.answers = {name: one.real(name) for name in one.links}
    one.grid.order, one.grid.asked = [], []
    one.grid._pending.clear()
    one.grid.at_push = lambda kind: None
    one.want(epoch=one.manifest.epoch + 1)
    return one.run()


def trained(one: Any) -> list[str]:
    return [name for name, kind in one.grid.asked if kind == "train"]


@pytest.mark.parametrize(("order", "replies"), [("abc", 2), ("cba", 1), ("bca", 2)])
@pytest.mark.parametrize("strategy", ["fedavg", "fedadam", "fedmedian"])
def test_who_replied_before_a_notice_does_not_train_again_and_the_bits_are_the_same(
    federation: Make, strategy: str, order: str, replies: int
) -> None:
    straight, left = (federation(strategy={"name": strategy}) for _ in range(2))
    straight.run()
    noticed(left, order, replies)
    first = left.run()
    status = replaced(left)

    assert (first.phase, first.fault) == (Phase.LEAVING, None)
    assert [one.number for one in first.rounds] == [1]
    assert trained(left) == sorted(order[replies:])
    assert (status.phase, [one.number for one in status.rounds]) == (Phase.DONE, [1, 2])
    assert left.sha256() == straight.sha256()
    done = status.rounds[1].participants
    assert {name: (p.status, p.examples) for name, p in done.items()} == {
        "a": (Status.DONE, 24),
        "b": (Status.DONE, 32),
        "c": (Status.DONE, 40),
    }
    assert {name: p.loss for name, p in done.items()} == {
        name: p.loss for name, p in straight.work.status().rounds[1].participants.items()
    }
    assert left.objects.list("jobs/job-1/partial/") == []


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam"])
def test_a_notice_during_an_evaluation_costs_nobody_another_training(
    federation: Make, strategy: str
) -> None:
    straight, left = (federation(strategy={"name": strategy}, rounds=3) for _ in range(2))
    straight.run()
    noticed_at(left, "evaluate", 2)
    first = left.run()
    status = replaced(left)

    assert (first.phase, len(first.rounds)) == (Phase.LEAVING, 1)
    assert trained(left) == ["a", "b", "c"]
    assert status.phase is Phase.DONE
    assert left.sha256() == straight.sha256()


def test_an_aggregator_that_is_given_back_keeps_its_round_as_at_a_notice(federation: Make) -> None:
    straight, left = federation(), federation()
    straight.run()
    left.grid.order = list("abc")
    for name in "bc":
        left.grid.answers[name] = _given_back(left, name)
    first = left.run()
    left.want(rest=False)
    left.work.write_notice(NOTICE)  # which `replaced` takes away
    status = replaced(left)

    assert (first.phase, first.fault, len(first.rounds)) == (Phase.LEAVING, None, 1)
    assert trained(left) == ["b", "c"]
    assert status.phase is Phase.DONE
    assert left.sha256() == straight.sha256()


def _given_back(one: Any, name: str) -> Callable[[Message, Any], Message | None]:
    real = one.real(name)

    def answer(message: Message, context: Any) -> Message | None:
        if message.metadata.message_type == "train" and latest(one.objects, "job-1") is not None:
            one.want(rest=True)
            return None
        return real(message, context)

    return answer


def test_a_round_may_be_interrupted_again_and_again(federation: Make) -> None:
    straight, left = federation(), federation()
    straight.run()
    noticed(left, "cab", 1)
    left.run()
    left.work.notice_file.unlink()
    left.grid._pending.clear()
    noticed(left, "bac", 1)
    left.want(epoch=2)
    assert left.run().phase is Phase.LEAVING
    status = replaced(left)

    assert trained(left) == ["a"]
    assert status.phase is Phase.DONE
    assert left.sha256() == straight.sha256()


def test_a_notice_before_anyone_trained_leaves_nothing(federation: Make) -> None:
    one = federation()
    one.work.write_notice(NOTICE)
    status = one.run()

    assert (status.phase, status.fault, one.grid.asked) == (Phase.LEAVING, None, [])
    assert one.objects.list("jobs/") == []
    assert replaced(one).phase is Phase.DONE


def test_a_job_that_is_done_is_done_whatever_becomes_of_its_machine(federation: Make) -> None:
    one = federation()
    one.run()
    one.work.write_notice(NOTICE)

    assert one.run().phase is Phase.DONE


@pytest.mark.parametrize("damage", ["part", "record", "missing", "model"])
def test_a_partial_round_with_anything_amiss_is_as_good_as_none(
    federation: Make, damage: str
) -> None:
    straight, left = federation(), federation()
    straight.run()
    noticed(left, "abc", 2)
    left.run()
    keys = [info.key for info in left.objects.list("jobs/job-1/partial/")]
    [part], [record] = ([k for k in keys if k.endswith(end)] for end in ("safetensors", "json"))
    if damage == "part":
        left.objects.put(part, left.objects.get(part)[:-1] + b"\x7f")
    elif damage == "record":
        text = left.objects.get(record)
        assert b'"total":56' in text
        left.objects.put(record, text.replace(b'"total":56', b'"total":57'))
    elif damage == "missing":
        left.objects.delete(part)
    else:
        left.objects.put(record, left.objects.get(record).replace(b'"model":"', b'"model":"0'))
    status = replaced(left)

    assert trained(left) == ["a", "b", "c"]
    assert status.phase is Phase.DONE
    assert left.sha256() == straight.sha256()
    assert left.objects.list("jobs/job-1/partial/") == []


def test_an_incarnation_whose_successor_kept_a_part_is_stale(federation: Make) -> None:
    one = federation()
    one.run()
    one.objects.delete("jobs/job-1/rounds/000002.json")
    one.want(epoch=2)
    noticed(one, "abc", 2)
    one.run()
    one.work.notice_file.unlink()
    one.want(epoch=1)

    assert one.run().fault.code == "StaleEpoch"


class Faulty(FolderObjects):
    """Puts fail, with `error`, from the first of a key that holds `where`, `times` often."""

    def __init__(self, root: Any, error: Exception, where: str, times: int) -> None:
        super().__init__(root)
        self.error, self.where, self.times = error, where, times

    def put(self, key: str, source: Any, *, new: bool = False) -> None:
        if self.where in key and self.times:
            self.times -= 1
            raise self.error
        super().put(key, source, new=new)


@pytest.mark.parametrize("where", ["000001-", "000002.json"])
def test_a_store_that_is_away_in_a_round_costs_nothing_but_time(
    federation: Make, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    straight, one = federation(), federation()
    straight.run()
    away = StoreUnavailable("objects put: no answer")
    one.objects = Faulty(one.home / "objects", away, where, times=30)
    shown, slept = [], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        shown.append(one.work.status().waiting)

    monkeypatch.setattr("fedspan.flower.patience.time.sleep", sleep)
    status = one.run()

    assert (status.phase, status.fault, status.waiting) == (Phase.DONE, None, "")
    assert trained(one) == ["a", "b", "c"] * 2
    assert one.sha256() == straight.sha256()
    assert shown == [f"objects put: no answer; tried {n} times" for n in range(1, 31)]
    assert sum(slept) > 240


def test_a_full_disk_is_a_fault_that_names_it(federation: Make) -> None:
    one = federation()
    full = StorageFull("cannot write jobs/job-1/rounds/000001.json: No space left on device")
    one.objects = Faulty(one.home / "objects", full, "000001.json", times=1)
    status = one.run()

    assert (status.phase, status.fault.code) == (Phase.FAILED, "StorageFull")
    assert status.fault.message == str(full)


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """As on a disk with room for so much."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("order", ["abc", "cba"])
def test_a_full_disk_of_the_machine_is_a_loss_of_that_machine(federation: Make, order: str) -> None:
    """Of files on their way to the store, or of replies that wait for their turn."""
    layers = [{"linear": 4000}, {"relu": {}}, {"linear": 2}]
    one = federation(model={"layers": layers})
    one.grid.order = list(order)
    with no_file_over(50_000):
        status = one.run()
    one.grid.order = []
    again = one.run()

    assert (status.phase, status.fault.code) == (Phase.FAILED, "DiskFull")
    assert status.fault.message.startswith("cannot write ")
    assert ("replies" in status.fault.message) == (order == "cba")
    assert (again.phase, len(again.rounds)) == (Phase.DONE, 2)


def test_a_last_word_there_is_no_room_for_is_the_exit_code(federation: Make) -> None:
    one = federation()
    with no_file_over(5000):
        one.want()
        one.work.write_status(ServerStatus())
    with no_file_over(10), pytest.raises(SystemExit) as exited:
        serve(one.grid, one.work, one.objects)

    assert exited.value.code == NO_ROOM
    assert one.work.status() == ServerStatus()
    assert [path.name for path in one.work.path.iterdir() if path.name.startswith(".")] == []
