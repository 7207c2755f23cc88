"""Where an aggregator would go, and why: a question that changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

from fedspan.app import App
from fedspan.domain.jobs import Job, overrun, seconds_left
from fedspan.domain.machines import Offer
from fedspan.domain.parsing import parsed
from fedspan.domain.placements import (
    Demand,
    PlacementAnswer,
    PlacementQuestion,
)
from fedspan.domain.recovery import worth_trying
from fedspan.domain.sites import Site
from fedspan.domain.spec import JobSpec, Limits
from fedspan.errors import (
    BudgetExceeded,
    DeadlineExceeded,
    InvalidRequest,
    JobError,
    NoCapacity,
    ProviderError,
)
from fedspan.services import books
from fedspan.services.offers import available, passed_over
from fedspan.services.participants import beside, sites_named, sizes, somewhere
from fedspan.services.purchasing import affordable

SHOWN: Final = 10
NO_DEADLINE_S: Final = 1e12
"""What nothing that ends takes."""
OF_LIMITS: Final[dict[str, type[JobError]]] = {
    "limits.deadline": DeadlineExceeded,
    "limits.budget_usd": BudgetExceeded,
}
"""What a job that has begun ends with when no place fits what is left of them."""


def question_of(spec: JobSpec) -> PlacementQuestion:
    return parsed(PlacementQuestion, spec.model_dump())


def score(
    app: App, question: PlacementQuestion, *, limit: int = SHOWN, compare: str | None = None
) -> PlacementAnswer:
    """The best `limit` places, ranked and explained; `compare` is a region (``eu-west-1`` or
    ``aws:eu-west-1``) whose best candidate is priced too.

    Raises:
        InvalidRequest: a participant nobody registered, one that is nowhere, an unknown region,
            country or provider; says the nearest that is known.
    """
    from fedspan.placement.choose import choose  # NumPy loads with the use cases that need it

    if limit < 1:
        raise InvalidRequest(f"limit: {limit} is less than 1")
    named = [one for one in question.participants if isinstance(one, str)]
    sites = sites_named(app, named)
    return choose(
        books.current(app),
        question,
        [somewhere(sites[one]) if isinstance(one, str) else one for one in question.participants],
        **sizes(app, question, list(sites.values())),
        today=app.now().date(),
        limit=limit,
        compare=compare,
    )


def place_job(app: App, job: Job) -> PlacementAnswer:
    """The places that this installation's providers offer for a job's aggregator, with what is
    left of its rounds, deadline and budget, and without those where it was lost lately.

    Raises:
        NoCapacity: none fits; says what conflicts.
        DeadlineExceeded, BudgetExceeded: nothing is left, or too little for any place.
    """
    passed = overrun(job, app.now())
    if passed is not None:
        raise passed
    offers = available(app, job.spec)
    if not offers:
        raise NoCapacity(
            "no provider offers any machine just now; try again later" + passed_over(app)
        )
    sites = list(sites_named(app, job.spec.participants).values())
    answer = _among_offers(
        app,
        job.spec,
        affordable(app, job, worth_trying(job, offers, app.now())),
        sites,
        rounds=max(1, job.spec.rounds - job.rounds_done),
        limits=_limits_left(job, sites, app.now()),
    )
    if answer.conflict is not None and job.epoch > 1:
        kinds = [
            OF_LIMITS[one.constraint] for one in answer.conflict if one.constraint in OF_LIMITS
        ]
        raise next(iter(kinds), NoCapacity)(answer.explanation + passed_over(app))
    return _found(app, answer)


def check_place(app: App, spec: JobSpec) -> None:
    """Whether a job of `spec` could be placed among what providers offer now. One that cannot say
    refuses nothing: the job asks again, and may wait. Limits that no place meets are told by what
    it takes; where a site does not say how long it trains, by what it takes without training.

    Raises:
        InvalidRequest: as placing it would; or a deadline or budget that no place meets.
        NoCapacity: no place has what else is demanded.
    """
    try:
        offers = available(app, spec)
    except ProviderError:
        return
    if not offers:
        return
    sites = list(sites_named(app, spec.participants).values())
    ask = partial(_among_offers, app, spec, offers, rounds=spec.rounds)
    answer = ask(sites, limits=_unguessed(spec.limits) if _guessed(sites) else spec.limits)
    if answer.conflict is None and _guessed(sites):
        answer = ask([_untrained(one) for one in sites], limits=spec.limits)
    limit = _limit_of(answer)
    if limit is not None:
        raise InvalidRequest(_too_little(limit, answer, trained=not _guessed(sites)))
    _found(app, answer)


def _limit_of(answer: PlacementAnswer) -> Demand | None:
    """The first limit that bars every place, alone or with other demands."""
    return next((one for one in answer.conflict or () if one.constraint in OF_LIMITS), None)


def _too_little(limit: Demand, answer: PlacementAnswer, *, trained: bool) -> str:
    """`trained`: whether training is counted in what it takes."""
    if limit.becomes is None or len(answer.conflict or ()) > 1:
        return f"{limit.constraint}: {answer.explanation}"
    even = "" if trained else ", even if training took no time"
    said = f"{limit.constraint}: no place can meet it ({limit.wanted}){even}"
    least = limit.becomes.removeprefix("at least ")
    if trained:
        return f"{said}; the nearest that can be met is {least}"
    return f"{said}; it takes {least}, and what the training takes"


def _among_offers(
    app: App,
    spec: JobSpec,
    offers: Sequence[Offer],
    sites: Sequence[Site],
    *,
    rounds: int,
    limits: Limits,
) -> PlacementAnswer:
    from fedspan.placement.choose import choose
    from fedspan.placement.offers import book_of, known_offers, place_of

    today, book = app.now().date(), books.current(app)
    offers = known_offers(book, offers)
    if not offers:
        raise NoCapacity(
            "no provider offers a machine in a region that the book of prices knows; a newer book "
            "may: fedspan book refresh"
        )
    here = any(place_of(one) not in book.regions.index for one in offers)
    question = question_of(spec)
    return choose(
        book_of(book, offers, today),
        question.model_copy(update={"rounds": rounds, "limits": limits}),
        [beside(site, book.regions.index) if here else somewhere(site) for site in sites],
        **sizes(app, question, sites),
        today=today,
        limit=SHOWN,
    )


def _found(app: App, answer: PlacementAnswer) -> PlacementAnswer:
    """Raises `NoCapacity` for an answer without a place; says what conflicts."""
    if answer.conflict is not None:
        raise NoCapacity(answer.explanation + passed_over(app))
    return answer


def _limits_left(job: Job, sites: Sequence[Site], now: datetime) -> Limits:
    """What is left of a job's limits."""
    limits = job.spec.limits
    if _guessed(sites):
        return _unguessed(limits)
    budget = limits.budget_usd
    left = None if budget is None else budget - job.spent / 1_000_000
    return limits.model_copy(update={"deadline": seconds_left(job, now), "budget_usd": left})


def _guessed(sites: Sequence[Site]) -> bool:
    """Whether the time of a round is a guess, because a site does not say how long it trains."""
    return any(site.compute_s is None for site in sites)


def _unguessed(limits: Limits) -> Limits:
    """Without those that rest on time: a guess orders places well but must not refuse a job."""
    return limits.model_copy(
        update={"deadline": NO_DEADLINE_S, "round": NO_DEADLINE_S, "budget_usd": None}
    )


def _untrained(site: Site) -> Site:
    """`site`, were its training to take no time where it does not say how long."""
    return site if site.compute_s is not None else site.model_copy(update={"compute_s": 0.0})
