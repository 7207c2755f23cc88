"""A machine of an app that is taken back: who replied before is not asked the same again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, FedMedian, Strategy
from structlog.testing import capture_logs

from fedspan.domain.reports import Phase
from fedspan.domain.rounds import Status
from fedspan.errors import StorageFull
from tests.flower.app_jobs import NOTICE, Job
from tests.flower.test_leaving import Faulty

Make = Callable[..., Job]
PARTIAL = "jobs/job-1/partial/"


@pytest.mark.parametrize(("kind", "replies"), [("train", 1), ("train", 2), ("evaluate", 1)])
def test_who_replied_before_a_notice_is_not_asked_again_and_the_bits_are_the_same(
    job: Make, kind: str, replies: int
) -> None:
    straight, left = job(3), job(3)
    straight.run()
    first = left.noticed(kind, 2, replies)
    left.moved()
    status = left.run()

    assert (first.phase, first.fault, len(first.rounds)) == (Phase.LEAVING, None, 1)
    assert (status.phase, status.fault) == (Phase.DONE, None)
    missing = list("abc"[replies:])
    trained, evaluated = (missing, list("abc")) if kind == "train" else ([], missing)
    assert left.asked("train") == [*trained, *"abc"]
    assert left.asked("evaluate") == [*evaluated, *"abc"]
    assert left.one.sha256() == straight.one.sha256()
    assert [one.epoch for one in status.rounds] == [1, 2, 2]
    assert {
        name: (p.status, p.examples) for name, p in status.rounds[1].participants.items()
    } == dict.fromkeys("abc", (Status.DONE, 120))
    assert left.one.objects.list(PARTIAL) == []


def test_a_machine_that_is_given_back_for_a_while_keeps_its_round_too(job: Make) -> None:
    straight, left = job(1), job(1)
    straight.run()
    first = left.noticed("train", 1, 1, given_back=True)
    left.moved()

    assert (first.phase, first.fault, left.run().phase) == (Phase.LEAVING, None, Phase.DONE)
    assert left.asked("train") == ["b", "c"]
    assert left.one.sha256() == straight.one.sha256()


def test_a_round_may_be_interrupted_again_and_again(job: Make) -> None:
    straight, left = job(1), job(1)
    straight.run()
    left.noticed("train", 1, 1)
    left.moved()
    assert left.noticed("train", 1, 2).phase is Phase.LEAVING
    assert left.asked("train") == ["b", "c"]
    left.moved()
    assert left.noticed("train", 1, 2).phase is Phase.LEAVING  # c alone: nothing new to keep
    left.moved()
    status = left.run()

    assert (left.asked("train"), status.phase) == (["c"], Phase.DONE)
    assert left.one.sha256() == straight.one.sha256()


def _with(make: Callable[[], Strategy]) -> Callable[[Grid, Context], None]:
    def main(grid: Grid, context: Context) -> None:
        make().start(
            grid,
            ArrayRecord({"weights": Array(np.zeros(8)), "bias": Array(np.zeros(1))}),
            1,
            train_config=ConfigRecord({"learning-rate": 0.5}),
        )

    return main


def test_what_a_strategy_does_to_its_replies_is_not_kept(job: Make) -> None:
    """Flower's FedMedian takes the arrays out of them."""
    straight, left = job(1), job(1)
    straight.run(_with(FedMedian))
    left.noticed("evaluate", 1, 0, _with(FedMedian))
    left.moved()
    status = left.run(_with(FedMedian))

    assert (status.phase, left.asked("train")) == (Phase.DONE, [])
    assert left.one.sha256() == straight.one.sha256()


def test_a_reply_that_was_kept_is_as_one_from_the_present_node(job: Make) -> None:
    told: list[list[tuple[Any, ...]]] = []

    class Watching(FedAvg):
        def configure_train(self, *round: Any) -> Iterable[Message]:
            self.sent = list(super().configure_train(*round))
            return self.sent

        def aggregate_train(
            self, server_round: int, replies: Iterable[Message]
        ) -> tuple[ArrayRecord | None, MetricRecord | None]:
            kept = list(replies)
            to = {one.metadata.message_id: one.metadata for one in self.sent}
            told.append([])
            for reply in kept:
                said, asked = reply.metadata, to[reply.metadata.reply_to_message_id]
                assert said.message_id == reply.object_id and said.run_id == asked.run_id
                assert (said.src_node_id, said.dst_node_id) == (asked.dst_node_id, 1)
                told[-1].append((said.src_node_id, said.message_type, said.group_id))
            return super().aggregate_train(server_round, kept)

    left = job(1)
    left.noticed("train", 1, 2, _with(Watching))
    left.moved()
    left.run(_with(Watching))

    assert left.asked("train") == ["c"]
    assert told == [[(left.one.grid.ids[name], "train", "") for name in "abc"]]


