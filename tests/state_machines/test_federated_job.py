"""The state machine itself, run by the interpreter with the real handlers on memory parts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fedspan.app import App
from fedspan.domain.jobs import Job, JobState
from fedspan.domain.machines import Role
from fedspan.domain.recovery import ATTEMPTS
from fedspan.domain.reports import Fault, Notice, Phase
from fedspan.domain.rounds import Participation, Round, Status
from fedspan.domain.sites import Training
from fedspan.domain.waits import Until
from fedspan.errors import Conflict, NoCapacity, ProviderError, StaleEpoch, StorageFull
from fedspan.local.assets import asset
from fedspan.local.functions import Handler, handlers
from fedspan.local.interpreter import Interpreter
from fedspan.services.approve import approve
from fedspan.services.cancel import cancel
from fedspan.services.offers import offer_of
from fedspan.services.report_aggregator import report_aggregator
from fedspan.services.report_site import report_site
from fedspan.services.resume import resume
from fedspan.services.submit import submit
from fedspan.services.sweep import sweep
from fedspan.settings import Settings
from tests.support.world import (
    World,
    a_round,
    aggregator_says,
    serving,
    site_says,
    spec,
    with_sites,
    world,
)

PATIENCE = 30.0


@dataclass
class Running:
    world: World
    machine: Interpreter
    before: dict[str, Callable[[str], object]] = field(default_factory=dict)
    """What happens, to a job, just before a function of this name."""

    @property
    def app(self) -> App:
        return self.world.app


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    before: dict[str, Callable[[str], object]] = {}
    watched = {name: _after(before, name, handler) for name, handler in handlers().items()}
    machine = Interpreter(asset("state_machines/federated_job.asl.json"), watched)
    settings = Settings(heartbeat_seconds=1, lost_seconds=8, boot_seconds=4)
    made = world(tmp_path, executions=machine, settings=settings)
    with_sites(made.app)
    with serving(made.app):
        yield Running(made, machine, before)
        until(lambda: not machine.running(), "every execution has ended")


def _after(before: dict[str, Callable[[str], object]], name: str, handler: Handler) -> Handler:
    def handle(event: Any, context: Any) -> Any:
        before.get(name, str)(event["job"])
        return handler(event, context)

    return handle


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for `condition`; a hang is a failure with a name, never a hang."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"still waiting until {what}"
        time.sleep(0.02)


def job_of(app: App, job: str) -> Job:
    return app.jobs.get(job).value


def until_state(app: App, job: str, state: JobState) -> None:
    until(lambda: job_of(app, job).state is state, f"{state} ({job_of(app, job)})")


def ended(app: App, job: str) -> Job:
    until(lambda: job_of(app, job).ended, f"the end ({job_of(app, job).state})")
    return job_of(app, job)


def trained(app: App, job: str, *rounds: Round, epoch: int = 1, seq: int = 1) -> None:
    until_state(app, job, JobState.LAUNCHING)
    until(lambda: app.waits.find(job) is not None, "the machine waits for the aggregator")
    report_aggregator(app, aggregator_says(job, seq, Phase.READY, epoch=epoch))
    until_state(app, job, JobState.TRAINING)
    report = aggregator_says(job, seq + 1, Phase.DONE, rounds=rounds, epoch=epoch)
    report_aggregator(app, report)


def test_a_job_runs_from_its_submission_to_its_kept_model(running: Running) -> None:
    app = running.app
    job = submit(app, spec()).id
    trained(app, job, a_round(app, job, 1, right=48), a_round(app, job, 2, right=40))

    done = ended(app, job)
    assert done.state is JobState.SUCCEEDED
    assert done.selected is not None and done.selected.round == 1
    assert app.objects.get(f"models/{job}/weights.safetensors") == b"weights 1"
    assert app.models.get(job).value.sha256 == f"{1:064x}"
    assert running.world.cloud.machines() == []
    assert [e.code for e in app.events.list(job)] == [
        "JobSubmitted",
        "AggregatorPlaced",
        "AggregatorLaunched",
        "AggregatorReady",
        "RoundDone",
        "RoundDone",
        "RoundSelected",
        "ModelSaved",
        "JobEnded",
    ]
    until(lambda: running.machine.status(f"{job}-1") == "SUCCEEDED", "the execution succeeds")


def test_no_round_at_the_threshold_is_an_outcome_of_its_own(running: Running) -> None:
    app = running.app
    job = submit(app, spec(selection={"metric": "f1", "at_least": 0.99})).id
    trained(app, job, a_round(app, job, 1), a_round(app, job, 2, right=46))

    done = ended(app, job)
    assert done.outcome is not None and done.outcome.code == "NoQualifyingRound"
    assert done.selected is not None and done.selected.round == 2
    assert app.models.list() == []


def test_a_failed_training_ends_the_job_with_its_reason_and_no_machine(running: Running) -> None:
    app = running.app
    job = submit(app, spec()).id
    until_state(app, job, JobState.LAUNCHING)
    until(lambda: app.waits.find(job) is not None, "the machine waits")
    fault = Fault(code="ParticipantsMissing", message="busan did not reply")
    report_aggregator(app, aggregator_says(job, 1, Phase.READY))
    until_state(app, job, JobState.TRAINING)
    until(lambda: app.waits.get(job).value.until.value == "trained", "the machine waits again")
    report_aggregator(app, aggregator_says(job, 2, Phase.FAILED, fault=fault))

    done = ended(app, job)
    assert done.outcome is not None
    assert (done.state, done.outcome.code) == (JobState.FAILED, "ParticipantsMissing")
    assert done.outcome.message == "busan did not reply"
    assert running.world.cloud.machines() == []


@pytest.mark.parametrize("state", [JobState.LAUNCHING, JobState.TRAINING])
def test_a_cancelled_job_leaves_no_machine(running: Running, state: JobState) -> None:
    app = running.app
    job = submit(app, spec()).id
    until_state(app, job, JobState.LAUNCHING)
    until(lambda: app.waits.find(job) is not None, "the machine waits")
    if state is JobState.TRAINING:
        report_aggregator(app, aggregator_says(job, 1, Phase.READY))
        until_state(app, job, JobState.TRAINING)
    cancel(app, job)

    assert ended(app, job).state is JobState.CANCELLED
    assert running.world.cloud.machines() == []


def test_an_aggregator_that_never_speaks_is_replaced_and_at_last_given_up(
    running: Running,
) -> None:
    settings = running.app.settings.model_copy(update={"heartbeat_seconds": 0.1, "boot_seconds": 1})
    with serving(replace(running.app, settings=settings)) as app:
        job = submit(app, spec()).id
        done = ended(app, job)

    assert done.outcome is not None and done.outcome.code == "HeartbeatMissed"
    assert "6 in a row completed no round" in done.outcome.message
    assert (done.epoch, len(done.losses)) == (2 * ATTEMPTS, 2 * ATTEMPTS)
    assert running.world.cloud.machines() == []


def cut_short(running: Running, right: int, **changes: object) -> str:
    """A job in training that has two rounds, of which the first is better."""
    app = running.app
    job = submit(app, spec(rounds=5, **changes)).id
    until(lambda: app.waits.find(job) is not None, "the machine waits")
    report_aggregator(app, aggregator_says(job, 1, Phase.READY))
    until_state(app, job, JobState.TRAINING)
    rounds = (a_round(app, job, 1, right=right), a_round(app, job, 2, right=right - 1))
    report_aggregator(app, aggregator_says(job, 2, Phase.TRAINING, rounds=rounds))
    return job


@pytest.mark.parametrize(
    ("limits", "code"),
    [({"deadline": "1h"}, "DeadlineExceeded"), ({"budget_usd": 0.01}, "BudgetExceeded")],
)
def test_a_job_that_ends_early_keeps_its_best_round_once_its_machines_are_gone(
    running: Running, limits: dict[str, object], code: str
) -> None:
    app, cloud = running.app, running.world.cloud
    left: list[int] = []
    running.before["save"] = lambda job: left.append(len(cloud.machines()))
    job = cut_short(running, 45, limits=limits)
    running.world.clock.tick(3601)
    report_aggregator(app, aggregator_says(job, 3, Phase.TRAINING))
    done = ended(app, job)

    assert (done.state, done.model) == (JobState.FAILED, job)
    assert done.outcome is not None and done.outcome.code == code
    assert done.outcome.message.endswith(f"; round 1 is kept as model {job} (f1 0.9000)")
    assert done.selected is not None and done.selected.round == 1
    assert app.objects.get(f"models/{job}/weights.safetensors") == b"weights 1"
    assert app.models.get(job).value.sha256 == f"{1:064x}"
    assert left == [0]
    assert [one.code for one in app.events.list(job)][-2:] == ["ModelSaved", "JobEnded"]


def test_a_job_whose_recovery_is_hopeless_keeps_its_best_round(running: Running) -> None:
    settings = running.app.settings.model_copy(update={"heartbeat_seconds": 0.1})
    with serving(replace(running.app, settings=settings)) as app:
        job = cut_short(running, 45)
        running.world.cloud.fail_launch = [NoCapacity("sold out") for _ in range(3 * ATTEMPTS)]
        app.executions.fail(app.waits.get(job).value.token, "AggregatorLost", "gone")
        done = ended(app, job)

    assert done.outcome is not None and done.outcome.code == "LaunchRefused"
    assert (done.state, done.model) == (JobState.FAILED, job)


def test_a_round_below_the_threshold_is_named_and_not_kept(running: Running) -> None:
    app = running.app
    job = cut_short(running, 20, limits={"deadline": "1h"})
    running.world.clock.tick(3601)
    report_aggregator(app, aggregator_says(job, 3, Phase.TRAINING))
    done = ended(app, job)

    assert done.outcome is not None and done.outcome.code == "DeadlineExceeded"
    assert done.outcome.message.endswith("; no model is kept: the best, round 1, has f1 0.4000")
    assert done.model is None and app.models.list() == []


def test_what_cannot_be_kept_keeps_no_job_from_its_end(running: Running) -> None:
    def refuse(job: str) -> None:
        raise StorageFull("no room left")

    app, running.before["save"] = running.app, refuse
    job = cut_short(running, 45, limits={"deadline": "1h"})
    running.world.clock.tick(3601)
    report_aggregator(app, aggregator_says(job, 3, Phase.TRAINING))
    done = ended(app, job)

    assert done.outcome is not None and done.outcome.code == "DeadlineExceeded"
    assert done.model is None
    assert running.world.cloud.machines() == []


def test_of_a_job_that_was_cancelled_only_checkpoints_stay(running: Running) -> None:
    app = running.app
    job = cut_short(running, 45)
    cancel(app, job)
    done = ended(app, job)

    assert (done.state, done.model, done.rounds_done) == (JobState.CANCELLED, None, 2)
    assert app.models.list() == []
    assert app.objects.list(f"jobs/{job}/rounds/")


def test_a_lost_aggregator_is_replaced_and_training_goes_on(running: Running) -> None:
    app, cloud = running.app, running.world.cloud
    job = submit(app, spec()).id
    until(lambda: app.waits.find(job) is not None, "the machine waits")
    report_aggregator(app, aggregator_says(job, 1, Phase.READY))
    until_state(app, job, JobState.TRAINING)
    first = a_round(app, job, 1)
    report_aggregator(app, aggregator_says(job, 2, Phase.TRAINING, rounds=(first,)))
    cloud.stop(next(m for m in cloud.machines() if "aggregator" in m.key))

    def swept() -> bool:
        sweep(app)
        return job_of(app, job).epoch == 2

    until(swept, "the sweep tells that its machine has ended")
    trained(app, job, a_round(app, job, 2, epoch=2, right=49), epoch=2)

    assert ended(app, job).state is JobState.SUCCEEDED
    assert [one.epoch for one in app.rounds.list(job)] == [1, 2]
    assert cloud.machines() == []


def test_a_machine_that_is_sold_out_is_had_elsewhere(running: Running) -> None:
    app = running.app
    running.world.cloud.fail_launch = [NoCapacity("sold out")]
    job = submit(app, spec()).id
    until(lambda: job_of(app, job).epoch == 2, "the next place is tried")
    [loss] = job_of(app, job).losses
    assert (loss.code, loss.cause) == ("LaunchRefused", "NoCapacity")
    trained(app, job, *(a_round(app, job, n, epoch=2) for n in (1, 2)), epoch=2)

    done = ended(app, job)
    assert done.state is JobState.SUCCEEDED
    assert done.placement is not None and done.placement.candidate is not None
    assert offer_of(done.placement.candidate).spot != loss.offer.spot


def test_a_cloud_that_is_always_sold_out_ends_the_job_cleanly(running: Running) -> None:
    settings = running.app.settings.model_copy(update={"heartbeat_seconds": 0.1})
    running.world.cloud.fail_launch = [NoCapacity("sold out") for _ in range(2 * ATTEMPTS)]
    with serving(replace(running.app, settings=settings)) as app:
        job = submit(app, spec()).id
        done = ended(app, job)

    assert done.outcome is not None and done.outcome.code == "LaunchRefused"
    assert "no machine is to be had at" in done.outcome.message
    assert "(NoCapacity)" in done.outcome.message
    assert running.world.cloud.machines() == []


def test_a_notice_starts_the_next_aggregator_while_the_old_one_keeps_what_it_has(
    running: Running,
) -> None:
    app, cloud, clock = running.app, running.world.cloud, running.world.clock
    job = submit(app, spec()).id
    until(lambda: app.waits.find(job) is not None, "the machine waits")
    report_aggregator(app, aggregator_says(job, 1, Phase.READY))
    until_state(app, job, JobState.TRAINING)
    notice = Notice(expires=clock() + timedelta(seconds=120), source="a test")
    report_aggregator(app, aggregator_says(job, 2, Phase.TRAINING, notice=notice))
    until(lambda: job_of(app, job).epoch == 2, "the next aggregator is started")
    until_state(app, job, JobState.LAUNCHING)
    until(lambda: app.waits.find(job).value.epoch == 2, "it is waited for")
    with pytest.raises(StaleEpoch):
        report_aggregator(app, aggregator_says(job, 3, Phase.LEAVING, notice=notice))
    sweep(app)
    both = {m.epoch for m in cloud.machines() if m.role is Role.AGGREGATOR}
    clock.tick(121)
    sweep(app)
    after = {m.epoch for m in cloud.machines() if m.role is Role.AGGREGATOR}
    trained(app, job, *(a_round(app, job, n, epoch=2) for n in (1, 2)), epoch=2)

    assert (both, after) == ({1, 2}, {2})
    assert ended(app, job).state is JobState.SUCCEEDED
    codes = [one.code for one in app.events.list(job)]
    assert codes.index("NoticeGiven") < codes.index("SpotNotice")
    assert [loss.code for loss in job_of(app, job).losses] == ["SpotNotice"]


APPROVE = {"need": {"vcpus": 2, "memory_mib": 4096}, "approve": True}


def asked(running: Running, **changes: object) -> str:
    """A job that waits for a person."""
    app = running.app
    job = submit(app, spec(aggregator=APPROVE, **changes)).id
    until_state(app, job, JobState.WAITING_APPROVAL)
    until(lambda: app.waits.find(job) is not None, "the machine waits for a person")
    return job


def test_a_job_waits_for_a_person_and_goes_on_where_they_say(running: Running) -> None:
    app, cloud = running.app, running.world.cloud
    job = asked(running)
    assert cloud.launched == 0
    approve(app, job, 2, "operator")
    until_state(app, job, JobState.LAUNCHING)
    until(lambda: app.waits.get(job).value.until is Until.READY, "the machine waits")
    [aggregator] = [m for m in cloud.machines() if m.role is Role.AGGREGATOR]
    trained(app, job, a_round(app, job, 1), a_round(app, job, 2))

    done = ended(app, job)
    assert done.state is JobState.SUCCEEDED
    assert done.placement is not None and done.placement.chosen == 1
    assert aggregator.offer == offer_of(done.placement.answer.candidates[1])
    assert [e.code for e in app.events.list(job)][:5] == [
        "JobSubmitted",
        "ApprovalAwaited",
        "Approved",
        "AggregatorPlaced",
        "AggregatorLaunched",
    ]


def test_an_approved_job_is_not_asked_about_again_when_its_aggregator_is_lost(
    running: Running,
) -> None:
    app, cloud = running.app, running.world.cloud
    job = asked(running)
    approve(app, job, 1, "operator")
    until(lambda: app.waits.get(job).value.until is Until.READY, "the machine waits")
    report_aggregator(app, aggregator_says(job, 1, Phase.READY))
    until_state(app, job, JobState.TRAINING)
    cloud.stop(next(m for m in cloud.machines() if "aggregator" in m.key))

    def swept() -> bool:
        sweep(app)
        return job_of(app, job).epoch == 2

    until(swept, "the sweep tells that its machine has ended")
    trained(app, job, a_round(app, job, 1, epoch=2), a_round(app, job, 2, epoch=2), epoch=2)

    assert ended(app, job).state is JobState.SUCCEEDED
    codes = [e.code for e in app.events.list(job)]
    assert (codes.count("ApprovalAwaited"), codes.count("AggregatorPlaced")) == (1, 2)


def test_a_job_cancelled_while_it_waits_for_a_person_launches_nothing(running: Running) -> None:
    job = asked(running)
    cancel(running.app, job)

    assert ended(running.app, job).state is JobState.CANCELLED
    assert running.world.cloud.launched == 0


def test_a_deadline_that_passes_while_a_person_is_waited_for_ends_the_job(
    running: Running,
) -> None:
    app = running.app
    job = asked(running, limits={"deadline": "1h"})
    running.world.clock.tick(3598)
    carried_on_anew(running, job)
    running.world.clock.tick(10)

    done = ended(app, job)
    assert done.outcome is not None and done.outcome.code == "DeadlineExceeded"
    assert done.outcome.message.startswith("nobody approved its place within 3600 s")
    assert running.world.cloud.launched == 0


def carried_on_anew(running: Running, job: str) -> None:
    """The job's execution is lost while it waits, and another takes its place."""
    app = running.app
    lost = app.waits.get(job).value.token
    resume(app)
    until(lambda: app.waits.find(job) is not None, "the new execution waits")
    running.machine.fail(lost, "Superseded", "lost")


