"""A newer book from what the clouds quote, and what differs between two.

Nothing absurd gets in: a price that is no positive number of dollars an hour never; one ten times
the old, or a tenth of it, only when a person insists.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from statistics import median
from typing import Final

import numpy as np

from fedspan.domain.quotes import HOUR, USD, Interface, Quote, Shape, Wanted
from fedspan.placement.book import BASES, EPOCH, Book, Prices, Source, unranked

ABSURD: Final = 10
MOST_USD: Final = 10_000
"""An hour of any machine costs less."""

MICRO: Final = 1_000_000
LIST: Final = BASES.index("list")


@dataclass(frozen=True, slots=True, order=True)
class Offer:
    """What a price is of."""

    provider: str
    region: str
    machine: str
    spot: bool

    def __str__(self) -> str:
        purchase = "spot" if self.spot else "on demand"
        return f"{self.provider}:{self.region} {self.machine} {purchase}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A quote nobody should believe. `final`: nor can a person insist on it."""

    offer: Offer
    why: str
    final: bool

    def __str__(self) -> str:
        return f"{self.offer}: {self.why}"


@dataclass(frozen=True, slots=True)
class Tally:
    """What a revision did for a provider. `kept` prices of the regions asked were not quoted,
    and `strange` quotes are of what the book does not know."""

    changed: int = 0
    unchanged: int = 0
    added: int = 0
    kept: int = 0
    strange: int = 0


@dataclass(frozen=True)
class Revision:
    """`book` holds every quote that was not refused, and the old price where there is none."""

    book: Book
    refused: tuple[Refused, ...]
    tallies: Mapping[str, Tally]


@dataclass(frozen=True, slots=True)
class Change:
    """Micro-dollars an hour, before and after."""

    offer: Offer
    old: int
    new: int

    @property
    def relative(self) -> float:
        return self.new / self.old - 1


