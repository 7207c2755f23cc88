"""The cloud is the truth about machines, the store about intent: what nobody wants is removed."""

from __future__ import annotations

from fedspan.app import App
from fedspan.domain.jobs import Job
from fedspan.domain.machines import Machine, MachineState, Role
from fedspan.services import waits


def sweep(app: App) -> dict[str, object]:
    """Remove machines without a running job; report an aggregator whose machine has ended, so
    that nobody waits for its heartbeat to be missed."""
    removed, lost = [], []
    for provider in app.providers.values():
        for machine in provider.machines():
            found = app.jobs.find(machine.job)
            job = found.value if found else None
            if job is None or job.ended:
                provider.terminate(machine)
                removed.append(machine.id)
            elif _died(machine, job):
                lost.append(machine.id)
                waits.fail(app, job, "AggregatorLost", f"machine {machine.id} has ended")
    return {"removed": removed, "lost": lost}


def _died(machine: Machine, job: Job) -> bool:
    return (
        machine.role is Role.AGGREGATOR
        and machine.epoch == job.epoch
        and machine.state is MachineState.STOPPED
        and job.outcome is None
        and job.rounds_done < job.spec.rounds
    )
