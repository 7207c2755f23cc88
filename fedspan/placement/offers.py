"""A book of what providers offer just now, instead of all there is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date
from typing import Final

import numpy as np

from fedspan.domain.machines import Offer
from fedspan.domain.spec import CpuArch, Need
from fedspan.placement.book import (
    BASES,
    EPOCH,
    Book,
    Egress,
    Machines,
    Prices,
    Regions,
    Source,
    assumed_mbps,
    unranked,
)

OFFERED: Final = "offer"


def offers_in(book: Book, provider: str, regions: Collection[str], need: Need) -> list[Offer]:
    """What `book` has of `provider` in `regions` (their names, as the provider's API has them)
    that fits `need`, on demand and spot. GPU machines only where one is needed."""
    machines, prices, gpu = book.machines, book.prices, need.gpu
    fits = (machines.vcpus >= need.vcpus) & (machines.memory_mib >= need.memory_mib)
    fits &= machines.gpus >= gpu.count if gpu else machines.gpus == 0
    fits &= [need.arch in (None, one) for one in machines.arch]
    if gpu is not None and gpu.model is not None:
        fits &= [one == gpu.model for one in machines.gpu]
    places = zip(book.regions.provider, book.regions.name, strict=True)
    here = np.array([its == provider and name in regions for its, name in places], dtype=bool)
    rows = np.flatnonzero(fits[prices.machine] & here[prices.region]).tolist()
    return [_offer(book, row) for row in rows]


def _offer(book: Book, row: int) -> Offer:
    """The offer of a price. The book was checked when it was read, so this is not again."""
    machines, prices = book.machines, book.prices
    region, machine = int(prices.region[row]), int(prices.machine[row])
    return Offer.model_construct(
        provider=book.regions.provider[region],
        region=book.regions.name[region],
        machine_type=machines.name[machine],
        vcpus=int(machines.vcpus[machine]),
        memory_mib=int(machines.memory_mib[machine]),
        price=int(prices.price[row]),
        spot=bool(prices.spot[row]),
        arch=CpuArch(machines.arch[machine]),
        gpu=machines.gpu[machine],
        gpus=int(machines.gpus[machine]),
        network_tier="",
    )


def known_offers(book: Book, offers: Sequence[Offer]) -> list[Offer]:
    """Those whose place is known: a region of the book, or where we are, which is where a provider
    is that the book does not know at all. A new region of AWS is neither."""
    providers = frozenset(book.regions.provider)
    return [
        one
        for one in offers
        if place_of(one) in book.regions.index or one.provider not in providers
    ]


def book_of(book: Book, offers: Sequence[Offer], today: date) -> Book:
    """`book` with those of these offers as its only prices that are `known_offers`. The region of
    a provider it does not know has no position: it is where we are."""
    offers = known_offers(book, offers)
    regions = _with_regions(book.regions, offers)
    machines = _machines(book, offers)
    row = {pair: n for n, pair in enumerate(zip(machines.provider, machines.name, strict=True))}
    known = _interruptions(book)
    prices = Prices(
        region=np.array([regions.index[place_of(one)] for one in offers], dtype=np.int64),
        machine=np.array([row[one.provider, one.machine_type] for one in offers], dtype=np.int64),
        spot=np.array([one.spot for one in offers], dtype=bool),
        price=np.array([one.price for one in offers], dtype=np.int64),
        basis=np.full(len(offers), BASES.index("list"), dtype=np.int64),
        dated=np.full(len(offers), (today - EPOCH).days, dtype=np.int64),
        interruptions=np.array(
            [
                known.get((place_of(one), one.machine_type), unranked(one.provider)) * one.spot
                for one in offers
            ],
            dtype=np.float64,
        ),
        source=(OFFERED,) * len(offers),
    )
    said = Source(OFFERED, "what the provider offers now", "its API", today, "")
    return replace(
        book,
        sources={**book.sources, OFFERED: said},
        regions=regions,
        machines=machines,
        prices=prices,
        egress=_between(book.egress, len(book.regions), len(regions)),
    )


def place_of(offer: Offer) -> str:
    return f"{offer.provider}:{offer.region}"


def _with_regions(known: Regions, offers: Sequence[Offer]) -> Regions:
    new = dict.fromkeys(
        (one.provider, one.region) for one in offers if place_of(one) not in known.index
    )
    count = len(new)
    nowhere, no = np.full(count, np.nan), np.zeros(count, dtype=bool)
    return Regions(
        provider=known.provider + tuple(provider for provider, _ in new),
        name=known.name + tuple(name for _, name in new),
        city=known.city + ("",) * count,
        country=known.country + ("",) * count,
        continent=known.continent + ("",) * count,
        eu=np.concatenate((known.eu, no)),
        eea=np.concatenate((known.eea, no)),
        latitude=np.concatenate((known.latitude, nowhere)),
        longitude=np.concatenate((known.longitude, nowhere)),
        gco2=np.concatenate((known.gco2, nowhere)),
        gco2_source=known.gco2_source + ("",) * count,
    )


def _machines(book: Book, offers: Sequence[Offer]) -> Machines:
    """A row a machine type offered, as its offer describes it; its network as the book knows it."""
    types = {(one.provider, one.machine_type): one for one in offers}
    pairs = zip(book.machines.provider, book.machines.name, strict=True)
    nic = dict(zip(pairs, book.machines.nic_mbps.tolist(), strict=True))
    rows = list(types.values())
    return Machines(
        provider=tuple(one.provider for one in rows),
        name=tuple(one.machine_type for one in rows),
        arch=tuple(one.arch.value for one in rows),
        vcpus=np.array([one.vcpus for one in rows], dtype=np.int64),
        memory_mib=np.array([one.memory_mib for one in rows], dtype=np.int64),
        gpu=tuple(one.gpu for one in rows),
        gpus=np.array([one.gpus for one in rows], dtype=np.int64),
        nic_mbps=np.array(
            [nic.get(pair, assumed_mbps(one.vcpus)) for pair, one in types.items()],
            dtype=np.float64,
        ),
        nic_assumed=np.array([pair not in nic for pair in types], dtype=bool),
    )


def _interruptions(book: Book) -> dict[tuple[str, str], float]:
    prices, places = book.prices, list(book.regions.index)
    rows = np.flatnonzero(prices.spot).tolist()
    return {
        (places[prices.region[row]], book.machines.name[prices.machine[row]]): float(
            prices.interruptions[row]
        )
        for row in rows
    }


def _between(egress: Egress, known: int, count: int) -> Egress:
    between = np.full((count, count), -1, dtype=np.int64)
    between[:known, :known] = egress.between
    return replace(egress, between=between)
