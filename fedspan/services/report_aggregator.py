"""An aggregator says how it is, and is told how it should be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from fedspan.app import App
from fedspan.domain.budgets import next_round, warning
from fedspan.domain.events import Event, Level
from fedspan.domain.jobs import RUNNING, Job, cost_at, overrun
from fedspan.domain.reports import (
    AggregatorManifest,
    AggregatorReport,
    Desired,
    Fault,
    Node,
    Notice,
    Phase,
)
from fedspan.domain.rounds import Round, Status
from fedspan.domain.sites import Agent
from fedspan.domain.texts import brief, listed
from fedspan.errors import (
    FedspanError,
    InvalidRequest,
    JobCancelled,
    JobError,
    MachineUnreachable,
    NotFound,
    ParticipantsMissing,
    StaleEpoch,
    StoreError,
    TrainingFailed,
    tree,
)
from fedspan.services import clients, rest, waits
from fedspan.services.billing import with_traffic
from fedspan.services.changes import Step, change, event
from fedspan.services.examine import upload_key
from fedspan.services.linking import agent_of, lost
from fedspan.services.purchasing import slack_spent
from fedspan.stores.base import Change

MOST_ROUNDS: Final = 40
"""Of one report: a transaction takes 100 changes, and a round is two, its row and its event."""
MOST_FAILURES: Final = 10
FAULTS: Final = (JobError, StoreError)

GRANT_SECONDS: Final = 3600
"""All that AWS gives to a role that another role assumes."""
RENEWED: Final = timedelta(minutes=15)
"""Before its end, so that clouds may be away for a while."""

log = structlog.get_logger()


def report_aggregator(app: App, report: AggregatorReport) -> AggregatorManifest:
    """Take in a report; a repeat or an echo changes nothing and is answered all the same.

    Raises:
        StaleEpoch: this incarnation was replaced; it should end itself.
    """
    job = change(app, report.job, lambda job: _taken(app, job, report))
    if not job.ended:
        waits.renew(app, job)
        waits.settle(app, job)
        trouble = _trouble(app, job, report)
        if trouble is not None:
            waits.fail(app, job, type(trouble).__name__, str(trouble))
    return _manifest(app, job, report.grant_expires)


def aggregator_manifest(app: App, job_id: str, epoch: int) -> AggregatorManifest:
    """How the aggregator should be, for one that asks without reporting."""
    job = app.jobs.get(job_id).value
    if job.aggregator is None or job.epoch != epoch:
        raise StaleEpoch(f"job {job.id} is at epoch {job.epoch}, not {epoch}")
    return _manifest(app, job)


def _trouble(app: App, job: Job, report: AggregatorReport) -> FedspanError | None:
    """Why the job cannot go on with this aggregator, if it cannot."""
    if report.phase is Phase.FAILED and report.fault is not None:
        fault = _believed(report.fault)
        return _unreachable(app, job, report, fault) or fault
    if report.phase is Phase.DONE and job.rounds_done < job.spec.rounds and not report.rounds:
        return TrainingFailed(
            f"the aggregator says it is done, but only {job.rounds_done} of {job.spec.rounds} "
            "rounds are complete"
        )
    passed = overrun(job, app.now()) or next_round(job, app.now())
    return passed or slack_spent(app, job)


def _unreachable(
    app: App, job: Job, report: AggregatorReport, fault: FedspanError
) -> MachineUnreachable | None:
    """What `fault` is when no quorum ever came though as many run their SuperNodes: the way to the
    aggregator is closed, and another may be open."""
    if not isinstance(fault, ParticipantsMissing) or report.progress.round > 0:
        return None
    limit = app.settings.lost_seconds
    trying = [one for one in _agents(app, job) if one.running and not lost(one, app.now(), limit)]
    return MachineUnreachable(str(fault)) if len(trying) >= job.spec.needed else None


def _believed(fault: Fault) -> FedspanError:
    """A fault as the state machine may hear it. A machine cannot cancel a job or end an
    execution, nor have a task that is over tried again; such a code is told in the message."""
    kind = tree().get(fault.code, FedspanError)
    if issubclass(kind, FAULTS) and not kind.retryable and kind is not JobCancelled:
        return kind(fault.message)
    return TrainingFailed(f"{fault.code[:100]}: {fault.message}")


def _taken(app: App, job: Job, report: AggregatorReport) -> Step:
    before = job.aggregator
    if before is None or report.epoch != before.epoch or report.epoch != job.epoch:
        raise StaleEpoch(f"job {job.id} is at epoch {job.epoch}, not {report.epoch}")
    if report.seq <= before.seq:
        return Step(job)
    _own(job, report.rounds)
    now = app.now()
    aggregator = before.model_copy(
        update={
            "seq": report.seq,
            "seen": now,
            "address": report.address or before.address,
            "certificate": report.certificate or before.certificate,
            "linked": report.linked,
            "notice": report.notice.expires if report.notice else before.notice,
            "waiting": brief(report.waiting),
            "left": before.left or (report.phase is Phase.LEAVING and not report.notice),
        }
    )
    fresh = [one for one in report.rounds if one.number > job.rounds_done]
    done = _contiguous(job.rounds_done, fresh)
    after = job.model_copy(
        update={
            "aggregator": aggregator,
            "progress": report.progress,
            "rounds_done": job.rounds_done + len(done),
        }
    )
    after, rates = with_traffic(app, after, done)
    after = _with_rest(app, after, report, done)
    events, nearly = tuple(_told(app, job, after, report, done)), warning(after, now)
    if nearly:
        events += (event(app, after, "BudgetWarning", nearly, level=Level.WARNING),)
    spent = {"cost": cost_at(after, now), "warned": job.warned or bool(nearly)}
    return Step(after.model_copy(update=spent), events, (*_rows(app, done), *rates))


def _with_rest(app: App, job: Job, report: AggregatorReport, done: list[Round]) -> Job:
    """`job` with whether its aggregator is to rest, which stands until it has, or has done a round
    all the same; and with how long it took to work, once."""
    running, now = job.aggregator, app.now()
    assert running is not None
    if running.wake is None or (done and not running.left):
        running = running.model_copy(update={"wake": rest.wake_at(app, job, report)})
    comeback = job.comeback
    if running.first is None and running.begun is not None and running.launched is not None:
        took = (now - running.launched).total_seconds()
        running = running.model_copy(update={"first": running.begun})
        comeback = min(took, took if comeback is None else comeback)
    return job.model_copy(update={"aggregator": running, "comeback": comeback})


def _own(job: Job, rounds: Sequence[Round]) -> None:
    """Raises `InvalidRequest` for a round or a checkpoint of another job."""
    for one in rounds:
        if one.job != job.id or not one.checkpoint.key.startswith(f"jobs/{job.id}/"):
            raise InvalidRequest(f"rounds: {one.number} is no round of job {job.id}")


def _contiguous(last: int, fresh: list[Round]) -> list[Round]:
    """The rounds that follow on the last one known, without a gap; as many as one write takes
    with their events. The aggregator sends the rest again with its next report."""
    done: list[Round] = []
    for one in sorted(fresh, key=lambda one: one.number):
        if one.number == last + 1 + len(done):
            done.append(one)
    return done[:MOST_ROUNDS]


def _rows(app: App, done: list[Round]) -> Iterator[Change]:
    for one in done:
        yield app.rounds.put(one, f"{one.number:06d}", one.job, expected=0)


def _told(
    app: App, before: Job, after: Job, report: AggregatorReport, done: list[Round]
) -> Iterator[Event]:
    if before.aggregator and not before.aggregator.address and report.address:
        yield event(app, after, "AggregatorReady", f"aggregator {report.epoch} speaks")
    if before.aggregator and not before.aggregator.notice and report.notice:
        yield _noticed(app, after, report.notice)
    if before.aggregator and not before.aggregator.waiting and report.waiting:
        said = brief(f"aggregator {report.epoch} waits: {report.waiting}")
        yield event(app, after, "AggregatorWaits", said, level=Level.WARNING)
    for one in done:
        yield _round_event(app, after, one)
        if one.app is not None and one.app.not_exact:
            said = f"a round done again may differ: {listed(one.app.not_exact)}"
            yield event(
                app, after, "AppNotExact", brief(said), level=Level.WARNING, round=one.number
            )
    yield from _failures(app, before, after)


def _noticed(app: App, job: Job, notice: Notice) -> Event:
    left = max(0.0, (notice.expires - app.now()).total_seconds())
    said = f"its cloud takes aggregator {job.epoch} back in {left:.0f} s; another one is started"
    return event(app, job, "NoticeGiven", said, level=Level.WARNING)


def _failures(app: App, before: Job, after: Job) -> Iterator[Event]:
    """Whose part in the round under way has just failed: each by name, a crowd in one event."""
    now = after.progress.participants
    failed = [
        site
        for site, part in now.items()
        if part.status is Status.FAILED and not _known(app, before, after, site)
    ]
    number = after.progress.round
    if len(failed) > MOST_FAILURES:
        shown = ", ".join(failed[:MOST_FAILURES])
        message = f"{len(failed)} participants failed in round {number}: {shown} and others"
        yield event(app, after, "ParticipantFailed", message, level=Level.WARNING, round=number)
        return
    for site in failed:
        message = f"{site} failed in round {number}: {now[site].message}"
        yield event(
            app, after, "ParticipantFailed", message, level=Level.WARNING, site=site, round=number
        )


def _known(app: App, before: Job, after: Job, site: str) -> bool:
    """Whether this failure was told already: in this round, or as the last round's."""
    failure = after.progress.participants[site]
    if before.progress.round == after.progress.round:
        told = before.progress.participants.get(site)
    else:
        last = app.rounds.find(f"{after.progress.round - 1:06d}", after.id)
        told = last.value.participants.get(site) if last else None
    return told is not None and (told.status, told.message) == (failure.status, failure.message)


