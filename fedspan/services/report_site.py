"""A participant's machine says how it is, and is told how it should be."""

from __future__ import annotations

from fedspan.app import App
from fedspan.domain.jobs import RUNNING, Job, JobState
from fedspan.domain.reports import AppLink, Desired, Link, SiteManifest, SiteReport
from fedspan.domain.sites import Agent
from fedspan.errors import Conflict, NotFound
from fedspan.services import rest, waits
from fedspan.services.linking import agent_of
from fedspan.services.measure import asked_of, hear


def report_site(app: App, report: SiteReport) -> SiteManifest:
    """Take in a report. An echo changes nothing and is answered all the same."""
    if app.sites.find(report.site) is None:
        raise NotFound(f"no site {report.site!r}")
    job = _found(app, _remember(app, report).job)
    if job is not None and job.state is JobState.RESTING:
        waits.settle(app, job)  # its aggregator may be needed before its time
    if report.measured is not None:
        hear(app, report.site, report.measured)
    return _manifest(app, report.site, report.machine, job)


def site_manifest(app: App, site: str, machine: str) -> SiteManifest:
    """How the machine should be. One that has not reported is linked to nothing."""
    agent = app.agents.find(machine, site)
    return _manifest(app, site, machine, _found(app, agent.value.job) if agent else None)


def _manifest(app: App, site: str, machine: str, working: Job | None) -> SiteManifest:
    """`working` is the job that the machine works for, by its last word."""
    return SiteManifest(
        desired=Desired.RUN,
        link=_link(app, site, machine),
        finish=working.id if working and rest.finishing(working) else None,
        measure=asked_of(app, site, machine),
        heartbeat_seconds=app.settings.heartbeat_seconds,
        lease_seconds=app.settings.lease_seconds,
    )


def _found(app: App, job: str | None) -> Job | None:
    found = app.jobs.find(job) if job else None
    return found.value if found else None


def _remember(app: App, report: SiteReport) -> Agent:
    """The machine by its latest word, which is `report` unless a newer one was faster."""
    known = app.agents.find(report.machine, report.site)
    if known is not None and report.seq <= known.value.seq:
        return known.value
    agent = Agent(seen=app.now(), **report.model_dump(exclude={"measured"}))
    expected = known.version if known else 0
    try:
        app.store.write([app.agents.put(agent, report.machine, report.site, expected=expected)])
    except Conflict:
        return app.agents.get(report.machine, report.site).value
    return agent


def _link(app: App, site: str, machine: str) -> Link | None:
    for assigned, _ in app.assignments.all(site):
        found = app.jobs.find(assigned)
        if found is None:
            app.store.write([app.assignments.delete(assigned, site)])
            continue
        link = _link_to(app, found.value, site, machine)
        if link is not None:
            return link
    return None


def _link_to(app: App, job: Job, site: str, machine: str) -> Link | None:
    """The way to the job's aggregator, once it has let this machine's key in."""
    aggregator = job.aggregator
    if job.state not in RUNNING or job.outcome is not None or aggregator is None:
        return None
    if aggregator.address is None or aggregator.certificate is None:
        return None
    agent = agent_of(app, job, site)
    if agent is None or agent.machine != machine or site not in aggregator.linked:
        return None
    dataset = app.sites.get(site).value.dataset(job.spec.data.dataset)
    if dataset is None:
        return None
    return Link(
        job=job.id,
        epoch=aggregator.epoch,
        address=aggregator.address,
        certificate=aggregator.certificate,
        dataset=dataset.model_copy(update={"path": ""}),
        app=_app_of(job, site),
    )


def _app_of(job: Job, site: str) -> AppLink | None:
    model, participants = job.spec.model, job.spec.participants
    if model.app is None or model.sha256 is None:
        return None
    return AppLink(
        sha256=model.sha256,
        seed=job.spec.seed,
        partition=participants.index(site),
        partitions=len(participants),
    )
