"""The cloud is the truth about machines, the store about intent: what nobody wants is removed, and
what was promised goes on."""

from __future__ import annotations

from fedspan.app import App
from fedspan.domain.jobs import Job
from fedspan.domain.machines import Machine, MachineState, Role
from fedspan.services import waits
from fedspan.services.ending import inventory, terminate
from fedspan.services.resume import revive


def sweep(app: App) -> dict[str, object]:
    """Remove machines without a running job; report an aggregator whose machine has ended, so
    that nobody waits for its heartbeat to be missed; start an execution for a job that lost its
    own. A cloud or a machine that resists does not keep the others."""
    removed: list[str] = []
    stuck: list[str] = []
    lost: list[str] = []
    for machine in inventory(app).machines:
        found = app.jobs.find(machine.job)
        job = found.value if found else None
        if job is None or _unwanted(machine, job):
            (removed if terminate(app, machine) else stuck).append(machine.id)
        elif _died(machine, job):
            lost.append(machine.id)
            waits.fail(app, job, "AggregatorLost", f"machine {machine.id} has ended")
    return {"removed": removed, "stuck": stuck, "lost": lost, "revived": revive(app)}


def _unwanted(machine: Machine, job: Job) -> bool:
    replaced = machine.role is Role.AGGREGATOR and machine.epoch < job.epoch
    return job.ended or replaced


def _died(machine: Machine, job: Job) -> bool:
    return (
        machine.role is Role.AGGREGATOR
        and machine.state is MachineState.STOPPED
        and job.outcome is None
        and job.rounds_done < job.spec.rounds
    )
