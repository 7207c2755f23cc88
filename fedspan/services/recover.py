"""The aggregator was lost: another incarnation, or the end."""

from __future__ import annotations

from typing import Final

from fedspan.app import App
from fedspan.domain.events import Level
from fedspan.domain.jobs import Job, JobState, cost_at, move, overrun
from fedspan.domain.machines import Role
from fedspan.services.billing import incarnation_row
from fedspan.services.changes import Step, change, event
from fedspan.services.ending import inventory, terminate
from fedspan.services.linking import client_key, lost

MOST_EPOCHS: Final = 3
"""After so many lost aggregators the job ends: something is wrong that a new one will not mend."""


def recover(app: App, job_id: str) -> dict[str, object]:
    """Whether there is another try; the job is then at its next epoch, so that the lost
    aggregator, should it come back, is refused."""
    lost = app.jobs.get(job_id).value.epoch
    job = change(app, job_id, lambda job: _next(app, job, lost))
    silent = _silent_clients(app, job)
    unwanted = [
        machine
        for machine in inventory(app, job_id).machines
        if machine.key in silent or (machine.role is Role.AGGREGATOR and machine.epoch < job.epoch)
    ]
    terminate(app, *unwanted)
    return {"job": job.id, "again": job.state is JobState.RECOVERING}


def _silent_clients(app: App, job: Job) -> set[str]:
    """Clients that no longer reach us, say because our address has changed: the launch that
    follows starts them anew."""
    keys = {site: client_key(job.id, site) for site in job.spec.participants}
    known = {keys[site]: app.agents.find(keys[site], site) for site in keys}
    limit = app.settings.lost_seconds
    return {key for key, agent in known.items() if agent and lost(agent.value, app.now(), limit)}


def _next(app: App, job: Job, lost: int) -> Step:
    unwanted = job.outcome is not None or job.cancel_requested or overrun(job, app.now())
    if (
        unwanted
        or job.epoch >= MOST_EPOCHS
        or job.epoch != lost
        or job.state is JobState.RECOVERING
    ):
        return Step(job)
    said = f"aggregator {lost} is lost; continuing after round {job.rounds_done}"
    after = move(job, JobState.RECOVERING, app.now()).model_copy(
        update={"epoch": lost + 1, "aggregator": None, "spent": cost_at(job, app.now())}
    )
    return Step(
        after,
        (event(app, job, "AggregatorLost", said, level=Level.WARNING),),
        incarnation_row(app, job, app.now(), "AggregatorLost"),
    )
