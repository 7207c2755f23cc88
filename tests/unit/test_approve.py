"""A person says where a job's aggregator goes: on memory parts and a clock that tests turn."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fedspan.domain.jobs import Job, JobState
from fedspan.domain.machines import Offer, Role
from fedspan.domain.reports import Phase
from fedspan.domain.spec import Need
from fedspan.errors import Conflict, InvalidRequest, NotFound, ProviderError
from fedspan.providers.memory import MemoryProvider
from fedspan.services import ending, steps, waits
from fedspan.services.approve import approve
from fedspan.services.cancel import cancel
from fedspan.services.offers import offer_of
from fedspan.services.report_aggregator import report_aggregator
from fedspan.services.resume import resume
from fedspan.services.submit import submit
from tests.support.world import Clock, World, aggregator_says, lose, spec, with_sites, world

NEED = {"vcpus": 2, "memory_mib": 4096}


@dataclass
class Market(MemoryProvider):
    """A cloud whose prices move: `factor` times what they were; `sold` is no longer offered."""

    factor: float = 1.0
    sold: Offer | None = None

    def offers(self, need: Need) -> Sequence[Offer]:
        left = [one for one in super().offers(need) if one != self.sold]
        return [one.model_copy(update={"price": round(one.price * self.factor)}) for one in left]


@dataclass
class Asking:
    """A job that waits for a person under the task token ``token``."""

    world: World
    market: Market
    id: str

    @property
    def job(self) -> Job:
        return self.world.app.jobs.get(self.id).value

    @property
    def codes(self) -> list[str]:
        return [event.code for event in self.world.app.events.list(self.id)]

    @property
    def told(self) -> list[tuple[str, str]]:
        told: list[tuple[str, str]] = self.world.app.executions.told  # type: ignore[attr-defined]
        return told

    def say(self, number: int) -> Job:
        return approve(self.world.app, self.id, number, "operator")

    def offer(self, number: int) -> Offer:
        placement = self.job.placement
        assert placement is not None
        return offer_of(placement.answer.candidates[number - 1])


def placing(folder: Path, **changes: Any) -> Asking:
    """Placed, and nobody waits yet."""
    clock = Clock()
    market = Market(clock, name="local")
    made = world(folder, now=clock, providers={"local": market})
    made.clock = clock
    with_sites(made.app, compute_s=1.0)
    job = submit(made.app, spec(**{"aggregator": {"need": NEED, "approve": True}, **changes})).id
    steps.check(made.app, job)
    steps.place(made.app, job)
    return Asking(made, market, job)


@pytest.fixture
def asking(tmp_path: Path) -> Asking:
    made = placing(tmp_path)
    waits.await_approval(made.world.app, made.id, "token")
    return made


def test_a_job_that_asks_waits_with_its_candidates_and_launches_nothing(asking: Asking) -> None:
    job, message = asking.job, asking.world.app.events.list(asking.id)[-1].message

    assert job.state is JobState.WAITING_APPROVAL
    assert job.aggregator is None
    assert job.placement is not None and job.placement.candidate is None
    assert len(job.placement.answer.candidates) == 2
    assert asking.codes == ["JobSubmitted", "ApprovalAwaited"]
    assert f"`fedspan job approve {asking.id}`" in message
    assert asking.told == []
    assert asking.market.launched == 0


def test_a_job_that_does_not_ask_is_placed_at_once(tmp_path: Path) -> None:
    here = placing(tmp_path, aggregator={"need": NEED})
    answer, placement = steps.place(here.world.app, here.id), here.job.placement

    assert answer["approve"] is False
    assert placement is not None and placement.chosen == 0
    assert here.job.aggregator is not None and here.job.aggregator.offer == here.offer(1)
    said = here.world.app.events.list(here.id)[-1]
    assert said.code == "AggregatorPlaced"
    assert f"${placement.answer.candidates[0].cost_usd.total:.2f} in all" in said.message


@pytest.mark.parametrize("number", [1, 2])
def test_the_approved_candidate_is_launched(asking: Asking, number: int) -> None:
    wanted = asking.offer(number)
    job = asking.say(number)
    assert asking.told == [("token", "succeeded")]
    steps.launch(asking.world.app, asking.id)
    [machine] = [m for m in asking.market.machines() if m.role is Role.AGGREGATOR]

    assert machine.offer == wanted
    assert job.placement is not None and job.placement.approval is not None
    assert job.placement.chosen == number - 1
    approval = job.placement.approval
    assert (approval.candidate, approval.offer) == (number, wanted)
    assert (approval.by, approval.at) == ("operator", asking.world.clock())
    assert asking.codes[2:] == ["Approved", "AggregatorPlaced", "AggregatorLaunched"]


def test_approving_twice_the_same_is_answered_as_the_first_was(asking: Asking) -> None:
    first = asking.say(2)
    asking.market.sold = asking.offer(2)

    assert asking.say(2) == first
    assert asking.codes.count("Approved") == 1


def test_approving_another_afterwards_is_a_conflict(asking: Asking) -> None:
    asking.say(2)

    with pytest.raises(Conflict, match=r"candidate 2 of job .* was approved already, not 1"):
        asking.say(1)
    assert asking.job.placement is not None and asking.job.placement.chosen == 1


def test_many_people_at_once_approve_one_candidate(asking: Asking) -> None:
    def person(number: int) -> int:
        try:
            asking.say(1 + number % 2)
        except Conflict:
            return 0
        return 1 + number % 2

    with ThreadPoolExecutor(8) as people:
        heard = set(people.map(person, range(40))) - {0}

    assert asking.job.placement is not None and asking.job.placement.approval is not None
    assert heard == {asking.job.placement.approval.candidate}
    assert asking.codes.count("Approved") == asking.codes.count("AggregatorPlaced") == 1


def test_a_number_the_list_does_not_have_is_named(asking: Asking) -> None:
    with pytest.raises(InvalidRequest, match=r"candidate: job .* has 2 of them, got 3"):
        asking.say(3)
    assert asking.job.state is JobState.WAITING_APPROVAL


def test_a_job_that_does_not_wait_says_what_it_does(tmp_path: Path) -> None:
    here = placing(tmp_path, aggregator={"need": NEED})
    with pytest.raises(Conflict, match="is placing; it does not wait for approval"):
        here.say(1)
    steps.launch(here.world.app, here.id)

    with pytest.raises(Conflict, match="is launching; it does not wait for approval"):
        here.say(2)
    with pytest.raises(NotFound):
        approve(here.world.app, "unknown", 1, "operator")


def test_a_place_that_vanished_is_news_and_the_job_keeps_waiting(asking: Asking) -> None:
    asking.market.sold = asking.offer(1)

    with pytest.raises(Conflict, match=r"candidate 1, .* is no longer offered; job .* keeps wait"):
        asking.say(1)
    assert asking.told == []
    asking.say(2)
    assert asking.told == [("token", "succeeded")]


def test_a_cloud_that_cannot_be_asked_leaves_the_job_waiting(asking: Asking) -> None:
    asking.market.fail_next = ProviderError("down")

    with pytest.raises(ProviderError, match="down"):
        asking.say(1)
    assert asking.job.placement is not None and asking.job.placement.approval is None
    asking.say(1)
    assert asking.told == [("token", "succeeded")]


def test_a_price_that_changed_is_told_and_is_what_the_job_pays(asking: Asking) -> None:
    before = asking.offer(2).price
    asking.market.factor = 2.0
    job = asking.say(2)

    said = next(e for e in asking.world.app.events.list(asking.id) if e.code == "Approved")
    assert f"its price was ${before / 1e6:.4f} an hour, now ${2 * before / 1e6:.4f}" in said.message
    assert job.aggregator is not None and job.aggregator.offer.price == 2 * before
    assert asking.offer(2).price == 2 * before
    candidate = job.placement.candidate if job.placement else None
    assert candidate is not None
    assert candidate.cost_usd.vm == pytest.approx(
        2 * before / 1e6 * candidate.hours.expected, rel=0.01
    )


def test_a_price_beyond_the_budget_is_not_approved(tmp_path: Path) -> None:
    here = placing(tmp_path, limits={"budget_usd": 50})
    waits.await_approval(here.world.app, here.id, "token")
    here.market.factor = 1e6

    with pytest.raises(Conflict, match=r"\$50\.00 of limits\.budget_usd are left"):
        here.say(1)
    assert here.told == []


def test_a_place_that_would_no_longer_end_in_time_is_not_approved(asking: Asking) -> None:
    asking.world.clock.tick(86_399)

    with pytest.raises(Conflict, match=r"0\.00 h of limits\.deadline are left"):
        asking.say(1)
    assert asking.told == []


def test_by_the_deadline_spot_is_approved_where_on_demand_machines_would_be_in_time(
    tmp_path: Path,
) -> None:
    here = placing(
        tmp_path,
        rounds=20,
        aggregator={"need": NEED, "approve": True, "purchase": "deadline"},
        placement={"interruptions_per_hour": 10.0},
        limits={"deadline": "20m"},
    )
    waits.await_approval(here.world.app, here.id, "token")
    placement = here.job.placement
    assert placement is not None
    [candidate] = placement.answer.candidates
    rounds, on_spot = 20 * candidate.round_s, 3600 * candidate.hours.expected

    assert candidate.purchase == "spot"
    assert rounds < on_spot - 2
    here.world.clock.tick(1200 - rounds + 1)
    with pytest.raises(Conflict, match=r"of limits\.deadline are left"):
        here.say(1)
    here.world.clock.tick(-2)
    here.say(1)
    assert here.told == [("token", "succeeded")]


def test_a_time_that_is_a_guess_refuses_no_approval_but_a_deadline_that_passed_does(
    asking: Asking,
) -> None:
    with_sites(asking.world.app)
    asking.world.clock.tick(86_399)
    before = asking.job
    asking.world.clock.tick(1)
    with pytest.raises(Conflict, match="nobody approved its place within 86400 s"):
        asking.say(1)
    assert asking.job == before
    asking.world.clock.tick(-1)
    asking.say(1)

    assert asking.told == [("token", "succeeded")]


def test_an_approval_before_anybody_waits_is_not_lost(tmp_path: Path) -> None:
    here = placing(tmp_path)
    here.say(2)
    waits.await_approval(here.world.app, here.id, "late")

    assert here.told == [("late", "succeeded")]


def test_a_job_started_anew_waits_with_the_same_candidates(asking: Asking) -> None:
    app, before = asking.world.app, asking.job.placement
    asking.market.factor = 3.0
    resume(app)
    steps.check(app, asking.id)
    answer = steps.place(app, asking.id)
    waits.await_approval(app, asking.id, "second")

    assert answer["approve"] is True
    assert asking.job.placement == before
    assert asking.codes == ["JobSubmitted", "ApprovalAwaited", "JobResumed"]
    asking.say(1)
    assert asking.told == [("second", "succeeded")]


def test_a_job_started_anew_after_its_approval_goes_straight_to_its_launch(
    asking: Asking,
) -> None:
    app = asking.world.app
    asking.say(2)
    resume(app)
    steps.check(app, asking.id)
    assert steps.place(app, asking.id)["approve"] is False
    steps.launch(app, asking.id)

    assert asking.job.aggregator is not None and asking.job.aggregator.launched is not None
    assert asking.job.aggregator.offer == asking.offer(2)


def test_a_job_cancelled_while_it_waits_is_not_approved(asking: Asking) -> None:
    cancel(asking.world.app, asking.id)

    assert asking.told == [("token", "JobCancelled")]
    with pytest.raises(Conflict, match="is being cancelled"):
        asking.say(1)


def test_a_wait_ends_just_past_the_deadline_and_by_its_name(asking: Asking) -> None:
    app = asking.world.app
    asking.world.clock.tick(86_000)
    answer = steps.place(app, asking.id)
    assert (answer["silence_seconds"], answer["wait_seconds"]) == (401, 402)
    asking.world.clock.tick(401)
    ending.give_up(app, asking.id, {"Error": "States.Timeout", "Cause": ""})

    outcome = asking.job.outcome
    assert outcome is not None and outcome.code == "DeadlineExceeded"
    assert outcome.message.startswith("nobody approved its place within 86400 s")
    with pytest.raises(Conflict, match="does not wait for approval"):
        asking.say(1)


def test_a_replaced_aggregator_goes_where_it_was_approved_and_nobody_is_asked(
    asking: Asking,
) -> None:
    app, approved = asking.world.app, asking.offer(2)
    asking.say(2)
    steps.launch(app, asking.id)
    report_aggregator(app, aggregator_says(asking.id, 1, Phase.READY))
    steps.link(app, asking.id)
    waits.await_trained(app, asking.id, "training")
    lose(app, asking.id)
    answer = steps.place(app, asking.id)
    steps.launch(app, asking.id)

    job = asking.job
    assert answer["approve"] is False
    assert job.placement is not None and job.placement.epoch == 2
    assert job.placement.approval is not None and job.placement.approval.candidate == 2
    assert job.aggregator is not None and job.aggregator.launched is not None
    assert job.aggregator.offer == approved
    assert asking.codes.count("ApprovalAwaited") == 1
