"""What `benchmarks/spot.py` found, in tables and in a sentence for each aim."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

OURS = "ours, by deadline"
AIMS = {"over_optimum": 1.15, "time": 1.03, "misses": 0}


def aims(document: dict[str, Any]) -> list[str]:
    """A sentence for each aim, that says whether it was reached."""
    said = []
    for setting in document["settings"]:
        where = "in one zone" if setting["zones"] == "one" else "with fail-over"
        for one in setting["deadlines"]:
            ours = next(row for row in one["rows"] if row["rule"] == OURS)
            misses, over, time = ours["misses"], ours["over_optimum"], one["time_where_capacity"]
            told = [
                _aim(misses <= AIMS["misses"], f"{misses} deadlines missed"),
                _aim(over <= AIMS["over_optimum"], f"{over - 1:.1%} over the optimum"),
            ]
            if time is not None and setting["zones"] == "several":
                p50, p95 = time["p50"], time["p95"]
                more = f"{p50 - 1:.1%} (p95 {p95 - 1:.1%}) more time in the "
                more += f"{setting['always_capacity']} starts with capacity throughout"
                told.append(_aim(p95 <= AIMS["time"], more))
            said.append(f"{where}, deadline {one['deadline']:g} x work: {', '.join(told)}")
    return said


def _aim(reached: bool, figure: str) -> str:
    return figure if reached else f"{figure} (NOT the aim)"


COLUMNS = {
    "h p50": ("hours_p50", ".1f"),
    "h p95": ("hours_p95", ".1f"),
    "x on demand": ("cost", ".3f"),
    "x optimum": ("over_optimum", ".3f"),
    "p95": ("over_optimum_p95", ".2f"),
    "missed": ("misses", ",d"),
    "losses": ("interruptions", ".1f"),
}
"""By heading: which figure of a rule, and how it is written."""
WIDTH = 110


def shown(document: dict[str, Any]) -> None:
    console = Console(width=WIDTH)
    for setting in document["settings"]:
        several = setting["zones"] == "several"
        for one in setting["deadlines"]:
            where = "fail-over between zones" if several else "one zone"
            table = Table(
                title=f"Deadline {one['deadline']:g} x {document['hours']} h of work, {where}: "
                f"{setting['starts']:,} starts in {_counted(setting)}"
            )
            table.add_column("rule", no_wrap=True)
            for name in COLUMNS:
                table.add_column(name, justify="right")
            for row in one["rows"]:
                cells = (format(row[key], form) for key, form in COLUMNS.values())
                table.add_row(row["rule"], *cells)
            least = f"{one['optimum_cost']:.3f}"
            table.add_row("optimum, knowing all", "", "", least, "1.000", "1.00", "0", "")
            console.print(table)
    table = Table(
        title=f"Multi-FedLS, {document['multi_fedls_work']}, spot at {document['spot']:g}"
    )
    for name in ("revoked every", "alone h"):
        table.add_column(name, justify="right")
    for scheme in ("each round", "each 10"):
        for name in ("time", "p95", "cost"):
            table.add_column(f"{scheme}:\n{name}", justify="right")
    for row in document["multi_fedls"]:
        cells = [
            f"{row[f'{name}_{key}']:.3f}"
            for name in ("ours", "published")
            for key in ("time", "time_p95", "cost")
        ]
        table.add_row(f"{row['revoked_every_hours']} h", f"{row['on_demand_hours']:.2f}", *cells)
    console.print(table)
    for line in aims(document):
        console.print(line, highlight=False)


def _counted(setting: dict[str, Any]) -> str:
    kind = "campaign" if setting["zones"] == "several" else "trace"
    return f"{setting['pools']} {kind}{'' if setting['pools'] == 1 else 's'}"
