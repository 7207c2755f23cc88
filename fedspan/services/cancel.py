"""A person ends a job, or forgets one."""

from __future__ import annotations

from collections.abc import Iterator

from fedspan.app import App
from fedspan.domain.jobs import Job
from fedspan.errors import Conflict
from fedspan.services import waits
from fedspan.services.changes import Step, change, event, write_all
from fedspan.stores.base import Change


def cancel(app: App, job_id: str) -> Job:
    """Ask for the job's end. It ends by its state machine, so its machines go as always."""
    job = change(app, job_id, lambda job: _cancelled(app, job))
    if not job.ended:
        waits.settle(app, job)
    return job


def _cancelled(app: App, job: Job) -> Step:
    if job.cancel_requested or job.ended or job.outcome is not None:
        return Step(job)
    said = event(app, job, "CancelRequested", "cancelled on request")
    return Step(job.model_copy(update={"cancel_requested": True}), (said,))


def delete(app: App, job_id: str) -> None:
    """Forget an ended job, its rounds, events and checkpoints; a model it kept stays.

    Raises:
        Conflict: the job has not ended; cancel it first.
    """
    job = app.jobs.get(job_id).value
    if not job.ended:
        raise Conflict(f"job {job_id} is {job.state}; cancel it first")
    for found in app.objects.list(f"jobs/{job_id}/"):
        app.objects.delete(found.key)
    write_all(app, list(_rows(app, job_id)))
    app.store.write([app.jobs.delete(job_id)])


def _rows(app: App, job_id: str) -> Iterator[Change]:
    for table in (app.rounds, app.events, app.incarnations, app.rates):
        yield from (table.delete(id, job_id) for id in table.ids(job_id))


def delete_model(app: App, model_id: str) -> None:
    """Forget a model: its weights, its card, its record."""
    card = app.models.get(model_id).value
    for found in app.objects.list(f"models/{card.id}/"):
        app.objects.delete(found.key)
    app.store.write([app.models.delete(card.id)])
