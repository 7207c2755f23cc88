"""Small random books and questions about them, for hypothesis, and ways to ask.

What decides the shape of a case is drawn value by value, so that it shrinks; long columns of
figures come from a drawn seed, so that drawing is quick.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import lru_cache, partial
from random import Random

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from fedspan.domain.placements import Participant, PlacementQuestion
from fedspan.placement.book import (
    Anchors,
    Book,
    Egress,
    Machines,
    Prices,
    Regions,
    Source,
    Tariff,
)
from fedspan.placement.choose import choose, rank

TODAY = date(2026, 11, 20)
TODAY_DAYS = (TODAY - date(1970, 1, 1)).days
SOURCES = {"s": Source("s", "A list", "https://example.org/prices", TODAY, "CC0")}
TIERS = {"aws": ("",), "azure": ("",), "gcp": ("premium", "standard"), "other": ("a", "b")}
CONTINENTS = ("EU", "NA", "AS", "OC", "AF")
COUNTRIES = ("DE", "IE", "US", "AU", "CN", "KR", "ZA")

# hypothesis examines a strategy when it first draws from it, which takes longer than to draw: the
# same is one object here.
once = lru_cache(maxsize=None, typed=True)
integers, floats, just = once(st.integers), once(st.floats), once(st.just)
lists, dictionaries = once(st.lists), once(st.dictionaries)
nothing = st.none()


@once
def one_of(*values):
    return st.sampled_from(values)


@once
def either(first, second):
    return first | second


@once
def tuples(values, size):
    return st.lists(values, min_size=size, max_size=size).map(tuple)


@once
def flags(size):
    return tuples(st.booleans(), size).map(np.array)


degrees = st.tuples(st.integers(-600, 700), st.integers(-1799, 1800)).map(
    lambda place: (place[0] / 10, place[1] / 10)
)
rtts = st.floats(0.1, 400)
carbon = st.sampled_from((float("nan"), 20.0, 300.0))


seeds = integers(0, 2**32 - 1).map(Random)


@st.composite
def regions_of(draw, providers, local):
    """Three to eight rows; names repeat from provider to provider. `local` adds this computer."""
    owners = [*providers, *draw(lists(one_of(*providers), max_size=8 - len(providers)))]
    owners += [providers[0]] * (3 - len(owners))
    owners.sort()
    size = len(owners)
    cities = draw(lists(degrees, min_size=2, max_size=5, unique=True))
    places = draw(tuples(either(one_of(*cities), degrees), size))
    eu = draw(flags(size))
    found = Regions(
        provider=tuple(owners),
        name=tuple(f"region-{row - owners.index(owner)}" for row, owner in enumerate(owners)),
        city=tuple(f"City {row}" for row in range(size)),
        country=draw(tuples(one_of(*COUNTRIES), size)),
        continent=draw(tuples(one_of(*CONTINENTS), size)),
        eu=eu,
        eea=eu | draw(flags(size)),
        latitude=np.array([place[0] for place in places]),
        longitude=np.array([place[1] for place in places]),
        gco2=np.array(draw(tuples(carbon, size))),
        gco2_source=("s",) * size,
    )
    return _with_this_computer(found) if local else found


def _with_this_computer(regions):
    return Regions(
        provider=(*regions.provider, "local"),
        name=(*regions.name, "here"),
        city=(*regions.city, "Here"),
        country=(*regions.country, ""),
        continent=(*regions.continent, ""),
        eu=np.append(regions.eu, False),
        eea=np.append(regions.eea, False),
        latitude=np.append(regions.latitude, np.nan),
        longitude=np.append(regions.longitude, np.nan),
        gco2=np.append(regions.gco2, np.nan),
        gco2_source=(*regions.gco2_source, ""),
    )


@st.composite
def machines_of(draw, providers):
    """One to three a provider."""
    owners = sorted([*providers, *draw(lists(one_of(*providers), max_size=5))])
    size = len(owners)
    gpus = np.array(draw(tuples(one_of(0, 0, 0, 1, 4), size)))
    random = draw(seeds)
    models = draw(tuples(one_of("T4", "L4"), size))
    return Machines(
        provider=tuple(owners),
        name=tuple(f"type-{row}" for row in range(size)),
        arch=draw(tuples(one_of("x86", "x86", "arm"), size)),
        vcpus=np.array(draw(tuples(one_of(1, 2, 4, 8), size))),
        memory_mib=np.array(draw(tuples(one_of(2048, 4096, 8192, 16384), size))),
        gpu=tuple(model if many else "" for model, many in zip(models, gpus, strict=True)),
        gpus=gpus,
        nic_mbps=np.array([random.uniform(50, 20_000) for _ in range(size)]),
        nic_assumed=draw(flags(size)),
    )


PRICES = ((10_000, 10_100), (1_000, 50_000), (1_000, 5_000_000), (1_000_000, 1_015_000))
"""Micro-dollars an hour; among some, many count as equal."""
row_counts = one_of(1, 4, 8, 16, 24, 24)


@st.composite
def prices_of(draw, regions, machines):
    """Up to two dozen rows, in any order; this computer costs nothing and is on demand."""
    possible = [
        (region, machine, spot)
        for region in range(len(regions))
        for machine in range(len(machines))
        for spot in (False, True)
        if regions.provider[region] == machines.provider[machine]
        and not (spot and regions.provider[region] == "local")
    ]
    random = draw(seeds)
    rows = random.sample(possible, min(len(possible), draw(row_counts)))
    size = len(rows)
    spot = np.array([row[2] for row in rows])
    here = np.array([regions.provider[row[0]] == "local" for row in rows])
    basis = np.array([random.choice((0, 1, 2)) for _ in rows])
    age = np.array([random.choice((0, 1, 30, 89, 90, 91, 400)) for _ in rows])
    lowest, highest = draw(one_of(*PRICES))
    price = np.array([random.randint(lowest, highest) for _ in rows])
    hazards = np.array([random.choice((0.0, 0.0005, random.uniform(0.01, 5))) for _ in rows])
    return Prices(
        region=np.array([row[0] for row in rows]),
        machine=np.array([row[1] for row in rows]),
        spot=spot,
        price=np.where(here, 0, price),
        basis=basis,
        dated=TODAY_DAYS - age,
        interruptions=np.where(spot, hazards, 0.0),
        source=("s",) * size,
    )


@st.composite
def tariff(draw):
    units = either(integers(1, 50), integers(1, 50_000))
    more = draw(lists(units, max_size=3, unique=True))
    starts = (0.0, *(float(start) for start in sorted(more)))
    free = draw(st.booleans())
    price = draw(tuples(integers(0, 200_000), len(starts)))
    return Tariff(
        starts=starts,
        price=(0, *price[1:]) if free else price,
        unit=draw(one_of(10**9, 2**30)),
        source="s",
    )


some_tariffs = lists(tariff(), min_size=1, max_size=5).map(tuple)


@st.composite
def egress_of(draw, regions):
    tariffs = draw(some_tariffs)
    random = draw(seeds)
    chances = {"world": draw(one_of(0.7, 1.0)), "oceania": 0.5, "china": 0.5}
    internet = {
        (row, tier, destination): random.randrange(len(tariffs))
        for row, provider in enumerate(regions.provider)
        for tier in TIERS.get(provider, ())
        for destination, chance in chances.items()
        if random.random() < chance
    }
    size = len(regions)
    rates = np.array([random.randint(0, 160_000) for _ in range(size * size)]).reshape(size, size)
    owner = np.array(regions.provider)
    same = owner[:, None] == owner[None, :]
    clouds = sorted(set(regions.provider) - {"local"})
    charged = [*clouds, *(f"{cloud}:spot" for cloud in clouds)]
    return Egress(
        tariffs=tariffs,
        tiers={provider: TIERS.get(provider, ("",)) for provider in set(regions.provider)},
        internet=internet,
        between=np.where(same, np.where(np.eye(size, dtype=bool), 0, rates), -1),
        between_unit=draw(one_of(10**9, 2**30)),
        address=draw(dictionaries(one_of(*charged), integers(0, 8_000))),
    )


@st.composite
def anchors(draw):
    """Three to six, some a stone's throw apart, some pairs not measured."""
    places = draw(lists(degrees, min_size=2, max_size=5))
    latitude, longitude = places[0]
    places.append((latitude + 0.3, longitude))
    size = len(places)
    random, gaps = draw(seeds), draw(one_of(0.0, 0.3))
    measured = [
        float("nan") if random.random() < gaps else random.uniform(1, 400)
        for _ in range(size * size)
    ]
    matrix = np.array(measured).reshape(size, size)
    matrix = np.where(np.tri(size, k=-1, dtype=bool), matrix, matrix.T)
    np.fill_diagonal(matrix, np.nan)
    pairs = sorted({"-".join(sorted((a, b))) for a in CONTINENTS for b in CONTINENTS})
    slopes = draw(dictionaries(one_of(*pairs), floats(10, 30), max_size=6))
    return Anchors(
        name=tuple(f"anchor-{row}" for row in range(size)),
        latitude=np.array([place[0] for place in places]),
        longitude=np.array([place[1] for place in places]),
        rtt_ms=matrix,
        slopes={**slopes, "*": draw(floats(10, 30))},
        band_km=np.array([1_000.0, 5_000.0, 21_000.0]),
        band_ms=np.array([8.0, 20.0, 45.0]),
        source="s",
    )


