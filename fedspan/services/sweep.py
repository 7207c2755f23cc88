"""The cloud is the truth about machines, the store about intent: what nobody wants is removed, and
what was promised goes on."""

from __future__ import annotations

import structlog

from fedspan.app import App
from fedspan.domain.jobs import Job
from fedspan.domain.machines import Machine, MachineState, Role
from fedspan.errors import FedspanError, MachineGone
from fedspan.services import waits
from fedspan.services.clients import start_again
from fedspan.services.ending import Inventory, inventory, terminate
from fedspan.services.recover import replaced
from fedspan.services.resume import revive

log = structlog.get_logger()


def sweep(app: App) -> dict[str, object]:
    """`clear`; start an execution for a job that lost its own, and a participant's machine that
    ended while its job needs it. A job that resists does not keep the others."""
    seen = inventory(app)
    cleared = _cleared(app, seen)
    return {**cleared, "revived": revive(app), "restarted": start_again(app, seen)}


def clear(app: App) -> dict[str, list[str]]:
    """Remove machines without a running job; report an aggregator whose machine has ended, so
    that nobody waits for its heartbeat to be missed. A cloud or a machine that resists does not
    keep the others. All that a place may do which does not run the jobs itself."""
    return _cleared(app, inventory(app))


def _cleared(app: App, seen: Inventory) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {"removed": [], "stuck": [], "lost": []}
    for machine in seen.machines:
        try:
            became = _swept(app, machine)
        except FedspanError as exc:
            became = "stuck"
            log.error("NotSwept", job=machine.job, error=f"{type(exc).__name__}: {exc}")
        if became:
            said[became].append(machine.id)
    return said


def _swept(app: App, machine: Machine) -> str:
    """What became of it; empty when it goes on."""
    found = app.jobs.find(machine.job)
    job = found.value if found else None
    if job is None or job.ended or replaced(machine, job, app.now()):
        return "stuck" if terminate(app, machine) else "removed"
    if _died(machine, job):
        waits.fail(app, job, MachineGone.__name__, f"machine {machine.id} has ended")
        return "lost"
    return ""


def _died(machine: Machine, job: Job) -> bool:
    ended = machine.role is Role.AGGREGATOR and machine.state is MachineState.STOPPED
    return ended and job.needs_machines