@dataclass(frozen=True)
class Difference:
    """Between the prices of a provider in two books. `median` is of all that are in both, the
    unchanged included; `rises` and `falls` are the largest, the largest first."""

    provider: str
    old: int
    new: int
    changed: int
    median: float
    rises: tuple[Change, ...]
    falls: tuple[Change, ...]
    appeared: tuple[Offer, ...]
    vanished: tuple[Offer, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    price: int
    basis: int
    dated: int
    interruptions: float
    source: str


def wanted(book: Book, provider: str, regions: Sequence[str] = ()) -> Wanted:
    """What `book` knows of `provider`: in these `regions`, or in all of it."""
    machines, places = book.machines, book.regions
    shapes = tuple(
        Shape(
            machines.name[row],
            int(machines.vcpus[row]),
            int(machines.memory_mib[row]),
            machines.gpu[row],
            int(machines.gpus[row]),
        )
        for row, its in enumerate(machines.provider)
        if its == provider
    )
    known = [
        name for its, name in zip(places.provider, places.name, strict=True) if its == provider
    ]
    return Wanted(tuple(name for name in known if not regions or name in regions), shapes)


def revise(
    book: Book,
    quotes: Mapping[str, tuple[Wanted, Sequence[Quote]]],
    interfaces: Iterable[Interface],
    today: date,
    *,
    force: bool = False,
) -> Revision:
    """`book` with what was asked of each provider and quoted. `force` lets prices in that are ten
    times the old or a tenth of it. The result has no hash yet: it is no file."""
    rows = dict(_rows(book))
    measures = _Measures(_machine_index(book).keys(), _usual(rows), force)
    refused: list[Refused] = []
    tallies = {}
    for provider, (asked, quoted) in quotes.items():
        offers = [(Offer(provider, one.region, one.machine, one.spot), one) for one in quoted]
        # A provider that the book lacks has no region in it, so nothing of it is known.
        known = [(o, q) for o, q in offers if _place(o) in book.regions.index]
        known = [(o, q) for o, q in known if (provider, o.machine) in measures.machines]
        tally = _enter(rows, known, measures, today, refused)
        kept, strange = _kept(rows, provider, asked, known), len(offers) - len(known)
        tallies[provider] = replace(tally, kept=kept, strange=strange)
    fresh = {row.source for row in rows.values() if row.dated == (today - EPOCH).days}
    sources = {
        one.id: Source(one.id, one.title, one.where, today, one.licence)
        for one in interfaces
        if one.id in fresh
    }
    made = replace(
        book, made=today, sources=book.sources | sources, prices=_prices(book, rows), sha256=""
    )
    return Revision(made, tuple(refused), tallies)


@dataclass(frozen=True)
class _Measures:
    """What quotes are judged by: see `_usual`."""

    machines: Set[tuple[str, str]]
    usual: Mapping[tuple[str, str, bool], float]
    force: bool


def _enter(
    rows: dict[Offer, _Row],
    quoted: Iterable[tuple[Offer, Quote]],
    measures: _Measures,
    today: date,
    refused: list[Refused],
) -> Tally:
    """Change `rows` as quoted, and add to `refused` what nobody should believe."""
    counts = {"changed": 0, "unchanged": 0, "added": 0}
    for offer, quote in quoted:
        old = rows.get(offer)
        doubt = _doubt(offer, quote, old, measures.usual)
        if doubt is not None and (doubt.final or not measures.force):
            refused.append(doubt)
            continue
        price = _micro(quote.price)
        counts[_what_happened(old, price)] += 1
        risk = old.interruptions if old else unranked(offer.provider) * offer.spot
        rows[offer] = _Row(price, LIST, (today - EPOCH).days, risk, quote.interface)
    return Tally(**counts)


def _kept(
    rows: Iterable[Offer], provider: str, asked: Wanted, quoted: Iterable[tuple[Offer, Quote]]
) -> int:
    regions, seen = frozenset(asked.regions), {offer for offer, _ in quoted}
    return sum(
        one.provider == provider and one.region in regions and one not in seen for one in rows
    )


def compare(old: Book, new: Book, *, most: int = 5) -> tuple[Difference, ...]:
    """What became of the prices, by provider; `most` rises and falls of each."""
    before, after = dict(_rows(old)), dict(_rows(new))
    providers = dict.fromkeys((*old.machines.provider, *new.machines.provider))
    return tuple(_difference(one, before, after, most) for one in providers)


def _difference(
    provider: str, before: Mapping[Offer, _Row], after: Mapping[Offer, _Row], most: int
) -> Difference:
    was = {offer: row.price for offer, row in before.items() if offer.provider == provider}
    now = {offer: row.price for offer, row in after.items() if offer.provider == provider}
    both = [Change(offer, was[offer], now[offer]) for offer in was if offer in now]
    changed = [one for one in both if one.old != one.new]
    ordered = sorted(changed, key=lambda one: (one.relative, one.offer))
    return Difference(
        provider=provider,
        old=len(was),
        new=len(now),
        changed=len(changed),
        median=median(one.relative for one in both) if both else 0.0,
        rises=tuple([one for one in reversed(ordered) if one.relative > 0][:most]),
        falls=tuple([one for one in ordered if one.relative < 0][:most]),
        appeared=tuple(sorted(now.keys() - was.keys())),
        vanished=tuple(sorted(was.keys() - now.keys())),
    )


def _rows(book: Book) -> Iterator[tuple[Offer, _Row]]:
    prices, regions, machines = book.prices, book.regions, book.machines
    columns = zip(
        prices.region.tolist(),
        prices.machine.tolist(),
        prices.spot.tolist(),
        prices.price.tolist(),
        prices.basis.tolist(),
        prices.dated.tolist(),
        prices.interruptions.tolist(),
        prices.source,
        strict=True,
    )
    for region, machine, spot, *rest in columns:
        offer = Offer(regions.provider[region], regions.name[region], machines.name[machine], spot)
        yield offer, _Row(*rest)


def _prices(book: Book, rows: Mapping[Offer, _Row]) -> Prices:
    machines = _machine_index(book)
    return Prices(
        region=np.array([book.regions.index[_place(one)] for one in rows], np.int64),
        machine=np.array([machines[one.provider, one.machine] for one in rows], np.int64),
        spot=np.array([one.spot for one in rows], np.bool_),
        price=np.array([row.price for row in rows.values()], np.int64),
        basis=np.array([row.basis for row in rows.values()], np.int64),
        dated=np.array([row.dated for row in rows.values()], np.int64),
        interruptions=np.array([row.interruptions for row in rows.values()], np.float64),
        source=tuple(row.source for row in rows.values()),
    )


def _machine_index(book: Book) -> dict[tuple[str, str], int]:
    pairs = zip(book.machines.provider, book.machines.name, strict=True)
    return {pair: row for row, pair in enumerate(pairs)}


def _place(offer: Offer) -> str:
    return f"{offer.provider}:{offer.region}"


def _usual(rows: Mapping[Offer, _Row]) -> dict[tuple[str, str, bool], float]:
    """What a machine type costs in the median region: the measure of a price that is new."""
    found: dict[tuple[str, str, bool], list[int]] = defaultdict(list)
    for offer, row in rows.items():
        found[offer.provider, offer.machine, offer.spot].append(row.price)
    return {key: median(prices) for key, prices in found.items()}


def _doubt(
    offer: Offer, quote: Quote, old: _Row | None, usual: Mapping[tuple[str, str, bool], float]
) -> Refused | None:
    said = f"{quote.price} {quote.currency} for 1 {quote.unit}"
    if quote.currency != USD:
        return Refused(offer, f"is quoted in {quote.currency}, not {USD} ({said})", True)
    if quote.unit != HOUR:
        return Refused(offer, f"is quoted by {quote.unit!r}, not by the {HOUR} ({said})", True)
    if not quote.price.is_finite():
        return Refused(offer, f"{quote.price} is no price", True)
    if quote.price > MOST_USD:
        return Refused(offer, f"{_usd(quote.price)} an hour is more than any machine costs", True)
    if quote.price <= 0 or _micro(quote.price) == 0:
        return Refused(offer, f"{_usd(quote.price)} an hour: want more than nothing", True)
    price = _micro(quote.price)
    known = old.price if old else usual.get((offer.provider, offer.machine, offer.spot))
    if known is None:
        return None
    measure = "it was" if old else "in the median region it is"
    if price >= known * ABSURD or price * ABSURD <= known:
        was = f"{measure} {_usd(Decimal(known) / MICRO)}"
        return Refused(offer, f"{_usd(quote.price)} an hour, but {was}", False)
    return None


def _what_happened(old: _Row | None, price: int) -> str:
    if old is None:
        return "added"
    return "unchanged" if old.price == price else "changed"


def _micro(price: Decimal) -> int:
    return int((price * MICRO).to_integral_value())


def _usd(price: Decimal) -> str:
    return f"${float(price):.6g}"
