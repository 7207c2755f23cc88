"""Whole jobs in this process: the product's server and clients over a grid in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import torch
from flwr.app import Array, Message

from fedspan.domain.reports import Desired, Link, Phase
from fedspan.domain.rounds import Metrics, Round, Status
from fedspan.domain.spec import ModelSpec
from fedspan.errors import InvalidDataset
from fedspan.flower.checkpoints import latest
from fedspan.flower.files import WorkFolder
from fedspan.flower.server import serve
from fedspan.flower.wire import arrays
from fedspan.learning import datasets, training
from fedspan.learning.modules import build, load_tensors
from fedspan.services.examine import program_key
from tests.support.in_process import MemoryGrid

Make = Callable[..., Any]

NORMED = {"layers": [{"batch_norm": {}}, {"linear": 8}, {"relu": {}}, {"linear": 2}]}
"""A model with whole numbers among its tensors: how many batches each norm has seen."""


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


def broken(message: Message, context: object) -> Message:
    raise InvalidDataset("row 3 has no target")


def altered(one: Any, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Participant `name` of `one` replies to training with another model."""
    real = one.grid.answers[name]

    def answer(message: Message, context: Any) -> Message:
        reply = real(message, context)
        if message.metadata.message_type != "train":
            return reply
        flat = reply.content["arrays"]["flat"].numpy()
        reply.content["arrays"] = arrays(Array(change(flat)))
        return reply

    one.grid.answers[name] = answer


def with_nan(flat: np.ndarray) -> np.ndarray:
    flat[3] = np.nan
    return flat


def killed_at(one: Any, message_type: str, nth: int) -> None:
    """The server dies when it sends `message_type` for the `nth` time to the first node."""
    sent = []

    def at_push(kind: str) -> None:
        sent.append(kind)
        if kind == message_type and sent.count(kind) == 3 * (nth - 1) + 1:
            raise Killed

    one.grid.at_push = at_push


def test_a_job_runs_to_its_end(federation: Make) -> None:
    status = federation().run()

    assert (status.phase, status.fault) == (Phase.DONE, None)
    assert [one.number for one in status.rounds] == [1, 2]
    for one in status.rounds:
        assert one.metrics is not None
        assert {name: (p.status, p.examples) for name, p in one.participants.items()} == {
            "a": (Status.DONE, 24),
            "b": (Status.DONE, 32),
            "c": (Status.DONE, 40),
        }
        assert all(p.loss is not None and p.loss > 0 for p in one.participants.values())
        assert one.parameters == 58
        assert one.versions["flwr"] and one.versions["torch"]


def test_training_makes_the_model_better(federation: Make) -> None:
    status = federation(rounds=8).run()

    losses = [one.metrics.loss for one in status.rounds]
    assert losses[-1] < losses[0]
    assert status.rounds[-1].metrics.accuracy > 0.9


def test_one_seed_gives_one_model(federation: Make) -> None:
    runs = [federation(), federation(), federation(seed=8)]
    for one in runs:
        one.run()
    first, again, other = (one.sha256() for one in runs)

    assert first == again != other


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam", "fedmedian"])
def test_the_order_of_arrival_does_not_change_the_model(federation: Make, strategy: str) -> None:
    hashes = set()
    for order in ("abc", "cba", "bca"):
        one = federation(strategy={"name": strategy})
        one.grid.order = list(order)
        one.run()
        hashes.add(one.sha256())

    assert len(hashes) == 1


@pytest.mark.parametrize("killed", [("train", 2), ("evaluate", 2), ("evaluate", 1)])
@pytest.mark.parametrize("strategy", ["fedavg", "fedadam", "fedavgm"])
def test_a_killed_job_ends_with_the_bits_of_one_that_was_not(
    federation: Make, strategy: str, killed: tuple[str, int]
) -> None:
    options = {"server_momentum": 0.9} if strategy == "fedavgm" else {}
    changes = {"rounds": 3, "strategy": {"name": strategy, **options}, "model": NORMED}
    straight, crashed = federation(**changes), federation(**changes)
    straight.run()
    killed_at(crashed, *killed)
    with pytest.raises(Killed):
        crashed.run()
    crashed.grid.at_push = lambda kind: None
    crashed.want(epoch=2)
    status = crashed.run()

    assert status.phase is Phase.DONE
    assert [one.number for one in status.rounds] == [1, 2, 3]
    assert {one.epoch for one in status.rounds} == ({1, 2} if killed[1] == 2 else {2})
    assert crashed.sha256() == straight.sha256()


