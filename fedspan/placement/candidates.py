"""Every place an aggregator could go: a row for each price and network tier of its provider.

What does not depend on the question is worked out once a book.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from fedspan.placement.book import Book, Bools, Egress, Floats, Ints

Rows = Ints | slice
"""Some candidates, or by ``EVERY`` all of them without a copy of any column."""
EVERY: Final = slice(None)

DESTINATIONS: Final = ("world", "oceania", "china")
"""Where traffic goes, as far as prices differ by it."""

WORLD, OCEANIA, CHINA = range(len(DESTINATIONS))
OCEANIAN: Final = frozenset(
    "AU NZ FJ PG NC PF WS TO VU SB KI MH FM PW NR TV GU MP AS CK NU WF TK NF".split()  # noqa: SIM905
)

BITS_PER_BYTE: Final = 8


def destination(country: str) -> int:
    """Index of `DESTINATIONS`."""
    if country == "CN":
        return CHINA
    return OCEANIA if country in OCEANIAN else WORLD


@dataclass(frozen=True, eq=False)
class Steps:
    """Marginal tariffs, one under another: ``start[k]`` bytes, ``width[k]`` bytes and ``price[k]``
    micro-dollars a byte of the k-th step, a column for each tariff; the last column is free."""

    start: Floats
    width: Floats
    price: Floats
    unit: Floats

    def charge(self, tariff: Ints, sent: Floats) -> Floats:
        """Micro-dollars for `sent` bytes in a month by `tariff`, element by element."""
        total = np.zeros(np.broadcast(tariff, sent).shape)
        most = float(sent.max()) if sent.size else 0.0
        for start, width, price in zip(self.start, self.width, self.price, strict=True):
            if most <= start.min():
                continue  # nobody sends that much
            inside = sent - start.take(tariff)
            np.maximum(inside, 0.0, out=inside)
            np.minimum(inside, width.take(tariff), out=inside)
            inside *= price.take(tariff)
            total += inside
        return total


@dataclass(frozen=True, eq=False)
class Candidates:
    """Columns of one length, but those named after regions. `internet` is the tariff by
    destination (a row each), as `region_tariff` is of each region's default tier; `provider` an
    index of `providers`, `name_rank` the order of their names."""

    book: Book
    providers: tuple[str, ...]
    region: Ints
    machine: Ints
    price_row: Ints
    tier: tuple[str, ...]
    provider: Ints
    region_provider: Ints
    spot: Bools
    vcpus: Ints
    memory_mib: Ints
    price: Floats
    nic: Floats
    interruptions: Floats
    internet: Ints
    address: Floats
    steps: Steps
    region_tariff: Ints
    region_destination: Ints
    between: Floats
    name_rank: Ints

    def __len__(self) -> int:
        return len(self.tier)


@lru_cache(maxsize=4)
def candidates(book: Book) -> Candidates:
    """Rows in the order of the prices, then of the provider's tiers."""
    prices, regions, machines, egress = book.prices, book.regions, book.machines, book.egress
    providers = tuple(dict.fromkeys(regions.provider))
    code = {name: row for row, name in enumerate(providers)}
    region_provider = np.array([code[name] for name in regions.provider], dtype=np.int64)
    tiers = [egress.tiers.get(name) or ("",) for name in providers]
    of_price = region_provider[prices.region]
    copies = np.array([len(one) for one in tiers], dtype=np.int64)[of_price]
    price_row = np.repeat(np.arange(len(prices)), copies)
    nth = np.arange(len(price_row)) - np.repeat(np.cumsum(copies) - copies, copies)
    offered = _offered(book, tiers, region_provider)[prices.region[price_row], nth]
    price_row, nth = price_row[offered], nth[offered]
    region, machine = prices.region[price_row], prices.machine[price_row]
    provider, spot = region_provider[region], prices.spot[price_row]
    tariff = _tariffs(book, tiers, region_provider)
    return Candidates(
        book=book,
        providers=providers,
        region=region,
        machine=machine,
        price_row=price_row,
        tier=tuple(tiers[p][n] for p, n in zip(provider.tolist(), nth.tolist(), strict=True)),
        provider=provider,
        region_provider=region_provider,
        spot=spot,
        vcpus=machines.vcpus[machine],
        memory_mib=machines.memory_mib[machine],
        price=prices.price[price_row].astype(np.float64),
        nic=machines.nic_mbps[machine] * 1e6 / BITS_PER_BYTE,
        interruptions=prices.interruptions[price_row],
        internet=tariff[:, region, nth],
        address=_address(egress, providers)[spot.astype(np.int64), provider],
        steps=_steps(book),
        region_tariff=tariff[:, :, 0],
        region_destination=np.array([destination(one) for one in regions.country]),
        between=np.maximum(egress.between, 0) / egress.between_unit,
        name_rank=_name_rank(book, region, machine, spot, nth),
    )