def test_an_execution_started_anew_waits_for_the_same_places(running: Running) -> None:
    app = running.app
    job = asked(running)
    before = job_of(app, job).placement
    carried_on_anew(running, job)
    assert job_of(app, job).state is JobState.WAITING_APPROVAL
    assert job_of(app, job).placement == before
    approve(app, job, 1, "operator")
    trained(app, job, a_round(app, job, 1), a_round(app, job, 2))

    assert ended(app, job).state is JobState.SUCCEEDED
    assert [e.code for e in app.events.list(job)].count("ApprovalAwaited") == 1


def test_an_approval_that_comes_before_anybody_waits_is_not_lost(running: Running) -> None:
    app, early = running.app, []

    def approve_first(job_id: str) -> None:
        early.append(approve(app, job_id, 1, "operator").state)

    running.before["await_approval"] = approve_first
    job = submit(app, spec(aggregator=APPROVE)).id
    trained(app, job, a_round(app, job, 1), a_round(app, job, 2))

    assert ended(app, job).state is JobState.SUCCEEDED
    assert early == [JobState.PLACING]


def test_what_is_retryable_is_retried(running: Running) -> None:
    app = running.app
    running.world.store.fail_next = Conflict("somebody was faster")
    job = submit_in_thread(app)
    trained(app, job, a_round(app, job, 1), a_round(app, job, 2))

    assert ended(app, job).state is JobState.SUCCEEDED