@pytest.mark.parametrize("gap", [1, 2])
def test_a_round_that_cannot_be_read_is_done_again_and_all_after_it(
    federation: Make, gap: int
) -> None:
    one = federation(rounds=4, quorum=2)
    one.run()
    one.objects.put(f"jobs/job-1/rounds/{gap:06d}.json", b'{"round": {"job"')
    one.grid.answers["c"] = broken  # so that the rounds come out otherwise
    one.want(epoch=2)
    status = one.run()

    assert (status.phase, status.fault) == (Phase.DONE, None)
    assert [done.number for done in status.rounds] == [1, 2, 3, 4]
    assert [done.epoch for done in status.rounds] == [1] * (gap - 1) + [2] * (5 - gap)


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam"])
@pytest.mark.parametrize("file", ["safetensors", "json"])
def test_a_round_with_a_flipped_bit_is_done_again_to_the_same_bits(
    federation: Make, strategy: str, file: str
) -> None:
    one = federation(rounds=3, strategy={"name": strategy})
    one.run()
    before = one.sha256()
    for key in [info.key for info in one.objects.list("jobs/job-1/rounds/000002")]:
        if key.endswith(file):
            whole = bytearray(one.objects.get(key))
            whole[len(whole) // 2] ^= 1
            one.objects.put(key, bytes(whole))
    one.want(epoch=2)
    status = one.run()

    assert (status.phase, status.fault) == (Phase.DONE, None)
    assert [done.number for done in status.rounds] == [1, 2, 3]
    assert one.sha256() == before


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_round_of_a_newer_incarnation_ends_this_one(federation: Make, epoch: int) -> None:
    one = federation()
    one.want(epoch=3)
    one.run()
    stored = {info.key: one.objects.get(info.key) for info in one.objects.list("jobs/")}
    one.want(epoch=epoch)
    status = one.run()

    assert (status.phase, status.fault.code) == (Phase.FAILED, "StaleEpoch")
    assert status.fault.message == (
        f"job job-1: round 2 was committed by incarnation 3, which has replaced this one, {epoch}"
    )
    assert {info.key: one.objects.get(info.key) for info in one.objects.list("jobs/")} == stored


def test_a_round_of_a_newer_fedspan_is_left_to_it(federation: Make) -> None:
    one = federation()
    one.run()
    key = "jobs/job-1/rounds/000002.json"
    told = b'{"format": 3, "round": {"versions": {"fedspan": "9.1.0"}}}'
    one.objects.put(key, told)
    one.want(epoch=2)
    status = one.run()

    assert (status.phase, status.fault.code) == (Phase.FAILED, "Corrupt")
    assert status.fault.message.startswith(f"{key} has format 3, of Fedspan 9.1.0; this is Fedspan")
    assert status.fault.message.endswith("reads up to format 2: run the job with that one")
    assert one.objects.get(key) == told


def overtaken(one: Any, epoch: int, kind: str = "evaluate") -> None:
    """While the first message `kind` is sent, incarnation `epoch` of the job does all of it, with
    `c` broken, so that its rounds come out otherwise."""
    real = dict(one.grid.answers)

    def at_push(sent: str) -> None:
        if sent != kind:
            return
        one.grid.at_push = lambda sent: None
        before, folder = one.manifest, one.work
        other = MemoryGrid({**real, "c": broken})
        one.work = WorkFolder(one.home / "other")
        one.work.write_nodes({node: name for name, node in other.ids.items()})
        one.work.write_desired(before.model_copy(update={"epoch": epoch}))
        serve(other, one.work, one.objects, 0.0)
        one.work = folder

    one.grid.at_push = at_push


def test_an_incarnation_that_wakes_late_ends_and_changes_nothing(federation: Make) -> None:
    one = federation(quorum=2, rounds=3)
    overtaken(one, epoch=2)
    status = one.run()
    stored = {info.key: one.objects.get(info.key) for info in one.objects.list("jobs/")}
    again = one.run()

    assert status.fault.code == again.fault.code == "StaleEpoch"
    newest = latest(one.objects, "job-1")
    assert newest is not None and (newest[0].round.number, newest[0].round.epoch) == (3, 2)
    assert all(one.objects.get(key) == whole for key, whole in stored.items())


def test_rounds_an_older_incarnation_committed_first_are_gone_on_from(federation: Make) -> None:
    one = federation(quorum=2, rounds=3, strategy={"name": "fedadam"})
    one.want(epoch=2)
    overtaken(one, epoch=1)
    status = one.run()

    assert (status.phase, status.fault) == (Phase.DONE, None)
    assert [done.epoch for done in status.rounds] == [1, 1, 1]
    assert status.rounds[0].participants["c"].status is Status.FAILED
    newest = latest(one.objects, "job-1")
    assert newest is not None and newest[0].round == status.rounds[-1]


def test_acknowledged_rounds_are_not_told_again(federation: Make) -> None:
    one = federation()
    one.run()
    one.change(rounds=3)
    one.want(acknowledged=1)

    assert [done.number for done in one.run().rounds] == [2, 3]


def test_a_finished_job_that_starts_again_is_finished(federation: Make) -> None:
    one = federation()
    one.run()
    one.grid.asked.clear()
    one.grid.connected.clear()

    assert one.run().phase is Phase.DONE
    assert one.grid.asked == []


def test_with_a_quorum_a_failing_participant_is_only_its_own_failure(federation: Make) -> None:
    one = federation(quorum=2)
    one.grid.answers["b"] = broken
    status = one.run()

    assert status.phase is Phase.DONE
    for done in status.rounds:
        assert done.participants["b"].status is Status.FAILED
        assert done.participants["b"].message == "InvalidDataset: row 3 has no target"
        assert done.metrics.examples == 6 + 10
    assert ("b", "evaluate") not in one.grid.asked


def test_without_a_quorum_the_job_fails_and_says_at_whom(federation: Make) -> None:
    one = federation()
    one.grid.answers["b"] = broken
    status = one.run()

    assert (status.phase, status.fault.code) == (Phase.FAILED, "ParticipantsMissing")
    assert status.fault.message == (
        "round 1: 2 of 3 needed participants trained; b: InvalidDataset: row 3 has no target"
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (with_nan, "its parameters are not finite"),
        (lambda flat: flat[:-1], "its model is float32(57,), the job's is float32(58,)"),
        (lambda flat: flat.astype(np.float64), "its model is float64(58,)"),
    ],
)
def test_a_model_that_cannot_be_averaged_is_left_out(
    federation: Make, change: Callable[[np.ndarray], np.ndarray], why: str
) -> None:
    bad, away = federation(quorum=2, rounds=1), federation(quorum=2, rounds=1)
    altered(bad, "c", change)
    away.grid.connected = {"a", "b"}
    status = bad.run()
    away.run()

    assert status.rounds[0].participants["c"].message.startswith(why)
    assert bad.sha256() == away.sha256()