def _offered(book: Book, tiers: list[tuple[str, ...]], region_provider: Ints) -> Bools:
    """By region and n-th tier: the first is offered everywhere, another where it has a tariff."""
    known = book.egress.internet
    return np.array(
        [
            [
                nth == 0 or (nth < len(names) and (region, names[nth], DESTINATIONS[0]) in known)
                for nth in range(max(map(len, tiers)))
            ]
            for region, names in enumerate(tiers[one] for one in region_provider.tolist())
        ],
        dtype=bool,
    )


def _address(egress: Egress, providers: Sequence[str]) -> Floats:
    """Micro-dollars an hour on demand (first row) and on spot, by provider."""
    known = egress.address
    usual = [known.get(name, 0) for name in providers]
    spot = [known.get(f"{name}:spot", cost) for name, cost in zip(providers, usual, strict=True)]
    return np.array([usual, spot], dtype=np.float64)


def _tariffs(book: Book, tiers: list[tuple[str, ...]], region_provider: Ints) -> Ints:
    """Column of `Steps` by destination, region and n-th tier; a destination without its own
    tariff has that of the world, a region without any sends for free."""
    egress, free = book.egress, len(book.egress.tariffs)
    most = max(len(one) for one in tiers)
    found = np.full((len(DESTINATIONS), len(book.regions), most), free, dtype=np.int64)
    for region, provider in enumerate(region_provider.tolist()):
        for nth, tier in enumerate(tiers[provider]):
            world = egress.internet.get((region, tier, DESTINATIONS[0]), free)
            for row, destination in enumerate(DESTINATIONS):
                found[row, region, nth] = egress.internet.get((region, tier, destination), world)
    return found


def _steps(book: Book) -> Steps:
    tariffs = book.egress.tariffs
    most = max((len(one.starts) for one in tariffs), default=1)
    start = np.full((most, len(tariffs) + 1), np.inf)
    width = np.zeros_like(start)
    price = np.zeros_like(start)
    start[:, -1] = 0.0
    for column, tariff in enumerate(tariffs):
        count = len(tariff.starts)
        ends = (*tariff.starts[1:], np.inf)
        start[:count, column] = np.array(tariff.starts) * tariff.unit
        width[:count, column] = (np.array(ends) - np.array(tariff.starts)) * tariff.unit
        price[:count, column] = np.array(tariff.price) / tariff.unit
    unit = np.array([*(one.unit for one in tariffs), 1.0], dtype=np.float64)
    return Steps(start, width, price, unit)


def _name_rank(book: Book, region: Ints, machine: Ints, spot: Bools, nth: Ints) -> Ints:
    """The order by provider, region, machine type, on demand before spot, tier."""
    places = _rank(list(zip(book.regions.provider, book.regions.name, strict=True)))
    types = _rank(list(zip(book.machines.provider, book.machines.name, strict=True)))
    order = np.lexsort((nth, spot, types[machine], places[region]))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank


def _rank(names: list[tuple[str, str]]) -> Ints:
    place = {name: rank for rank, name in enumerate(sorted(names))}
    return np.array([place[name] for name in names], dtype=np.int64)
