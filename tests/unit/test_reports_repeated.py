"""Reports of an aggregator over a network that repeats, delays, reorders and loses them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspan.domain.reports import AggregatorReport, Phase
from fedspan.domain.rounds import Round
from fedspan.errors import StaleEpoch
from fedspan.services import steps, waits
from fedspan.services.recover import recover
from fedspan.services.report_aggregator import report_aggregator
from fedspan.services.submit import submit
from tests.support.world import World, a_round, aggregator_says, spec, with_sites, world

ROUNDS = 4


class Turn(NamedTuple):
    """`done` rounds are completed, then a report is sent and one of those under way arrives;
    `kept` may arrive once more, and of one that is not `heard` the answer is lost."""

    done: int
    which: int
    kept: bool
    heard: bool


TURNS = st.lists(
    st.builds(Turn, st.integers(0, 2), st.integers(0, 9), st.booleans(), st.booleans()),
    max_size=12,
)


def training(folder: Path) -> tuple[World, str]:
    here = world(folder)
    with_sites(here.app)
    job = submit(here.app, spec(rounds=ROUNDS)).id
    for step in (steps.check, steps.place, steps.launch):
        step(here.app, job)
    report_aggregator(here.app, aggregator_says(job, 1, Phase.READY))
    steps.link(here.app, job)
    waits.await_trained(here.app, job, "token")
    return here, job


class Aggregator:
    """As `Supervisor` tells of rounds: all that were not acknowledged, with each report."""

    def __init__(self, here: World, job: str) -> None:
        self._here, self._job = here, job
        self._acknowledged, self._seq = 0, 1
        self._rounds = [a_round(here.app, job, number + 1) for number in range(ROUNDS)]
        self._done = 0
        self._under_way: list[AggregatorReport] = []

    def turn(self, one: Turn) -> None:
        self._done = min(ROUNDS, self._done + one.done)
        self._under_way.append(self._word())
        report = self._under_way[one.which % len(self._under_way)]
        if not one.kept:
            self._under_way.remove(report)
        answer = report_aggregator(self._here.app, report)
        if one.heard:
            self._acknowledged = max(self._acknowledged, answer.acknowledged)

    def last_words(self) -> None:
        """The network is well again; what is still under way comes last of all."""
        for _ in range(2):
            answer = report_aggregator(self._here.app, self._word())
            self._done, self._acknowledged = ROUNDS, answer.acknowledged
        report_aggregator(self._here.app, self._word())
        for report in self._under_way:
            report_aggregator(self._here.app, report)

    def _word(self) -> AggregatorReport:
        self._seq += 1
        phase = Phase.DONE if self._done == ROUNDS else Phase.TRAINING
        return aggregator_says(self._job, self._seq, phase, rounds=self._untold())

    def _untold(self) -> Sequence[Round]:
        return tuple(one for one in self._rounds[: self._done] if one.number > self._acknowledged)


@settings(max_examples=25)
@given(TURNS)
def test_reports_that_are_repeated_late_or_lost_change_nothing(turns: list[Turn]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        here, job = training(Path(folder))
        aggregator = Aggregator(here, job)
        for one in turns:
            aggregator.turn(one)
        aggregator.last_words()
        ended = here.app.jobs.get(job).value
        rounds = here.app.rounds.list(job)
        told = [one.round for one in here.app.events.list(job) if one.code == "RoundDone"]
        failures = {word for _, word in here.app.executions.told} - {"alive", "succeeded"}

    assert ended.rounds_done == ROUNDS
    assert [one.number for one in rounds] == told == list(range(1, ROUNDS + 1))
    assert [one.checkpoint.sha256 for one in rounds] == [f"{n:064x}" for n in range(1, ROUNDS + 1)]
    assert failures == set()


def test_a_report_that_comes_back_after_its_aggregator_was_replaced_is_refused(
    tmp_path: Path,
) -> None:
    here, job = training(tmp_path)
    late = aggregator_says(job, 2, Phase.TRAINING, rounds=(a_round(here.app, job, 1),))
    recover(here.app, job, 1, {"Error": "AggregatorLost", "Cause": ""})

    with pytest.raises(StaleEpoch):
        report_aggregator(here.app, late)

    assert here.app.jobs.get(job).value.rounds_done == 0
    assert here.app.rounds.list(job) == []
