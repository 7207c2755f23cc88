"""A job is asked for."""

from __future__ import annotations

import math
from typing import Any, Final

from fedspan.app import App
from fedspan.domain.jobs import Job
from fedspan.domain.spec import JobSpec
from fedspan.domain.waits import OpenJob, Submission
from fedspan.errors import Conflict
from fedspan.services.changes import event
from fedspan.services.examine import check_upload, examine
from fedspan.services.placements import check_place

CLOUD_BOOT_SECONDS: Final = 600.0


def submit(app: App, spec: JobSpec, *, key: str | None = None, dry_run: bool = False) -> Job:
    """A new job under way, or with `dry_run` only the proof that it could be.

    Two calls with one idempotency `key` make one job.

    Raises:
        InvalidRequest, InvalidModel, NoCapacity: nothing was created.
    """
    schema, _ = examine(app, spec)
    check_upload(app, spec.model)
    known = app.submissions.find(key) if key and not dry_run else None
    if known is not None:
        return _started(app, app.jobs.get(known.value.job).value)
    check_place(app, spec)
    now = app.now()
    job = Job(
        id=app.new_id(),
        spec=spec,
        features=schema.features,
        classes=schema.classes,
        submitted=now,
        since=now,
    )
    if dry_run:
        return job
    return _started(app, _created(app, job, key))


def _created(app: App, job: Job, key: str | None) -> Job:
    said = event(app, job, "JobSubmitted", f"{job.spec.name}: {job.spec.rounds} rounds")
    changes = [
        app.jobs.put(job, job.id, expected=0),
        app.events.put(said, "00000001-000", job.id, expected=0),
        app.open_jobs.put(OpenJob(job=job.id), job.id, expected=0),
    ]
    if key:
        submission = Submission(key=key, job=job.id)
        changes.append(app.submissions.put(submission, key, expected=0))
    try:
        app.store.write(changes)
    except Conflict:
        if key and (known := app.submissions.find(key)):
            return app.jobs.get(known.value.job).value
        raise
    return job


def _started(app: App, job: Job) -> Job:
    """A call that is repeated because this failed finds the job and starts it."""
    if job.ended:
        return job
    app.executions.start(execution_name(job), execution_input(app, job))
    return job


def execution_name(job: Job) -> str:
    """Step Functions dedupes by it."""
    return f"{job.id}-{job.attempt}"


def execution_input(app: App, job: Job) -> dict[str, Any]:
    """What the state machine is started with: the job, and how long its waits last (seconds)."""
    lost = math.ceil(app.settings.lost_seconds)
    here_only = {*app.providers} <= {"local"}  # elsewhere a machine boots, and pulls an image
    boot = math.ceil(max(app.settings.boot_seconds, 0 if here_only else CLOUD_BOOT_SECONDS))
    return {
        "job": job.id,
        "attempt": job.attempt,
        "boot_seconds": boot + 1,
        "silence_seconds": boot,
        "lost_seconds": lost,
        "deadline_seconds": max(lost + 1, math.ceil(job.spec.limits.deadline)),
    }