@st.composite
def books(draw):
    providers = draw(lists(one_of(*sorted(TIERS)), min_size=2, max_size=4, unique=True).map(sorted))
    regions = draw(regions_of(providers, local=draw(integers(0, 4)) == 0))
    owners = sorted(set(regions.provider))
    machines = draw(machines_of(owners))
    return Book(
        made=TODAY,
        sources=SOURCES,
        regions=regions,
        machines=machines,
        prices=draw(prices_of(regions, machines)),
        egress=draw(egress_of(regions)),
        anchors=draw(anchors()),
        sha256="0" * 64,
    )


def with_rows(book, rows):
    """The book with these of its price rows, in this order."""
    rows = np.array(rows)
    prices = book.prices
    return replace(
        book,
        prices=Prices(
            region=prices.region[rows],
            machine=prices.machine[rows],
            spot=prices.spot[rows],
            price=prices.price[rows],
            basis=prices.basis[rows],
            dated=prices.dated[rows],
            interruptions=prices.interruptions[rows],
            source=tuple(prices.source[row] for row in rows),
        ),
    )


def with_price(book, row, micro_usd):
    price = book.prices.price.copy()
    price[row] = micro_usd
    return replace(book, prices=replace(book.prices, price=price))


def with_one_tier(book):
    """The book with only the default tier of each provider."""
    tiers = {provider: names[:1] for provider, names in book.egress.tiers.items()}
    return replace(book, egress=replace(book.egress, tiers=tiers))