def test_a_loss_that_is_no_number_fails_the_job_and_names_who(federation: Make) -> None:
    one = federation(training={"optimizer": "sgd", "learning_rate": 1e38, "local_epochs": 3})
    status = one.run()

    assert status.fault.code == "ParticipantsMissing"
    assert "a: TrainingFailed: " in status.fault.message
    assert "learning_rate" in status.fault.message


@pytest.mark.parametrize("quorum", [2, 3])
def test_a_round_ends_at_its_deadline(federation: Make, quorum: int) -> None:
    one = federation(quorum=quorum, rounds=1, limits={"round": 0.5, "node_wait": 1})
    one.grid.answers["b"] = lambda message, context: None
    status = one.run()

    if quorum == 2:
        assert status.phase is Phase.DONE
        assert status.rounds[0].participants["b"].message == "no reply within 0.5 s"
    else:
        assert status.fault.code == "ParticipantsMissing"
        assert status.fault.message.endswith("b: no reply within 0.5 s")


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_a_cancelled_job_stops_in_its_round(federation: Make, kind: str) -> None:
    one = federation()
    one.grid.at_push = lambda sent: one.want(desired=Desired.STOP) if sent == kind else None
    status = one.run()

    assert (status.phase, status.fault.code) == (Phase.FAILED, "JobCancelled")
    assert status.rounds == ()
    assert latest(one.objects, "job-1") is None


def test_a_job_cancelled_before_anyone_came_stops(federation: Make) -> None:
    one = federation(limits={"node_wait": 3600})
    one.grid.connected.clear()
    one.want(desired=Desired.STOP)

    assert one.run().fault.code == "JobCancelled"


def test_a_job_whose_participants_never_come_fails(federation: Make) -> None:
    one = federation()
    one.grid.connected = {"a"}
    status = one.run()

    assert status.fault.code == "ParticipantsMissing"
    assert status.fault.message.endswith("absent: b, c")


def test_an_evaluation_that_fails_is_told_and_counts_for_the_quorum(federation: Make) -> None:
    one = federation(quorum=2, rounds=1)
    real = one.grid.answers["b"]
    one.grid.answers["b"] = lambda message, context: (
        real(message, context) if message.metadata.message_type == "train" else broken(message, 0)
    )
    status = one.run()
    told = status.rounds[0].participants["b"]
    one.change(quorum=3, rounds=2)

    assert (told.status, told.examples) == (Status.DONE, 32)
    assert told.message == "not evaluated: InvalidDataset: row 3 has no target"
    assert one.run().fault.message.startswith("round 2: 2 of 3 needed participants evaluated; b")


def test_an_exception_nobody_foresaw_fails_the_training(federation: Make) -> None:
    one = federation()

    def fall(kind: str) -> None:
        raise OSError("the SuperLink hung up")

    one.grid.at_push = fall
    with structlog.testing.capture_logs() as told:
        status = one.run()

    assert status.fault.code == "TrainingFailed"
    assert status.fault.message == "OSError: the SuperLink hung up"
    assert "serverapp.crashed" in [one["event"] for one in told]


