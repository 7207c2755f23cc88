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
    _remember(app, report)
    if report.job is not None:
        _wake(app, report.job)
    if report.measured is not None:
        hear(app, report.site, report.measured)
    return site_manifest(app, report.site, report.machine)


def site_manifest(app: App, site: str, machine: str) -> SiteManifest:
    """How the machine should be. One that has not reported is linked to nothing."""
    link = _link(app, site, machine)
    agent = app.agents.find(machine, site)
    working = agent.value.job if agent else None
    found = app.jobs.find(working) if working else None
    return SiteManifest(
        desired=Desired.RUN,
        link=link,
        finish=working if found and rest.finishing(found.value) else None,
        measure=asked_of(app, site, machine),
        heartbeat_seconds=app.settings.heartbeat_seconds,
        lease_seconds=app.settings.lease_seconds,
    )


def _wake(app: App, job_id: str) -> None:
    """The job's aggregator may be needed before its time."""
    found = app.jobs.find(job_id)
    if found is not None and found.value.state is JobState.RESTING:
        waits.settle(app, found.value)


def _remember(app: App, report: SiteReport) -> None:
    known = app.agents.find(report.machine, report.site)
    if known is not None and report.seq <= known.value.seq:
        return
    agent = Agent(seen=app.now(), **report.model_dump(exclude={"measured"}))
    expected = known.version if known else 0
    try:
        app.store.write([app.agents.put(agent, report.machine, report.site, expected=expected)])
    except Conflict:
        return  # a newer report of this machine was faster; it says all that matters


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
