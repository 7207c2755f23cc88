"""What is in a book, counted and listed, and how old it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from fedspan.placement.book import BASES, EPOCH, Book, Bools, Ints, Source


@dataclass(frozen=True, slots=True)
class Age:
    """Of prices: how many, from when, and how many of them are `stale`."""

    prices: int
    oldest: date | None
    newest: date | None
    stale: int


@dataclass(frozen=True, slots=True)
class Share:
    """What a book has of a provider."""

    provider: str
    regions: int
    machines: int
    on_demand: int
    spot: int
    age: Age


@dataclass(frozen=True, slots=True)
class Listed:
    """A price; `price` in micro-dollars an hour, `interruptions` an hour."""

    provider: str
    region: str
    city: str
    country: str
    machine: str
    arch: str
    vcpus: int
    memory_mib: int
    gpu: str
    gpus: int
    spot: bool
    price: int
    dated: date
    basis: str
    source: str
    interruptions: float
    stale: bool


def chosen(book: Book, *, provider: str = "", region: str = "", machine: str = "") -> Bools:
    """Which rows of the prices are of these; an empty name is any. `region` is of `provider`."""
    prices = book.prices
    its_region = np.array(book.regions.name, object)[prices.region]
    its_provider = np.array(book.regions.provider, object)[prices.region]
    its_machine = np.array(book.machines.name, object)[prices.machine]
    every = np.ones(len(prices), np.bool_)
    wanted = ((its_provider, provider), (its_region, region), (its_machine, machine))
    for column, name in wanted:
        if name:
            every &= column == name
    return every


def shares(book: Book, rows: Bools, since: date) -> Iterator[Share]:
    """By provider, of these `rows`; a price from before `since` is stale."""
    prices = book.prices
    its_provider = np.array(book.regions.provider, object)[prices.region]
    for provider in dict.fromkeys(book.regions.provider):
        own = rows & (its_provider == provider)
        if own.any():
            yield Share(
                provider=provider,
                regions=len(np.unique(prices.region[own])),
                machines=len(np.unique(prices.machine[own])),
                on_demand=int((own & ~prices.spot).sum()),
                spot=int((own & prices.spot).sum()),
                age=_age(prices.dated[own], since),
            )


def ages(book: Book, rows: Bools, since: date) -> Iterator[tuple[Source, Age]]:
    """Every source, with the age of the prices among `rows` that it gave."""
    its_source = np.array(book.prices.source, object)
    for source in book.sources.values():
        yield source, _age(book.prices.dated[rows & (its_source == source.id)], since)


def listed(book: Book, rows: Bools, since: date) -> Iterator[Listed]:
    """The cheapest first."""
    prices, regions, machines = book.prices, book.regions, book.machines
    found = np.flatnonzero(rows)
    for row in found[np.argsort(prices.price[found], kind="stable")].tolist():
        region, machine = int(prices.region[row]), int(prices.machine[row])
        dated = _day(int(prices.dated[row]))
        yield Listed(
            provider=regions.provider[region],
            region=regions.name[region],
            city=regions.city[region],
            country=regions.country[region],
            machine=machines.name[machine],
            arch=machines.arch[machine],
            vcpus=int(machines.vcpus[machine]),
            memory_mib=int(machines.memory_mib[machine]),
            gpu=machines.gpu[machine],
            gpus=int(machines.gpus[machine]),
            spot=bool(prices.spot[row]),
            price=int(prices.price[row]),
            dated=dated,
            basis=BASES[int(prices.basis[row])],
            source=prices.source[row],
            interruptions=float(prices.interruptions[row]),
            stale=dated < since,
        )


def _age(dated: Ints, since: date) -> Age:
    if not len(dated):
        return Age(0, None, None, 0)
    stale = int((dated < (since - EPOCH).days).sum())
    return Age(len(dated), _day(int(dated.min())), _day(int(dated.max())), stale)


def _day(days: int) -> date:
    return EPOCH + timedelta(days=days)