def test_progress_is_told_as_replies_arrive(federation: Make) -> None:
    one = federation(rounds=1)
    one.grid.order = ["a", "b", "c"]
    seen = []
    real = one.grid.answers["b"]

    def answer(message: Message, context: Any) -> Message:
        seen.append(one.work.status())
        return real(message, context)

    one.grid.answers["b"] = answer
    one.run()
    progress = seen[0].progress

    assert (seen[0].phase, progress.round) == (Phase.TRAINING, 1)
    assert {name: p.status for name, p in progress.participants.items()} == {
        "a": Status.DONE,
        "b": Status.TRAINING,
        "c": Status.TRAINING,
    }


def test_a_fraction_trains_the_same_sample_in_every_attempt(federation: Make) -> None:
    runs = []
    for _ in range(2):
        one = federation(quorum=1, rounds=4, strategy={"name": "fedavg", "fraction_train": 0.4})
        status = one.run()
        runs.append(
            [
                [name for name, p in done.participants.items() if p.status is Status.DONE]
                for done in status.rounds
            ]
        )

    assert runs[0] == runs[1]
    assert all(len(trained) == 1 for trained in runs[0])
    assert len({tuple(trained) for trained in runs[0]}) > 1


def test_a_round_says_whom_the_model_was_sent_to_once_more(federation: Make) -> None:
    some = {"name": "fedavg", "fraction_train": 0.4, "fraction_evaluate": 0.7}
    [few, *_], [all_of_them, *_] = (
        federation(quorum=quorum, rounds=1, strategy=some).run().rounds for quorum in (1, 3)
    )

    def counted(done: Round) -> tuple[int, int]:
        people = done.participants.values()
        return sum(one.asked for one in people), sum(one.evaluated for one in people)

    assert counted(few) == (1, 2)
    assert counted(all_of_them) == (3, 3)


def test_metrics_come_from_counts_summed_over_all_participants(federation: Make) -> None:
    one = federation(classes=3, rounds=3)
    status = one.run()
    metrics, expected = status.rounds[-1].metrics, recounted(one)

    assert metrics.model_copy(update={"loss": 0.0}) == expected.model_copy(update={"loss": 0.0})
    assert metrics.loss == pytest.approx(expected.loss, rel=1e-5)
    assert metrics.examples == sum(map(sum, metrics.confusion)) > 20
    for key in ("precision", "recall", "f1"):
        macro = np.mean([getattr(row, key) for row in metrics.per_class])
        assert getattr(metrics, key) == pytest.approx(macro)


def recounted(one: Any) -> Metrics:
    """Metrics of the last checkpoint over everyone's held-out rows, put in one pile."""
    newest = latest(one.objects, "job-1")
    assert newest is not None
    module = build(one.spec.model, one.manifest.features, len(one.manifest.classes))
    load_tensors(module, newest[1])
    splits = []
    for name, path in one.links.items():
        dataset = Link.model_validate_json(path.read_bytes()).dataset
        splits.append(datasets.load(dataset, one.spec.data, one.spec.seed, name))
    x = np.concatenate([split.held_x for split in splits])
    y = np.concatenate([split.held_y for split in splits])
    result = training.evaluate(module, x, y, len(one.manifest.classes))
    return Metrics.of(result.confusion, result.loss_sum, one.manifest.classes)


def test_the_positive_class_of_the_spec_is_the_one_counted(federation: Make) -> None:
    one = federation(data={"dataset": "points", "positive": "k0"}, rounds=1)
    metrics = one.run().rounds[0].metrics

    assert metrics.recall == metrics.per_class[0].recall
    assert metrics.per_class[0].name == "k0"


def test_fedprox_pulls_participants_towards_the_global_model(federation: Make) -> None:
    free, held = federation(), federation(strategy={"name": "fedprox", "proximal_mu": 5.0})
    free.run()
    held.run()

    assert free.sha256() != held.sha256()


def test_an_uploaded_program_is_trained(federation: Make, tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    batch = torch.export.Dim("batch")
    program = torch.export.export(module, (torch.zeros(3, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "model.pt2")
    sha256 = hashlib.sha256((tmp_path / "model.pt2").read_bytes()).hexdigest()
    one = federation(model=ModelSpec(file="model.pt2", sha256=sha256).model_dump(), rounds=1)
    one.objects.put(program_key(sha256), tmp_path / "model.pt2")
    status = one.run()

    assert (status.phase, status.fault) == (Phase.DONE, None)
    assert status.rounds[0].parameters == 58


def test_without_a_manifest_nothing_starts(federation: Make) -> None:
    one = federation()

    serve(one.grid, one.work, one.objects)

    assert one.work.status().fault.code == "TrainingFailed"
