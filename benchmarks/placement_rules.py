"""What simpler rules pick among the feasible candidates. `benchmarks/placement.py` prices it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import skypilot
from fedspan.placement.book import Book, Ints
from fedspan.placement.candidates import candidates
from fedspan.placement.choose import Ranking

Rule = Callable[[Ranking, Ints, np.random.Generator], int | None]
"""Picks one of the feasible rows; None when what it would pick is none of them."""


def first(found: Ranking, rows: Ints, rng: np.random.Generator) -> int:
    """Our choice."""
    return int(found.rows[0])


def hourly(found: Ranking, rows: Ints, rng: np.random.Generator) -> int:
    return _least(found, rows, found.on.table.price[rows])


def on_demand_hourly(found: Ranking, rows: Ints, rng: np.random.Generator) -> int:
    """SkyPilot's objective and its default, if it looked at every machine type."""
    return hourly(found, rows[~found.on.table.spot[rows]], rng)


def nearest(found: Ranking, rows: Ints, rng: np.random.Generator) -> int:
    """The region with the least mean RTT, then the cheapest hour there."""
    mean = found.on.parties.rtt.mean(axis=0)[found.on.table.region[rows]]
    return hourly(found, rows[mean == mean.min()], rng)


def egress(found: Ranking, rows: Ints, rng: np.random.Generator) -> int:
    """The least paid for a terabyte, then the cheapest hour."""
    table = found.on.table
    paid = table.steps.charge(table.internet[0, rows], np.full(len(rows), 1e12))
    return hourly(found, rows[paid == paid.min()], rng)


def anywhere(found: Ranking, rows: Ints, rng: np.random.Generator) -> int:
    return int(rng.choice(rows))


RULES: dict[str, Rule] = {
    "cheapest per hour": hourly,
    "cheapest per hour on demand": on_demand_hourly,
    "nearest": nearest,
    "cheapest egress": egress,
    "random": anywhere,
}


def always(row: int) -> Rule:
    """The same place for every federation."""
    return lambda found, rows, rng: row if found.feasible[row] else None


def of_skypilot(book: Book, answers: Sequence[Mapping[str, Any]]) -> dict[str, Rule]:
    rows = [skypilot.row_of(book, one["pick"]) for one in answers]
    spot = candidates(book).spot
    return {f"SkyPilot's pick, {'spot' if spot[row] else 'on demand'}": always(row) for row in rows}


def _least(found: Ranking, rows: Ints, values: np.ndarray) -> int:
    return int(rows[np.lexsort((found.on.table.name_rank[rows], values))[0]])
