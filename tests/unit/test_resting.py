"""An aggregator that is given back while its participants train, and made anew just in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspan.domain.jobs import JobState
from fedspan.domain.machines import Role
from fedspan.domain.reports import Phase
from fedspan.domain.resting import Situation, away_s
from fedspan.domain.rounds import Participation, Status
from fedspan.domain.sites import Training
from fedspan.errors import InvalidRequest, JobCancelled, NoCapacity, StaleEpoch
from fedspan.providers.memory import MemoryProvider
from fedspan.services import billing, steps, waits
from fedspan.services.cancel import cancel
from fedspan.services.recover import recover
from fedspan.services.report_aggregator import aggregator_manifest, report_aggregator
from fedspan.services.report_site import report_site
from fedspan.services.submit import submit
from tests.support.world import (
    World,
    a_round,
    aggregator_says,
    site_says,
    spec,
    with_sites,
    world,
)

SITES = ("seoul", "busan", "daejeon")
HOUR = 3600.0
LONG = Situation(left_s=HOUR, back_s=100.0, ran_s=500.0, price=100_000, restart=10)
SECONDS = st.floats(min_value=0, max_value=1e6)


# The decision


def test_it_is_back_when_the_slowest_is_done() -> None:
    assert away_s(LONG) == HOUR - 100


def test_a_rest_that_is_billed_all_the_same_is_none() -> None:
    assert away_s(replace(LONG, left_s=100.0)) is None
    assert away_s(replace(LONG, left_s=60.0, back_s=1.0)) is None
    assert away_s(replace(LONG, left_s=101.0, ran_s=0.0)) is None


def test_a_rest_that_costs_more_to_end_than_it_saves_is_none() -> None:
    saved = round(100_000 * LONG.saved_s / HOUR)

    assert away_s(replace(LONG, restart=saved)) is not None
    assert away_s(replace(LONG, restart=saved + 1)) is None


@given(left=SECONDS, back=SECONDS, ran=SECONDS, price=st.integers(0, 10**9))
def test_no_rest_costs_more_than_staying(left: float, back: float, ran: float, price: int) -> None:
    now = Situation(left_s=left, back_s=back, ran_s=ran, price=price, restart=7)
    away = away_s(now)

    if away is not None:
        # Until the slowest is done: the first machine's least, and the second's.
        billed = max(ran, now.billed_s) + max(left - away, now.billed_s)
        assert billed < ran + left
        assert price * (ran + left - billed) / HOUR >= now.restart - 1
        assert away + back <= left * (1 + 1e-9)


# The job


class Here:
    """A job of three rounds on a cloud that costs something; each round trains for an hour."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.world: World = world(folder)
        self.app = self.world.app
        with_sites(self.app)
        aggregator = {"between_rounds": "stop", **changes.pop("aggregator", {})}
        told = spec(rounds=3, aggregator=aggregator, limits={"deadline": "1d"}, **changes)
        self.id = submit(self.app, told).id
        self.seq = 0
        steps.check(self.app, self.id)
        self.start()

    @property
    def job(self) -> Any:
        return self.app.jobs.get(self.id).value

    @property
    def told(self) -> list[tuple[str, str]]:
        found: Any = self.app.executions
        return [one for one in found.told if one[1] != "alive"]

    def start(self) -> None:
        steps.place(self.app, self.id)
        steps.launch(self.app, self.id)
        for site in SITES:
            self.site(site)
        self.world.clock.tick(30)
        self.says(Phase.READY, linked=SITES)
        steps.link(self.app, self.id)
        waits.await_trained(self.app, self.id, f"train-{self.job.epoch}")

    def says(self, phase: Phase, **more: Any) -> Any:
        self.seq += 1
        said = aggregator_says(self.id, self.seq, phase, epoch=self.job.epoch, **more)
        return report_aggregator(self.app, said)

    def site(self, site: str, training: Training | None = None) -> Any:
        self.seq += 1
        said = site_says(self.id, site, self.seq, running=True, training=training)
        return report_site(self.app, said.model_copy(update={"job": self.id}))

    def trains(self, number: int, **more: Any) -> Any:
        people = dict.fromkeys(SITES, Participation(status=Status.TRAINING))
        return self.says(
            Phase.TRAINING,
            linked=SITES,
            progress={"round": number, "participants": {**people, **more}},
        )

    def complete(self, number: int, seconds: float = HOUR) -> None:
        done = a_round(self.app, self.id, number, epoch=self.job.epoch)
        hour = done.participants["seoul"].model_copy(update={"seconds": HOUR})
        people = dict.fromkeys(SITES, hour)
        done = done.model_copy(update={"participants": people, "seconds": seconds})
        self.says(Phase.TRAINING, linked=SITES, rounds=(done,))

    def all_train(self, number: int, seconds: float = 0.0) -> None:
        for site in SITES:
            self.site(site, Training(round=number, seconds=seconds))

    def first_round(self) -> None:
        self.trains(1)
        self.all_train(1)
        self.world.clock.tick(HOUR)
        for site in SITES:
            self.site(site)
        self.complete(1)

    def rest(self) -> dict[str, object]:
        """The first round is done, the second is trained, and the aggregator leaves."""
        self.first_round()
        self.trains(2)
        self.all_train(2)
        self.trains(2)
        self.leaves()
        return self.recovered()

    def leaves(self) -> None:
        people = dict.fromkeys(SITES, Participation(status=Status.TRAINING))
        self.says(Phase.LEAVING, linked=SITES, progress={"round": 2, "participants": people})

    def recovered(self, epoch: int = 1) -> dict[str, object]:
        return recover(self.app, self.id, epoch, {"Error": "BetweenRounds", "Cause": ""})

    def aggregators(self) -> list[int]:
        found = [one for one in self.world.cloud.machines() if one.role is Role.AGGREGATOR]
        return [one.epoch for one in found]


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


