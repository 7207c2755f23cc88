"""What a job costs at each candidate: the machine, its address, and what is sent.

Only the way down is billed to the aggregator; participants in public clouds pay for the way up.
Traffic inside a provider goes by its inter-region prices, all else by internet tariffs, which are
marginal by what the account has sent in the month.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedspan.placement.book import Floats, Ints
from fedspan.placement.candidates import DESTINATIONS, Candidates, Rows
from fedspan.placement.federation import Federation
from fedspan.placement.makespan import HOUR


@dataclass(frozen=True, eq=False)
class Bill:
    """Expected micro-dollars by candidate. `participants` is what those in clouds pay."""

    vm: Floats
    egress: Floats
    address: Floats
    participants: Floats

    @property
    def total(self) -> Floats:
        return self.vm + self.egress + self.address + self.participants


@dataclass(frozen=True, eq=False)
class Traffic:
    """Who is reached how, for each candidate: the number of participants by internet
    destination (a row each), and micro-dollars a byte summed over those in the same provider,
    by region of the aggregator: `down` to them, `up` from them. `clouds` counts participants by
    the region they sit in."""

    reached: Floats
    down: Floats
    up: Floats
    clouds: dict[int, int]


def traffic(table: Candidates, parties: Federation) -> Traffic:
    inside = parties.cloud >= 0
    rows, counts = np.unique(parties.cloud[inside], return_counts=True)
    all_by_destination = np.bincount(parties.destination, minlength=len(DESTINATIONS))
    reached = np.repeat(all_by_destination[:, None], len(table.providers), axis=1).astype(float)
    owner = table.region_provider[parties.cloud[inside]]
    np.subtract.at(reached, (parties.destination[inside], owner), 1.0)
    same = table.region_provider[:, None] == table.region_provider[rows]
    return Traffic(
        reached=reached,
        down=(np.where(same, table.between[:, rows], 0.0) * counts).sum(axis=1),
        up=(np.where(same, table.between[rows, :].T, 0.0) * counts).sum(axis=1),
        clouds=dict(zip(rows.tolist(), counts.tolist(), strict=True)),
    )


def bill(
    table: Candidates,
    rows: Rows,
    flows: Traffic,
    used_gb: Mapping[str, float],
    *,
    price: Floats,
    seconds: Floats,
    sent: Floats,
    back: Floats,
) -> Bill:
    """The bill of the candidates in `rows`, that run `seconds` at `price` micro-dollars an hour
    while each participant is sent `sent` bytes in all, and sends `back`."""
    hours = seconds / HOUR
    return Bill(
        vm=price * hours,
        egress=_egress(table, rows, flows, used_gb, sent),
        address=table.address[rows] * hours,
        participants=_participants(table, rows, flows, back),
    )


def _egress(
    table: Candidates, rows: Rows, flows: Traffic, used_gb: Mapping[str, float], sent: Floats
) -> Floats:
    provider, tariffs = table.provider[rows], table.internet[:, rows]
    used = np.array([used_gb.get(name, 0.0) for name in table.providers])
    counts = _by_tariff(tariffs, flows.reached[:, provider])
    total = _internet(table, tariffs[0], used[provider], counts[0] * sent)
    for tariff, count in zip(tariffs[1:], counts[1:], strict=True):
        own = np.flatnonzero(count)
        if own.size:
            volume = (count * sent)[own]
            total[own] += _internet(table, tariff[own], used[provider[own]], volume)
    if flows.clouds:
        total += flows.down[table.region[rows]] * sent
    return total


def _by_tariff(tariffs: Ints, counts: Floats) -> Floats:
    """Participants by destination, those of a later one counted with an earlier whose tariff is
    the same: what goes by one tariff climbs its steps together."""
    for late in range(len(counts) - 1, 0, -1):
        if not counts[late].any():
            continue
        for early in range(late):
            moved = np.where(tariffs[late] == tariffs[early], counts[late], 0.0)
            counts[early] += moved
            counts[late] -= moved
    return counts


def _internet(table: Candidates, tariff: Ints, used: Floats, sent: Floats) -> Floats:
    """Micro-dollars for `sent` bytes after `used` units of the month."""
    if not used.any():
        return table.steps.charge(tariff, sent)
    before = used * table.steps.unit[tariff]
    steps = table.steps
    return steps.charge(tariff, before + sent) - steps.charge(tariff, before)


def _participants(table: Candidates, rows: Rows, flows: Traffic, sent: Floats) -> Floats:
    if not flows.clouds:
        return np.zeros_like(sent)
    region, provider = table.region[rows], table.provider[rows]
    total: Floats = flows.up[region] * sent
    towards = table.region_destination[region]
    for home, count in flows.clouds.items():
        tariff = table.region_tariff[towards, home]
        outside = provider != table.region_provider[home]
        total += np.where(outside, count * table.steps.charge(tariff, sent), 0.0)
    return total