def submit_in_thread(app: App) -> str:
    """Submit; the injected fault strikes whichever write comes next, the submission's included."""
    made: list[str] = []

    def work() -> None:
        for _ in range(2):
            try:
                made.append(submit(app, spec()).id)
            except Conflict:
                continue
            return

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return made[0]


def test_a_cloud_that_refuses_to_remove_is_asked_until_it_does(running: Running) -> None:
    app = running.app
    job = submit(app, spec()).id
    until(lambda: app.waits.find(job) is not None, "the machine waits")
    report_aggregator(app, aggregator_says(job, 1, Phase.READY))
    until_state(app, job, JobState.TRAINING)
    running.world.cloud.fail_terminate = [ProviderError("500 in the middle of a delete")]
    cancel(app, job)

    assert ended(app, job).teardowns > 1
    assert running.world.cloud.machines() == []


def test_an_execution_started_anew_passes_by_what_is_done(running: Running) -> None:
    app = running.app
    job = submit(app, spec()).id
    until(lambda: app.waits.find(job) is not None, "the machine waits")
    report_aggregator(app, aggregator_says(job, 1, Phase.READY))
    until_state(app, job, JobState.TRAINING)
    assert resume(app) == [job]
    until(lambda: app.waits.find(job) is not None, "the new execution waits")
    done = (a_round(app, job, 1), a_round(app, job, 2))
    report_aggregator(app, aggregator_says(job, 2, Phase.DONE, rounds=done))

    assert ended(app, job).state is JobState.SUCCEEDED
    assert running.world.cloud.launched == 4
    until(lambda: running.machine.status(f"{job}-2") == "SUCCEEDED", "the second execution")
    until(lambda: running.machine.status(f"{job}-1") == "SUCCEEDED", "the first steps aside")


