"""The walker walks the file as the interpreter does: both bring a job to its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedspan.domain.jobs import JobState
from fedspan.domain.reports import Phase
from fedspan.local.functions import handlers
from fedspan.services.report_aggregator import report_aggregator
from fedspan.services.submit import submit
from tests.support.walker import STATES, Told, Walker
from tests.support.world import a_round, aggregator_says, serving, spec, with_sites, world


def walked(walker: Walker, died: str = "") -> list[str]:
    """The states on the way to where it waits or ends; each Lambda dies once."""
    seen: list[str] = []
    while not walker.waiting and not walker.ended:
        first = not seen or seen[-1] != walker.at
        seen.append(walker.at)
        walker.step(lambda seconds: None, died if first else "")
    return seen


@pytest.mark.parametrize("died", ["", "before", "after"])
def test_a_job_is_walked_to_its_end_whatever_lambda_dies(tmp_path: Path, died: str) -> None:
    told = Told(handlers())
    made = world(tmp_path, executions=told)
    with_sites(made.app)
    with serving(made.app) as app:
        job = submit(app, spec()).id
        [walker] = told.walkers.values()
        seen = walked(walker, died)
        report_aggregator(app, aggregator_says(job, 1, Phase.READY))
        seen += walked(walker, died)
        rounds = tuple(a_round(app, job, number) for number in (1, 2))
        report_aggregator(app, aggregator_says(job, 2, Phase.DONE, rounds=rounds))
        seen += walked(walker, died)

    assert app.jobs.get(job).value.state is JobState.SUCCEEDED
    assert list(dict.fromkeys(seen)) == [
        "Check",
        "Ending?",
        "Place",
        "Placed?",
        "Approve?",
        "Launch",
        "AwaitAggregator",
        "Link",
        "Train",
        "Select",
        "Qualifies?",
        "Save",
        "TearDown",
        "Gone?",
        "Notify",
        "Finish",
        "Succeeded?",
        "Succeeded",
    ]
    assert made.cloud.machines() == []


def test_the_walker_knows_every_kind_of_state_there_is() -> None:
    assert {one["Type"] for one in STATES.values()} == {"Task", "Choice", "Wait", "Succeed", "Fail"}
