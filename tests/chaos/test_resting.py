"""A job whose aggregator is given back while its participants train, as real processes. While it
is away the control plane is killed, and then a participant's machine that trains."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from fedspan.cli.api import Api, Wire
from fedspan.domain.jobs import Job, JobState
from tests.chaos.attacks import killed
from tests.chaos.federation import SEED, Federation, Watched, federation, watched
from tests.chaos.reference import reference
from tests.support.installation import until

LONG: Final[dict[str, Any]] = {
    "participants": ["seoul", "busan"],
    "quorum": 2,
    "training": {"optimizer": "adam", "learning_rate": 0.001, "local_epochs": 900},
}
"""Training that takes longer than an aggregator takes to come back."""
ROUNDS: Final = 2


def test_a_job_whose_aggregator_is_away_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSPAN_BILLED_SECONDS", "0.1")
    undisturbed = reference(tmp_path / "reference", ROUNDS, **LONG)
    with federation(tmp_path) as here:
        stopped, sha256, events = _ended(here)
        with Wire(here.home) as wire:
            bill = Api(wire).bill(stopped.id)
        left = here.left()

    rests = [one for one in events if one == "BetweenRounds"]
    assert rests
    assert stopped.epoch == 1 + len(rests)
    assert stopped.losses == ()
    assert "resting" in stopped.phases
    assert sha256 == undisturbed
    assert bill.away.times == len(rests)
    assert bill.away.seconds > 0
    assert left == []


def _killed_at_rest(here: Federation, seen: Watched) -> None:
    until(lambda: seen.now().state is JobState.RESTING, "the job rests")
    here.down()
    here.up()
    killed("client-seoul")(here, Random(SEED))


def _ended(here: Federation) -> tuple[Job, str, list[str]]:
    """The job, the hash of its model, and the codes of its events."""
    job = here.submit(ROUNDS, **LONG, seed=SEED, aggregator={"between_rounds": "stop"})
    with watched(here, job) as seen:
        _killed_at_rest(here, seen)
        until(lambda: seen.now().ended, "the job has ended")
        ended = seen.now()
        assert ended.outcome is not None
        assert ended.outcome.code == "Completed", ended.outcome
        return ended, seen.records.model(job).sha256, _codes(seen)


def _codes(seen: Watched) -> list[str]:
    return [one.code for one in seen.records.events(seen.id)]