# An aggregator that is given back while its participants train

SITES = ("seoul", "busan", "daejeon")
LONG = 100.0


def sites_say(app: App, job: str, training: Training | None, sites: Iterable[str] = SITES) -> None:
    for site in sites:
        machine = f"{job}-client-{site}"
        known = app.agents.find(machine, site)
        said = site_says(job, site, known.value.seq + 1 if known else 1, training=training)
        report_site(app, said.model_copy(update={"job": job, "running": True}))


def resting(running: Running) -> str:
    """A job whose aggregator has left in round 2, which takes as long as round 1 did."""
    app = running.app
    job = submit(app, spec(rounds=2, aggregator={"between_rounds": "stop"})).id
    until_state(app, job, JobState.LAUNCHING)
    until(lambda: app.waits.find(job) is not None, "the machine waits for the aggregator")
    report_aggregator(app, aggregator_says(job, 1, Phase.READY))
    until_state(app, job, JobState.TRAINING)
    first = a_round(app, job, 1)
    took = {n: one.model_copy(update={"seconds": LONG}) for n, one in first.participants.items()}
    first = first.model_copy(update={"participants": took, "seconds": LONG})
    report_aggregator(app, aggregator_says(job, 2, Phase.TRAINING, progress={"round": 1}))
    report_aggregator(app, aggregator_says(job, 3, Phase.TRAINING, rounds=(first,)))
    running.world.clock.tick(60)  # what is billed at least
    sites_say(app, job, Training(round=2))
    people = dict.fromkeys(SITES, Participation(status=Status.TRAINING))
    progress = {"round": 2, "participants": people}
    told = report_aggregator(app, aggregator_says(job, 4, Phase.TRAINING, progress=progress))
    assert told.rest
    report_aggregator(app, aggregator_says(job, 5, Phase.LEAVING, progress=progress))
    return job


