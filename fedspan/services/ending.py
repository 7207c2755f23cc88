"""How a job ends, whatever happened: its outcome is settled, people are told, machines go."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from fedspan.app import App
from fedspan.domain.events import Level
from fedspan.domain.jobs import Job, JobState, Outcome, cost_at, move, overrun, salvageable
from fedspan.domain.machines import Machine, Role
from fedspan.domain.recovery import last_words
from fedspan.errors import ProviderError, tree
from fedspan.services.asking import at_once
from fedspan.services.billing import bill_of, incarnation_row
from fedspan.services.changes import Step, change, event, write_all
from fedspan.services.linking import client_key, cloud_of
from fedspan.stores.base import Change

MOST_TEARDOWNS: Final = 120
"""So many looks, a second apart, before the job ends with a warning and the sweep goes on."""
LONGEST_TEARDOWN_S: Final = 600.0
"""A look takes longer where clouds are slow to answer."""
LOST: Final = frozenset({"States.Timeout", "States.HeartbeatTimeout"})
log = structlog.get_logger()


def give_up(app: App, job_id: str, error: Mapping[str, Any]) -> dict[str, object]:
    """Settle why the job failed. `error` is what the state machine caught: `Error`, `Cause`."""
    outcome = outcome_of(error)
    job = change(app, job_id, lambda job: _given_up(app, job, outcome))
    return {"job": job.id, "outcome": job.outcome.code if job.outcome else ""}


def outcome_of(error: Mapping[str, Any]) -> Outcome:
    """The outcome for a caught error; a Lambda's cause is a JSON document with its message."""
    name = str(error.get("Error", "FedspanError"))
    cause = str(error.get("Cause", ""))
    try:
        said = json.loads(cause)
        cause = str(said.get("errorMessage", cause)) if isinstance(said, dict) else cause
    except ValueError:
        pass
    if name in LOST:
        return Outcome(
            state=JobState.FAILED,
            code="HeartbeatMissed",
            message=cause or "the aggregator did not speak in time",
        )
    if name == "JobCancelled":
        return Outcome(state=JobState.CANCELLED, code=name, message="cancelled on request")
    code = name if name in tree() else "FedspanError"
    return Outcome(state=JobState.FAILED, code=code, message=cause or name)


def _given_up(app: App, job: Job, outcome: Outcome) -> Step:
    if job.outcome is not None:
        return Step(job)
    passed, last = overrun(job, app.now()), job.losses[-1] if job.losses else None
    if job.cancel_requested:
        outcome = outcome_of({"Error": "JobCancelled"})
    elif passed is not None:
        outcome = outcome_of({"Error": type(passed).__name__, "Cause": str(passed)})
    elif last is not None and last.epoch == job.epoch:
        outcome = outcome_of({"Error": last.code, "Cause": last_words(job, last)})
    level = Level.WARNING if outcome.state is JobState.CANCELLED else Level.ERROR
    return Step(
        job.model_copy(update={"outcome": outcome}),
        (event(app, job, outcome.code, outcome.message, level=level),),
    )


def notify(app: App, job_id: str) -> dict[str, object]:
    """Tell those the spec names. That one cannot be reached is an event, never a failure."""
    job = app.jobs.get(job_id).value
    unreached = 0
    for target in job.spec.notify:
        try:
            app.post(target.webhook, _summary(job))
        except (OSError, ValueError) as exc:
            unreached += 1
            log.warning("NotifyFailed", job=job_id, error=type(exc).__name__)
    if unreached:
        message = f"{unreached} of {len(job.spec.notify)} webhooks could not be reached"
        change(
            app,
            job_id,
            lambda job: Step(job, (event(app, job, "NotifyFailed", message, level=Level.WARNING),)),
        )
    return {"job": job.id, "unreached": unreached}


def _summary(job: Job) -> dict[str, Any]:
    shown = job.model_dump(
        mode="json", include={"id", "outcome", "selected", "model", "rounds_done", "cost"}
    )
    return {**shown, "name": job.spec.name}


@dataclass(frozen=True, slots=True)
class Inventory:
    """The machines that clouds show, and the clouds that could not be asked."""

    machines: tuple[Machine, ...]
    silent: tuple[str, ...] = ()


def inventory(app: App, job_id: str | None = None) -> Inventory:
    """The machines of a job, or of all, on every cloud. One that is down, or a part of one, hides
    no other; nor does one that says what no cloud would, since a stranger may stand behind it."""
    clouds = dict(app.providers.items())
    asks = {name: partial(cloud.machines, job_id) for name, cloud in clouds.items()}
    found: list[Machine] = []
    silent: list[str] = []
    for name, said in at_once(asks).items():
        if isinstance(said, Exception):
            error = f"{type(said).__name__}: {said}"
            log.warning("CloudSilent", job=job_id, provider=name, error=error)
            seen = said.found if isinstance(said, ProviderError) else ()
            found += [one for one in seen if isinstance(one, Machine)]
            silent.append(name)
        else:
            found += said
    return Inventory(tuple(found), tuple(silent))


