"""The Federated Learning Linker's rule: which machine of a site trains for a job."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from fedspan.app import App
from fedspan.domain.jobs import Job
from fedspan.domain.sites import Agent, Site
from fedspan.errors import NotOffered
from fedspan.providers.base import Provider


def client_key(job_id: str, site: str) -> str:
    """The machine of `site` in a job, where Fedspan starts it: here, or in its private cloud."""
    return f"{job_id}-client-{site}"


def provider_of(app: App, site: Site) -> Provider:
    """Who starts the machines of `site`. Raises `NotOffered` when this installation cannot."""
    return cloud_of(app, site.credential or "local", f"the machine of site {site.name}")


def cloud_of(app: App, name: str, what: str) -> Provider:
    """Raises `NotOffered` where `what` cannot be started: the credential was deleted, or none of
    that name was ever here."""
    provider = app.providers.get(name)
    if provider is None:
        raise NotOffered(f"{what} cannot be started: there is no credential {name!r}")
    return provider


def lost(agent: Agent, now: datetime, lost_seconds: float) -> bool:
    return (now - agent.seen).total_seconds() > lost_seconds


def chosen(
    agents: Iterable[Agent], job: Job, site: str, now: datetime, lost_seconds: float
) -> Agent | None:
    """The machine of `site` that trains for `job`, or None while none has spoken.

    The one that already does stays; else one that is not lost and idle; ties break by name. A
    machine Fedspan started for another job is none of this one's.
    """
    started = client_key(job.id, site)
    own = [a for a in agents if a.machine == started or "-client-" not in a.machine]
    free = [a for a in own if a.job in (None, job.id)]
    ranked = sorted(free, key=lambda a: (lost(a, now, lost_seconds), a.job != job.id, a.machine))
    return ranked[0] if ranked else None


def agent_of(app: App, job: Job, site: str) -> Agent | None:
    """The machine of `site` that is `chosen` among all that have spoken."""
    known = (agent for _, agent in app.agents.all(site))
    return chosen(known, job, site, app.now(), app.settings.lost_seconds)
