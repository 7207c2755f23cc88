"""How sure an answer is: RTTs and prices drawn within their error, outages drawn by their rate.

Drawn are, for each region, where its RTTs lie within their error (for the participant that
decides the round), and for each candidate its price within 5 %. Constraints are not looked at
again.
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
)
from fedspan.placement.federation import band_ms
from fedspan.placement.front import TieBreaks, pareto, ranked, scale
from fedspan.placement.latency import LEAST_MS
from fedspan.placement.makespan import HOUR

DRAWS: Final = 100
REPLAYS: Final = 400
PRICE_ERROR: Final = 0.05
P90: Final = 1.645
"""Standard deviations within which a normal value lies in 9 of 10 cases."""
LONGEST_REPLAY: Final = 5_000
"""Interruptions to be expected; a job with more is quoted by its expectation alone."""


@dataclass(frozen=True, eq=False)
class Draws:
    """Round seconds by draw and candidate in `rows`, and those candidates judged (a row of
    `found` for each draw and candidate, draw by draw)."""

    on: Setting
    rows: Ints
    round_s: Floats
    found: Evaluation

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
        if hazard == 0 or hazard * expected / HOUR > LONGEST_REPLAY:
            return np.full(REPLAYS, expected)
        on = self.on
        work = replay.Work(
            rounds=on.work.rounds,
            round_seconds=self._usual(row),
            checkpoint_every=on.work.every,
            checkpoint_seconds=on.work.checkpoint_s,
            setup_seconds=float(on.setup[row]),
            recovery_seconds=float(on.recovery[row]),
        )
        rng = np.random.default_rng((on.question.seed, row))
        return replay.sampled(rng, work, hazard, OUTAGE_S / HOUR, REPLAYS) * HOUR

    def _usual(self, row: int) -> float:
        on, rows = self.on, np.array([row])
        first = on.reach.first[on.table.region[rows]]
        return float(judged(on, rows, first=first, price=on.table.price[rows]).round_s[0])

    def stability(self, ties: TieBreaks, best: int) -> Stability | None:
        """How often the candidate `best` is first."""
        if not self.rows.size:
            return None
        firsts = Counter(self._first(draw, ties) for draw in range(DRAWS))
        rivals = [row for row, _ in firsts.most_common() if row != best]
        return Stability(
            best=firsts[best], draws=DRAWS, rivals=tuple(self._name(row) for row in rivals)
        )

    def _first(self, draw: int, ties: TieBreaks) -> int:
        one = slice(draw * len(self.rows), (draw + 1) * len(self.rows))
        cost, seconds = self.found.cost[one], self.found.seconds[one]
        front = pareto(cost, seconds)
        by = scale(self.on.question.placement, cost[front], seconds[front])
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
    region = on.table.region[rows]
    deciding, rtt = on.reach.deciding[region], on.reach.rtt[region]
    pairs = zip(deciding.tolist(), region.tolist(), strict=True)
    band = np.array([band_ms(on.book, on.parties, row, column) for row, column in pairs])
    error = rng.standard_normal((DRAWS, len(on.book.regions)))[:, region] * (band / P90)
    first = participant_seconds(
        on.parties,
        np.broadcast_to(deciding, error.shape),
        np.maximum(rtt + error, LEAST_MS),
        on.work.model_bytes,
    )
    factor = 1 + rng.uniform(-PRICE_ERROR, PRICE_ERROR, error.shape)
    found = judged(
        on,
        np.tile(rows, DRAWS),
        first=first.ravel(),
        price=(on.table.price[rows] * factor).ravel(),
    )
    return Draws(on, rows, found.round_s.reshape(error.shape), found)