def _round_event(app: App, job: Job, one: Round) -> Event:
    told = {name: one.value(name) for name in ("f1", "loss")}
    shown = ", ".join(f"{name} {value:.4f}" for name, value in told.items() if value is not None)
    shown = f": {shown}" if shown else ""
    message = f"round {one.number} done in {one.seconds:.1f} s{shown}"
    return event(app, job, "RoundDone", message, round=one.number)


def _manifest(app: App, job: Job, granted: datetime | None = None) -> AggregatorManifest:
    """`granted` is when its present access to the objects ends."""
    agents = _agents(app, job)
    stop = job.ended or job.cancel_requested or job.outcome is not None
    finished = job.state not in RUNNING
    if job.aggregator is None:
        raise NotFound(f"job {job.id} has no aggregator")
    desired = Desired.STOP if stop or finished else Desired.RUN
    short = granted is None or granted < app.now() + RENEWED
    access = _access(app, job) if desired is Desired.RUN and short else {}
    silent = [one for one in agents if lost(one, app.now(), app.settings.lost_seconds)]
    returning = [one.site for one in silent if clients.returning(app, job, one)]
    return AggregatorManifest(
        desired=desired,
        job=job.id,
        epoch=job.epoch,
        spec=job.spec,
        features=job.features,
        classes=job.classes,
        nodes=tuple(Node(site=agent.site, public_key=agent.public_key) for agent in agents),
        lost=tuple(one.site for one in silent if one.site not in returning),
        returning=tuple(returning),
        busy=tuple(sorted(rest.busy_of(app, job, agents))) if rest.finishing(job) else (),
        rest=job.aggregator.wake is not None,
        acknowledged=job.rounds_done,
        heartbeat_seconds=app.settings.heartbeat_seconds,
        lease_seconds=app.settings.lease_seconds,
        **access,
    )


def _access(app: App, job: Job) -> dict[str, Any]:
    """The job's own objects, and the program or the app it trains. A cloud that is away costs no
    heartbeat: the next one asks again."""
    key = upload_key(job.spec.model)
    read = [key] if key else []
    try:
        return {"objects": app.grants.grant(read, [f"jobs/{job.id}/"], GRANT_SECONDS)}
    except FedspanError as exc:
        log.warning("objects.not_granted", job=job.id, error=type(exc).__name__, cause=str(exc))
        return {"objects_late": True}


def _agents(app: App, job: Job) -> list[Agent]:
    """Those that have spoken, one of each participant."""
    found = (agent_of(app, job, name) for name in job.spec.participants)
    return [one for one in found if one is not None]