def goes_on(app: App, job: str) -> Job:
    """The next incarnation is launched, and does the round."""
    until(lambda: job_of(app, job).state is not JobState.RESTING, "the rest is over")
    trained(app, job, a_round(app, job, 2, epoch=2), epoch=2)
    return ended(app, job)


def test_an_aggregator_that_rests_comes_back_when_its_time_is_up(running: Running) -> None:
    app = running.app

    def nearly_up(job: str) -> None:
        running.world.clock.tick(LONG - 3)
        sites_say(app, job, Training(round=2, seconds=LONG - 3))

    running.before["recover"] = nearly_up
    job = resting(running)
    until_state(app, job, JobState.RESTING)
    until(lambda: waited_for(app, job) is Until.RESTED, "the rest is waited out")
    gone = [one for one in running.world.cloud.machines() if one.role is Role.AGGREGATOR]
    done = goes_on(app, job)

    assert gone == []
    assert (done.state, done.epoch, done.rests) == (JobState.SUCCEEDED, 2, 1)
    assert done.losses == ()
    assert running.world.cloud.machines() == []


def test_a_rest_is_over_as_soon_as_nobody_trains(running: Running) -> None:
    app = running.app
    job = resting(running)
    until(lambda: waited_for(app, job) is Until.RESTED, "the rest is waited out")
    sites_say(app, job, None)

    assert goes_on(app, job).state is JobState.SUCCEEDED