def test_who_was_asked_several_things_at_once_is_asked_them_again(job: Make) -> None:
    class Both(FedAvg):
        def configure_train(
            self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
        ) -> Iterable[Message]:
            for rate in (0.5, 0.25):
                config = ConfigRecord({"learning-rate": rate})
                yield from super().configure_train(server_round, arrays, config, grid)

    straight, left = job(1), job(1)
    straight.run(_with(Both))
    left.noticed("train", 1, 2, _with(Both))
    left.moved()
    status = left.run(_with(Both))

    assert (status.phase, left.asked("train")) == (Phase.DONE, [*"aabbcc"])
    assert left.one.sha256() == straight.one.sha256()


def test_who_failed_is_asked_again(job: Make) -> None:
    straight, left = job(1), job(1)
    straight.run()
    real = left.clients["a"]

    def broken(message: Message, context: Context) -> Message:
        raise KeyError("age")

    left.clients["a"] = broken
    left.noticed("train", 1, 2)
    left.clients["a"] = real
    left.moved()

    assert (left.run().phase, left.asked("train")) == (Phase.DONE, ["a", "c"])
    assert left.one.sha256() == straight.one.sha256()


@pytest.mark.parametrize(
    ("damage", "again"), [("part", "ac"), ("missing", "ac"), ("record", "abc")]
)
def test_what_is_amiss_is_asked_again(job: Make, damage: str, again: str) -> None:
    straight, left = job(1), job(1)
    straight.run()
    left.noticed("train", 1, 2)
    left.moved()
    objects = left.one.objects
    [key] = [info.key for info in objects.list(PARTIAL) if info.key.endswith(".json")]
    text = objects.get(key)
    kept = json.loads(text)["partial"]
    [part] = [
        kept["files"][one["reply"]]["key"] for one in kept["answers"] if one["participant"] == "a"
    ]
    if damage == "part":
        objects.put(part, objects.get(part)[:-1] + b"\x7f")
    elif damage == "missing":
        objects.delete(part)
    else:
        objects.put(key, text.replace(b'"participant":"a"', b'"participant":"b"'))
    with capture_logs() as logged:
        status = left.run()

    ignored = [one["round"] for one in logged if one["event"] == "partial.ignored"]
    assert ignored == ([] if damage == "record" else [1])
    assert (status.phase, status.fault) == (Phase.DONE, None)
    assert left.asked("train") == list(again)
    assert left.one.sha256() == straight.one.sha256()
    assert objects.list(PARTIAL) == []


def _asked_otherwise(job: Make) -> tuple[Job, Job]:
    """A job that goes on with another learning rate, and one that had that from the beginning."""
    straight, left = job(1, **{"learning-rate": 0.25}), job(1)
    straight.run()
    left.noticed("train", 1, 2)
    left.config["learning-rate"] = 0.25
    left.moved()
    assert left.run().phase is Phase.DONE
    return straight, left


def test_who_is_asked_something_else_is_asked(job: Make) -> None:
    straight, left = _asked_otherwise(job)

    assert left.asked("train") == ["a", "b", "c"]
    assert left.one.sha256() == straight.one.sha256()


def test_without_the_hash_of_the_question_another_model_would_come_of_it(
    job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("app_grid", "app_replies"):
        monkeypatch.setattr(f"fedspan.flower.{place}.question_of", lambda message: "0" * 64)
    straight, left = _asked_otherwise(job)

    assert left.asked("train") == ["c"]
    assert left.one.sha256() != straight.one.sha256()


def test_that_keeping_fails_costs_the_round_and_not_the_job(job: Make) -> None:
    straight, left = job(1), job(1)
    straight.run()
    full = StorageFull("cannot write: No space left on device")
    left.one.objects = Faulty(left.one.home / "objects", full, "/partial/", times=1)
    with capture_logs() as logged:
        first = left.noticed("train", 1, 2)
    left.moved()

    assert (first.phase, first.fault, left.run().phase) == (Phase.LEAVING, None, Phase.DONE)
    assert [one["replies"] for one in logged if one["event"] == "partial.lost"] == [2]
    assert left.asked("train") == ["a", "b", "c"]
    assert left.one.sha256() == straight.one.sha256()


def test_an_incarnation_whose_successor_kept_replies_is_stale(job: Make) -> None:
    left = job(1)
    left.moved()
    left.noticed("train", 1, 2)
    left.one.work.notice_file.unlink()
    left.one.manifest = left.one.manifest.model_copy(update={"epoch": 1})
    fault = left.run().fault

    assert fault is not None and fault.code == "StaleEpoch"


def test_a_notice_before_anyone_replied_leaves_nothing(job: Make) -> None:
    left = job(1)
    left.one.work.write_notice(NOTICE)
    assert left.run().phase is Phase.LEAVING
    left.moved()
    left.noticed("train", 1, 0)

    assert left.one.objects.list("jobs/") == []


def test_what_was_kept_of_a_round_that_is_committed_is_removed(job: Make) -> None:
    """By the next incarnation, if the one that committed it died before it could."""
    left = job(1)
    left.noticed("train", 1, 2)
    objects = left.one.objects
    kept = {info.key: objects.get(info.key) for info in objects.list(PARTIAL)}
    left.moved()
    left.run()
    for key, content in kept.items():
        objects.put(key, content)
    left.moved()

    assert (left.run().phase, len(kept)) == (Phase.DONE, 3)
    assert objects.list(PARTIAL) == []
