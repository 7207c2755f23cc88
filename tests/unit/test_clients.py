"""A participant's machine that ends while its job needs it is started again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedspan.domain.jobs import JobState
from fedspan.domain.machines import Machine
from fedspan.domain.reports import Phase
from fedspan.domain.sites import SiteKind
from fedspan.errors import CloudUnavailable, NoCapacity
from fedspan.providers.memory import MemoryProvider
from fedspan.services import ending, steps
from fedspan.services.cancel import cancel
from fedspan.services.clients import RESTARTS
from fedspan.services.report_aggregator import report_aggregator
from fedspan.services.report_site import report_site
from fedspan.services.sweep import sweep
from tests.support.world import (
    World,
    a_round,
    aggregator_says,
    lose,
    site_says,
    training,
    with_sites,
    world,
)


@pytest.fixture
def here(tmp_path: Path) -> World:
    made = world(tmp_path)
    with_sites(made.app)
    return made


def machine(here: World, job: str, site: str = "busan") -> Machine:
    [found] = [one for one in here.cloud.machines(job) if one.key == f"{job}-client-{site}"]
    return found


def events(here: World, job: str) -> list[tuple[str, str]]:
    return [(one.code, one.message) for one in here.app.events.list(job) if one.site == "busan"]


def dies(here: World, job: str, site: str = "busan") -> dict[str, object]:
    """It speaks once, and ends."""
    here.clock.tick(1)
    report_site(here.app, site_says(job, site, int(here.clock().timestamp())))
    here.cloud.stop(machine(here, job, site))
    return sweep(here.app)


def test_a_machine_that_ended_is_started_again_and_people_hear_of_it(here: World) -> None:
    job = training(here, rounds=9)
    before = here.cloud.launched
    swept = dies(here, job)

    assert swept["restarted"] == [f"{job}-client-busan"]
    assert machine(here, job).state == "running"
    assert here.cloud.launched == before + 1
    said = "the machine of busan has ended; it is started again"
    assert events(here, job) == [("ClientRestarted", said)]
    assert sweep(here.app)["restarted"] == []


def test_what_runs_is_left_alone(here: World) -> None:
    training(here, rounds=9)
    before = here.cloud.launched

    assert sweep(here.app)["restarted"] == []
    assert here.cloud.launched == before


def test_a_machine_that_is_not_shown_counts_as_ended_when_it_is_silent_too(here: World) -> None:
    job = training(here, rounds=9)
    report_site(here.app, site_says(job, "busan", 1))
    here.cloud.terminate(machine(here, job))
    soon = sweep(here.app)["restarted"]
    here.clock.tick(16)

    assert soon == []
    assert sweep(here.app)["restarted"] == [f"{job}-client-busan"]


def test_a_machine_that_is_just_being_made_is_none_that_ended(here: World) -> None:
    job = training(here, rounds=9)
    here.cloud.stop(machine(here, job))
    soon = sweep(here.app)["restarted"]
    here.clock.tick(16)

    assert soon == []
    assert sweep(here.app)["restarted"] == [f"{job}-client-busan"]


def test_a_cloud_that_cannot_be_asked_shows_no_machine_as_ended(here: World) -> None:
    job = training(here, rounds=9)
    here.clock.tick(16)
    before = here.cloud.launched
    here.cloud.fail_next = CloudUnavailable("away")

    assert sweep(here.app)["restarted"] == []
    assert here.cloud.launched == before
    assert machine(here, job)


def test_the_aggregator_is_told_that_it_is_on_its_way(here: World) -> None:
    job = training(here, rounds=9)
    here.clock.tick(29)
    dies(here, job)
    here.clock.tick(1)
    report_site(here.app, site_says(job, "busan", int(here.clock().timestamp())))
    here.clock.tick(31)  # longer than a machine may be silent, while it warms up
    booting = report_aggregator(here.app, aggregator_says(job, 2, Phase.TRAINING))
    here.clock.tick(30)
    late = report_aggregator(here.app, aggregator_says(job, 3, Phase.TRAINING))

    assert (booting.lost, booting.returning) == ((), ("busan",))
    assert (late.lost, late.returning) == (("busan",), ())


def test_one_that_ends_again_and_again_is_given_up_once_and_by_name(here: World) -> None:
    job = training(here, rounds=9)
    for _ in range(RESTARTS):
        assert dies(here, job)["restarted"]
    launched = here.cloud.launched
    assert [dies(here, job)["restarted"] for _ in range(3)] == [[], [], []]

    assert here.cloud.launched == launched
    codes = [code for code, _ in events(here, job)]
    assert codes == ["ClientRestarted"] * RESTARTS + ["ClientLost"]
    assert "ended 4 times and no round was completed in between" in events(here, job)[-1][1]
    here.clock.tick(31)
    assert report_aggregator(here.app, aggregator_says(job, 2, Phase.TRAINING)).lost == ("busan",)


def test_a_round_that_was_completed_forgives_it(here: World) -> None:
    job = training(here, rounds=9)
    for number in range(1, 6):
        assert dies(here, job)["restarted"]
        done = a_round(here.app, job, number)
        report_aggregator(
            here.app, aggregator_says(job, 1 + number, Phase.TRAINING, rounds=(done,))
        )

    assert len(events(here, job)) == 5


def test_one_that_cannot_be_had_is_tried_again_and_keeps_no_other(here: World) -> None:
    job = training(here, rounds=9)
    report_site(here.app, site_says(job, "seoul", 1))
    here.cloud.stop(machine(here, job, "seoul"))
    here.cloud.fail_launch = [NoCapacity("full")]
    first = dies(here, job)["restarted"]
    here.clock.tick(16)
    second = sweep(here.app)["restarted"]

    assert first == [f"{job}-client-busan"]
    assert second == [f"{job}-client-seoul"]


def test_nobody_starts_machines_of_a_job_that_is_to_end(here: World) -> None:
    job = training(here, rounds=9)
    cancel(here.app, job)

    assert dies(here, job)["restarted"] == []


def test_after_a_loss_the_launch_starts_them_not_the_sweep(here: World) -> None:
    job = training(here, rounds=9)
    lose(here.app, job)
    assert here.app.jobs.get(job).value.state is JobState.RECOVERING
    assert dies(here, job)["restarted"] == []
    steps.place(here.app, job)
    here.cloud.terminate(machine(here, job))
    steps.launch(here.app, job)

    assert machine(here, job).state == "running"


def test_a_job_that_ends_while_its_machine_is_started_leaves_none(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the job and the launch it is torn down."""
    job = training(here, rounds=9)
    launch = here.cloud.launch

    def late(*given: Any) -> Machine:
        ending.give_up(here.app, job, {"Error": "TrainingFailed", "Cause": ""})
        ending.tear_down(here.app, job)
        return launch(*given)

    monkeypatch.setattr(here.cloud, "launch", late)

    assert dies(here, job)["restarted"] == []
    assert here.cloud.machines(job) == []


def test_machines_that_are_not_ours_to_start_are_not_started(tmp_path: Path) -> None:
    here = world(tmp_path)
    with_sites(here.app, kind=SiteKind.AGENT)
    training(here, rounds=9)
    here.clock.tick(100)

    assert sweep(here.app)["restarted"] == []
    assert isinstance(here.cloud, MemoryProvider) and here.cloud.launched == 1
