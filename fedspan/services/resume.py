"""Unfinished jobs go on after the control plane, or an execution, was lost."""

from __future__ import annotations

from typing import Final

import structlog

from fedspan.app import App
from fedspan.domain.jobs import Job
from fedspan.errors import FedspanError, Superseded
from fedspan.services.changes import Step, change, event
from fedspan.services.submit import execution_input, execution_name

GRACE_SECONDS: Final = 60.0
"""A job that has been in its state for less is given time: its execution may be on its way."""

log = structlog.get_logger()


def resume(app: App) -> list[str]:
    """Start an execution for every job that has not ended. Its steps that are done pass by."""
    return [id for id in app.open_jobs.ids() if _carried_on(app, id)]


def revive(app: App) -> list[str]:
    """As `resume`, for the jobs whose execution is gone: it was never started, or was aborted.
    What goes wrong with one is logged, and keeps no other."""
    revived = []
    for id in app.open_jobs.ids():
        try:
            if _abandoned(app, id) and _carried_on(app, id):
                revived.append(id)
        except FedspanError as exc:
            log.error("NotRevived", job=id, error=f"{type(exc).__name__}: {exc}")
    return revived


def _abandoned(app: App, job_id: str) -> bool:
    """Whether nobody carries the job on. One that has ended is open no more."""
    found = app.jobs.find(job_id)
    if found is None or found.value.ended:
        app.store.write([app.open_jobs.delete(job_id)])
        return False
    job = found.value
    waited = (app.now() - job.since).total_seconds()
    return waited > GRACE_SECONDS and not app.executions.alive(execution_name(job))


def _carried_on(app: App, job_id: str) -> bool:
    job = change(app, job_id, lambda job: _again(app, job))
    if not job.ended:
        app.executions.start(execution_name(job), execution_input(app, job))
    return not job.ended


def _again(app: App, job: Job) -> Step:
    if job.ended:
        return Step(job)
    said = event(app, job, "JobResumed", f"nobody carried it on; going on from {job.state}")
    after = job.model_copy(update={"attempt": job.attempt + 1})
    return Step(after, (said,), also=(app.waits.delete(job.id),))


def still_carries(app: App, job_id: str, attempt: int) -> None:
    """Raises `Superseded` when the job is carried on by a later execution than `attempt`."""
    now_at = app.jobs.get(job_id).value.attempt
    if now_at != attempt:
        raise Superseded(f"job {job_id} is carried on by execution {now_at}, not {attempt}")
