"""How a job that goes by its deadline buys its aggregator: the rule is `placement.purchasing`'s,
what it goes by is gathered here."""

from __future__ import annotations

from collections.abc import Sequence

from fedspan.app import App
from fedspan.domain.assumed import COMPUTE_S, RECOVERY_S
from fedspan.domain.jobs import Job, seconds_left
from fedspan.domain.machines import Offer
from fedspan.domain.spec import Purchase
from fedspan.errors import NoCapacity, SlackSpent
from fedspan.placement.purchasing import Decision, Situation, wanted


def affordable(app: App, job: Job, offers: Sequence[Offer]) -> list[Offer]:
    """Of `offers` those that the job's purchase policy takes now.

    Raises:
        NoCapacity: it takes spot, which is worth waiting for, and there is none.
    """
    if job.spec.aggregator.purchase is not Purchase.DEADLINE:
        return list(offers)
    spot = [one for one in offers if one.spot]
    sold = any(one.capabilities.spot for one in app.providers.values())
    decision = _decided(app, job, on=None, spot=bool(spot))
    if decision.purchase is Purchase.ON_DEMAND or not sold:
        return [one for one in offers if not one.spot] or list(offers)
    if not spot:
        raise NoCapacity(
            f"no spot machine is to be had, and it can be waited for: {decision.reason}"
        )
    return spot


def slack_spent(app: App, job: Job) -> SlackSpent | None:
    """Why the job's aggregator must be on demand from here on, if it must and is not."""
    running = job.aggregator
    if job.spec.aggregator.purchase is not Purchase.DEADLINE or running is None:
        return None
    if not running.offer.spot or job.rounds_done >= job.spec.rounds:
        return None
    decision = _decided(app, job, on=Purchase.SPOT, spot=True)
    return None if decision.purchase is Purchase.SPOT else SlackSpent(decision.reason)


def _decided(app: App, job: Job, *, on: Purchase | None, spot: bool) -> Decision:
    """Until a loss is noticed nothing is done, so that much slack is kept aside."""
    return wanted(
        Situation(
            seconds_left=seconds_left(job, app.now()),
            rounds_left=max(0, job.spec.rounds - job.rounds_done),
            round_s=job.pace.seconds if job.pace else COMPUTE_S,
            recover_s=RECOVERY_S,
            on=on,
            spot=spot,
            margin_s=app.settings.lost_seconds,
        )
    )
