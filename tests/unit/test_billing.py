"""What is kept of a job's aggregators, its bill, and its budget."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from fedspan.domain.budgets import next_round
from fedspan.domain.jobs import LEAVING, Job, Progress
from fedspan.domain.machines import Offer, Role
from fedspan.domain.reports import Phase
from fedspan.domain.rounds import Participation, Round, Status
from fedspan.domain.spec import Limits
from fedspan.errors import InvalidRequest, LaunchRefused, NoCapacity, NotFound
from fedspan.providers.base import Capabilities
from fedspan.providers.memory import MemoryProvider
from fedspan.services import ending, steps, waits
from fedspan.services.billing import incarnation_row, job_bill
from fedspan.services.books import KEPT
from fedspan.services.cancel import delete
from fedspan.services.examine import program_key
from fedspan.services.placements import check_place
from fedspan.services.report_aggregator import report_aggregator
from fedspan.services.submit import submit
from fedspan.settings import Settings
from tests.support.world import (
    START,
    World,
    a_round,
    aggregator_says,
    lose,
    spec,
    with_sites,
    world,
)

SITES = ("seoul", "busan", "daejeon")
GB = 10**9
PRICE, ADDRESS = 96_000, 5_000
HOURLY = PRICE + ADDRESS


class Ireland(MemoryProvider):
    """One machine of a region that the book knows."""

    def offers(self, need):
        self._fail()
        machine = {"machine_type": "m5.large", "vcpus": 2, "memory_mib": 8192, "price": PRICE}
        return [Offer(provider="aws", region="eu-west-1", **machine)]


@pytest.fixture
def here(tmp_path: Path) -> World:
    settings = Settings(allow_loopback=True, heartbeat_seconds=1, lost_seconds=15, boot_seconds=60)
    made = world(tmp_path, settings=settings)
    clients = Capabilities(roles=frozenset({Role.CLIENT}), here=True)
    providers = {
        "aws": Ireland(made.clock, "aws", Capabilities(roles=frozenset({Role.AGGREGATOR}))),
        "local": MemoryProvider(made.clock, "local", clients),
    }
    made.app = replace(made.app, providers=providers)
    with_sites(made.app, latitude=53.3, longitude=-6.3, country="IE")
    return made


def training(here: World, **changes: Any) -> str:
    """A job whose aggregator speaks for the first time, a minute after its launch. An account
    that has sent 500 GB this month pays for every byte. Its limits may be such as no job is begun
    with any more, as of a job from before prices rose."""
    used = {"placement": {"egress_used_gb": {"aws": 500}, "model_bytes": GB}}
    wanted = spec(**{"rounds": 10, **used, **changes})
    job = submit(here.app, wanted.model_copy(update={"limits": Limits()})).id
    stored = here.app.jobs.get(job)
    limited = stored.value.model_copy(update={"spec": wanted})
    here.app.store.write([here.app.jobs.put(limited, job, expected=stored.version)])
    steps.check(here.app, job)
    begin(here, job)
    return job


def begin(here: World, job: str) -> None:
    steps.place(here.app, job)
    steps.launch(here.app, job)
    here.clock.tick(60)
    says(here, job, Phase.READY)
    steps.link(here.app, job)
    waits.await_trained(here.app, job, "token")


def says(here: World, job: str, phase: Phase = Phase.TRAINING, **more: Any) -> None:
    known = found(here, job)
    seq = (known.aggregator.seq if known.aggregator else 0) + 1
    progress = {"progress": known.progress, "epoch": known.epoch}
    report_aggregator(here.app, aggregator_says(job, seq, phase, **{**progress, **more}))


def found(here: World, job: str) -> Job:
    return here.app.jobs.get(job).value


def in_round(number: int, **people: Status) -> Progress:
    status = people or dict.fromkeys(SITES, Status.TRAINING)
    parts = {name: Participation(status=one) for name, one in status.items()}
    return Progress(round=number, participants=parts)


def done(
    here: World, job: str, number: int, seconds: float = 600.0, evaluated: bool = False, **more: Any
) -> Round:
    """A round of a model of a gigabyte, told when it is over."""
    here.clock.tick(seconds)
    one = a_round(here.app, job, number, epoch=found(here, job).epoch)
    size = one.checkpoint.model_copy(update={"bytes": GB})
    people = {
        name: part.model_copy(update={"evaluated": evaluated})
        for name, part in one.participants.items()
    }
    told = {"seconds": seconds, "checkpoint": size, "participants": people}
    one = one.model_copy(update=told)
    says(here, job, rounds=(one,), **{"progress": in_round(number), **more})
    return one


def end(here: World, job: str) -> Job:
    ending.give_up(here.app, job, {"Error": "JobCancelled", "Cause": ""})
    ending.tear_down(here.app, job)
    ending.finish(here.app, job)
    return found(here, job)


def told(here: World) -> list[tuple[str, str]]:
    return here.app.executions.told


def codes(here: World, job: str) -> list[str]:
    return [one.code for one in here.app.events.list(job)]


ROUND_EGRESS = 3 * 90_000
"""Three sites are sent a gigabyte each, at $0.09."""


def test_the_bill_of_an_undisturbed_job(here: World) -> None:
    job = training(here)
    done(here, job, 1)
    done(here, job, 2)
    here.clock.tick(540)
    ended = end(here, job)
    made = job_bill(here.app, job)

    assert made.settled and made.incarnations == 1
    assert made.clouds.keys() == {"aws"}
    assert made.clouds["aws"].model_dump() == {
        "machine": PRICE // 2,
        "address": ADDRESS // 2,
        "egress": 2 * ROUND_EGRESS,
        "uploads": 0,
    }
    assert [one.machine for one in made.rounds.values()] == [PRICE // 6, PRICE // 6]
    assert made.overhead.machine == PRICE // 6
    assert ended.cost == made.total == HOURLY // 2 + 2 * ROUND_EGRESS


def test_a_bill_so_far_is_marked_and_agrees_with_the_cost(here: World) -> None:
    job = training(here)
    done(here, job, 1)
    says(here, job, progress=in_round(2, seoul=Status.DONE, busan=Status.TRAINING))
    here.clock.tick(100)
    says(here, job)
    made = job_bill(here.app, job)

    assert not made.settled
    assert made.total == found(here, job).cost
    assert made.unfinished.egress == 2 * 90_000
    assert made.unfinished.machine == round(PRICE * 100 / 3600)


@pytest.mark.parametrize("program", [0, 1_000_000])
def test_the_model_goes_down_twice_a_round_each_time_with_its_program(
    here: World, program: int
) -> None:
    """To train, and once more to be evaluated; the second aggregator is lost while it is."""
    told: dict[str, Any] = {}
    if program:
        sha256 = f"{1:064x}"
        here.app.objects.put(program_key(sha256), b"p" * program)
        told = {"model": {"file": "model.pt2", "sha256": sha256}}
    once = 3 * (GB + program) * 90_000 // GB
    job = training(here, **told)
    done(here, job, 1, evaluated=True)
    assert found(here, job).aggregator.traffic == 2 * once
    assert found(here, job).pace.traffic == 2 * once
    lose(here.app, job)
    begin(here, job)
    evaluating = {name: Participation(status=Status.DONE, evaluated=True) for name in SITES}
    says(here, job, progress=Progress(round=2, participants=evaluating))
    made = job_bill(here.app, job)
    assert made.total == found(here, job).cost
    lose(here.app, job, "SpotNotice")
    begin(here, job)
    done(here, job, 2, evaluated=True)
    ended, made = end(here, job), job_bill(here.app, job)

    assert made.rounds[1].egress == made.rounds[2].egress == 2 * once
    assert made.unfinished.egress == once  # replies were kept, the evaluation is asked for again
    assert ended.cost == made.total


def test_every_incarnation_is_in_the_bill_and_none_in_the_job(here: World) -> None:
    job = training(here)
    for epoch in range(1, 4):
        done(here, job, epoch)
        says(here, job, progress=in_round(epoch + 1))
        here.clock.tick(40)
        if epoch < 3:
            lose(here.app, job)
            begin(here, job)
    ended = end(here, job)
    made = job_bill(here.app, job)

    assert made.incarnations == 3
    assert made.clouds["aws"].machine == 3 * round(PRICE * 700 / 3600)
    assert made.unfinished.egress == 3 * ROUND_EGRESS
    assert ended.cost == made.total
    kept = [(one.epoch, one.code) for one in here.app.incarnations.list(job)]
    assert kept == [(1, "AggregatorLost"), (2, "AggregatorLost"), (3, "JobCancelled")]


def test_hundreds_of_lost_aggregators_add_up(here: World) -> None:
    job = training(here)
    rows = []
    for epoch in range(2, 302):
        here.clock.tick(3600)
        known = found(here, job)
        assert known.aggregator is not None
        aggregator = known.aggregator.model_copy(
            update={"epoch": epoch, "launched": here.clock(), "begun": None}
        )
        job_then = known.model_copy(update={"aggregator": aggregator, "epoch": epoch})
        here.clock.tick(3600)
        rows += incarnation_row(here.app, job_then, here.clock(), "SpotNotice")
    for start in range(0, len(rows), 100):
        here.app.store.write(rows[start : start + 100])
    end(here, job)
    made = job_bill(here.app, job)

    assert made.incarnations == 301
    ran = (here.clock() - START).total_seconds()
    assert made.total == 300 * HOURLY + round(PRICE * ran / 3600) + round(ADDRESS * ran / 3600)


def test_the_months_steps_go_on_in_the_next_incarnation(here: World) -> None:
    placement = {"placement": {"egress_used_gb": {"aws": 96}, "model_bytes": GB}}
    job = training(here, **placement)
    done(here, job, 1)  # 96 to 99 GB of the month, which are free up to 100
    lose(here.app, job)
    begin(here, job)
    done(here, job, 2)
    end(here, job)

    assert [one.egress for one in job_bill(here.app, job).rounds.values()] == [0, 2 * 90_000]


def test_replies_kept_at_a_notice_are_billed_once(here: World) -> None:
    job = training(here)
    says(here, job, progress=in_round(1, seoul=Status.DONE, busan=Status.TRAINING))
    known = found(here, job)
    [row] = incarnation_row(here.app, known, here.clock(), "SpotNotice")

    assert '"asked":["busan"]' in row.body and '"replied":[]' in row.body


def test_a_round_told_by_the_next_incarnation_is_billed_to_the_lost_one(here: World) -> None:
    """It was committed, and its aggregator lost before it could say so."""
    job = training(here)
    says(here, job, progress=in_round(1))
    here.clock.tick(600)
    lose(here.app, job)
    begin(here, job)
    late = done(here, job, 1, 0.0).model_copy(update={"epoch": 1})
    known = here.app.rounds.find("000001", job)
    assert known is not None
    here.app.store.write([here.app.rounds.put(late, "000001", job, expected=known.version)])

    made = job_bill(here.app, job)
    assert made.unfinished.total == 0
    assert made.rounds[1].egress == ROUND_EGRESS


def test_an_aggregator_whose_launch_was_refused_costs_nothing(here: World) -> None:
    job = submit(here.app, spec()).id
    steps.check(here.app, job)
    steps.place(here.app, job)
    here.app.providers["aws"].fail_launch.append(NoCapacity("sold out"))
    with pytest.raises(LaunchRefused):
        steps.launch(here.app, job)
    here.clock.tick(3600)

    assert end(here, job).cost == job_bill(here.app, job).total == 0


def test_a_newer_book_changes_no_bill(here: World) -> None:
    job = training(here)
    done(here, job, 1)
    here.app.objects.put(KEPT, b"no book at all")
    done(here, job, 2)

    assert found(here, job).aggregator.traffic == 2 * ROUND_EGRESS


def test_a_job_is_not_lost_because_the_book_cannot_be_read(here: World) -> None:
    job = training(here)
    here.app.objects.put(KEPT, b"no book at all")
    with capture_logs() as logged:
        done(here, job, 1)
    here.app.objects.delete(KEPT)
    done(here, job, 2)
    end(here, job)

    assert "RatesUnknown" in [one["event"] for one in logged]
    assert job_bill(here.app, job).clouds["aws"].egress == 2 * ROUND_EGRESS


def test_a_bill_goes_with_its_job(here: World) -> None:
    job = training(here)
    done(here, job, 1)
    end(here, job)
    delete(here.app, job)

    assert here.app.incarnations.list(job) == []
    assert here.app.rates.list(job) == []
    with pytest.raises(NotFound):
        job_bill(here.app, job)


class TestBudget:
    """A round costs $0.27 to send, and ten minutes of a machine."""

    ROUND = ROUND_EGRESS + HOURLY // 6

    def test_people_are_warned_once_when_most_of_it_is_used(self, here: World) -> None:
        job = training(here, limits={"budget_usd": 1})
        done(here, job, 1)
        assert "BudgetWarning" not in codes(here, job)
        done(here, job, 2)
        says(here, job, progress=in_round(3))
        says(here, job)
        says(here, job)

        assert codes(here, job).count("BudgetWarning") == 1
        [warned] = [one for one in here.app.events.list(job) if one.code == "BudgetWarning"]
        assert warned.level == "warning"
        assert "of the budget of $1 are used (8" in warned.message

    def test_a_round_that_would_pass_it_is_not_begun(self, here: World) -> None:
        job = training(here, limits={"budget_usd": 0.75})
        done(here, job, 1)
        assert told(here)[-1] == ("token", "alive")
        done(here, job, 2)

        assert told(here)[-1] == ("token", "BudgetExceeded")
        ending.give_up(here.app, job, {"Error": "BudgetExceeded", "Cause": cause(here, job)})
        ending.tear_down(here.app, job)
        ending.finish(here.app, job)
        ended = found(here, job)
        assert ended.outcome is not None and ended.outcome.code == "BudgetExceeded"
        assert "round 3 would take the cost from $0.57" in ended.outcome.message
        assert "2 of 10 rounds are kept as checkpoints" in ended.outcome.message
        assert ended.cost == job_bill(here.app, job).total <= 750_000

    def test_what_fits_to_the_end_is_let_go_on(self, here: World) -> None:
        enough = (2 * self.ROUND + HOURLY // 20 + 1) / 1e6  # and three minutes: boot, tear-down
        job = training(here, rounds=2, limits={"budget_usd": enough})
        done(here, job, 1)
        done(here, job, 2, phase=Phase.DONE)

        assert "BudgetExceeded" not in [one for _, one in told(here)]

    def test_a_round_that_takes_longer_than_any_before_is_ended_in_time(self, here: World) -> None:
        job = training(here, limits={"budget_usd": 0.65})
        done(here, job, 1)
        says(here, job, progress=in_round(2))
        for _ in range(600):
            if told(here)[-1][1] == "BudgetExceeded":
                break
            here.clock.tick(20)
            says(here, job)
        here.clock.tick(LEAVING.total_seconds() / 2)

        assert told(here)[-1][1] == "BudgetExceeded"
        assert 0.95 * 650_000 < end(here, job).cost <= 650_000

    def test_the_last_free_gigabyte_is_no_measure_of_the_next_one(self, here: World) -> None:
        used = {"placement": {"egress_used_gb": {"aws": 97}, "model_bytes": GB}}
        job = training(here, limits={"budget_usd": 0.2}, **used)
        done(here, job, 1)

        assert found(here, job).cost < 20_000
        assert told(here)[-1] == ("token", "BudgetExceeded")

    def test_a_new_aggregator_sends_nothing_that_does_not_fit(self, here: World) -> None:
        """Its first round may cost more than the last one of the aggregator it replaces."""
        used = {"placement": {"egress_used_gb": {"aws": 94}, "model_bytes": GB}}
        job = training(here, limits={"budget_usd": 0.2}, **used)
        done(here, job, 1)
        says(here, job, progress=in_round(2))
        assert told(here)[-1] == ("token", "alive")
        lose(here.app, job)
        steps.place(here.app, job)
        steps.launch(here.app, job)
        rates = here.app.rates.get("000001", job).value
        [flow] = rates.flows
        dear = rates.model_copy(update={"flows": (flow.model_copy(update={"before": 500 * GB}),)})
        here.app.store.write([here.app.rates.put(dear, "000002", job, expected=0)])
        waits.await_ready(here.app, job, "token")
        says(here, job, Phase.READY)

        assert ("token", "BudgetExceeded") in told(here)

    def test_a_budget_below_the_quote_is_refused_with_both_figures(self, here: World) -> None:
        wanted = {"placement": {"model_bytes": GB, "egress_used_gb": {"aws": 500}}}
        with_sites(here.app, latitude=53.3, longitude=-6.3, country="IE", compute_s=30.0)
        with pytest.raises(InvalidRequest) as refused:
            submit(here.app, spec(**wanted, rounds=10, limits={"budget_usd": 1}))

        assert re.fullmatch(
            r"limits\.budget_usd: no place can meet it \(at most \$1\.0000\); the nearest that can "
            r"be met is \$5\.4\d+",
            str(refused.value),
        )
        assert here.app.jobs.list() == []
        check_place(here.app, spec(**wanted, rounds=10, limits={"budget_usd": 6}))

    def test_a_budget_below_what_egress_alone_costs_is_refused_whatever_training_takes(
        self, here: World
    ) -> None:
        wanted = {"placement": {"model_bytes": GB, "egress_used_gb": {"aws": 500}}}
        with pytest.raises(InvalidRequest, match=r"training took no time; it takes \$5\.4"):
            submit(here.app, spec(**wanted, rounds=10, limits={"budget_usd": 1}))

        assert here.app.jobs.list() == []
        assert submit(here.app, spec(**wanted, rounds=10, limits={"budget_usd": 5.5})).id


def cause(here: World, job: str) -> str:
    """What the state machine was told with the error."""
    return str(next_round(found(here, job), here.clock()))