def terminate(app: App, *machines: Machine) -> list[Machine]:
    """Ask for their end, each cloud by itself; those whose cloud would not hear it. Others go on
    being asked."""
    mine: dict[str, list[Machine]] = {}
    for machine in machines:
        mine.setdefault(machine.offer.provider, []).append(machine)
    asks = {name: partial(_ended, app, name, its) for name, its in mine.items()}
    deaf: list[Machine] = []
    for name, said in at_once(asks).items():
        deaf += mine[name] if isinstance(said, Exception) else said
    return deaf


def _ended(app: App, cloud: str, machines: Sequence[Machine]) -> list[Machine]:
    """Those of one cloud that would not hear it."""
    deaf = []
    for machine in machines:
        try:
            cloud_of(app, cloud, f"the end of {machine.id}").terminate(machine)
        except Exception as exc:
            error = f"{type(exc).__name__}: {exc}"
            log.warning("TerminateFailed", job=machine.job, machine=machine.id, error=error)
            deaf.append(machine)
    return deaf


def tear_down(app: App, job_id: str) -> dict[str, object]:
    """Ask for the end of every machine; `status` is ``gone`` once no cloud shows one. `salvage`:
    then a round of the job, which failed, may be worth keeping."""
    job = change(app, job_id, lambda job: _stopping(app, job))
    needed = _clouds_of(app, job)
    _release(app, job)
    terminate(app, *inventory(app, job_id).machines)
    left = inventory(app, job_id)
    lost = tuple(name for name in needed if name not in app.providers)
    left = Inventory(left.machines, (*left.silent, *lost))
    if _aggregator_is_gone(job, left):
        job = change(app, job_id, lambda job: _stopped(app, job))
    return {"job": job.id, "status": _status(app, job, left), "salvage": salvageable(job)}


def _status(app: App, job: Job, left: Inventory) -> str:
    if not left.machines and not left.silent:
        return "gone"
    waited = (app.now() - job.since).total_seconds()
    if job.teardowns < MOST_TEARDOWNS and waited < LONGEST_TEARDOWN_S:
        return "waiting"
    _warn_left(app, job, left)
    return "abandoned"


def _clouds_of(app: App, job: Job) -> list[str]:
    """The clouds that may have machines of the job: one without its credential is no empty one."""
    sites = app.sites.find_all(job.spec.participants).values()
    mine = [one.value.credential for one in sites if one.value.credential is not None]
    return [*mine, *([job.aggregator.offer.provider] if job.aggregator else [])]


def _aggregator_is_gone(job: Job, left: Inventory) -> bool:
    """Whether it costs nothing more; that another cloud is silent does not matter."""
    if job.aggregator is None or job.aggregator.offer.provider in left.silent:
        return False
    return all(one.role is not Role.AGGREGATOR for one in left.machines)


def _stopping(app: App, job: Job) -> Step:
    if job.ended:
        return Step(job)
    if job.state is not JobState.STOPPING:
        job = move(job, JobState.STOPPING, app.now())
    return Step(job.model_copy(update={"teardowns": job.teardowns + 1}))


def _release(app: App, job: Job) -> None:
    """From here on no site is linked to the job, and nobody waits to be told."""
    rows: list[Change] = [app.waits.delete(job.id)]
    for site in job.spec.participants:
        rows.append(app.assignments.delete(job.id, site))
        rows.append(app.agents.delete(client_key(job.id, site), site))
    write_all(app, rows)


def _stopped(app: App, job: Job) -> Step:
    if job.aggregator is None or job.aggregator.stopped is not None:
        return Step(job)
    aggregator = job.aggregator.model_copy(update={"stopped": app.now()})
    after = job.model_copy(update={"aggregator": aggregator})
    code = job.outcome.code if job.outcome else ""
    row = incarnation_row(app, job, app.now(), code)
    return Step(after.model_copy(update={"cost": cost_at(after, app.now())}), also=row)


def _warn_left(app: App, job: Job, left: Inventory) -> None:
    shown = [machine.id for machine in left.machines] + [f"cloud {name}" for name in left.silent]
    message = f"still there or not to be asked: {', '.join(shown)}; the sweep goes on"
    said = event(app, job, "MachinesLeft", message, level=Level.ERROR)
    change(app, job.id, lambda job: Step(job, (said,)))


def finish(app: App, job_id: str) -> dict[str, object]:
    """The job's last state."""
    job = change(app, job_id, lambda job: _finished(app, job))
    app.store.write([app.open_jobs.delete(job_id)])
    return {"job": job.id, "state": job.state.value}


def _finished(app: App, job: Job) -> Step:
    if job.ended:
        return Step(job)
    settled = _stopped(app, job)  # what cannot be seen to be gone is settled all the same
    job = settled.job
    outcome = job.outcome or Outcome(
        state=JobState.FAILED, code="FedspanError", message="ended without an outcome"
    )
    cost = bill_of(app, job).total
    told = {"outcome": outcome, "cost": cost}
    after = move(job, outcome.state, app.now()).model_copy(update=told)
    message = f"{outcome.state.value}: {outcome.message or outcome.code}"
    return Step(after, (event(app, job, "JobEnded", message),), settled.also)
