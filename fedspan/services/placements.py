"""Where an aggregator would go, and why: a question that changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from fedspan.app import App
from fedspan.domain.jobs import Job, overrun, seconds_left
from fedspan.domain.layers import architecture
from fedspan.domain.machines import Offer
from fedspan.domain.parsing import nearest, parsed
from fedspan.domain.placements import Candidate, Participant, PlacementAnswer, PlacementQuestion
from fedspan.domain.sites import Site
from fedspan.domain.spec import LONGEST_SECONDS, JobSpec, Limits, Purchase
from fedspan.errors import InvalidRequest, NoCapacity
from fedspan.services import books
from fedspan.services.examine import program_key

SHOWN: Final = 10
BYTES_PER_PARAMETER: Final = 4
HERE_MS: Final = 0.5
"""To a machine beside us."""


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
    sites = _sites(app, named)
    return choose(
        books.current(app),
        question,
        [_somewhere(sites[one]) if isinstance(one, str) else one for one in question.participants],
        model_bytes=_model_bytes(app, question, list(sites.values())),
        today=app.now().date(),
        limit=limit,
        compare=compare,
    )


def place_job(app: App, job: Job, avoid: Sequence[Offer] = ()) -> PlacementAnswer:
    """The places that this installation's providers offer for a job's aggregator, with what is
    left of its rounds, deadline and budget; never those in `avoid`.

    Raises:
        NoCapacity: none fits; says what conflicts.
        DeadlineExceeded, BudgetExceeded: nothing is left.
    """
    from fedspan.placement.choose import choose
    from fedspan.placement.offers import book_of, place_of

    passed = overrun(job, app.now())
    if passed is not None:
        raise passed
    need, today = job.spec.aggregator.need, app.now().date()
    every = [one for provider in app.providers.values() for one in provider.offers(need)]
    offers = [one for one in every if one not in avoid]
    if not offers:
        what = f"{need.vcpus} vCPU and {need.memory_mib} MiB"
        raise NoCapacity(f"no provider offers a machine with {what}; lower aggregator.need")
    book = books.current(app)
    here = {place for place in map(place_of, offers) if place not in book.regions.index}
    sites = _sites(app, job.spec.participants)
    answer = choose(
        book_of(book, offers, today),
        _left(app, job, list(sites.values())),
        [_beside(site, here) for site in sites.values()],
        model_bytes=_model_bytes(app, question_of(job.spec), list(sites.values())),
        today=today,
        limit=SHOWN,
    )
    if answer.conflict is not None:
        raise NoCapacity(answer.explanation)
    return answer


def offer_of(candidate: Candidate) -> Offer:
    """What a provider is asked to launch for `candidate`."""
    return Offer(
        provider=candidate.provider,
        region=candidate.region,
        machine_type=candidate.machine_type,
        vcpus=candidate.vcpus,
        memory_mib=candidate.memory_mib,
        price=round(candidate.price_usd_hour * 1_000_000),
        spot=candidate.purchase is Purchase.SPOT,
        arch=candidate.arch,
        gpu=candidate.gpu,
        gpus=candidate.gpus,
        network_tier=candidate.network_tier,
    )


def _left(app: App, job: Job, sites: Sequence[Site]) -> PlacementQuestion:
    """The question for the rest of a job. Where a site does not say how long it trains, the time
    is a guess, which orders places well but must not refuse a job."""
    question, limits = question_of(job.spec), job.spec.limits
    guessed = any(site.compute_s is None for site in sites)
    budget = limits.budget_usd
    if budget is not None:
        budget = None if guessed else budget - job.spent / 1_000_000
    left = {
        **limits.model_dump(),
        "deadline": LONGEST_SECONDS if guessed else seconds_left(job, app.now()),
        "budget_usd": budget,
    }
    return question.model_copy(
        update={
            "rounds": max(1, job.spec.rounds - job.rounds_done),
            "limits": Limits.model_validate(left),
        }
    )


def _sites(app: App, names: Sequence[str]) -> dict[str, Site]:
    found = {name: app.sites.find(name) for name in names}
    unknown = [name for name, site in found.items() if site is None]
    if unknown:
        known = app.sites.ids()
        raise InvalidRequest(
            *(
                f"participants: no site {name!r} is registered{nearest(name, known)}; or give its "
                "name, latitude and longitude"
                for name in unknown
            )
        )
    return {name: site.value for name, site in found.items() if site is not None}


def _somewhere(site: Site) -> Participant:
    """Raises `InvalidRequest` when the site does not say where it is."""
    return parsed(Participant, site.model_dump(include=set(Participant.model_fields)))


def _beside(site: Site, here: Iterable[str]) -> Participant:
    """`site`, which may be nowhere if a place is `here`: next door to everybody."""
    return _somewhere(
        site.model_copy(update={"rtt_ms": {**site.rtt_ms, **dict.fromkeys(here, HERE_MS)}})
    )


def _model_bytes(app: App, question: PlacementQuestion, sites: Sequence[Site]) -> int:
    """What travels each way each round."""
    if question.placement.model_bytes is not None:
        return question.placement.model_bytes
    model = question.model
    if model is not None and model.sha256:
        found = [one.bytes for one in app.objects.list(program_key(model.sha256))]
        if found:
            return max(1, sum(found))
    if model is not None and model.layers is not None and question.data is not None:
        data = [site.dataset(question.data.dataset) for site in sites]
        known = next((one for one in data if one is not None), None)
        if known is not None:
            made = architecture(model.layers, known.features, len(known.classes))
            return sum(one.size for one in made.tensors) * BYTES_PER_PARAMETER
    raise InvalidRequest(
        "placement.model_bytes: the size of the model is not known from what was given; say how "
        "many bytes its parameters are"
    )
