"""Unfinished jobs go on after the control plane was lost."""

from __future__ import annotations

from fedspan.app import App
from fedspan.domain.jobs import Job
from fedspan.errors import Superseded
from fedspan.services.changes import Step, change, event
from fedspan.services.submit import execution_input, execution_name


def resume(app: App) -> list[str]:
    """Start an execution for every job that has not ended. Its steps that are done pass by."""
    unfinished = [id for id, job in app.jobs.all() if not job.ended]
    for job_id in unfinished:
        job = change(app, job_id, lambda job: _again(app, job))
        app.executions.start(execution_name(job), execution_input(app, job))
    return unfinished


def _again(app: App, job: Job) -> Step:
    said = event(app, job, "JobResumed", f"the control plane is back; going on from {job.state}")
    after = job.model_copy(update={"attempt": job.attempt + 1})
    return Step(after, (said,), also=(app.waits.delete(job.id),))


def still_carries(app: App, job_id: str, attempt: int) -> None:
    """Raises `Superseded` when the job is carried on by a later execution than `attempt`."""
    now_at = app.jobs.get(job_id).value.attempt
    if now_at != attempt:
        raise Superseded(f"job {job_id} is carried on by execution {now_at}, not {attempt}")