def test_a_first_round_is_never_left_alone(here: Here) -> None:
    here.trains(1)
    here.all_train(1)
    manifest = here.trains(1)

    assert not manifest.rest


def test_an_aggregator_stays_where_the_spec_does_not_say_stop(tmp_path: Path) -> None:
    here = Here(tmp_path, aggregator={"between_rounds": "keep"})
    here.first_round()
    here.trains(2)
    here.all_train(2)

    assert not here.trains(2).rest
    assert here.site("seoul", Training(round=2)).finish is None


def test_it_leaves_when_all_who_were_asked_say_that_they_train(here: Here) -> None:
    here.first_round()
    here.trains(2)
    for site in SITES[:2]:
        here.site(site, Training(round=2))
    before = here.trains(2)
    here.site(SITES[2], Training(round=1))
    another = here.trains(2)
    here.site(SITES[2], Training(round=2))
    after = here.trains(2)

    assert (before.rest, another.rest, after.rest) == (False, False, True)
    assert after.desired == "run"
    assert aggregator_manifest(here.app, here.id, 1).rest


def test_who_has_replied_need_not_train(here: Here) -> None:
    here.first_round()
    done = {"daejeon": Participation(status=Status.DONE, seconds=1.0)}
    here.trains(2, **done)
    for site in SITES[:2]:
        here.site(site, Training(round=2))

    assert here.trains(2, **done).rest


def test_it_stays_for_what_is_left_of_a_round_that_is_nearly_done(here: Here) -> None:
    here.first_round()
    here.trains(2)
    here.all_train(2, HOUR - 60)

    assert not here.trains(2).rest


def test_its_machine_goes_and_no_loss_is_counted(here: Here) -> None:
    said = here.rest()
    job = here.job

    assert here.told[-1] == ("train-1", "BetweenRounds")
    assert said["again"] and said["resting"]
    assert (job.state, job.epoch, job.rests, job.losses) == (JobState.RESTING, 2, 1, ())
    assert here.aggregators() == []
    assert [one.code for one in here.app.events.list(here.id)][-1] == "BetweenRounds"
    # Back by the end of the hour that the slowest took, as far as this job has shown how long
    # that takes.
    assert job.comeback == 30.0
    assert HOUR - 40 <= float(str(said["pause_seconds"])) <= HOUR - 30
    assert said["rest_seconds"] == int(str(said["pause_seconds"])) + 1


def test_a_round_that_was_trained_without_an_aggregator_took_as_long_as_that(here: Here) -> None:
    here.rest()
    here.start()
    here.complete(2, seconds=2.0)

    assert here.job.rounds_done == 2
    assert here.job.pace.seconds == HOUR


def test_a_rest_that_is_told_twice_is_one(here: Here) -> None:
    first = here.rest()
    second = here.recovered()

    assert (here.job.epoch, here.job.rests) == (2, 1)
    assert second == first
    with pytest.raises(StaleEpoch):
        report_aggregator(here.app, aggregator_says(here.id, 99, Phase.TRAINING, epoch=1))


def test_participants_train_on_without_an_aggregator(here: Here) -> None:
    here.rest()
    manifest = here.site("seoul", Training(round=2, seconds=5.0))

    assert manifest.link is None
    assert manifest.finish == here.id


def test_the_rest_ends_early_when_nobody_trains_any_more(here: Here) -> None:
    here.rest()
    waits.await_rested(here.app, here.id, "rest")
    for site in SITES[:2]:
        here.site(site)
    before = here.told[-1]
    here.site(SITES[2])

    assert before == ("train-1", "BetweenRounds")
    assert here.told[-1] == ("rest", "succeeded")


def test_a_rest_that_nobody_needs_is_over_at_once(here: Here) -> None:
    here.rest()
    for site in SITES:
        here.site(site)
    waits.await_rested(here.app, here.id, "rest")

    assert here.told[-1] == ("rest", "succeeded")


