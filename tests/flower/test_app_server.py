"""Whole runs of unchanged Flower apps in this process, killed and gone on with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy

from fedspan.domain.reports import Phase
from fedspan.domain.rounds import Status
from tests.flower.app_jobs import Job

Make = Callable[..., Job]


def test_an_app_runs_to_its_end_and_its_metrics_are_those_of_the_rounds(job: Make) -> None:
    status = job(2).run()

    assert (status.phase, status.fault) == (Phase.DONE, None)
    assert [one.number for one in status.rounds] == [1, 2]
    for one in status.rounds:
        assert one.app is not None and one.app.not_exact == ()
        assert {*one.app.evaluate} == {"eval_loss", "eval_acc"}
        assert one.value("accuracy") == one.app.evaluate["eval_acc"]
        assert all(part.evaluated for part in one.participants.values())
        assert {
            name: (p.status, p.examples) for name, p in one.participants.items()
        } == dict.fromkeys("abc", (Status.DONE, 120))
    assert status.rounds[-1].value("loss") != status.rounds[0].value("loss")


@pytest.mark.parametrize("strategy", ["drifting", "fedadam"])
@pytest.mark.parametrize(("message_type", "nth"), [("train", 3), ("evaluate", 3), ("train", 4)])
def test_a_killed_app_ends_with_the_bits_of_one_that_was_not(
    job: Make, strategy: str, message_type: str, nth: int
) -> None:
    undisturbed = job(strategy=strategy, **{"fraction-train": 0.7})
    undisturbed.run()
    killed = job(strategy=strategy, **{"fraction-train": 0.7})
    killed.killed(message_type, nth)
    status = killed.run()

    assert (status.phase, status.fault) == (Phase.DONE, None)
    assert [one.number for one in status.rounds] == [1, 2, 3, 4]
    assert [one.epoch for one in status.rounds] == [1] * (nth - 1) + [2] * (5 - nth)
    assert killed.one.sha256() == undisturbed.one.sha256()


def test_results_of_rounds_before_the_kill_are_in_what_start_returns(job: Make) -> None:
    from drifting.server_app import Drifting

    results = []

    def main(grid: Grid, context: Context) -> None:
        strategy = Drifting()
        found = strategy.start(
            grid,
            ArrayRecord({"weights": Array(np.zeros(8)), "bias": Array(np.zeros(1))}),
            4,
            train_config=ConfigRecord({"learning-rate": 0.5}),
            evaluate_fn=lambda number, arrays: MetricRecord({"accuracy": number / 10}),
        )
        results.append((found, strategy.best))

    plain = job()
    plain.run(main)
    again = job()
    again.killed("train", 3)  # of the app's own main: another model
    again.one.objects = plain.one.objects
    again.run(main)

    (found, best), (resumed, remembered) = results
    assert found.evaluate_metrics_clientapp == resumed.evaluate_metrics_clientapp
    assert list(resumed.evaluate_metrics_serverapp) == [0, 1, 2, 3, 4]
    assert best == remembered


class Secretive(FedAvg):
    """Keeps what no checkpoint holds."""

    def __init__(self) -> None:
        super().__init__()
        self.draws = random.Random(1)


def _plain(strategy: Strategy, rounds: int) -> Callable[[Grid, Context], None]:
    def main(grid: Grid, context: Context) -> None:
        strategy.start(
            grid,
            ArrayRecord({"weights": Array(np.zeros(8)), "bias": Array(np.zeros(1))}),
            rounds,
            train_config=ConfigRecord({"learning-rate": 0.5}),
        )

    return main


def test_what_cannot_be_kept_of_a_strategy_is_told_once(job: Make) -> None:
    status = job(2).run(_plain(Secretive(), 2))
    told = [one.app.not_exact for one in status.rounds if one.app]

    assert told == [("strategy.draws (Random)",), ()]


def test_a_second_start_goes_on_counting_and_is_told(job: Make) -> None:
    def main(grid: Grid, context: Context) -> None:
        _plain(FedAvg(), 1)(grid, context)
        _plain(FedAvg(), 2)(grid, context)

    status = job(3).run(main)
    told = [one.app.not_exact for one in status.rounds if one.app]

    assert [one.number for one in status.rounds] == [1, 2, 3]
    assert told == [(), ("Strategy.start is called more than once",), ()]


@pytest.mark.parametrize(
    ("asked", "wanted", "said"),
    [
        (3, 2, "the app asks for 3 rounds and the job for 2: set `rounds: 3`"),
        (1, 2, "the app ended after 1 of 2 rounds"),
    ],
)
def test_another_number_of_rounds_than_the_job_has_is_a_fault_with_both(
    job: Make, asked: int, wanted: int, said: str
) -> None:
    status = job(wanted).run(_plain(FedAvg(), asked))

    assert status.phase is Phase.FAILED and status.fault is not None
    assert status.fault.code == "TrainingFailed" and said in status.fault.message


def test_an_app_that_uses_the_grid_itself_is_told(job: Make) -> None:
    def main(grid: Grid, context: Context) -> None:
        record = RecordDict({"config": ConfigRecord({"server-round": 0})})
        nodes = list(grid.get_node_ids())
        list(grid.send_and_receive([Message(record, nodes[0], "evaluate")], timeout=5))
        _plain(FedAvg(), 1)(grid, context)

    status = job(1).run(main)
    [one] = status.rounds

    assert one.app is not None
    assert one.app.not_exact == ("messages are sent outside of Strategy.start",)


def test_what_an_app_raises_is_the_fault_of_its_job(job: Make) -> None:
    def main(grid: Grid, context: Context) -> None:
        raise LookupError("no such column")

    status = job(1).run(main)

    assert status.fault is not None
    assert status.fault.message == "the app: LookupError: no such column"


def test_a_participant_whose_app_fails_is_named_and_missed(job: Make) -> None:
    one = job(1)

    def broken(message: Message, context: Context) -> Message:
        raise KeyError("age")

    one.one.grid.answers["b"] = broken
    status = one.run()

    assert status.fault is not None and status.fault.code == "ParticipantsMissing"
    assert "2 of 3 needed participants trained; b: KeyError" in status.fault.message


def test_a_strategy_that_waits_for_more_nodes_than_there_are_waits_not_for_ever(job: Make) -> None:
    status = job(1).run(_plain(FedAvg(min_available_nodes=9), 1))

    assert status.fault is not None and status.fault.code == "ParticipantsMissing"
    assert "waits for more nodes than the 3 that connected within 0.2 s" in status.fault.message


def test_flowers_start_is_back_in_its_place_afterwards(job: Make) -> None:
    stock = Strategy.start
    job(1).run()

    assert Strategy.start is stock


def test_replies_come_in_the_order_of_names_whoever_was_first(job: Make) -> None:
    seen: list[list[int]] = []

    class Watching(FedAvg):
        def aggregate_train(
            self, server_round: int, replies: Iterable[Message]
        ) -> tuple[ArrayRecord | None, MetricRecord | None]:
            kept = list(replies)
            seen.append([one.metadata.src_node_id for one in kept])
            return super().aggregate_train(server_round, kept)

    one = job(1)
    one.one.grid.order = ["c", "a", "b"]
    one.run(_plain(Watching(), 1))

    assert seen == [[one.one.grid.ids[name] for name in "abc"]]
