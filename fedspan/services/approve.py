"""A person confirms where a job's aggregator goes, or picks another place."""

from __future__ import annotations

from fedspan.app import App
from fedspan.domain.jobs import Approval, Job, JobState, Placement, cost_at, overrun, seconds_left
from fedspan.domain.machines import Offer
from fedspan.domain.placements import Candidate
from fedspan.domain.places import costing, where
from fedspan.domain.spec import Purchase
from fedspan.errors import Conflict, InvalidRequest
from fedspan.services import waits
from fedspan.services.changes import Step, change, event
from fedspan.services.offers import offer_of
from fedspan.services.steps import taken


def approve(app: App, job_id: str, number: int, by: str) -> Job:
    """Let the job go on at candidate `number` of its list, counted from 1; `by` is the role of
    whoever says so. The place is priced again first. Saying the same twice changes nothing.

    Raises:
        InvalidRequest: the list has no such number.
        Conflict: the job does not wait, another place was approved, or the place is not to be had
            any more within the job's limits; a job that waits keeps waiting.
    """
    job = app.jobs.get(job_id).value
    placement = _waiting(job, number)
    if placement is not None:
        before = placement.answer.candidates[number - 1]
        offer = _offered(app, job, number, before)
        priced = _at_price(before, offer)
        _within_limits(app, job, number, priced)
        job = change(app, job_id, lambda job: _approved(app, job, number, priced, offer, by))
    if not job.ended:
        waits.settle(app, job)
    return job


def _waiting(job: Job, number: int) -> Placement | None:
    """What the job asks about; None when just this was approved already."""
    placement = job.placement
    approval = placement.approval if placement else None
    if approval is not None and approval.candidate == number:
        return None
    if placement is not None and number > len(placement.answer.candidates):
        known = len(placement.answer.candidates)
        raise InvalidRequest(f"candidate: job {job.id} has {known} of them, got {number}")
    if approval is not None:
        raise Conflict(
            f"candidate {approval.candidate} of job {job.id} was approved already, not {number}"
        )
    if placement is None or not job.asks_approval or job.cancel_requested or _gone_on(job):
        state = "being cancelled" if job.cancel_requested and not job.ended else job.state
        raise Conflict(f"job {job.id} is {state}; it does not wait for approval")
    return placement


def _gone_on(job: Job) -> bool:
    """An approval may come before the state machine has begun to wait for it."""
    return job.state not in (JobState.PLACING, JobState.WAITING_APPROVAL)


def _offered(app: App, job: Job, number: int, candidate: Candidate) -> Offer:
    wanted = offer_of(candidate)
    provider = app.providers.get(candidate.provider)
    offers = provider.offers(job.spec.aggregator.need) if provider else ()
    for offer in offers:
        if _place(offer) == _place(wanted):
            return offer
    raise Conflict(
        f"candidate {number}, {where(candidate)}, is no longer offered; job {job.id} keeps "
        "waiting: pick another, or cancel it"
    )


def _place(offer: Offer) -> tuple[object, ...]:
    return offer.provider, offer.region, offer.machine_type, offer.spot, offer.network_tier


def _at_price(candidate: Candidate, offer: Offer) -> Candidate:
    """The candidate at what its machine costs now."""
    if offer.price == offer_of(candidate).price:
        return candidate
    price = offer.price / 1_000_000
    more = (price - candidate.price_usd_hour) * candidate.hours.expected
    cost = candidate.cost_usd
    changed = {name: max(0.0, round(getattr(cost, name) + more, 6)) for name in ("vm", "total")}
    return candidate.model_copy(
        update={"price_usd_hour": price, "cost_usd": cost.model_copy(update=changed)}
    )


def _within_limits(app: App, job: Job, number: int, candidate: Candidate) -> None:
    """Raises `Conflict` when too little of the deadline or the budget is left for it. As when it
    was placed, a time that rests on a guess refuses nothing; a deadline that has passed does."""
    now, limits = app.now(), job.spec.limits
    passed = overrun(job, now)
    if passed is not None:
        raise Conflict(f"job {job.id} is at its end: {passed}")
    sites = (app.sites.get(name).value for name in job.spec.participants)
    if any(site.compute_s is None for site in sites):
        return
    hours, takes = seconds_left(job, now) / 3600, candidate.hours.expected
    if job.spec.aggregator.purchase is Purchase.DEADLINE:  # on spot only while that leaves slack
        takes = candidate.round_s * (job.spec.rounds - job.rounds_done) / 3600
    if takes > hours:
        raise Conflict(
            f"candidate {number} takes about {takes:.2f} h, and {hours:.2f} h "
            f"of limits.deadline are left; pick a faster one, or cancel job {job.id}"
        )
    left = None if limits.budget_usd is None else limits.budget_usd - cost_at(job, now) / 1_000_000
    if left is not None and candidate.cost_usd.total > left:
        raise Conflict(
            f"candidate {number} costs about ${candidate.cost_usd.total:.2f} by now, and "
            f"${left:.2f} of limits.budget_usd are left; pick a cheaper one, or cancel job {job.id}"
        )


def _approved(app: App, job: Job, number: int, priced: Candidate, offer: Offer, by: str) -> Step:
    placement = _waiting(job, number)
    if placement is None:
        return Step(job)
    answer, index = placement.answer, number - 1
    before = answer.candidates[index]
    candidates = (*answer.candidates[:index], priced, *answer.candidates[index + 1 :])
    approved = placement.model_copy(
        update={
            "answer": answer.model_copy(update={"candidates": candidates}),
            "approval": Approval(candidate=number, offer=offer, by=by, at=app.now()),
        }
    )
    after, events = taken(app, job.model_copy(update={"placement": approved}), index, offer)
    message = f"candidate {number}, {where(priced)}, is approved by the {by}{_news(before, priced)}"
    return Step(after, (event(app, job, "Approved", message), *events))


def _news(before: Candidate, after: Candidate) -> str:
    if before.price_usd_hour == after.price_usd_hour:
        return ""
    return f"; its price was ${before.price_usd_hour:.4f} an hour, now {costing(after)}"
