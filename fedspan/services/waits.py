"""Where the state machine waits to be told: for a person to approve the place, for the aggregator
to speak, for the last round, for participants to be done while there is no aggregator.

The task token lies in the store; reports renew it, complete it or fail it. A word that came
before anybody waited is answered at once.
"""

from __future__ import annotations

from fedspan.app import App
from fedspan.domain.jobs import Job, JobState
from fedspan.domain.waits import Until, Wait
from fedspan.errors import BetweenRounds, SpotNotice
from fedspan.services import rest
from fedspan.services.changes import enter, past


def await_approval(app: App, job_id: str, token: str) -> dict[str, object]:
    """Wait for a person's word on the job's place."""
    job = enter(app, job_id, JobState.WAITING_APPROVAL)
    _wait(app, job, Until.APPROVED, token)
    settle(app, app.jobs.get(job_id).value)
    return {"job": job_id}


def await_ready(app: App, job_id: str, token: str) -> dict[str, object]:
    """Wait for the aggregator's first word."""
    job = app.jobs.get(job_id).value
    _wait(app, job, Until.READY, token)
    settle(app, app.jobs.get(job_id).value)
    return {"job": job_id}


def await_trained(app: App, job_id: str, token: str) -> dict[str, object]:
    """Wait for the last round."""
    job = enter(app, job_id, JobState.TRAINING)
    _wait(app, job, Until.TRAINED, token)
    settle(app, app.jobs.get(job_id).value)
    return {"job": job_id}


def await_rested(app: App, job_id: str, token: str) -> dict[str, object]:
    """Wait until the aggregator is needed. That its time is up is for the state machine to say."""
    job = app.jobs.get(job_id).value
    _wait(app, job, Until.RESTED, token)
    settle(app, app.jobs.get(job_id).value)
    return {"job": job_id}


def settle(app: App, job: Job) -> None:
    """Tell the waiting task what the job's record already knows."""
    wait = _waiting(app, job)
    if wait is None:
        return
    if job.cancel_requested:
        app.executions.fail(wait.token, "JobCancelled", f"job {job.id} was cancelled")
    elif _reached(app, job, wait):
        app.executions.succeed(wait.token, {"job": job.id, "epoch": job.epoch})
    elif job.aggregator is not None and job.aggregator.notice is not None:
        app.executions.fail(wait.token, SpotNotice.__name__, "its cloud takes its machine back")
    elif job.aggregator is not None and job.aggregator.left:
        app.executions.fail(wait.token, BetweenRounds.__name__, "its participants train for long")


def renew(app: App, job: Job) -> None:
    """The aggregator is alive."""
    wait = _waiting(app, job)
    if wait is not None:
        app.executions.heartbeat(wait.token)


def fail(app: App, job: Job, error: str, cause: str) -> bool:
    """Fail whatever the job's execution waits for with the class name `error`."""
    wait = _waiting(app, job)
    return wait is not None and app.executions.fail(wait.token, error, cause)


def _waiting(app: App, job: Job) -> Wait | None:
    """What is waited for in the job's present epoch: a word about an earlier one is stale."""
    found = app.waits.find(job.id)
    return found.value if found is not None and found.value.epoch == job.epoch else None


def _reached(app: App, job: Job, wait: Wait) -> bool:
    match wait.until:
        case Until.APPROVED:
            return not job.asks_approval or past(job, JobState.WAITING_APPROVAL)
        case Until.READY:
            known = job.aggregator is not None and job.aggregator.address is not None
            return known or past(job, JobState.LINKING)
        case Until.TRAINED:
            return job.rounds_done >= job.spec.rounds or past(job, JobState.TRAINING)
        case Until.RESTED:
            return past(job, JobState.RESTING) or rest.over(app, job)


def _wait(app: App, job: Job, until: Until, token: str) -> None:
    found = app.waits.find(job.id)
    wait = Wait(job=job.id, epoch=job.epoch, until=until, token=token)
    app.store.write([app.waits.put(wait, job.id, expected=found.version if found else 0)])