def test_machines_that_fell_silent_are_not_waited_for(here: Here) -> None:
    here.rest()
    here.world.clock.tick(here.app.settings.lost_seconds + 1)
    waits.await_rested(here.app, here.id, "rest")

    assert here.told[-1] == ("rest", "succeeded")


def test_the_next_one_waits_for_those_that_still_train(here: Here) -> None:
    here.rest()
    here.all_train(2, 10.0)
    steps.place(here.app, here.id)
    steps.launch(here.app, here.id)
    here.seq += 1
    said = aggregator_says(here.id, here.seq, Phase.READY, epoch=2, linked=SITES)
    manifest = report_aggregator(here.app, said)
    here.site("busan")
    later = aggregator_manifest(here.app, here.id, 2)

    assert here.aggregators() == [2]
    assert (manifest.busy, manifest.rest) == (tuple(sorted(SITES)), False)
    assert later.busy == ("daejeon", "seoul")


def test_a_job_that_rests_waits_for_a_place_while_there_is_none(here: Here) -> None:
    here.rest()
    here.world.cloud.fail_next = NoCapacity("none left")

    assert steps.place(here.app, here.id)["placed"] is False


def test_a_job_that_rests_is_cancelled_at_once(here: Here) -> None:
    here.rest()
    waits.await_rested(here.app, here.id, "rest")
    cancel(here.app, here.id)

    assert here.told[-1] == ("rest", "JobCancelled")
    assert here.site("seoul", Training(round=2)).finish is None
    with pytest.raises(JobCancelled):
        steps.place(here.app, here.id)


def test_a_rest_ends_with_the_deadline_at_the_latest(tmp_path: Path) -> None:
    here = Here(tmp_path)
    deadline = here.job.spec.limits.model_copy(update={"deadline": 2 * HOUR})
    job = here.app.jobs.get(here.id)
    short = job.value.model_copy(
        update={"spec": job.value.spec.model_copy(update={"limits": deadline})}
    )
    here.app.store.write([here.app.jobs.put(short, here.id, expected=job.version)])
    here.first_round()
    here.world.clock.tick(HOUR - 200)
    here.trains(2)
    here.all_train(2)
    here.trains(2)

    assert here.job.aggregator.wake <= short.submitted + timedelta(seconds=2 * HOUR)


def test_an_aggregator_that_is_lost_while_it_should_leave_is_a_loss(here: Here) -> None:
    here.first_round()
    here.trains(2)
    here.all_train(2)
    here.trains(2)
    recover(here.app, here.id, 1, {"Error": "States.HeartbeatTimeout", "Cause": ""})

    assert (here.job.state, here.job.rests) == (JobState.RECOVERING, 0)
    assert [one.code for one in here.job.losses] == ["HeartbeatMissed"]


def test_one_that_left_and_was_then_found_gone_is_none(here: Here) -> None:
    here.first_round()
    here.trains(2)
    here.all_train(2)
    here.trains(2)
    here.leaves()
    recover(here.app, here.id, 1, {"Error": "MachineGone", "Cause": ""})

    assert (here.job.state, here.job.losses) == (JobState.RESTING, ())


def test_a_round_that_was_done_all_the_same_ends_the_rest_before_it_began(here: Here) -> None:
    here.first_round()
    here.trains(2)
    here.all_train(2)
    here.trains(2)
    for site in SITES:
        here.site(site)
    here.complete(2)

    assert here.job.aggregator.wake is None


def test_one_that_heard_too_late_that_it_may_stay_is_back_at_once(here: Here) -> None:
    here.first_round()
    here.trains(2)
    here.all_train(2)
    here.trains(2)
    here.complete(2)  # told while it was leaving
    here.leaves()
    said = here.recovered()

    assert (here.job.state, here.job.losses) == (JobState.RESTING, ())
    assert (said["resting"], said["pause_seconds"], said["rest_seconds"]) == (True, 1, 2)


def test_the_bill_says_what_staying_would_have_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dear = MemoryProvider.offers
    monkeypatch.setattr(
        MemoryProvider,
        "offers",
        lambda cloud, need: [
            one.model_copy(update={"price": 360_000}) for one in dear(cloud, need)
        ],
    )
    here = Here(tmp_path)
    here.rest()
    here.all_train(2, 10.0)
    gone = here.world.clock.time
    here.world.clock.tick(1800)
    going = billing.job_bill(here.app, here.id)
    steps.place(here.app, here.id)
    steps.launch(here.app, here.id)
    here.world.clock.tick(100)
    bill = billing.job_bill(here.app, here.id)

    assert gone is not None
    assert (going.away.times, going.away.seconds) == (1, 1800.0)
    assert (bill.away.times, bill.away.seconds, bill.away.saved) == (1, 1800.0, 180_000)
    assert bill.aggregators == 360_000 * (30 + HOUR + 100) / HOUR


def test_an_app_keeps_its_aggregator() -> None:
    with pytest.raises(InvalidRequest, match="between_rounds: stop is for models of `layers`"):
        spec(model={"app": "./app"}, aggregator={"between_rounds": "stop"})
