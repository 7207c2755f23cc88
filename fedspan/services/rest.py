"""An aggregator is given back while its participants train (``aggregator.between_rounds: stop``):
the rule is `domain.resting`'s, what it goes by is gathered here."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from fedspan.app import App
from fedspan.domain.jobs import Job, JobState, address_price, seconds_left
from fedspan.domain.reports import AggregatorReport, Phase
from fedspan.domain.resting import Situation, away_s, left_s
from fedspan.domain.rounds import Round, Status
from fedspan.domain.sites import Agent
from fedspan.domain.spec import Between
from fedspan.services.linking import agent_of, lost


def rests(job: Job) -> bool:
    return job.spec.aggregator.between_rounds is Between.STOP


def finishing(job: Job) -> bool:
    """Whether what trains for the job goes on, whatever becomes of its aggregator."""
    return rests(job) and job.outcome is None and not job.cancel_requested and not job.ended


def over(app: App, job: Job) -> bool:
    """Whether nobody trains any more, or somebody who should have has fallen silent: its machine
    may have died, and has to begin again while the others still train."""
    agents = {name: agent_of(app, job, name) for name in job.spec.participants}
    asked = (n for n, one in job.progress.participants.items() if one.status is Status.TRAINING)
    now, limit = app.now(), app.settings.lost_seconds
    owing = (agents[name] for name in asked)
    silent = any(one is None or lost(one, now, limit) for one in owing)
    return silent or not busy_of(app, job, (one for one in agents.values() if one is not None))


def busy(app: App, job: Job) -> dict[str, Agent]:
    """Participants that train for the job, by their machines' latest word."""
    agents = (agent_of(app, job, name) for name in job.spec.participants)
    return busy_of(app, job, (one for one in agents if one is not None))


def busy_of(app: App, job: Job, agents: Iterable[Agent]) -> dict[str, Agent]:
    """As `busy`, of `agents` alone."""
    now, limit = app.now(), app.settings.lost_seconds
    heard = (one for one in agents if not lost(one, now, limit))
    return {one.site: one for one in heard if one.job == job.id and one.training is not None}


def wake_at(app: App, job: Job, report: AggregatorReport) -> datetime | None:
    """When the next aggregator is to be launched if the present one leaves now; None while it
    stays. A first round has no pace yet."""
    running = job.aggregator
    if not finishing(job) or job.state is not JobState.TRAINING or running is None:
        return None
    if report.phase is not Phase.TRAINING or running.notice or running.launched is None:
        return None
    left = _left_s(app, job)
    if left is None:
        return None
    now = app.now()
    away = away_s(
        Situation(
            left_s=left,
            back_s=_back_s(app, job),
            ran_s=(now - running.launched).total_seconds(),
            price=running.offer.price + address_price(job),
            restart=job.pace.traffic if job.pace else 0,
            billed_s=app.settings.billed_seconds,
        )
    )
    if away is None:
        return None
    return now + timedelta(seconds=max(0.0, min(away, seconds_left(job, now))))


def _left_s(app: App, job: Job) -> float | None:
    """Until the slowest is expected to be done; None unless all who were asked train, or have
    replied, in a round after the first."""
    number = job.progress.round
    people = job.progress.participants
    asked = [name for name, one in people.items() if one.status is Status.TRAINING]
    last = app.rounds.find(f"{job.rounds_done:06d}", job.id) if asked else None
    if last is None or number != job.rounds_done + 1:
        return None
    agents = busy(app, job)
    left = []
    for name in asked:
        agent = agents.get(name)
        if agent is None or agent.training is None or agent.training.round != number:
            return None
        ago = (app.now() - agent.seen).total_seconds()
        left.append(left_s(_taken_s(last.value, name), agent.training.seconds, ago))
    return max(left)


def _taken_s(last: Round, name: str) -> float:
    """How long a participant trained in the last round; one that did not, as the slowest."""
    done = {n: one.seconds for n, one in last.participants.items() if one.status is Status.DONE}
    return done.get(name, max(done.values(), default=0.0))


def _back_s(app: App, job: Job) -> float:
    """From the end of a rest until the next aggregator works, as far as this job has shown it;
    that it works is known a heartbeat later."""
    if job.comeback is None:
        return app.settings.recovery_seconds
    placing = job.phases.get(JobState.PLACING, 0.0) / job.epoch
    return job.comeback + placing + app.settings.heartbeat_seconds
