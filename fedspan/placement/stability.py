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
    Setting,
    job_seconds,
    judged,
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
    """Seconds of a round and of the job, and micro-dollars, by draw and candidate in `rows`; ms
    to the furthest participant by draw and region."""

    on: Setting
    rows: Ints
    round_s: Floats
    seconds: Floats
    cost: Floats
    furthest: Floats

    def hours(self, row: int, expected: float) -> Hours:
        """Quoted for a candidate in `rows`: the job replayed where outages fall by chance, its
        rounds as long as in the draws."""
        column = int(np.flatnonzero(self.rows == row)[0])
        hazard = float(self.on.hazard[row])
        drawn = self.round_s[:, column]
        shift = job_seconds(self.on, np.full(len(drawn), row), drawn) - expected
        hours = (np.tile(shift, REPLAYS // DRAWS) + self._replayed(row, hazard, expected)) / HOUR
        p50, p95 = np.quantile(np.clip(hours, 0.0, replay.GIVE_UP_HOURS), (0.5, 0.95)).tolist()
        return Hours(expected=round(expected / HOUR, 4), p50=round(p50, 4), p95=round(p95, 4))

    def _replayed(self, row: int, hazard: float, expected: float) -> Floats:
        """Seconds."""
        on, count = self.on, hazard * expected / HOUR
        if count == 0:
            return np.full(REPLAYS, expected)
        rng = np.random.default_rng((on.question.seed, row))
        if count > LONGEST_REPLAY:
            # each costs what it undoes, even over the stretch: E[x^2] = 4/3 E[x]^2
            plain = undisturbed_seconds(on.work, on.setup[[row]], np.array([self._usual(row)]))
            lost = expected - float(plain[0])
            spread: Floats = lost * np.sqrt(4 / (3 * count)) * rng.standard_normal(REPLAYS)
            return expected + spread
        work = replay.Work(
            rounds=on.work.rounds,
            round_seconds=self._usual(row),
            checkpoint_every=on.work.every,
            checkpoint_seconds=on.work.checkpoint_s,
            setup_seconds=float(on.setup[row]),
            recovery_seconds=float(on.recovery[row]),
        )
        return replay.sampled(rng, work, hazard, OUTAGE_S / HOUR, REPLAYS) * HOUR

    def _usual(self, row: int) -> float:
        on, rows = self.on, np.array([row])
        first = on.reach.first[on.table.region[rows]]
        return float(judged(on, rows, first=first, price=on.table.price[rows]).round_s[0])

    def stability(self, p_interruption: Floats, best: int) -> Stability | None:
        """How often the candidate `best` is first; `p_interruption` is of all candidates."""
        if not self.rows.size:
            return None
        firsts = Counter(self._first(draw, p_interruption) for draw in range(DRAWS))
        rivals = [row for row, _ in firsts.most_common() if row != best][:RIVALS]
        return Stability(
            best=firsts[best], draws=DRAWS, rivals=tuple(self._name(row) for row in rivals)
        )

    def _first(self, draw: int, p_interruption: Floats) -> int:
        cost, seconds = self.cost[draw], self.seconds[draw]
        front = pareto(cost, seconds)
        by = scale(self.on.question.placement, cost[front], seconds[front])
        ties = TieBreaks(self.on.table, p_interruption, self.furthest[draw])
        return int(ranked(by, self.rows, by.of(cost, seconds), ties, 1)[0])

    def _name(self, row: int) -> str:
        table = self.on.table
        region, machine = int(table.region[row]), int(table.machine[row])
        book, option = self.on.book, "spot" if table.spot[row] else "on demand"
        place = f"{book.regions.provider[region]}:{book.regions.name[region]}"
        tier = f", {table.tier[row]} tier" if table.tier[row] else ""
        return f"{place} {book.machines.name[machine]} {option}{tier}"


def draws(on: Setting, rows: Ints) -> Draws:
    """`DRAWS` variations of the candidates in `rows`, the same for the same seed."""
    rng = np.random.default_rng(on.question.seed)
    reach, table, every = on.reach, on.table, np.arange(len(on.book.regions))
    luck = rng.standard_normal((DRAWS, len(every))) / P90
    furthest = reach.furthest + luck * _bands(on, reach.furthest_one, every)
    region = table.region[rows]
    deciding = reach.deciding[region]
    error = luck[:, region] * _bands(on, deciding, region)
    first = participant_seconds(
        on.parties,
        np.broadcast_to(deciding, error.shape),
        np.maximum(reach.rtt[region] + error, LEAST_MS),
        on.work.model_bytes,
    )
    price = table.price[rows] * _within(rng, error.shape)
    tariffs = _within(rng, (DRAWS, len(on.book.egress.tariffs) + 1))[:, table.internet[0, rows]]
    found = judged(on, np.tile(rows, DRAWS), first=first.ravel(), price=price.ravel())
    dearer = found.bill.egress * (tariffs.ravel() - 1)
    return Draws(
        on,
        rows,
        round_s=found.round_s.reshape(error.shape),
        seconds=found.seconds.reshape(error.shape),
        cost=(found.cost + dearer).reshape(error.shape),
        furthest=furthest,
    )


def _within(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    factor: Floats = 1 + rng.uniform(-PRICE_ERROR, PRICE_ERROR, shape)
    return factor


def _bands(on: Setting, parties: Ints, regions: Ints) -> Floats:
    pairs = zip(parties.tolist(), regions.tolist(), strict=True)
    return np.array([band_ms(on.book, on.parties, row, column) for row, column in pairs])
