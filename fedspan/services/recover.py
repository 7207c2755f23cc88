"""The aggregator was lost, or given back for a while: another incarnation, or the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from fedspan.app import App
from fedspan.domain.events import Level
from fedspan.domain.jobs import (
    RUNNING,
    Aggregator,
    Job,
    JobState,
    Leaving,
    Loss,
    cost_at,
    move,
    overrun,
)
from fedspan.domain.machines import Machine, MachineState, Role
from fedspan.domain.places import offered
from fedspan.domain.recovery import KEPT_LOSSES, hopeless, last_words, pause_seconds, reason
from fedspan.errors import (
    AggregatorLost,
    BetweenRounds,
    HeartbeatMissed,
    LaunchRefused,
    MachineGone,
    SpotNotice,
    tree,
)
from fedspan.services.billing import incarnation_row
from fedspan.services.changes import Step, change, event
from fedspan.services.ending import LOST, inventory, terminate
from fedspan.services.linking import client_key, lost

LAUNCH_FAILED: Final = frozenset({"Throttled", "CloudUnavailable"})
"""What the launch was retried for, in vain."""


def recover(app: App, job_id: str, epoch: int, error: Mapping[str, Any]) -> dict[str, object]:
    """Whether there is another try, and how long to pause before it; `resting` until nobody trains
    any more, if that is earlier. `epoch` is the incarnation that was lost and `error` what the
    state machine caught: `Error`, `Cause`. The job is then at its next epoch, so that the lost
    aggregator, should it come back, is refused. Told of an incarnation that was replaced already,
    it changes nothing."""
    seen = inventory(app, job_id)
    code = _code(error, [one for one in seen.machines if _of(one, epoch)], bool(seen.silent))
    job = change(app, job_id, lambda job: _next(app, job, epoch, code))
    silent = _silent_clients(app, job)
    unwanted = [one for one in seen.machines if one.key in silent or replaced(one, job, app.now())]
    terminate(app, *unwanted)
    again = job.epoch > epoch and job.outcome is None
    resting = again and job.state is JobState.RESTING
    pause = math.ceil(pause_seconds(job, app.settings.heartbeat_seconds))
    if resting:
        until = job.wake or app.now()
        pause = max(1, math.ceil((until - app.now()).total_seconds()))
    return {
        "job": job.id,
        "again": again,
        "resting": resting,
        "pause_seconds": pause,
        "rest_seconds": pause + 1,  # just past it, so that the pause is what ends the rest
    }


def replaced(machine: Machine, job: Job, now: datetime) -> bool:
    """Whether it is an aggregator of an earlier epoch that has nothing left to do."""
    if machine.role is not Role.AGGREGATOR or machine.epoch >= job.epoch:
        return False
    stays = job.leaving is not None and job.leaving.epoch == machine.epoch
    busy = stays and machine.state is not MachineState.STOPPED
    return not (busy and job.leaving is not None and now < job.leaving.until)


def _of(machine: Machine, epoch: int) -> bool:
    return machine.role is Role.AGGREGATOR and machine.epoch == epoch


def _code(error: Mapping[str, Any], machines: list[Machine], blind: bool) -> str:
    """The name of the loss. A silence is explained by a machine that has ended, where the clouds
    could be asked."""
    name = str(error.get("Error", ""))
    if name in LOST:
        running = any(one.state is not MachineState.STOPPED for one in machines)
        return (HeartbeatMissed if running or blind else MachineGone).__name__
    if name in LAUNCH_FAILED:
        return LaunchRefused.__name__
    kind = tree().get(name)
    return name if kind and issubclass(kind, AggregatorLost) else AggregatorLost.__name__


def _silent_clients(app: App, job: Job) -> set[str]:
    """Clients that no longer reach us, say because our address has changed: the launch that
    follows starts them anew."""
    keys = {site: client_key(job.id, site) for site in job.spec.participants}
    known = {keys[site]: app.agents.find(keys[site], site) for site in keys}
    limit = app.settings.lost_seconds
    return {key for key, agent in known.items() if agent and lost(agent.value, app.now(), limit)}


def _next(app: App, job: Job, epoch: int, code: str) -> Step:
    unwanted = job.outcome is not None or job.cancel_requested or overrun(job, app.now())
    known = bool(job.losses) and job.losses[-1].epoch >= epoch
    if unwanted or known or job.epoch != epoch or job.aggregator is None:
        return Step(job)
    if job.state not in RUNNING:
        return Step(job)
    now, aggregator = app.now(), job.aggregator
    if aggregator.left and job.state is JobState.TRAINING:
        return _resting(app, job, aggregator)
    loss = _loss(job, aggregator, code, now)
    job = job.model_copy(update={"losses": (*job.losses, loss)[-KEPT_LOSSES:]})
    if hopeless(job):
        return Step(job, (event(app, job, code, last_words(job, loss), level=Level.ERROR),))
    stays = aggregator.notice if code == SpotNotice.__name__ else None
    until = max(now, stays or now)
    after = move(job, JobState.RECOVERING, now).model_copy(
        update={
            "epoch": epoch + 1,
            "aggregator": None,
            "spent": cost_at(job, until),
            "leaving": Leaving(epoch=epoch, until=until) if stays else None,
        }
    )
    said = f"aggregator {epoch} is lost, {reason(loss)}; going on after round {job.rounds_done}"
    told = event(app, job, code, said, level=Level.WARNING)
    return Step(after, (told,), incarnation_row(app, job, until, code))


def _resting(app: App, job: Job, aggregator: Aggregator) -> Step:
    """Its machine is given back, and no loss: it has kept what it had of its round."""
    now, number = app.now(), job.progress.round
    after = move(job, JobState.RESTING, now).model_copy(
        update={
            "epoch": job.epoch + 1,
            "aggregator": None,
            "spent": cost_at(job, now),
            "leaving": None,
            "rests": job.rests + 1,
            "wake": aggregator.wake,
        }
    )
    until = max(0.0, ((aggregator.wake or now) - now).total_seconds())
    said = (
        f"aggregator {job.epoch} is given back at {offered(aggregator.offer)} while round {number} "
        f"is trained; the next one is launched in {until:.0f} s"
    )
    told = event(app, job, BetweenRounds.__name__, said, round=number)
    return Step(after, (told,), incarnation_row(app, job, now, BetweenRounds.__name__))


def _loss(job: Job, aggregator: Aggregator, code: str, now: datetime) -> Loss:
    return Loss(
        epoch=job.epoch,
        code=code,
        cause=aggregator.refused,
        offer=aggregator.offer,
        zone=aggregator.zone,
        at=now,
        rounds_done=job.rounds_done,
    )
