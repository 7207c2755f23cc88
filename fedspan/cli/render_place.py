"""An answer of placement as a person reads it: tables that fit, a plot, the reasons."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.text import Text

from fedspan.cli import plots
from fedspan.cli.render import facts, table
from fedspan.cli.render_reasons import BOUGHT, SOON_H, beside, dates, old_egress, reasons
from fedspan.domain.placements import (
    STALE_DAYS,
    Candidate,
    Cost,
    Demand,
    PlacementAnswer,
)
from fedspan.domain.places import named
from fedspan.domain.texts import plain

LONGEST_CELL: Final = 27
LONGEST_LINE: Final = 100
"""Of prose: on wider screens the eye loses the line."""
GAP: Final = 2
PLOT: Final = (60, 14)

FRONT, ESTIMATE, STALE = "●", "~", "†"


def answer(found: PlacementAnswer) -> list[RenderableType]:
    """All there is to say."""
    if not found.candidates:
        return _nothing_fits(found)
    shown: list[RenderableType] = [candidates(found), ""]
    if len(found.candidates) > 1:
        shown += [_Plot(found), ""]
    return [*shown, *_paragraphs(found.explanation), Constrain(facts(reasons(found)), LONGEST_LINE)]


def candidates(found: PlacementAnswer) -> RenderableType:
    """The places and what each would cost and take, in as many tables as the width demands."""
    return _Candidates(found)


WANTED: Final = (
    ("Place",),
    ("Machine",),
    ("Bought",),
    ("Cost $",),
    ("p50 h", "p95 h", "p50 min", "p95 min"),
    ("Score",),
    ("City",),
    ("Network",),
    ("VM $", "Egress $", "IP $", "Sites $"),
    ("Slowest", "RTT ms"),
    ("Risk", "gCO2"),
)
"""Columns that stay together, those first that are wanted most in the first table."""


@dataclass(frozen=True)
class Column:
    name: str
    cells: tuple[str, ...]
    right: bool = True

    @property
    def rank(self) -> int:
        return next(n for n, names in enumerate(WANTED) if self.name.strip() in names)

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.name, *self.cells)))


def split(columns: Sequence[Column], width: int) -> list[list[Column]]:
    """`columns` in as few groups as fit into `width`, the most wanted in the first, each in their
    order. The groups after the first are about as wide as each other."""
    first, *others = _groups(columns, width)
    left = [column for column in columns if column not in first]
    tried = (_groups(left, limit) for limit in range(1, width + 1))
    return [first, *next((found for found in tried if len(found) == len(others)), others)]


def _groups(columns: Sequence[Column], width: int) -> list[list[Column]]:
    """What is too wide by itself stands alone."""
    left, found = list(columns), []
    while left:
        used, ranks = 0, set[int]()
        for rank in sorted({column.rank for column in left}):
            wide = sum(column.width + GAP for column in left if column.rank == rank)
            if used + wide - GAP <= width or not ranks:
                ranks.add(rank)
                used += wide
        found.append([column for column in left if column.rank in ranks])
        left = [column for column in left if column.rank not in ranks]
    return found


class _Candidates:
    def __init__(self, found: PlacementAnswer) -> None:
        self._found = found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        number, *columns = _columns(self._found)
        for group in split(columns, options.max_width - number.width - GAP):
            shown = [number, *group]
            right = [column.name for column in shown if column.right]
            made = table(*(column.name for column in shown), right=right)
            made.pad_edge = False
            for row, cells in enumerate(zip(*(one.cells for one in shown), strict=True)):
                made.add_row(*cells, style="bold" if row == 0 else "")
            yield made
            yield ""
        yield Text("\n".join(_notes(self._found)), "dim")


def _columns(found: PlacementAnswer) -> Iterator[Column]:
    rows, front = found.candidates, set(found.front)
    numbers = enumerate(rows, 1)
    yield Column("#", tuple(f"{FRONT if n - 1 in front else ' '}{n:>3}" for n, _ in numbers))
    yield _column("Place", rows, lambda one: _short(named(one)))
    yield _column("City", rows, lambda one: _short(one.city))
    yield _column("Machine", rows, lambda one: _short(one.machine_type))
    yield _column("Bought", rows, lambda one: BOUGHT[one.purchase])
    if any(one.network_tier for one in rows):
        yield _column("Network", rows, lambda one: _short(one.network_tier))
    hours = [h for one in rows for h in (one.hours.p50, one.hours.p95)]
    unit, size = ("min", 60) if max(hours) < SOON_H else ("h", 1)
    times = _decimals([h * size for h in hours], 1, 3)
    yield Column(f"p50 {unit}", tuple(times[::2]))
    yield Column(f"p95 {unit}", tuple(times[1::2]))
    yield from _costs(rows)
    yield _column("Slowest", rows, lambda one: _short(one.worst.participant))
    rtt = Column("RTT ms", tuple(_decimals([one.worst.rtt_ms for one in rows], 0, 2)))
    yield _marked(rtt, map(_band, rows))
    yield _column("Risk", rows, lambda one: _risk(one.p_interruption), right=True)
    if any(one.gco2 is not None for one in rows):
        yield _column("gCO2", rows, _carbon, right=True)
    yield _column("Score", rows, lambda one: f"{one.score:,.3f}", right=True)


def _costs(rows: Sequence[Candidate]) -> Iterator[Column]:
    def money(name: str, amount: Callable[[Cost], float]) -> Column:
        return Column(name, tuple(_decimals([amount(one.cost_usd) for one in rows], 2, 2)))

    yield _marked(money("Cost $", lambda cost: cost.total), map(_marks, rows))
    yield money("VM $", lambda cost: cost.vm)
    yield money("Egress $", lambda cost: cost.egress)
    yield money("IP $", lambda cost: cost.address)
    if any(one.cost_usd.participants for one in rows):
        yield money("Sites $", lambda cost: cost.participants)


def _column(
    name: str, rows: Iterable[Candidate], cell: Callable[[Candidate], str], right: bool = False
) -> Column:
    return Column(name, tuple(map(cell, rows)), right)


def _decimals(values: Sequence[float], fewest: int, digits: int) -> list[str]:
    """All with as many decimals as show so many `digits` of the largest, but at least `fewest`."""
    largest = max(values, default=0.0)
    wanted = digits - 1 - math.floor(math.log10(largest)) if largest > 0 else 0
    return [f"{value:,.{min(6, max(fewest, wanted))}f}" for value in values]


def _short(said: str) -> str:
    said = plain(said)
    return said if cell_len(said) <= LONGEST_CELL else set_cell_size(said, LONGEST_CELL - 1) + "…"


def _marked(column: Column, marks: Iterable[str]) -> Column:
    """Each cell with its mark behind it, the numbers still in line."""
    given = list(marks)
    figure, mark = column.width, max(map(len, given), default=0)
    cells = zip(column.cells, given, strict=True)
    marked = tuple(f"{cell:>{figure}}{one:<{mark}}" for cell, one in cells)
    return replace(column, name=f"{column.name:>{figure}}", cells=marked, right=False)


def _marks(one: Candidate) -> str:
    old = one.stale or old_egress(one)
    return (ESTIMATE if one.price_basis == "estimate" else "") + (STALE if old else "")


def _band(one: Candidate) -> str:
    if not one.city and not one.country:  # no cloud's region: nobody measured it
        return " here"
    if one.worst.measured:
        return " measured"
    return f" ±{one.worst.band_ms:,.0f}" if one.worst.band_ms else ""


def _risk(probability: float) -> str:
    return "<0.1%" if 0 < probability < 0.0005 else f"{probability:.1%}"


def _carbon(one: Candidate) -> str:
    return "-" if one.gco2 is None else f"{one.gco2:,.0f}"


def _notes(found: PlacementAnswer) -> Iterator[str]:
    rows = found.candidates
    if found.front:
        yield f"{FRONT} on the Pareto front: no other place is both cheaper and faster"
    if any(not one.worst.measured and one.worst.band_ms for one in rows):
        yield "± the RTT is estimated, and within so much of it in 9 of 10 cases"
    guessed = [one.price_date for one in rows if one.price_basis == "estimate"]
    if guessed:
        yield f"{ESTIMATE} the price is an estimate, {dates(guessed)}"
    old = [one.price_date for one in rows if one.stale]
    if old:
        yield f"{STALE} the price is older than {STALE_DAYS} days, {dates(old)}"
    tariffs = [one.egress_date for one in rows if one.egress_date and old_egress(one)]
    if tariffs:
        yield f"{STALE} the egress tariff is older than {STALE_DAYS} days, {dates(tariffs)}"
    if any(one.cost_usd.participants for one in rows):
        yield "Sites $: what participants in public clouds pay to send"


class _Plot:
    """As wide as there is room, up to `PLOT`."""

    def __init__(self, found: PlacementAnswer) -> None:
        self._points = plots.points(found)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns, rows = PLOT
        room = max(20, min(columns, options.max_width - 14))
        compared = "; ◆ compared" if any(point.rank == 0 for point in self._points) else ""
        yield Text(
            f"Expected hours over expected cost of the job ({FRONT} front{compared})", "bold"
        )
        yield plots.scatter(self._points, room, rows)
        legend = _legend(self._points)
        if legend:
            yield Text(legend, "dim")


def _legend(points: Sequence[plots.Point]) -> str:
    """What the points without a number are."""
    unlisted = any(point.front and not point.listed for point in points)
    others = any(not point.front and point.rank > plots.NUMBERED for point in points)
    said = [f"{FRONT} without a number: on the front, not in the list"] if unlisted else []
    return "; ".join([*said, "· other candidates"] if others else said)


def _paragraphs(said: str) -> Iterator[RenderableType]:
    for one in said.split("\n\n"):
        if words := plain(one):
            yield Constrain(Text(words), LONGEST_LINE)
            yield ""


def _nothing_fits(found: PlacementAnswer) -> list[RenderableType]:
    shown: list[RenderableType] = [Text("Nothing fits.", "bold red"), ""]
    if found.conflict:
        shown += [_conflict(found.conflict), ""]
    shown += _paragraphs(found.explanation)
    if found.compared is not None:
        compared = [("Compared", Text(beside(found.compared, None)))]
        shown += [Constrain(facts(compared), LONGEST_LINE), ""]
    closing = f"{found.considered:,} places looked at; book {plain(found.book)}"
    return [*shown, Text(closing, "dim")]


def _conflict(demands: Sequence[Demand]) -> RenderableType:
    made = table("Constraint", "Wanted", "Would have to become")
    for one in demands:
        becomes = one.becomes if one.becomes is not None else "no value of it alone would do"
        made.add_row(plain(one.constraint), plain(one.wanted), plain(becomes))
    return made
