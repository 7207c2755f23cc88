"""The Pareto front, the two scores on it, and the order they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from fedspan.domain.spec import PlacementSpec, Score
from fedspan.placement.book import Floats, Ints
from fedspan.placement.candidates import Candidates
from fedspan.placement.makespan import HOUR

TIE: Final = 0.005
"""Scores are equal that so much more of both cost and time would make equal: the data are no
better."""

LEAST_MICRO_USD: Final = 1e6
"""What the balanced score measures a cost by at least."""


def pareto(cost: Floats, seconds: Floats) -> Ints:
    """Rows that no other beats in one of the two without losing in the other, the cheapest first.
    Equals are all on it."""
    if not cost.size:
        return np.empty(0, dtype=np.int64)
    rows = _unbeaten(cost, seconds)
    rows = rows[np.lexsort((seconds[rows], cost[rows]))]
    fastest = np.minimum.accumulate(seconds[rows])
    before = np.concatenate(([np.inf], fastest[:-1]))
    new = seconds[rows] < before
    leader = np.maximum.accumulate(np.where(new, np.arange(len(rows)), 0))
    same = (cost[rows] == cost[rows[leader]]) & (seconds[rows] == seconds[rows[leader]])
    front: Ints = rows[new | same]
    return front


def _unbeaten(cost: Floats, seconds: Floats) -> Ints:
    """Rows that neither the cheapest, nor the fastest, nor one that is both nearly, beats: few."""
    middle = np.argmin(cost / max(cost.min(), 1.0) + seconds / max(seconds.min(), 1.0))
    rows = np.arange(len(cost))
    for one in (np.argmin(cost), np.argmin(seconds), middle):
        there, then = cost[rows], seconds[rows]
        beaten = (there >= cost[one]) & (then >= seconds[one])
        beaten &= (there > cost[one]) | (then > seconds[one])
        rows = rows[~beaten]
    return rows


Reason = Literal["score", "interruption", "distance", "basis", "age", "carbon", "name"]


@dataclass(frozen=True, slots=True)
class Scale:
    """A score is ``per_micro_usd * cost + per_second * seconds - ideal``; lower is better."""

    per_micro_usd: float
    per_second: float
    ideal: float

    def of(self, cost: Floats, seconds: Floats) -> Floats:
        scored: Floats = self.per_micro_usd * cost + self.per_second * seconds - self.ideal
        return scored

    def equal_to(self, score: float) -> float:
        """The highest score that counts as no worse."""
        return score + TIE * (score + self.ideal)


def scale(spec: PlacementSpec, cost: Floats, seconds: Floats) -> Scale:
    """The score a person asked for, by the micro-dollars and seconds on the Pareto front.

    money: ``dollars + hour_usd * hours``; balanced: ``a*(cost - c*)/(c^n - c*) + (1 - a)*(T -
    t*)/(t^n - t*)`` with the ideal (*) and the nadir (n) of the front. Where these lie nearer
    than the ideal itself, the ideal is the measure, or a narrow front would blow up what is
    within the data's error; and a cost is measured by no less than a dollar, or jobs of cents
    would go to the other side of the world for a fraction of one."""
    if spec.score is Score.MONEY:
        return Scale(1e-6, spec.hour_usd / HOUR, 0.0)
    by_cost = spec.balance * _per(cost, least=LEAST_MICRO_USD)
    by_time = (1 - spec.balance) * _per(seconds)
    ideal = by_cost * float(cost.min()) + by_time * float(seconds.min())
    return Scale(by_cost, by_time, ideal)


def _per(values: Floats, least: float = 0.0) -> float:
    best, worst = float(values.min()), float(values.max())
    measure = max(worst - best, best, least)
    return 1 / measure if measure > 0 else 0.0


@dataclass(frozen=True, eq=False)
class TieBreaks:
    """What orders equal scores, the lower the better: `p_interruption` by candidate, then
    `furthest` ms by region, then how and when the price was known, carbon, at last the score
    itself, and the name."""

    table: Candidates
    p_interruption: Floats
    furthest: Floats

    def order(self, rows: Ints, score: Floats) -> Ints:
        table, prices = self.table, self.table.book.prices
        region, price_row = table.region[rows], table.price_row[rows]
        keys = (
            table.name_rank[rows],
            score,
            table.book.regions.gco2[region],  # NaN, unknown, sorts last
            -prices.dated[price_row],
            prices.basis[price_row],
            self.furthest[region],
            self.p_interruption[rows],
        )
        return rows[np.lexsort(keys)]

    def reason(self, by: Scale, score: Floats, first: int, second: int) -> Reason:
        """Why the candidate `first` precedes `second`, where `score` is of all candidates."""
        if score[second] > by.equal_to(float(np.nanmin(score))):
            return "score"
        table, prices = self.table, self.table.book.prices
        pair = np.array([first, second])
        region, price_row = table.region[pair], table.price_row[pair]
        carbon = np.nan_to_num(table.book.regions.gco2[region], nan=np.inf)
        keys: dict[Reason, Floats | Ints] = {
            "interruption": self.p_interruption[pair],
            "distance": self.furthest[region],
            "basis": prices.basis[price_row],
            "age": prices.dated[price_row],
            "carbon": carbon,
            "score": score[pair],
        }
        return next((name for name, (a, b) in keys.items() if a != b), "name")


def ranked(by: Scale, rows: Ints, score: Floats, ties: TieBreaks, most: int) -> Ints:
    """The best `most` of `rows`, whose scores are `score`. From the best down, those equal to a
    group's first form the group, and what breaks ties orders it."""
    if len(rows) > most:
        last = float(np.partition(score, most - 1)[most - 1])
        near = np.flatnonzero(score <= by.equal_to(last))
        rows, score = rows[near], score[near]
    order = np.argsort(score, kind="stable")
    rows, score = rows[order], score[order]
    found, start = [np.empty(0, dtype=np.int64)], 0
    while start < min(len(rows), most):
        end = int(np.searchsorted(score, by.equal_to(float(score[start])), side="right"))
        equal = slice(start, max(end, start + 1))
        found.append(ties.order(rows[equal], score[equal]))
        start = equal.stop
    return np.concatenate(found)[:most]
