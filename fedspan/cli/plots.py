"""Cost against time, on a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from rich.text import Text

from fedspan.domain.placements import Candidate, PlacementAnswer

NUMBERED: Final = 5
"""Of those not on the front, the best so many have their number beside them on a terminal."""

FRONT: Final = "bold cyan"
COMPARED: Final = "yellow"


@dataclass(frozen=True)
class Point:
    """A place by its expected cost in US dollars and its expected hours. `rank` counts from 1;
    0 is the place that was asked to be compared. What is not `listed` has no number to show."""

    rank: int
    cost: float
    hours: float
    name: str
    front: bool = False
    listed: bool = True

    @property
    def number(self) -> str:
        """As in the table; empty where that has none."""
        return str(self.rank) if self.rank and self.listed else ""


def points(answer: PlacementAnswer) -> list[Point]:
    """The candidates, the rest of the Pareto front, and what is compared with them."""
    front = set(answer.front)
    found = [
        _point(rank, one, front=rank - 1 in front) for rank, one in enumerate(answer.candidates, 1)
    ]
    for rank, one in enumerate(answer.rest_of_front, len(found) + 1):
        found.append(_point(rank, one, front=True, listed=False))
    if answer.compared is not None and answer.compared not in answer.candidates:
        found.append(_point(0, answer.compared, front=False))
    return found


def _point(rank: int, one: Candidate, *, front: bool, listed: bool = True) -> Point:
    name = f"{one.place} {one.machine_type}{' spot' if one.purchase == 'spot' else ''}"
    return Point(rank, one.cost_usd.total, one.hours.expected, name, front, listed)


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, with round numbers to mark on it and the decimals they need."""

    low: float
    high: float
    ticks: tuple[float, ...]
    decimals: int

    @classmethod
    def over(cls, values: Sequence[float], most: int) -> Axis:
        """Around `values`, none of them negative, with at most `most` ticks and at least one."""
        least, greatest = min(values), max(values)
        span = max(greatest - least, 0.01 * greatest) or 1.0  # or equal values had no scale
        low, high = max(0.0, least - 0.08 * span), greatest + 0.08 * span
        exact = (high - low) / most
        power = 10.0 ** math.floor(math.log10(exact))
        step = next(power * by for by in (1, 2, 5, 10) if power * by >= exact)
        first, last = math.ceil(low / step), math.floor(high / step)
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        return cls(low, high, tuple(n * step for n in range(first, last + 1)), decimals)

    def at(self, value: float) -> float:
        """From 0 at `low` to 1 at `high`."""
        return (value - self.low) / (self.high - self.low)

    def said(self, tick: float) -> str:
        return f"{tick:,.{self.decimals}f}"


Cell = tuple[str, str]
"""A character and its style."""


def scatter(shown: Sequence[Point], columns: int = 60, rows: int = 14) -> Text:
    """The points in so many cells, between axes with ticks. The front is joined by the line no
    place is beyond."""
    x, y = (Axis.over(v, 5) for v in ([p.cost for p in shown], [p.hours for p in shown]))
    cells: list[list[Cell]] = [[(" ", "")] * columns for _ in range(rows)]
    where = {
        point: (
            round((1 - y.at(point.hours)) * (rows - 1)),
            round(x.at(point.cost) * (columns - 1)),
        )
        for point in shown
    }
    _join(cells, [where[point] for point in front_of(shown)])
    for point in sorted(shown, key=lambda p: (p.front, p.rank == 0, -p.rank)):
        row, column = where[point]
        cells[row][column] = _mark(point)
    for point in sorted(shown, key=lambda p: (not p.front, p.rank)):
        if point.number and (point.front or point.rank <= NUMBERED):
            _number(cells, where[point], point)
    return _framed(cells, x, y)


def front_of(shown: Sequence[Point]) -> list[Point]:
    """The cheapest, slowest first."""
    return sorted((p for p in shown if p.front), key=lambda p: (p.cost, -p.hours))


def _mark(point: Point) -> Cell:
    if point.rank == 0:
        return "◆", COMPARED
    return ("●", FRONT) if point.front else ("·", "")


def _join(cells: list[list[Cell]], front: Sequence[tuple[int, int]]) -> None:
    """To the right as far as the next is dearer, then down by as much as it is faster."""
    for (row, column), (lower, right) in pairwise(front):
        for at in range(column + 1, right):
            cells[row][at] = ("╌", "dim")
        for at in range(row + 1, lower):
            cells[at][right] = ("┆", "dim")
        if lower > row and right > column:
            cells[row][right] = ("╮", "dim")


def _number(cells: list[list[Cell]], where: tuple[int, int], point: Point) -> None:
    """Right of the point, or left, above, below: the first that is free; else nowhere."""
    row, column = where
    said, free = point.number, " ╌┆╮"
    beside = [(row, column + 1), (row, column - len(said)), (row - 1, column), (row + 1, column)]
    for at, first in beside:
        room = range(first, first + len(said))
        inside = 0 <= at < len(cells) and first >= 0 and room[-1] < len(cells[0])
        if inside and all(cells[at][one][0] in free for one in room):
            for one, character in zip(room, said, strict=True):
                cells[at][one] = (character, FRONT if point.front else "")
            return


def _framed(cells: list[list[Cell]], x: Axis, y: Axis) -> Text:
    rows, columns = len(cells), len(cells[0])
    beside = {round((1 - y.at(tick)) * (rows - 1)): f"{y.said(tick)} h" for tick in y.ticks}
    gutter = max(map(len, beside.values()))
    made = Text(no_wrap=True)
    for row, line in enumerate(cells):
        made.append(f"{beside.get(row, ''):>{gutter}} {'┤' if row in beside else '│'}")
        for character, style in line:
            made.append(character, style)
        made.append("\n")
    below = {round(x.at(tick) * (columns - 1)): f"${x.said(tick)}" for tick in x.ticks}
    made.append(" " * (gutter + 1) + "└")
    made.append("".join("┬" if column in below else "─" for column in range(columns)))
    made.append(f"\n{_under(below, gutter + 2)}")
    return made


def _under(ticks: dict[int, str], left: int) -> str:
    """The labels of `ticks`, each centred below its column, unless it would touch the last."""
    line = ""
    for column, said in ticks.items():
        start = max(0, left + column - len(said) // 2)
        if not line or start > len(line) + 1:
            line = line.ljust(start) + said
    return line
