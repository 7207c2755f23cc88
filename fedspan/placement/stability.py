"""How sure an answer is: RTTs and prices drawn within their error, outages drawn by their rate.

Drawn are, for each region, where its RTTs lie within their error (for the participant that decides
the round, and for the furthest), for each candidate its price, and for each tariff the price of
egress, both within 5 %. Constraints are not looked at again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np

from fedspan.domain.placements import Hours, Stability
from fedspan.placement import replay
from fedspan.placement.book import Floats, Ints
from fedspan.placement.duration import participant_seconds
from fedspan.placement.evaluation import (
    OUTAGE_S,
    Evaluation,
    Setting,
    job_seconds,
    judged,
    rounds_after,
    undisturbed_seconds,
)
from fedspan.placement.federation import band_ms
from fedspan.placement.front import TieBreaks, pareto, ranked, scale
from fedspan.placement.latency import LEAST_MS
from fedspan.placement.makespan import HOUR

DRAWS: Final = 100
REPLAYS: Final = 400
RIVALS: Final = 3
"""So many that were first otherwise are named."""
PRICE_ERROR: Final = 0.05
P90: Final = 1.645
"""Standard deviations within which a normal value lies in 9 of 10 cases."""
LONGEST_REPLAY: Final = 300
"""Interruptions to be expected; of more, the sum is as good as normal, and is not replayed."""


@dataclass(frozen=True, eq=False)
class Draws:
    """`found` is what is expected of all candidates. By draw: the `luck` of each region's RTT, as
    a share of its error, and the ms to its furthest participant; seconds of the job and
    micro-dollars of each candidate in `rows`."""

    on: Setting
    found: Evaluation
    luck: Floats
    furthest: Floats
    rows: Ints
    seconds: Floats
    cost: Floats

    def hours(self, row: int) -> Hours:
        """Quoted for any candidate: the job replayed where outages fall by chance, its rounds as
        long as the luck of its region makes them."""
        on, expected = self.on, float(self.found.seconds[row])
        first = _first_seconds(on, self.luck, np.array([row]))[:, 0]
        same = np.full(len(first), row)
        drawn = job_seconds(on, same, rounds_after(on, same, first))
        hours = (np.tile(drawn - expected, REPLAYS // DRAWS) + self._replayed(row)) / HOUR
        p50, p95 = np.quantile(np.clip(hours, 0.0, replay.GIVE_UP_HOURS), (0.5, 0.95)).tolist()
        return Hours(expected=round(expected / HOUR, 4), p50=round(p50, 4), p95=round(p95, 4))

    def _replayed(self, row: int) -> Floats:
        """Seconds."""
        on, expected = self.on, float(self.found.seconds[row])
        hazard, usual = float(on.hazard[row]), self.found.round_s[[row]]
        count = hazard * expected / HOUR
        if count == 0:
            return np.full(REPLAYS, expected)
        rng = np.random.default_rng((on.question.seed, row))
        if count > LONGEST_REPLAY:
            # each costs what it undoes, even over the stretch: E[x^2] = 4/3 E[x]^2
            lost = expected - float(undisturbed_seconds(on.work, on.setup[[row]], usual)[0])
            spread: Floats = lost * np.sqrt(4 / (3 * count)) * rng.standard_normal(REPLAYS)
            return expected + spread
        work = replay.Work(
            rounds=on.work.rounds,
            round_seconds=float(usual[0]),
            checkpoint_every=on.work.every,
            checkpoint_seconds=on.work.checkpoint_s,
            setup_seconds=float(on.setup[row]),
            recovery_seconds=float(on.recovery[row]),
        )
        return replay.sampled(rng, work, hazard, OUTAGE_S / HOUR, REPLAYS) * HOUR

    def stability(self, best: int) -> Stability:
        """How often the candidate `best` is first."""
        firsts = Counter(self._first(draw) for draw in range(DRAWS))
        rivals = [row for row, _ in firsts.most_common() if row != best][:RIVALS]
        return Stability(
            best=firsts[best], draws=DRAWS, rivals=tuple(self._name(row) for row in rivals)
        )

    def _first(self, draw: int) -> int:
        cost, seconds = self.cost[draw], self.seconds[draw]
        front = pareto(cost, seconds)
        by = scale(self.on.question.placement, cost[front], seconds[front])
        ties = TieBreaks(self.on.table, self.found.p_interruption, self.furthest[draw])
        return int(ranked(by, self.rows, by.of(cost, seconds), ties, 1)[0])

    def _name(self, row: int) -> str:
        table = self.on.table
        region, machine = int(table.region[row]), int(table.machine[row])
        book, option = self.on.book, "spot" if table.spot[row] else "on demand"
        place = f"{book.regions.provider[region]}:{book.regions.name[region]}"
        tier = f", {table.tier[row]} tier" if table.tier[row] else ""
        return f"{place} {book.machines.name[machine]} {option}{tier}"


def draws(on: Setting, found: Evaluation, rows: Ints) -> Draws:
    """`DRAWS` variations, the same for the same seed; of the candidates in `rows` those of their
    prices too."""
    rng = np.random.default_rng(on.question.seed)
    reach, table, every = on.reach, on.table, np.arange(len(on.book.regions))
    luck = rng.standard_normal((DRAWS, len(every))) / P90
    first = _first_seconds(on, luck, rows)
    price = table.price[rows] * _within(rng, first.shape)
    tariffs = _within(rng, (DRAWS, len(on.book.egress.tariffs) + 1))[:, table.internet[0, rows]]
    varied = judged(on, np.tile(rows, DRAWS), first=first.ravel(), price=price.ravel())
    dearer = varied.bill.egress * (tariffs.ravel() - 1)
    return Draws(
        on,
        found,
        luck=luck,
        furthest=reach.furthest + luck * _bands(on, reach.furthest_one, every),
        rows=rows,
        seconds=varied.seconds.reshape(first.shape),
        cost=(varied.cost + dearer).reshape(first.shape),
    )


def _first_seconds(on: Setting, luck: Floats, rows: Ints) -> Floats:
    """Seconds until enough participants have replied, by draw and candidate."""
    reach, region = on.reach, on.table.region[rows]
    deciding = reach.deciding[region]
    error = luck[:, region] * _bands(on, deciding, region)
    return participant_seconds(
        on.parties,
        np.broadcast_to(deciding, error.shape),
        np.maximum(reach.rtt[region] + error, LEAST_MS),
        on.work.sent,
    )


def _within(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    factor: Floats = 1 + rng.uniform(-PRICE_ERROR, PRICE_ERROR, shape)
    return factor


def _bands(on: Setting, parties: Ints, regions: Ints) -> Floats:
    pairs = zip(parties.tolist(), regions.tolist(), strict=True)
    return np.array([band_ms(on.book, on.parties, row, column) for row, column in pairs])
