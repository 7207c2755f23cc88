"""A job's bill, as people and programs read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from fedspan.cli import render
from fedspan.domain.bills import Bill, Charges, shown

MOST_ROWS: Final = 20
"""Rounds and participants that are shown one by one; ``--json`` has all."""
DOLLAR: Final = 1_000_000
CENT: Final = 10_000
FINE: Final = 100
"""In micro-dollars. A bill below a dollar is shown to the hundredth of a cent."""


def document(bill: Bill) -> dict[str, Any]:
    """In dollars, exact to the micro-dollar."""
    return {
        "job": bill.job,
        "settled": bill.settled,
        "incarnations": bill.incarnations,
        "total_usd": bill.total / DOLLAR,
        "clouds": {cloud: _document(one) for cloud, one in bill.clouds.items()},
        "rounds": {str(number): _document(one) for number, one in bill.rounds.items()},
        "participants": {name: _document(one) for name, one in bill.participants.items()},
        "aggregators": {
            "usd": bill.aggregators / DOLLAR,
            "away_times": bill.away.times,
            "away_seconds": bill.away.seconds,
            "without_rest_usd": (bill.aggregators + bill.away.saved) / DOLLAR,
        },
        "overhead": _document(bill.overhead),
        "unfinished": _document(bill.unfinished),
    }


def _document(one: Charges) -> dict[str, float]:
    parts = {f"{name}_usd": amount / DOLLAR for name, amount in one.model_dump().items()}
    return {**parts, "total_usd": one.total / DOLLAR}


def tables(bill: Bill) -> list[RenderableType]:
    """Three views of one total. What is rounded in each adds up to it."""
    so_far = "settled" if bill.settled else "so far"
    [total] = shown([bill.total], _unit(bill))
    many = "aggregator" if bill.incarnations == 1 else "aggregators"
    head = Text.assemble(
        (f"{_dollars(total, bill)} {so_far}", "bold"), f"  {bill.incarnations} {many}  {bill.job}"
    )
    outside = {"outside rounds": bill.overhead, "not finished": bill.unfinished}
    beside = {name: one for name, one in outside.items() if one.total}
    rounds = {str(number): one for number, one in bill.rounds.items()}
    return [
        head,
        *([_rest(bill)] if bill.away.times else []),
        "",
        _table(bill, "Cloud", bill.clouds),
        "",
        _table(bill, "Round", {**_few(rounds), **beside}),
        "",
        _table(bill, "Participant", {**_few(bill.participants), **beside}),
    ]


def _rest(bill: Bill) -> Text:
    """What giving the aggregator back between rounds came to."""
    cost, stayed = shown([bill.aggregators, bill.aggregators + bill.away.saved], _unit(bill))
    times = "once" if bill.away.times == 1 else f"{bill.away.times} times"
    return Text(
        f"aggregator away {times}, {render.duration(bill.away.seconds)} in all: "
        f"{_dollars(cost, bill)} for its hours instead of {_dollars(stayed, bill)}"
    )


def _few(rows: Mapping[str, Charges]) -> dict[str, Charges]:
    """The first ones, and the sum of the others."""
    if len(rows) <= MOST_ROWS:
        return dict(rows)
    names = list(rows)
    rest = [rows[name].model_dump() for name in names[MOST_ROWS:]]
    summed = {kind: sum(one[kind] for one in rest) for kind in Charges.model_fields}
    first = {name: rows[name] for name in names[:MOST_ROWS]}
    return {**first, f"{len(rest)} more": Charges(**summed)}


def _table(bill: Bill, what: str, rows: Mapping[str, Charges]) -> RenderableType:
    kinds = [kind for kind in Charges.model_fields if kind == "machine" or _any(rows, kind)]
    columns = [kind.capitalize() for kind in kinds] + ["Total"]
    made = render.table(what, *columns, right=columns)
    cells = _rounded(bill, [[getattr(one, kind) for kind in kinds] for one in rows.values()])
    for name, row in zip(rows, cells, strict=True):
        made.add_row(name, *(_dollars(one, bill) for one in row))
    sums = [sum(column) for column in zip(*cells, strict=True)] or [0] * len(columns)
    made.add_row("total", *(_dollars(one, bill) for one in sums), style="bold")
    return made


def _any(rows: Mapping[str, Charges], kind: str) -> bool:
    return any(getattr(one, kind) for one in rows.values())


def _rounded(bill: Bill, rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """Each row in whole units with its total, all totals adding up to that of the bill."""
    unit = _unit(bill)
    totals = shown([sum(row) for row in rows], unit)
    return [[*shown(row, unit, total), total] for row, total in zip(rows, totals, strict=True)]


def _unit(bill: Bill) -> int:
    return FINE if 0 < bill.total < DOLLAR else CENT


def _dollars(count: int, bill: Bill) -> str:
    unit = _unit(bill)
    digits = 2 if unit == CENT else 4
    return f"${count * unit / DOLLAR:,.{digits}f}"
