"""What the losses of a job's aggregators mean for its next one. Pure rules.

A job may lose any number of aggregators, as long as rounds are completed in between: what bounds
recovery is losses without progress. After `ATTEMPTS` of these on spot machines the next ones are
bought on demand, where the spec allows that; after `ATTEMPTS` more something is wrong that another
machine will not mend, and the job ends with its rounds kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import takewhile
from typing import Final

from fedspan.domain.jobs import Job, Loss
from fedspan.domain.machines import Offer
from fedspan.domain.places import offered
from fedspan.domain.spec import Purchase
from fedspan.errors import (
    BetweenRounds,
    CloudUnavailable,
    CredentialRejected,
    Denied,
    DiskFull,
    HeartbeatMissed,
    LaunchRefused,
    MachineGone,
    MachineUnreachable,
    QuotaReached,
    SlackSpent,
    SpotNotice,
    Throttled,
)

ATTEMPTS: Final = 3
SET_ASIDE_SECONDS: Final = 900.0
"""Outages of a spot pool in public traces last for minutes to hours; a quarter of an hour later
the pool is one candidate among others again."""
KEPT_LOSSES: Final = 30
LONGEST_PAUSE_SECONDS: Final = 300.0

PLACE_AT_FAULT: Final = frozenset(
    one.__name__
    for one in (HeartbeatMissed, SpotNotice, MachineGone, MachineUnreachable, LaunchRefused)
)
"""What a process of ours that died does not say: that another place would do better."""
CLOUD_WIDE: Final = frozenset({Denied.__name__, CredentialRejected.__name__})
REGION_WIDE: Final = frozenset(
    {QuotaReached.__name__, CloudUnavailable.__name__, Throttled.__name__}
)
PLANNED: Final = frozenset({SlackSpent.__name__, BetweenRounds.__name__})


def fruitless(job: Job) -> int:
    """How many aggregators in a row were lost without a round completed in between."""
    unplanned = [one for one in job.losses if one.code not in PLANNED]
    return len(list(takewhile(lambda one: one.rounds_done == job.rounds_done, reversed(unplanned))))


def hopeless(job: Job) -> bool:
    return fruitless(job) >= 2 * ATTEMPTS


def on_demand_now(job: Job) -> bool:
    """Whether spot machines were tried often enough; a spec that wants spot alone gets no other."""
    allowed = job.spec.aggregator.purchase in (Purchase.ANY, Purchase.DEADLINE)
    return allowed and fruitless(job) >= ATTEMPTS


def pause_seconds(job: Job, heartbeat_seconds: float) -> float:
    """Before the next attempt: none after a first loss, then twice as long each time."""
    times = fruitless(job)
    if times < 2:
        return 0.0
    return min(LONGEST_PAUSE_SECONDS, heartbeat_seconds * 2.0 ** (times - 1))


def worth_trying(job: Job, offers: Sequence[Offer], now: datetime) -> list[Offer]:
    """`offers` without those that failed this job lately, and on demand alone when it is time for
    that. Where nothing would be left, a rule is dropped: a bad place is better than none."""
    left = [one for one in offers if not set_aside(job.losses, one, now)] or list(offers)
    dear = [one for one in left if not one.spot]
    return dear if dear and on_demand_now(job) else left


def set_aside(losses: Iterable[Loss], offer: Offer, now: datetime) -> bool:
    """Whether a loss of the last `SET_ASIDE_SECONDS` speaks against `offer`: against its spot or
    on-demand pool, and against its region or its cloud where these refused. A pool that lost a
    machine in a zone has other zones; one that lost two is set aside whole. Where both were in one
    zone, no other had a machine, or the cloud does not let us choose."""
    against = [one for one in _lately(losses, now) if _speaks_against(one, offer)]
    return any(not one.zone for one in against) or len(against) > 1


def zones_to_avoid(losses: Iterable[Loss], offer: Offer, now: datetime) -> tuple[str, ...]:
    """Zones of the region of `offer` where a machine was lost lately."""
    here = (offer.provider, offer.region)
    found = {
        one.zone for one in _lately(losses, now) if (one.offer.provider, one.offer.region) == here
    }
    return tuple(sorted(found - {""}))


def _lately(losses: Iterable[Loss], now: datetime) -> list[Loss]:
    """Those that are laid at the door of the place."""
    return [
        one
        for one in losses
        if one.code in PLACE_AT_FAULT and (now - one.at).total_seconds() < SET_ASIDE_SECONDS
    ]


def _speaks_against(loss: Loss, offer: Offer) -> bool:
    lost = loss.offer
    if loss.code == LaunchRefused.__name__ and not loss.cause:
        return False  # it was a participant's machine that could not be had
    if loss.cause in CLOUD_WIDE:
        return lost.provider == offer.provider
    if (lost.provider, lost.region) != (offer.provider, offer.region):
        return False
    if loss.cause in REGION_WIDE:
        return True
    return (lost.machine_type, lost.spot) == (offer.machine_type, offer.spot)


def reason(loss: Loss) -> str:
    """Why it was lost, in words."""
    place = offered(loss.offer) + (f" in zone {loss.zone}" if loss.zone else "")
    said = {
        HeartbeatMissed: f"silent for too long at {place}",
        SpotNotice: f"taken back by its cloud at {place}",
        DiskFull: f"no room left on the disk of its machine at {place}",
        MachineGone: f"its machine at {place} has ended",
        MachineUnreachable: f"out of its participants' reach at {place}",
        LaunchRefused: f"no machine is to be had at {place} ({loss.cause})"
        if loss.cause
        else "the machines of its participants are not to be had",
        SlackSpent: f"given back at {place}: the deadline leaves no time for an interruption",
    }
    told = {kind.__name__: words for kind, words in said.items()}
    return told.get(loss.code, f"a part of it died at {place}")


def last_words(job: Job, loss: Loss) -> str:
    """Why no other aggregator is started after `loss`."""
    advice = ""
    if job.spec.aggregator.purchase is Purchase.SPOT:
        advice = "; `aggregator.purchase: any` would have gone on on demand"
    return (
        f"aggregator {loss.epoch} is lost, {reason(loss)}; {fruitless(job)} in a row completed no "
        f"round, so no more are started{advice}; {job.rounds_done} of {job.spec.rounds} rounds are "
        "kept as checkpoints"
    )