def test_a_rest_is_over_when_somebody_who_trained_falls_silent(running: Running) -> None:
    """Its machine has died, or may have: it is started again, beside those that still train."""
    app = running.app
    job = resting(running)
    until(lambda: waited_for(app, job) is Until.RESTED, "the rest is waited out")
    _, *living = SITES
    running.world.clock.tick(app.settings.lost_seconds + 1)
    sites_say(app, job, Training(round=2, seconds=1), living)

    assert goes_on(app, job).state is JobState.SUCCEEDED


def test_a_job_that_rests_is_cancelled_without_waiting(running: Running) -> None:
    app = running.app
    job = resting(running)
    until(lambda: waited_for(app, job) is Until.RESTED, "the rest is waited out")
    cancel(app, job)

    assert ended(app, job).state is JobState.CANCELLED
    assert running.world.cloud.machines() == []


def test_a_job_that_rests_is_carried_on_by_another_execution(running: Running) -> None:
    app = running.app
    job = resting(running)
    until(lambda: waited_for(app, job) is Until.RESTED, "the rest is waited out")
    waiting = app.waits.get(job).value.token
    resume(app)
    done = goes_on(app, job)
    app.executions.succeed(waiting, {})

    assert (done.state, done.epoch, done.attempt) == (JobState.SUCCEEDED, 2, 2)


def waited_for(app: App, job: str) -> Until | None:
    found = app.waits.find(job)
    current = found is not None and found.value.epoch == job_of(app, job).epoch
    return found.value.until if found is not None and current else None