mbps = nothing | floats(0.5, 10_000)


@st.composite
def participant(draw, book, number):
    known = [name for name in book.regions.index if not name.startswith("local:")]
    kind = draw(one_of("position", "position", "position", "cloud", "both", "measured"))
    at_least = 1 if kind == "measured" else 0
    measured = draw(
        dictionaries(
            one_of(*sorted(book.regions.index)),
            rtts,
            min_size=at_least,
            max_size=max(at_least, len(known)) if draw(st.booleans()) else at_least,
        )
    )
    place = draw(degrees) if kind in ("position", "both") else (None, None)
    return Participant(
        name=f"p{number}",
        latitude=place[0],
        longitude=place[1],
        country=draw(one_of("", "", *COUNTRIES)),
        cloud=draw(one_of(*known)) if kind in ("cloud", "both") else None,
        up_mbps=draw(mbps),
        down_mbps=draw(mbps),
        compute_s=draw(either(nothing, floats(0, 600))),
        rtt_ms=measured,
    )


share = floats(0, 1, exclude_min=True)
fractions = {"fraction_train": share, "fraction_evaluate": share}
strategies = nothing | st.fixed_dictionaries({}, optional=fractions)


def sizes(question):
    """What travels. The program's size is in no question, so the seed stands for it."""
    return {"model_bytes": question.placement.model_bytes, "program_bytes": question.seed}


