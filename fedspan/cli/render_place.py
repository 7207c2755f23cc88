"""An answer of placement as a person reads it: tables that fit, a plot, the reasons."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.text import Text

from fedspan.cli import plots
from fedspan.cli.render import dollars, facts, table
from fedspan.domain.placements import STALE_DAYS, Candidate, Cost, Demand, PlacementAnswer
from fedspan.domain.spec import Purchase
from fedspan.domain.texts import plain

LONGEST_CELL: Final = 27
LONGEST_LINE: Final = 100
"""Of prose: on wider screens the eye loses the line."""
GAP: Final = 2
PLOT: Final = (60, 14)

FRONT, ESTIMATE, STALE = "●", "~", "†"
BOUGHT: Final = {Purchase.SPOT: "spot", Purchase.ON_DEMAND: "on demand", Purchase.ANY: "any"}


def answer(found: PlacementAnswer) -> list[RenderableType]:
    """All there is to say."""
    if not found.candidates:
        return _nothing_fits(found)
    shown: list[RenderableType] = [candidates(found), ""]
    if len(found.candidates) > 1:
        shown += [_Plot(found), ""]
    return [*shown, *_paragraphs(found.explanation), Constrain(facts(_facts(found)), LONGEST_LINE)]


def candidates(found: PlacementAnswer) -> RenderableType:
    """The places and what each would cost and take, in as many tables as the width demands."""
    return _Candidates(found)


WANTED: Final = (
    ("Place",),
    ("Machine",),
    ("Bought",),
    ("Cost $",),
    ("p50 h", "p95 h"),
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
    yield _column("Place", rows, lambda one: _short(one.place))
    yield _column("City", rows, lambda one: _short(one.city))
    yield _column("Machine", rows, lambda one: _short(one.machine_type))
    yield _column("Bought", rows, lambda one: BOUGHT[one.purchase])
    if any(one.network_tier for one in rows):
        yield _column("Network", rows, lambda one: _short(one.network_tier))
    hours = _decimals([h for one in rows for h in (one.hours.p50, one.hours.p95)], 1, 3)
    yield Column("p50 h", tuple(hours[::2]))
    yield Column("p95 h", tuple(hours[1::2]))
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
    return (ESTIMATE if one.price_basis == "estimate" else "") + (STALE if one.stale else "")


def _band(one: Candidate) -> str:
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
        yield f"{ESTIMATE} the price is an estimate, {_dates(guessed)}"
    old = [one.price_date for one in rows if one.stale]
    if old:
        yield f"{STALE} the price is older than {STALE_DAYS} days, {_dates(old)}"
    if any(one.cost_usd.participants for one in rows):
        yield "Sites $: what participants in public clouds pay to send"


def _dates(found: Iterable[date]) -> str:
    days = sorted(found)
    return f"of {days[0]}" + (f" to {days[-1]}" if days[-1] != days[0] else "")


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


def _paragraphs(said: str) -> Iterator[RenderableType]:
    for one in said.split("\n\n"):
        if words := plain(one):
            yield Constrain(Text(words), LONGEST_LINE)
            yield ""


def _facts(found: PlacementAnswer) -> Iterator[tuple[str, RenderableType]]:
    best = found.candidates[0]
    if found.stability is not None:
        often = f"{found.stability.best} of {found.stability.draws} draws"
        rivals = plain(", ".join(found.stability.rivals))
        said = f"best in {often} of RTTs and prices within their error"
        yield "Stability", Text(f"{said}; otherwise {rivals}" if rivals else said)
    if found.compared is not None:
        yield "Compared", Text(_beside(found.compared, best))
    if found.cheapest_hour is not None:
        yield "Per hour", Text(f"cheapest by the hour: {_beside(found.cheapest_hour, best)}")
    if found.prices is not None:
        old = found.prices.stale
        said = f"{_dates((found.prices.oldest, found.prices.newest))}; "
        yield "Prices", Text(said + f"{old or 'none'} of those shown older than {STALE_DAYS} days")
    yield "Places", Text(f"{found.considered:,} looked at, {found.feasible:,} fit")
    yield "Model", Text(f"{_size(found.model_bytes)} each way each round")
    if found.assumptions:
        yield "Assumed", Text("\n".join(map(plain, found.assumptions)))
    yield "Book", Text(plain(found.book))


def _beside(one: Candidate, best: Candidate) -> str:
    """What `one` costs and takes, and by how much that differs from `best`."""
    where = f"{one.place} ({one.city}), {one.machine_type}, {BOUGHT[one.purchase]}"
    priced = f"{where}, at {_usd(one.price_usd_hour)}/h: "
    if (one.place, one.machine_type, one.purchase, one.network_tier) == (
        (best.place, best.machine_type, best.purchase, best.network_tier)
    ):
        return plain(f"{priced}the best itself")
    cost = one.cost_usd.total - best.cost_usd.total
    took = one.hours.expected - best.hours.expected
    return plain(
        f"{priced}{_usd(one.cost_usd.total)} and {one.hours.expected:,.2f} h, that is "
        f"{_usd(abs(cost))} {'less' if cost < 0 else 'more'} and {abs(took):,.2f} h "
        f"{'shorter' if took < 0 else 'longer'} than the best"
    )


def _usd(amount: float) -> str:
    return dollars(round(amount * 1_000_000))


def _size(count: float) -> str:
    """In decimal units, as networks and their tariffs count."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


def _nothing_fits(found: PlacementAnswer) -> list[RenderableType]:
    shown: list[RenderableType] = [Text("Nothing fits.", "bold red"), ""]
    if found.conflict:
        shown += [_conflict(found.conflict), ""]
    closing = f"{found.considered:,} places looked at; book {plain(found.book)}"
    return [*shown, *_paragraphs(found.explanation), Text(closing, "dim")]


def _conflict(demands: Sequence[Demand]) -> RenderableType:
    made = table("Constraint", "Wanted", "Would have to become")
    for one in demands:
        becomes = one.becomes if one.becomes is not None else "no value of it alone would do"
        made.add_row(plain(one.constraint), plain(one.wanted), plain(becomes))
    return made
