"""How an incarnation's traffic is billed, read from the book: as a quote counts it (`cost`), but
participant by participant, so that a bill can say who was sent what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from fedspan.domain.machines import Offer
from fedspan.domain.placements import Participant
from fedspan.domain.rates import Flow, Rates, Tariff
from fedspan.placement.book import Book
from fedspan.placement.candidates import DESTINATIONS, WORLD, destination
from fedspan.placement.federation import federation
from fedspan.placement.offers import place_of

Used = Mapping[tuple[str, Tariff], int]
"""Bytes by cloud and tariff."""


class _Flows:
    """Made as they are needed; those on one account by one tariff are one."""

    def __init__(self, used_gb: Mapping[str, float], earlier: Used) -> None:
        self.made: list[Flow] = []
        self._of: dict[tuple[str, str, Tariff], int] = {}
        self._used_gb, self._earlier = used_gb, earlier

    def of(self, cloud: str, tariff: Tariff | None, account: str = "") -> int | None:
        """The flow's index; none where sending is free. A participant's account is its own, and
        nobody knows what else it sent."""
        if tariff is None or not any(tariff.prices):
            return None
        if (cloud, account, tariff) not in self._of:
            used = 0 if account else round(self._used_gb.get(cloud, 0.0) * tariff.unit)
            before = used + (0 if account else self._earlier.get((cloud, tariff), 0))
            self._of[cloud, account, tariff] = len(self.made)
            self.made.append(Flow(cloud=cloud, tariff=tariff, before=before))
        return self._of[cloud, account, tariff]


def rates(
    book: Book,
    offer: Offer,
    participants: Sequence[Participant],
    *,
    used_gb: Mapping[str, float],
    earlier: Used,
) -> Rates:
    """Of an aggregator that runs as `offer`. The month's steps begin after `used_gb`, and after
    what `earlier` incarnations sent."""
    parties, flows = federation(book, participants), _Flows(used_gb, earlier)
    here = book.regions.index.get(place_of(offer), -1)
    tier = offer.network_tier or _tier(book, offer.provider)
    towards = destination(book.regions.country[here]) if here >= 0 else WORLD
    down: dict[str, int | None] = {}
    up: dict[str, int | None] = {}
    rows = zip(parties.names, parties.cloud.tolist(), parties.destination.tolist(), strict=True)
    for name, home, where in rows:
        owner = book.regions.provider[home] if home >= 0 else ""
        inside = here >= 0 and owner == offer.provider
        if here >= 0:
            sent = between(book, here, home) if inside else internet(book, here, tier, where)
            down[name] = flows.of(offer.provider, sent)
        if home >= 0:
            own = _tier(book, owner)
            back = between(book, home, here) if inside else internet(book, home, own, towards)
            up[name] = flows.of(owner, back, name)
    return Rates(flows=tuple(flows.made), down=_billed(down), up=_billed(up))


def earlier(known: Sequence[tuple[Rates, Sequence[int]]]) -> Used:
    """What incarnations of these rates sent, by flow each."""
    used: Counter[tuple[str, Tariff]] = Counter()
    for one, sent in known:
        # a participant's own account has nothing in common with the aggregator's
        shared = set(one.down.values())
        for index, (flow, count) in enumerate(zip(one.flows, sent, strict=False)):
            if index in shared:
                used[flow.cloud, flow.tariff] += count
    return used


def internet(book: Book, region: int, tier: str, where: int) -> Tariff | None:
    """A destination without its own tariff has that of the world, a region without any sends for
    free."""
    egress = book.egress
    world = egress.internet.get((region, tier, DESTINATIONS[WORLD]))
    index = egress.internet.get((region, tier, DESTINATIONS[where]), world)
    if index is None:
        return None
    found = egress.tariffs[index]
    return Tariff(
        starts=tuple(round(one * found.unit) for one in found.starts),
        prices=found.price,
        unit=found.unit,
    )


def between(book: Book, region: int, other: int) -> Tariff:
    """From region to region of one provider."""
    egress = book.egress
    price = max(0, int(egress.between[region, other]))
    return Tariff(starts=(0,), prices=(price,), unit=egress.between_unit)


def _tier(book: Book, provider: str) -> str:
    return next(iter(book.egress.tiers.get(provider) or ("",)))


def _billed(flows: Mapping[str, int | None]) -> dict[str, int]:
    return {name: flow for name, flow in flows.items() if flow is not None}
