"""The steps of the state machine before training: check, place, launch, link."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import structlog

from fedspan.access import Caller, CallerRole
from fedspan.app import App
from fedspan.domain.events import Event
from fedspan.domain.jobs import Aggregator, Job, JobState, Placement, seconds_left
from fedspan.domain.machines import MachineSpec, Offer, Role
from fedspan.domain.placements import PlacementAnswer
from fedspan.domain.places import costing, where
from fedspan.domain.recovery import zones_to_avoid
from fedspan.domain.sites import Site, SiteKind
from fedspan.domain.spec import Purchase
from fedspan.errors import LaunchRefused, ProviderError
from fedspan.services import clients
from fedspan.services.asking import at_once
from fedspan.services.changes import Step, change, enter, event, past
from fedspan.services.examine import examine
from fedspan.services.launching import TOKEN_LIFETIME, launched
from fedspan.services.linking import cloud_of
from fedspan.services.offers import offer_of, passed_over
from fedspan.services.placements import place_job

log = structlog.get_logger()


def check(app: App, job_id: str) -> dict[str, object]:
    """Whether the job can run. An execution started anew is told whether only the end is left."""
    job = enter(app, job_id, JobState.CHECKING)
    if not past(job, JobState.CHECKING):
        _, sites = examine(app, job.spec)
        _ask_for_clients(app, sites)
    ending = job.outcome is not None or job.state is JobState.STOPPING or job.ended
    return {"job": job.id, "ending": ending}


def _ask_for_clients(app: App, sites: Sequence[Site]) -> None:
    """Whether the participants' clouds would start their machines: known before anything that
    costs money is."""
    ours = [one for one in sites if one.kind is not SiteKind.AGENT]
    for said in at_once({one.name: partial(clients.offer, app, one) for one in ours}).values():
        if isinstance(said, Exception):
            raise said


def place(app: App, job_id: str) -> dict[str, object]:
    """Choose where this incarnation of the aggregator runs, once. `approve` says whether a person
    must be asked first, and the seconds how long that may take: until the job's deadline. A job
    that lost its aggregator waits for a place while there is none, not `placed`: its rounds are
    worth more than the time."""
    job = enter(app, job_id, JobState.PLACING)
    if not past(job, JobState.PLACING) and not _placed(job):
        answer = _places(app, job)
        if answer is not None:
            job = change(app, job_id, lambda job: _with_places(app, job, answer))
    left = max(0, math.ceil(seconds_left(job, app.now())))
    return {
        "job": job.id,
        "epoch": job.epoch,
        "placed": past(job, JobState.PLACING) or _placed(job),
        "approve": job.asks_approval,
        "silence_seconds": left + 1,  # just past the deadline, so that it is what ends the wait
        "wait_seconds": left + 2,
    }


def _places(app: App, job: Job) -> PlacementAnswer | None:
    """None when a job that has begun, or one that may wait for spot, finds no place just now."""
    try:
        return place_job(app, job)
    except ProviderError as exc:
        if job.epoch == 1 and job.spec.aggregator.purchase is not Purchase.DEADLINE:
            raise
        log.warning("NoPlaceNow", job=job.id, error=f"{type(exc).__name__}: {exc}")
        return None


def _placed(job: Job) -> bool:
    return job.placement is not None and job.placement.epoch == job.epoch


def _with_places(app: App, job: Job, answer: PlacementAnswer) -> Step:
    if _placed(job):
        return Step(job)
    approval = job.placement.approval if job.placement else None
    placement = Placement(epoch=job.epoch, answer=answer, approval=approval)
    job, best = job.model_copy(update={"placement": placement}), answer.candidates[0]
    if not job.asks_approval:
        index = _as_approved(answer, approval.offer) if approval else 0
        return Step(*taken(app, job, index, offer_of(answer.candidates[index])))
    message = f"`fedspan job approve {job.id}` confirms {where(best)}; {costing(best)}"
    others = len(answer.candidates) - 1
    picks = f"; --candidate N picks another of {others + 1}" if others else ""
    return Step(job, (event(app, job, "ApprovalAwaited", message + picks),))


def _as_approved(answer: PlacementAnswer, approved: Offer) -> int:
    """What comes nearest to what a person approved for an aggregator that was lost: the same
    place, else what is bought in the same way, else the best there is."""
    offers = [offer_of(one) for one in answer.candidates]

    def place(offer: Offer) -> tuple[str, str, bool, str]:
        return offer.provider, offer.region, offer.spot, offer.network_tier

    same = [n for n, one in enumerate(offers) if place(one) == place(approved)]
    alike = [n for n, one in enumerate(offers) if one.spot == approved.spot]
    return next(iter(same + alike), 0)


def taken(app: App, job: Job, index: int, offer: Offer) -> tuple[Job, tuple[Event, ...]]:
    """`job` with its aggregator to be launched as the candidate at `index`, which is `offer`."""
    assert job.placement is not None
    placement = job.placement.model_copy(update={"chosen": index})
    placed = job.model_copy(
        update={"placement": placement, "aggregator": Aggregator(epoch=job.epoch, offer=offer)}
    )
    candidate = placement.answer.candidates[index]
    message = f"aggregator {job.epoch} goes to {where(candidate)}; {costing(candidate)}"
    message += passed_over(app)
    return placed, (event(app, job, "AggregatorPlaced", message),)


def launch(app: App, job_id: str) -> dict[str, object]:
    """Start the aggregator's machine, and those of the sites Fedspan starts itself, so that
    they boot side by side."""
    job = enter(app, job_id, JobState.LAUNCHING)
    if past(job, JobState.LAUNCHING) or job.aggregator is None:
        return {"job": job.id, "epoch": job.epoch}
    offer = job.aggregator.offer
    cloud = cloud_of(app, offer.provider, f"aggregator {job.epoch} of job {job.id}")
    try:
        made = launched(cloud, job_id, _aggregator_machine(app, job, offer))
    except ProviderError as exc:
        cause = type(exc).__name__
        change(app, job_id, lambda job: _refused(job, cause))
        if exc.retryable:
            raise
        raise LaunchRefused(f"{cause}: {exc}") from exc
    change(app, job_id, lambda job: _launched(app, job, made.zone))
    for name in job.spec.participants:
        clients.assign(app, job, app.sites.get(name).value)
    return {"job": job.id, "epoch": job.epoch}


def _launched(app: App, job: Job, zone: str) -> Step:
    if job.aggregator is None or job.aggregator.launched is not None:
        return Step(job)
    told = {"launched": app.now(), "refused": "", "zone": zone}
    aggregator = job.aggregator.model_copy(update=told)
    return Step(
        job.model_copy(update={"aggregator": aggregator}),
        (event(app, job, "AggregatorLaunched", f"aggregator {job.epoch} is booting"),),
    )


def _refused(job: Job, cause: str) -> Step:
    if job.aggregator is None:
        return Step(job)
    aggregator = job.aggregator.model_copy(update={"refused": cause})
    return Step(job.model_copy(update={"aggregator": aggregator}))


def aggregator_key(job: Job) -> str:
    return f"{job.id}-aggregator-{job.epoch}"


def _aggregator_machine(app: App, job: Job, offer: Offer) -> MachineSpec:
    caller = Caller(role=CallerRole.AGGREGATOR, job=job.id, epoch=job.epoch)
    return MachineSpec(
        key=aggregator_key(job),
        role=Role.AGGREGATOR,
        epoch=job.epoch,
        offer=offer,
        environment={
            "FEDSPAN_API": app.settings.api_url,
            "FEDSPAN_TOKEN": app.tokens.issue(caller, app.now(), TOKEN_LIFETIME),
            "FEDSPAN_OBJECTS": app.settings.objects_url,
            "FEDSPAN_JOB": job.id,
            "FEDSPAN_EPOCH": str(job.epoch),
        },
        port=app.settings.aggregator_port,
        sources=job.spec.aggregator.network.allow_cidrs,
        # As of when the job came to launch it: a repeat must ask for the same.
        avoid_zones=zones_to_avoid(job.losses, offer, job.since),
    )


def link(app: App, job_id: str) -> dict[str, object]:
    """From here on the manifests tell each participant where to connect."""
    job = enter(app, job_id, JobState.LINKING)
    return {"job": job.id, "epoch": job.epoch}
