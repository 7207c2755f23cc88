"""Where an aggregator would go, and why: a question that changes nothing."""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, TypedDict

import structlog

from fedspan.app import App
from fedspan.domain.countries import COUNTRIES
from fedspan.domain.jobs import Job, overrun, seconds_left
from fedspan.domain.layers import architecture
from fedspan.domain.machines import Offer, Role
from fedspan.domain.parsing import nearest, parsed, refused
from fedspan.domain.placements import (
    NOWHERE,
    Candidate,
    Demand,
    Participant,
    PlacementAnswer,
    PlacementQuestion,
)
from fedspan.domain.recovery import worth_trying
from fedspan.domain.sites import Site, SiteKind
from fedspan.domain.spec import JobSpec, Limits, ModelSpec, Need, Purchase
from fedspan.errors import (
    BudgetExceeded,
    DeadlineExceeded,
    InvalidRequest,
    JobError,
    NoCapacity,
    ProviderError,
)
from fedspan.providers.base import Provider
from fedspan.services import books
from fedspan.services.asking import at_once
from fedspan.services.examine import out_of_reach, program_key
from fedspan.services.purchasing import affordable

if TYPE_CHECKING:
    from fedspan.placement.book import Book

log = structlog.get_logger()
SHOWN: Final = 10
BYTES_PER_PARAMETER: Final = 4
APP_MODEL_BYTES: Final = 10_000_000
"""Only an app that runs knows its model; `placement.model_bytes` says better."""

NO_DEADLINE_S: Final = 1e12
"""What nothing that ends takes."""
OF_LIMITS: Final[dict[str, type[JobError]]] = {
    "limits.deadline": DeadlineExceeded,
    "limits.budget_usd": BudgetExceeded,
}
"""What a job that has begun ends with when no place fits what is left of them."""
ANY: Final = Need(vcpus=1, memory_mib=1)


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
        **_sizes(app, question, list(sites.values())),
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
    offers = _offers(app, job.spec)
    if not offers:
        raise NoCapacity(
            "no provider offers any machine just now; try again later" + passed_over(app)
        )
    sites = list(_sites(app, job.spec.participants).values())
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
        offers = _offers(app, spec)
    except ProviderError:
        return
    if not offers:
        return
    sites = list(_sites(app, spec.participants).values())
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
        [_beside(site, book.regions.index) if here else _somewhere(site) for site in sites],
        **_sizes(app, question, sites),
        today=today,
        limit=SHOWN,
    )


def _found(app: App, answer: PlacementAnswer) -> PlacementAnswer:
    """Raises `NoCapacity` for an answer without a place; says what conflicts."""
    if answer.conflict is not None:
        raise NoCapacity(answer.explanation + passed_over(app))
    return answer


def _offers(app: App, spec: JobSpec) -> list[Offer]:
    """What fits; if nothing does, what there is, so that it can be told what it lacks. A cloud that
    does not answer offers nothing, unless it is the only one.

    Raises:
        ProviderError: none answers.
    """
    sites = list(_sites(app, spec.participants).values())
    providers = [one for one in app.providers.values() if _could_aggregate(app, one, sites)]
    fitting = _asked(providers, spec.aggregator.need)
    return fitting or _asked(providers, ANY)


def _asked(providers: Sequence[Provider], need: Need) -> list[Offer]:
    found: list[Offer] = []
    silent: list[Exception] = []
    asks = {one.name: partial(one.offers, need) for one in providers}
    for name, said in at_once(asks).items():
        if isinstance(said, Exception):
            log.warning("CloudSilent", provider=name, error=f"{type(said).__name__}: {said}")
            silent.append(said)
        else:
            found += said
    if silent and len(silent) == len(providers):
        raise silent[0]
    return found


def _could_aggregate(app: App, provider: Provider, sites: Sequence[Site]) -> bool:
    able = provider.capabilities
    if Role.AGGREGATOR not in able.roles:
        return False
    return _all_near(app, sites) if able.here else app.settings.reached_from_afar


def _all_near(app: App, sites: Sequence[Site]) -> bool:
    """Whether all participants reach an aggregator on this computer, which has no public address.
    On test clouds they do; an agent that calls the API on loopback is here too."""
    near = {SiteKind.LOCAL} if app.settings.reached_from_afar else {SiteKind.LOCAL, SiteKind.AGENT}
    return app.settings.allow_loopback or all(one.kind in near for one in sites)


def passed_over(app: App) -> str:
    """A remark on the clouds that were not asked, where there are any."""
    roles = [one.capabilities for one in app.providers.values()]
    far = any(Role.AGGREGATOR in able.roles and not able.here for able in roles)
    why = out_of_reach(app) if far else ""
    return f". Clouds were passed over: {why}" if why else ""


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


def _sites(app: App, names: Sequence[str]) -> dict[str, Site]:
    found = app.sites.find_all(names)
    unknown = [name for name in names if name not in found]
    if unknown:
        known = app.sites.ids()
        raise refused(
            unknown,
            lambda name: (
                f"participants: no site {name!r} is registered{nearest(name, known)}; or give its "
                "name, latitude and longitude"
            ),
        )
    return {name: site.value for name, site in found.items()}


def _somewhere(site: Site) -> Participant:
    """Raises `InvalidRequest` when the site does not say where it is, or says it wrong."""
    if site.faults:
        again = "register it anew (fedspan site add)"
        raise InvalidRequest(*(f"participants: {one}; {again}" for one in site.faults))
    participant = _participant(site)
    if participant.nowhere:
        raise InvalidRequest(
            f"participants: site {NOWHERE.format(site.name)} (fedspan site add, site measure)"
        )
    return participant


def participants_of(app: App, spec: JobSpec, book: Book) -> list[Participant]:
    """A job's participants, as far as the places they tell are known."""
    sites = _sites(app, spec.participants).values()
    return [_beside(site, book.regions.index) for site in sites]


def _beside(site: Site, regions: Container[str]) -> Participant:
    """`site`, where a place is next door to everybody: that it is told wrong does not matter."""
    half = (site.latitude is None) != (site.longitude is None)
    kept = {
        "rtt_ms": {place: ms for place, ms in site.rtt_ms.items() if place in regions},
        "cloud": site.cloud if site.cloud in regions else None,
        "country": site.country if site.country in COUNTRIES else "",
        **({"latitude": None, "longitude": None} if half else {}),
    }
    return _participant(site.model_copy(update=kept))


def _participant(site: Site) -> Participant:
    return parsed(Participant, site.model_dump(include=set(Participant.model_fields)))


class _Sizes(TypedDict):
    model_bytes: int
    program_bytes: int


def _sizes(app: App, question: PlacementQuestion, sites: Sequence[Site]) -> _Sizes:
    """What travels. A program that nobody has uploaded is the file its size was taken from."""
    size, model = _model_bytes(app, question, sites), question.model
    program = size if model is not None and model.file is not None else 0
    return {"model_bytes": size, "program_bytes": (model and _uploaded(app, model)) or program}


def _uploaded(app: App, model: ModelSpec) -> int:
    """Bytes of the program that was uploaded for `model`; 0 without."""
    if model.app is not None or not model.sha256:
        return 0
    return sum(one.bytes for one in app.objects.list(program_key(model.sha256)))


def _model_bytes(app: App, question: PlacementQuestion, sites: Sequence[Site]) -> int:
    """The size of the parameters, or what comes near it."""
    if question.placement.model_bytes is not None:
        return question.placement.model_bytes
    model = question.model
    if model is not None and model.app is not None:
        return APP_MODEL_BYTES
    if model is not None and (uploaded := _uploaded(app, model)):
        return uploaded
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
