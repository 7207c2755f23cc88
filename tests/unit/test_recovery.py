"""A lost aggregator: by what name, where the next one goes, and when there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fedspan.domain import recovery
from fedspan.domain.jobs import Job, JobState, Loss
from fedspan.domain.machines import Machine, MachineState, Offer, Role
from fedspan.domain.recovery import ATTEMPTS, SET_ASIDE_SECONDS
from fedspan.domain.reports import Fault, Notice, Phase
from fedspan.domain.spec import Need
from fedspan.errors import (
    CloudUnavailable,
    Denied,
    LaunchRefused,
    NoCapacity,
    ProviderError,
    QuotaReached,
    StaleEpoch,
)
from fedspan.providers.memory import MemoryProvider
from fedspan.services import ending, steps, waits
from fedspan.services.recover import recover
from fedspan.services.report_aggregator import report_aggregator
from fedspan.services.report_site import report_site
from fedspan.services.submit import submit
from fedspan.services.sweep import sweep
from tests.support.world import (
    START,
    Clock,
    World,
    a_round,
    aggregator_says,
    lose,
    site_says,
    spec,
    with_sites,
    world,
)


def offer(**changes: Any) -> Offer:
    told = {"provider": "aws", "region": "r1", "machine_type": "m1", "vcpus": 2}
    return Offer(**{**told, "memory_mib": 4096, "price": 30_000, "spot": True, **changes})


@dataclass
class Markets(MemoryProvider):
    """A cloud with what `sells` says, here so that participants reach it."""

    sells: list[Offer] = field(default_factory=list)

    def offers(self, need: Need) -> Sequence[Offer]:
        self._fail()
        return [one for one in self.sells if one.fits(need)]


LOCAL = {"provider": "local", "region": "local"}
SPOT = offer(**LOCAL, machine_type="s1", price=10_000)
OTHER = offer(**LOCAL, machine_type="s2", price=20_000)
DEAR = offer(**LOCAL, machine_type="d1", price=90_000, spot=False)


@dataclass
class Here:
    world: World
    cloud: Markets
    id: str = ""

    @property
    def app(self) -> Any:
        return self.world.app

    @property
    def job(self) -> Job:
        return self.app.jobs.get(self.id).value  # type: ignore[no-any-return]

    @property
    def offer(self) -> Offer:
        assert self.job.aggregator is not None
        return self.job.aggregator.offer

    def aggregators(self) -> list[Machine]:
        return [one for one in self.cloud.machines() if one.role is Role.AGGREGATOR]

    def launch(self) -> None:
        steps.place(self.app, self.id)
        steps.launch(self.app, self.id)

    def train(self) -> None:
        report_aggregator(self.app, self.says(Phase.READY))
        steps.link(self.app, self.id)
        waits.await_trained(self.app, self.id, "token")

    def says(self, phase: Phase, **more: Any) -> Any:
        seq = self.job.aggregator.seq + 1 if self.job.aggregator else 1
        return aggregator_says(self.id, seq, phase, epoch=self.job.epoch, **more)

    def again(self, code: str = "MachineGone") -> dict[str, object]:
        """Lose the aggregator, and start the next if there is to be one."""
        said = lose(self.app, self.id, code)
        if said["again"]:
            self.launch()
        return said

    def complete(self, number: int) -> None:
        done = a_round(self.app, self.id, number, epoch=self.job.epoch)
        report_aggregator(self.app, self.says(Phase.TRAINING, rounds=(done,)))


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., Here]:
    def begun(*sells: Offer, **changes: Any) -> Here:
        clock = Clock()
        cloud = Markets(clock, name="local", sells=list(sells or (SPOT, OTHER, DEAR)))
        made = world(tmp_path, now=clock, providers={"local": cloud})
        made.clock = clock
        with_sites(made.app)
        here = Here(made, cloud)
        here.id = submit(made.app, spec(**{"placement": {"score": "money"}, **changes})).id
        steps.check(made.app, here.id)
        return here

    return begun


# Where the next one goes


def test_the_place_of_a_lost_machine_is_set_aside_for_a_while(begin: Callable[..., Here]) -> None:
    here = begin()
    here.launch()
    first = here.offer
    here.again()
    second = here.offer
    here.world.clock.tick(SET_ASIDE_SECONDS + 1)
    here.complete(1)
    here.again()

    assert (first.machine_type, second.machine_type) == ("s1", "s2")
    assert here.offer.machine_type == "s1"


def test_where_zones_can_be_chosen_only_the_zone_is_left_out(begin: Callable[..., Here]) -> None:
    here = begin()
    here.cloud.zones = ("local-a", "local-b")
    here.launch()
    first = (here.offer.machine_type, here.job.aggregator.zone)
    here.again("SpotNotice")
    second = (here.offer.machine_type, here.job.aggregator.zone)
    told = next(one for one in here.app.events.list(here.id) if one.code == "SpotNotice").message
    here.again()

    assert (first, second) == (("s1", "local-a"), ("s1", "local-b"))
    assert "(s1, spot) in zone local-a" in told
    assert here.offer.machine_type == "s2"  # the pool lost both of its zones
    assert [one.zone for one in here.job.losses] == ["local-a", "local-b"]


def test_a_zone_is_left_out_for_a_while_in_its_region_alone() -> None:
    lost = Loss(epoch=1, code="MachineGone", offer=offer(), zone="r1-a", at=START, rounds_done=0)
    process = lost.model_copy(update={"code": "AggregatorLost", "zone": "r1-b"})
    losses = [lost, process]
    later = START + timedelta(seconds=SET_ASIDE_SECONDS)

    assert not recovery.set_aside(losses, offer(), START)
    assert recovery.set_aside([lost, lost], offer(), START)
    assert recovery.zones_to_avoid(losses, offer(machine_type="m2"), START) == ("r1-a",)
    assert recovery.zones_to_avoid(losses, FAR, START) == ()
    assert recovery.zones_to_avoid(losses, offer(), later) == ()


def test_a_launch_that_is_repeated_avoids_the_same_zones(begin: Callable[..., Here]) -> None:
    """Else it might be made in another zone, where the cloud does not see the first."""
    here = begin()
    here.cloud.zones = ("local-a", "local-b")
    here.launch()
    lose(here.app, here.id, "MachineGone")
    here.cloud.fail_launch = [CloudUnavailable("503")]
    with pytest.raises(CloudUnavailable):
        here.launch()
    here.world.clock.tick(SET_ASIDE_SECONDS + 1)
    steps.launch(here.app, here.id)

    assert [one.zone for one in here.aggregators()] == ["local-b"]


def test_a_process_that_died_says_nothing_against_its_place(begin: Callable[..., Here]) -> None:
    here = begin()
    here.launch()
    here.again("AggregatorLost")

    assert here.offer.machine_type == "s1"


def test_a_bad_place_is_better_than_none(begin: Callable[..., Here]) -> None:
    here = begin(SPOT)
    here.launch()
    here.again()

    assert here.offer.machine_type == "s1"


def test_after_losses_without_a_round_the_next_is_bought_on_demand(
    begin: Callable[..., Here],
) -> None:
    here = begin()
    here.launch()
    bought = []
    for _ in range(ATTEMPTS):
        here.again("AggregatorLost")
        bought.append(here.offer.spot)
    here.complete(1)
    here.again("AggregatorLost")

    assert bought == [*[True] * (ATTEMPTS - 1), False]
    assert here.offer.spot


def test_who_wants_spot_alone_gets_no_other(begin: Callable[..., Here]) -> None:
    here = begin(aggregator={"purchase": "spot"})
    here.launch()
    for _ in range(2 * ATTEMPTS - 1):
        here.again("AggregatorLost")
        assert here.offer.spot
    said = here.again("AggregatorLost")
    ending.give_up(here.app, here.id, {"Error": "AggregatorLost", "Cause": ""})

    outcome = here.job.outcome
    assert said["again"] is False and outcome is not None
    assert "`aggregator.purchase: any` would have gone on on demand" in outcome.message


def test_losses_are_bounded_only_where_no_round_is_completed(begin: Callable[..., Here]) -> None:
    here = begin(rounds=60)
    here.launch()
    for number in range(1, 41):
        here.complete(number)
        assert here.again()["again"]
    for _ in range(2 * ATTEMPTS - 2):
        assert here.again()["again"]
    said = here.again()
    ending.give_up(here.app, here.id, {"Error": "MachineGone", "Cause": ""})

    assert said["again"] is False
    assert here.job.outcome is not None and here.job.outcome.code == "MachineGone"
    assert "6 in a row completed no round" in here.job.outcome.message
    assert "40 of 60 rounds are kept as checkpoints" in here.job.outcome.message
    assert len(here.job.losses) == recovery.KEPT_LOSSES


def test_each_fruitless_loss_is_followed_by_a_longer_pause(begin: Callable[..., Here]) -> None:
    here = begin()
    here.launch()
    pauses = [here.again("AggregatorLost")["pause_seconds"] for _ in range(4)]

    assert pauses == [0, 2, 4, 8]


# By what name


def refuse(here: Here, why: ProviderError) -> dict[str, object]:
    here.cloud.fail_launch = [why]
    with pytest.raises(LaunchRefused, match=f"{type(why).__name__}: no"):
        here.launch()
    return lose(here.app, here.id, "LaunchRefused")


def test_a_machine_that_is_refused_is_asked_for_elsewhere(begin: Callable[..., Here]) -> None:
    here = begin()
    refuse(here, NoCapacity("no room"))
    here.launch()

    [loss] = here.job.losses
    assert (loss.code, loss.cause, here.offer.machine_type) == ("LaunchRefused", "NoCapacity", "s2")
    told = here.app.events.list(here.id)[-3].message
    assert told == (
        "aggregator 1 is lost, no machine is to be had at this computer (s1, spot) (NoCapacity); "
        "going on after round 0"
    )


FAR = offer(provider="aws", region="r2")


@pytest.mark.parametrize(
    ("cause", "left"),
    [
        ("NoCapacity", [FAR, offer(spot=False), offer(machine_type="m2")]),
        ("QuotaReached", [FAR]),
        ("CloudUnavailable", [FAR]),
        ("Denied", []),
    ],
)
def test_what_a_refusal_speaks_against(cause: str, left: list[Offer]) -> None:
    loss = Loss(epoch=1, code="LaunchRefused", cause=cause, offer=offer(), at=START, rounds_done=0)
    others = [FAR, offer(spot=False), offer(machine_type="m2"), offer(provider="gcp")]
    free = [one for one in others if not recovery.set_aside([loss], one, START)]

    assert recovery.set_aside([loss], offer(), START)
    assert free == [*left, offer(provider="gcp")]
    later = START + timedelta(seconds=SET_ASIDE_SECONDS)
    assert not recovery.set_aside([loss], offer(), later)


@pytest.mark.parametrize("why", [QuotaReached("no more"), Denied("no")])
def test_every_refusal_of_a_cloud_is_one_loss(
    begin: Callable[..., Here], why: ProviderError
) -> None:
    here = begin()

    assert refuse(here, why)["again"] is True
    assert here.aggregators() == []


def test_a_cloud_that_is_away_for_a_moment_is_asked_again_first(
    begin: Callable[..., Here],
) -> None:
    here = begin()
    here.cloud.fail_launch = [CloudUnavailable("503")]
    with pytest.raises(CloudUnavailable):
        here.launch()
    here.launch()
    assert here.job.aggregator is not None and here.job.aggregator.refused == ""

    assert here.job.losses == ()


@pytest.mark.parametrize(
    ("became", "name"), [("running", "HeartbeatMissed"), ("stopped", "MachineGone"), ("", "")]
)
def test_a_silence_is_named_by_what_became_of_the_machine(
    begin: Callable[..., Here], became: str, name: str
) -> None:
    here = begin()
    here.launch()
    [machine] = here.aggregators()
    if became == "stopped":
        here.cloud.stop(machine)
    if not became:
        here.cloud.terminate(machine)
    here.again("States.HeartbeatTimeout")

    assert here.job.losses[-1].code == (name or "MachineGone")


def test_a_cloud_that_does_not_answer_explains_no_silence(begin: Callable[..., Here]) -> None:
    here = begin()
    here.launch()
    here.cloud.fail_next = CloudUnavailable("down")
    lose(here.app, here.id, "States.Timeout")

    assert here.job.losses[-1].code == "HeartbeatMissed"


def missing(here: Here, **progress: Any) -> Any:
    fault = Fault(code="ParticipantsMissing", message="1 of 3 needed participants connected")
    return here.says(Phase.FAILED, fault=fault, **progress)


@pytest.mark.parametrize(
    ("running", "code"), [(3, "MachineUnreachable"), (2, "ParticipantsMissing")]
)
def test_an_aggregator_that_nobody_reaches_though_they_try_is_replaced(
    begin: Callable[..., Here], running: int, code: str
) -> None:
    here = begin()
    here.launch()
    here.train()
    for number, site in enumerate(("seoul", "busan", "daejeon")):
        up = number < running
        report_site(here.app, site_says(here.id, site, 1, running=up))
    report_aggregator(here.app, missing(here))

    assert here.app.executions.told[-1] == ("token", code)


def test_participants_that_left_during_a_round_are_missing(begin: Callable[..., Here]) -> None:
    here = begin()
    here.launch()
    here.train()
    for site in ("seoul", "busan", "daejeon"):
        report_site(here.app, site_says(here.id, site, 1, running=True))
    report_aggregator(here.app, missing(here, progress={"round": 1}))

    assert here.app.executions.told[-1] == ("token", "ParticipantsMissing")


# A notice


def test_a_notice_is_acted_on_before_the_machine_is_gone(begin: Callable[..., Here]) -> None:
    here = begin()
    here.launch()
    here.train()
    until = here.world.clock() + timedelta(seconds=120)
    report_aggregator(here.app, here.says(Phase.TRAINING, notice=Notice(expires=until)))
    told = here.app.executions.told[-1]
    here.again("SpotNotice")
    sweep(here.app)
    both = [one.epoch for one in here.aggregators()]
    here.world.clock.tick(121)
    sweep(here.app)

    assert told == ("token", "SpotNotice")
    assert (both, [one.epoch for one in here.aggregators()]) == ([1, 2], [2])
    assert here.offer.machine_type == "s2"


def test_a_machine_that_left_early_is_removed_before_its_time(begin: Callable[..., Here]) -> None:
    here = begin()
    here.launch()
    here.train()
    until = here.world.clock() + timedelta(seconds=120)
    report_aggregator(here.app, here.says(Phase.TRAINING, notice=Notice(expires=until)))
    here.again("SpotNotice")
    here.cloud.stop(here.aggregators()[0])
    sweep(here.app)

    assert [one.epoch for one in here.aggregators()] == [2]


def test_a_notice_that_comes_before_anybody_waits_is_not_lost(begin: Callable[..., Here]) -> None:
    here = begin()
    here.launch()
    until = here.world.clock() + timedelta(seconds=30)
    report_aggregator(here.app, here.says(Phase.READY, notice=Notice(expires=until)))
    waits.await_ready(here.app, here.id, "booting")
    steps.link(here.app, here.id)
    waits.await_trained(here.app, here.id, "training")

    told = here.app.executions.told
    assert told[-1] == ("training", "SpotNotice")
    assert [one.code for one in here.app.events.list(here.id)].count("NoticeGiven") == 1


def test_a_full_disk_costs_the_machine_and_not_the_job(begin: Callable[..., Here]) -> None:
    here = begin()
    here.launch()
    here.train()
    here.complete(1)
    full = Fault(code="DiskFull", message="no room in /work")
    report_aggregator(here.app, here.says(Phase.FAILED, fault=full))
    told = here.app.executions.told[-1]
    said = here.again("DiskFull")

    [event] = [one for one in here.app.events.list(here.id) if one.code == "DiskFull"]
    assert told == ("token", "DiskFull")
    assert said["again"] and (here.job.epoch, here.job.rounds_done) == (2, 1)
    assert "no room left on the disk of its machine at" in event.message


def test_what_an_aggregator_waits_for_is_told_once_a_wait(begin: Callable[..., Here]) -> None:
    here = begin()
    here.launch()
    shown = []
    for waiting in ("", "objects put a: no answer", "objects put a: tried twice", "", "again"):
        report_aggregator(here.app, here.says(Phase.TRAINING, waiting=waiting))
        shown.append(here.job.aggregator.waiting if here.job.aggregator else None)

    told = [one for one in here.app.events.list(here.id) if one.code == "AggregatorWaits"]
    assert shown == ["", "objects put a: no answer", "objects put a: tried twice", "", "again"]
    assert [one.message for one in told] == [
        "aggregator 1 waits: objects put a: no answer",
        "aggregator 1 waits: again",
    ]


def test_a_job_that_is_done_is_not_moved(begin: Callable[..., Here]) -> None:
    here = begin()
    here.launch()
    here.train()
    until = here.world.clock() + timedelta(seconds=30)
    rounds = tuple(a_round(here.app, here.id, n) for n in (1, 2))
    report_aggregator(here.app, here.says(Phase.DONE, rounds=rounds, notice=Notice(expires=until)))

    assert here.app.executions.told[-1] == ("token", "succeeded")


# Everything can happen twice


def test_a_recovery_that_runs_twice_happens_once(begin: Callable[..., Here]) -> None:
    here = begin()
    here.launch()
    caught = {"Error": "MachineGone", "Cause": ""}
    first = recover(here.app, here.id, 1, caught)
    again = recover(here.app, here.id, 1, caught)
    here.launch()
    late = recover(here.app, here.id, 1, caught)

    assert first == again
    assert late["again"] is True
    assert (here.job.epoch, here.job.state) == (2, JobState.LAUNCHING)
    assert len(here.job.losses) == 1
    assert [one.state for one in here.aggregators()] == [MachineState.RUNNING]
    with pytest.raises(StaleEpoch):
        report_aggregator(here.app, aggregator_says(here.id, 99, Phase.TRAINING, epoch=1))


def test_giving_up_twice_counts_one_loss(begin: Callable[..., Here]) -> None:
    here = begin()
    here.launch()
    for _ in range(2 * ATTEMPTS - 1):
        here.again()
    for _ in range(2):
        assert lose(here.app, here.id, "MachineGone")["again"] is False

    assert len(here.job.losses) == 2 * ATTEMPTS


# While there is no place


def test_a_job_that_has_begun_waits_for_a_place(begin: Callable[..., Here]) -> None:
    here = begin()
    here.launch()
    here.cloud.sells.clear()
    lose(here.app, here.id, "MachineGone")
    first = steps.place(here.app, here.id)
    here.cloud.sells.append(DEAR)
    second = steps.place(here.app, here.id)

    assert (first["placed"], second["placed"]) == (False, True)
    assert here.job.placement is not None and here.job.placement.epoch == 2


def test_a_job_that_has_not_begun_does_not(begin: Callable[..., Here]) -> None:
    here = begin()
    here.cloud.sells.clear()
    with pytest.raises(NoCapacity):
        steps.place(here.app, here.id)


# By the deadline


BY_DEADLINE = {"aggregator": {"purchase": "deadline"}, "rounds": 10}
"""Ten rounds of 30 s, 240 s to recover, 15 s to notice: slack is what is left beyond these."""


def test_spot_is_bought_while_the_deadline_leaves_time_for_a_loss(
    begin: Callable[..., Here],
) -> None:
    here = begin(**BY_DEADLINE, limits={"deadline": "20m"})
    here.launch()
    here.train()
    first = here.offer
    here.world.clock.tick(330)
    report_aggregator(here.app, here.says(Phase.TRAINING))
    in_time = [said for _, said in here.app.executions.told]
    here.world.clock.tick(300)
    report_aggregator(here.app, here.says(Phase.TRAINING))
    told = here.app.executions.told[-1]
    here.again("SlackSpent")

    assert first.spot
    assert "SlackSpent" not in in_time
    assert told == ("token", "SlackSpent")
    assert not here.offer.spot
    assert recovery.fruitless(here.job) == 0


def test_a_deadline_that_is_near_buys_on_demand_from_the_start(begin: Callable[..., Here]) -> None:
    here = begin(**BY_DEADLINE, limits={"deadline": "10m"})
    here.launch()

    assert not here.offer.spot


def test_spot_is_waited_for_only_as_long_as_slack_lasts(begin: Callable[..., Here]) -> None:
    here = begin(DEAR, **BY_DEADLINE, limits={"deadline": "1h"})
    first = steps.place(here.app, here.id)
    here.world.clock.tick(3100)
    second = steps.place(here.app, here.id)

    assert (first["placed"], second["placed"]) == (False, True)
    assert here.job.placement is not None and here.job.placement.candidate is not None
