"""What a job cost, to the micro-dollar: by cloud, by round, by participant.

Every view is the same charges added up in another way, so all have one total. What is shared (a
machine's hours, a tariff's steps) is shared out in whole micro-dollars by largest remainder.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from fedspan.domain.machines import Offer
from fedspan.domain.rates import MICROSECOND, Messages, Rates, hourly, rounded
from fedspan.domain.rounds import Round
from fedspan.domain.values import Instant, MicroUsd, Name, Value
from fedspan.errors import BetweenRounds

K = TypeVar("K", bound=Hashable)

OVERHEAD: Final = -1
UNFINISHED: Final = 0
"""What belongs to no complete round, beside the numbers of those."""


class Kind(StrEnum):
    """What is charged for. Uploads are what participants in public clouds pay to send."""

    MACHINE = "machine"
    ADDRESS = "address"
    EGRESS = "egress"
    UPLOADS = "uploads"


class Incarnation(Value):
    """One aggregator of a job. `address` is micro-dollars an hour; `stopped` is missing while it
    runs, and `code` then says nothing yet: else it is a class name of our error tree, or how the
    job ended. `begun` is when it began `round`, the one it was in, sending `bytes` to those `asked`
    to train and from those that `replied`, and to those asked to have it `evaluated`; to each with
    `program` bytes. `sent` are the bytes of its complete rounds, by flow."""

    epoch: PositiveInt
    offer: Offer
    address: MicroUsd
    launched: Instant | None
    stopped: Instant | None = None
    code: str = ""
    begun: Instant | None = None
    round: NonNegativeInt = 0
    asked: tuple[Name, ...] = ()
    replied: tuple[Name, ...] = ()
    evaluated: tuple[Name, ...] = ()
    bytes: NonNegativeInt = 0
    program: NonNegativeInt = 0
    sent: tuple[NonNegativeInt, ...] = ()


class Charges(Value):
    machine: MicroUsd = 0
    address: MicroUsd = 0
    egress: MicroUsd = 0
    uploads: MicroUsd = 0

    @property
    def total(self) -> int:
        return self.machine + self.address + self.egress + self.uploads


class Away(Value):
    """How often aggregators were given back while participants trained, for how long in all, and
    what their machines and addresses would have cost meanwhile, at their own prices."""

    times: NonNegativeInt = 0
    seconds: NonNegativeFloat = 0.0
    saved: MicroUsd = 0


class Bill(Value):
    """Micro-dollars. `rounds` with `overhead` and `unfinished` add up to `total`, so do
    `participants` with them, and `clouds` alone. `overhead` is time outside of rounds (boot,
    recovery, tear-down), `unfinished` what went into rounds that were not completed there. `away`
    is what giving aggregators back between rounds has saved, and no part of the total. It is
    `settled` when the job has ended: nothing is added any more."""

    job: str
    settled: bool
    incarnations: NonNegativeInt
    away: Away = Away()
    total: MicroUsd
    clouds: dict[str, Charges] = Field(default_factory=dict)
    rounds: dict[int, Charges] = Field(default_factory=dict)
    participants: dict[str, Charges] = Field(default_factory=dict)
    overhead: Charges = Charges()
    unfinished: Charges = Charges()

    @property
    def aggregators(self) -> int:
        """For their machines and addresses, without traffic."""
        return sum(one.machine + one.address for one in self.clouds.values())


@dataclass(slots=True)
class _Sums:
    clouds: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    rounds: defaultdict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    people: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, cloud: str, kind: Kind, number: int, shares: Mapping[str, int]) -> None:
        """`shares` are by participant; by nobody for what belongs to no complete round."""
        amount = sum(shares.values())
        self.clouds[cloud][kind.value] += amount
        self.rounds[number][kind.value] += amount
        for name, share in shares.items():
            if name:
                self.people[name][kind.value] += share


def bill(
    job: str,
    incarnations: Iterable[tuple[Incarnation, Rates]],
    rounds: Iterable[Round],
    *,
    settled: bool,
    until: datetime | None = None,
) -> Bill:
    """The same for the same, in whatever order it is told. All incarnations have `stopped`;
    `until` is when an absence ends that no later incarnation has ended."""
    sums, done = _Sums(), {(one.epoch, one.number): one for one in rounds}
    known = sorted(incarnations, key=lambda one: one[0].epoch)
    for incarnation, rates in known:
        mine = [done[key] for key in sorted(done) if key[0] == incarnation.epoch]
        _hours(sums, incarnation, mine)
        _traffic(sums, incarnation, rates, mine)
    clouds = {cloud: Charges(**sums.clouds[cloud]) for cloud in sorted(sums.clouds)}
    return Bill(
        job=job,
        settled=settled,
        incarnations=len(known),
        away=_away([one for one, _ in known], until),
        total=sum(one.total for one in clouds.values()),
        clouds=clouds,
        rounds={n: Charges(**sums.rounds[n]) for n in sorted(sums.rounds) if n > 0},
        participants={name: Charges(**sums.people[name]) for name in sorted(sums.people)},
        overhead=Charges(**sums.rounds[OVERHEAD]),
        unfinished=Charges(**sums.rounds[UNFINISHED]),
    )


def _away(known: Sequence[Incarnation], until: datetime | None) -> Away:
    """From each end of one that was given back to the next launch."""
    times, gone, saved = 0, timedelta(0), 0
    for index, one in enumerate(known):
        if one.code != BetweenRounds.__name__ or one.stopped is None:
            continue
        launches = [next.launched for next in known[index + 1 :] if next.launched is not None]
        lasted = max(timedelta(0), min([*launches, *([until] if until else [])]) - one.stopped)
        times, gone = times + 1, gone + lasted
        saved += hourly(one.offer.price, lasted) + hourly(one.address, lasted)
    return Away(times=times, seconds=round(gone.total_seconds(), 3), saved=saved)


def _hours(sums: _Sums, one: Incarnation, mine: Sequence[Round]) -> None:
    """The machine's time goes to its rounds, and there to those that were asked alike."""
    if one.launched is None or one.stopped is None:
        return
    lasted = one.stopped - one.launched
    spans = {this.number: round(this.seconds * 1e6) for this in mine if _asked(this)}
    left = max(0, lasted // MICROSECOND - sum(spans.values()))
    begun = one.begun if one.begun and not _completed(one, mine) else one.stopped
    spans[UNFINISHED] = min(left, max(0, (one.stopped - begun) // MICROSECOND))
    spans[OVERHEAD] = left - spans[UNFINISHED]
    people = {this.number: _asked(this) for this in mine}
    prices = ((Kind.MACHINE, one.offer.price), (Kind.ADDRESS, one.address))
    for kind, price in prices:
        for number, amount in apportioned(hourly(price, lasted), spans).items():
            shares = apportioned(amount, dict.fromkeys(people.get(number) or [""], 1))
            sums.add(one.offer.provider, kind, number, shares)


def _traffic(sums: _Sums, one: Incarnation, rates: Rates, mine: Sequence[Round]) -> None:
    """Tariffs are climbed in the order of the rounds."""
    sent = rates.counted()
    for this in mine:
        messages = Messages.of(this.participants, this.checkpoint.bytes, one.program)
        sent = _sent(sums, rates, sent, this.number, messages)
    if one.begun is not None and not _completed(one, mine):
        asked = (*one.asked, *one.evaluated)
        messages = Messages(asked, one.replied, one.bytes, one.program)
        _sent(sums, rates, sent, UNFINISHED, messages)


def _sent(
    sums: _Sums, rates: Rates, before: tuple[int, ...], number: int, told: Messages
) -> tuple[int, ...]:
    """What a round's messages cost, after the bytes `before`; and the bytes after it."""
    after = rates.counted(before, told)
    for way, who, kind in (
        (rates.down, told.asked, Kind.EGRESS),
        (rates.up, told.replied, Kind.UPLOADS),
    ):
        users: defaultdict[int, list[str]] = defaultdict(list)
        for name in sorted(who):
            if name in way:
                users[way[name]].append(name if number > 0 else "")
        for index, names in users.items():
            flow = rates.flows[index]
            amount = flow.charge(after[index]) - flow.charge(before[index])
            sums.add(flow.cloud, kind, number, apportioned(amount, Counter(names)))
    return after


def _asked(one: Round) -> list[str]:
    return sorted(name for name, part in one.participants.items() if part.asked)


def _completed(one: Incarnation, mine: Sequence[Round]) -> bool:
    """Whether the round it was in was completed after all, by a report that came late."""
    return any(this.number == one.round for this in mine)


def apportioned(amount: int, weights: Mapping[K, int]) -> dict[K, int]:
    """`amount` in whole parts by weight, largest remainders rounded up; the earlier of equals.
    Without any weight all is the last one's."""
    total = sum(weights.values())
    if total == 0:
        return {key: amount if key == [*weights][-1] else 0 for key in weights}
    parts = {key: amount * weight // total for key, weight in weights.items()}
    order = sorted(weights, key=lambda key: -(amount * weights[key] % total))
    for key in order[: amount - sum(parts.values())]:
        parts[key] += 1
    return parts


def shown(amounts: Sequence[int], unit: int, total: int | None = None) -> list[int]:
    """`amounts` in whole `unit`s that add up to `total` (of them, if not given): each rounded up or
    down, those up that have most of one."""
    target = rounded(sum(amounts), unit) if total is None else total
    parts = [amount // unit for amount in amounts]
    order = sorted(range(len(amounts)), key=lambda n: -(amounts[n] % unit))
    for n in order[: max(0, target - sum(parts))]:
        parts[n] += 1
    return parts
