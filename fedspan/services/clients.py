"""The machines of a job's participants that Fedspan starts itself, on this computer or in their
private clouds. One that ends while it is needed is started again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import structlog

from fedspan.access import Caller, CallerRole
from fedspan.app import App
from fedspan.domain.events import Event, Level
from fedspan.domain.jobs import RUNNING, Job
from fedspan.domain.machines import Machine, MachineSpec, MachineState, Offer, Role, cheapest
from fedspan.domain.sites import Agent, Site, SiteKind
from fedspan.domain.waits import Assignment
from fedspan.errors import FedspanError
from fedspan.services.changes import Step, change, event
from fedspan.services.ending import Inventory, terminate
from fedspan.services.launching import TOKEN_LIFETIME, launched
from fedspan.services.linking import client_key, provider_of
from fedspan.stores.records import Versioned

RESTARTS: Final = 3
"""Of one participant in a row without a round completed: what ends a machine so often would end
the next one too."""

log = structlog.get_logger()


def offer(app: App, site: Site) -> Offer:
    """What the site's machine would be. Raises `NoCapacity`, and what its cloud says."""
    return cheapest(provider_of(app, site).offers(site.need), site.need)


def assign(app: App, job: Job, site: Site) -> None:
    """From here on the site takes part in the job; its machine is started where that is ours to
    do. Raises what its cloud says."""
    if app.assignments.find(job.id, site.name) is None:
        assignment = Assignment(site=site.name, job=job.id, since=app.now())
        app.store.write([app.assignments.put(assignment, job.id, site.name, expected=0)])
    if site.kind is not SiteKind.AGENT:
        _launch(app, job, site)


def _launch(app: App, job: Job, site: Site) -> Machine:
    provider = provider_of(app, site)
    key = client_key(job.id, site.name)
    caller = Caller(role=CallerRole.SITE, site=site.name)
    environment = {
        "FEDSPAN_API": app.settings.api_url,
        "FEDSPAN_TOKEN": app.tokens.issue(caller, app.now(), TOKEN_LIFETIME),
        "FEDSPAN_SITE": site.name,
        "FEDSPAN_MACHINE": key,
        "FEDSPAN_DATASETS": json.dumps({one.name: one.path for one in site.datasets}),
        "FEDSPAN_ALLOW_APPS": "1" if site.allow_apps else "0",
        "OMP_NUM_THREADS": str(site.need.vcpus),
    }
    spec = MachineSpec(
        key=key, role=Role.CLIENT, epoch=1, offer=offer(app, site), environment=environment
    )
    return launched(provider, job.id, spec)


def start_again(app: App, seen: Inventory) -> list[str]:
    """The keys of machines that had ended while their jobs need them, and were started again. One
    that resists does not keep the others; the next sweep tries it again."""
    started: list[str] = []
    for id in app.open_jobs.ids():
        try:
            found = app.jobs.find(id)
            if found is not None and _needs_clients(found.value):
                started += _all_started_again(app, found.value, seen)
        except FedspanError as exc:
            log.error("ClientsNotSeenTo", job=id, error=f"{type(exc).__name__}: {exc}")
    return started


def _all_started_again(app: App, job: Job, seen: Inventory) -> Iterator[str]:
    for site, machine in _missing(app, job, seen):
        try:
            if _started_again(app, job, site, machine):
                yield client_key(job.id, site.name)
        except FedspanError as exc:
            error = f"{type(exc).__name__}: {exc}"
            log.warning("ClientNotStarted", job=job.id, site=site.name, error=error)


def _missing(app: App, job: Job, seen: Inventory) -> Iterator[tuple[Site, Machine | None]]:
    """The sites whose machine was not seen to run, where their clouds could be asked."""
    machines = {one.key: one for one in seen.machines if one.job == job.id}
    there = {name: machines.get(client_key(job.id, name)) for name in job.spec.participants}
    ended = [
        name for name, one in there.items() if one is None or one.state is MachineState.STOPPED
    ]
    for name, found in app.sites.find_all(ended).items():
        site = found.value
        if site.kind is not SiteKind.AGENT and (site.credential or "local") not in seen.silent:
            yield site, there[name]


def returning(app: App, job: Job, agent: Agent) -> bool:
    """Whether a machine that is silent may well be on its way back: for as long as a sweep takes
    to see that it has ended, and then until its SuperNode runs, or should."""
    if agent.machine != client_key(job.id, agent.site):
        return False
    found = app.assignments.find(job.id, agent.site)
    if found is None or found.value.given_up:
        return False
    now, settings = app.now(), app.settings
    restarted = found.value.restarted
    if restarted is not None and (agent.seen <= restarted or not agent.running):
        return (now - restarted).total_seconds() < settings.boot_seconds
    return (now - agent.seen).total_seconds() < 2 * settings.lost_seconds


def _needs_clients(job: Job) -> bool:
    """Whether they should be running: before that, and after a loss, the launch starts them."""
    return job.state in RUNNING and not job.cancel_requested and job.needs_machines


def _started_again(app: App, job: Job, site: Site, machine: Machine | None) -> bool:
    found = app.assignments.find(job.id, site.name)
    if found is None or found.value.given_up:
        return False
    if not _ended(app, job, found.value, machine):
        return False
    if found.value.fruitless(job.rounds_done) >= RESTARTS:
        _give_up(app, job, found)
        return False
    if machine is not None:
        terminate(app, machine)
    made = _launch(app, job, site)
    if not _needs_clients(app.jobs.get(job.id).value):
        terminate(app, made)  # the job has ended meanwhile, and looks for its machines no more
        return False
    again = found.value.started_again(app.now(), job.rounds_done)
    said = f"the machine of {site.name} has ended; it is started again"
    told = event(app, job, "ClientRestarted", said, level=Level.WARNING, site=site.name)
    _tell(app, job, found, again, told)
    return True


def _ended(app: App, job: Job, assignment: Assignment, machine: Machine | None) -> bool:
    """One that is not shown, or was never heard, may be just being made: it counts as ended after
    a silence."""
    agent = app.agents.find(client_key(job.id, assignment.site), assignment.site)
    heard = agent.value.seen if agent else None
    if machine is not None and heard is not None and heard >= machine.launched:
        return True
    words = [one for one in (heard, assignment.since, assignment.restarted) if one is not None]
    silence = app.now() - max(words, default=job.since)
    return silence.total_seconds() > app.settings.lost_seconds


def _give_up(app: App, job: Job, found: Versioned[Assignment]) -> None:
    site = found.value.site
    said = (
        f"the machine of {site} ended {RESTARTS + 1} times and no round was completed in between; "
        "it is not started again"
    )
    after = found.value.model_copy(update={"given_up": True})
    told = event(app, job, "ClientLost", said, level=Level.ERROR, site=site)
    _tell(app, job, found, after, told)


def _tell(app: App, job: Job, found: Versioned[Assignment], after: Assignment, told: Event) -> None:
    put = app.assignments.put(after, job.id, after.site, expected=found.version)
    change(app, job.id, lambda job: Step(job, (told,), (put,)))