scores = one_of("money", "balanced")


@once
def mostly(values):
    return integers(0, 1).flatmap(lambda chance: values if chance == 1 else nothing)


@once
def seldom(values):
    return integers(-4, 1).flatmap(lambda chance: values if chance == 1 else nothing)


@st.composite
def questions(draw, book, score=scores, demanding=False):
    """`demanding`: so much is asked for that mostly nothing has it all."""

    maybe = mostly if demanding else seldom
    people = [draw(participant(book, number)) for number in range(draw(integers(1, 5)))]
    regions = book.regions
    entries = sorted(
        {"eu", "eea", *regions.provider, *regions.name, *regions.index, *regions.country} - {""}
    )
    some = lists(one_of(*entries), max_size=3, unique=True)
    gpus = ({}, {"count": 2}, *({"model": one} for one in sorted({*book.machines.gpu} - {""})))
    need = {"vcpus": draw(one_of(1, 1, 1, 2, 4)), "memory_mib": draw(memories)}
    if (arch := draw(maybe(one_of("x86", "arm")))) is not None:
        need["arch"] = arch
    if (gpu := draw(maybe(st.sampled_from(gpus)))) is not None:
        need["gpu"] = gpu
    size = draw(either(one_of(1, 100_000, 5_000_000, 50_000_000), integers(1, 10**9)))
    return PlacementQuestion.model_validate(
        {
            "seed": draw(either(just(0), integers(0, 10**8))),
            "strategy": draw(strategies),
            "rounds": draw(either(one_of(1, 3, 40), integers(1, 500))),
            "participants": [one.model_dump() for one in people],
            "quorum": draw(either(nothing, integers(1, len(people)))),
            "aggregator": {
                "need": need,
                "regions": {
                    "allow": tuple(draw(maybe(some)) or ()),
                    "deny": tuple(draw(maybe(some)) or ()),
                },
                "purchase": draw(one_of(*["any"] * 4, "deadline", "spot", "on_demand")),
            },
            "limits": {
                "deadline": draw(
                    either(one_of(604_800.0, 604_800.0, 86_400.0), floats(600, 604_800))
                ),
                "round": draw(one_of(3_600.0, 86_400.0, 86_400.0)),
                "budget_usd": draw(maybe(floats(0.001, 500))),
                "max_rtt_ms": draw(maybe(floats(1, 300))),
                "max_interruption": draw(maybe(floats(0, 1))),
            },
            "placement": {
                "score": draw(score),
                "balance": draw(either(just(0.5), floats(0, 1))),
                "hour_usd": draw(either(just(0.0), floats(0, 50))),
                "model_bytes": size,
                "checkpoint_every": draw(one_of(1, 1, 2, 7, 200)),
                "egress_used_gb": draw(
                    dictionaries(
                        one_of(*sorted(set(regions.provider) - {"local"})),
                        floats(0, 60_000),
                        max_size=2,
                    )
                ),
                "interruptions_per_hour": draw(maybe(either(just(0.0), floats(0.0001, 10)))),
                "estimates": draw(one_of(*[True] * 5, False)),
                "price_days": draw(maybe(one_of(1, 30, 90, 365))),
            },
        }
    )


memories = one_of(1024, 1024, 2048, 4096)


@st.composite
def cases(draw, **told):
    """A book and a question about it."""
    book = draw(books())
    return book, draw(questions(book, **told))


quickly = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def _asked(ask, book, question, limit=1_000):
    return ask(
        book,
        question,
        question.participants,
        **sizes(question),
        today=TODAY,
        limit=limit,
    )


chosen, ranked = partial(_asked, choose), partial(_asked, rank)


def key(candidate):
    """What names a candidate of an answer, as `slow.Scored.key` does."""
    return (
        candidate.provider,
        candidate.region,
        candidate.machine_type,
        candidate.purchase == "spot",
        candidate.network_tier,
    )
