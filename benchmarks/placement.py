"""Placing an aggregator: what a decision costs to make, and what a worse one costs.

First the CPU of one decision over every candidate of the book, for few and for many participants,
beside the same in plain loops and, with ``--skypilot PYTHON`` naming an interpreter that has
SkyPilot, beside its optimizer on the same prices. Then the cost and the hours of our choice against
what simpler rules pick, over random federations. SkyPilot knows no participants, so its pick is one
place for all; federations that cannot use it are skipped, and counted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one thread, whatever the machine has

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import skypilot
from benchmarks.options import one_or_more
from benchmarks.placement_rules import RULES, Rule, first, of_skypilot
from benchmarks.plain_placement import decide
from fedspan.domain.placements import Participant, PlacementQuestion
from fedspan.domain.spec import AggregatorSpec
from fedspan.placement.book import Book
from fedspan.placement.candidates import candidates
from fedspan.placement.choose import Ranking, choose, rank
from fedspan.services.books import shipped

SIZES = (3, 100, 1_000, 10_000)
AIMS_MS = {3: 2, 100: 3, 1_000: 10, 10_000: 60}
REPEATS = 15
MOST_LOOPED = 3
"""Plain loops take seconds a participant."""
SEED = 20261120


def asked(participants: Sequence[Participant], **changes: Any) -> PlacementQuestion:
    given = {"rounds": 100, "participants": tuple(participants), "limits": {"deadline": 604_800}}
    return PlacementQuestion.model_validate({**given, **changes})


def scattered(rng: np.random.Generator, count: int) -> list[Participant]:
    """Anywhere between the polar circles."""
    latitudes, longitudes = rng.uniform(-50, 65, count), rng.uniform(-180, 180, count)
    return [
        Participant(name=f"site-{n}", latitude=float(lat), longitude=float(lon))
        for n, (lat, lon) in enumerate(zip(latitudes, longitudes, strict=True))
    ]


def cpu_ms(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """The least of some runs: what the work costs when nothing disturbs it."""
    work()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found) * 1e3


def decisions(book: Book, sizes: Sequence[int], loops: bool) -> list[dict[str, Any]]:
    rng = np.random.default_rng(SEED)
    return [
        decision(book, scattered(rng, count), loops and count <= MOST_LOOPED) for count in sizes
    ]


def decision(book: Book, participants: Sequence[Participant], loops: bool) -> dict[str, Any]:
    question, size = asked(participants), 50_000_000

    def answered(by: Callable[..., object]) -> float:
        given = {"model_bytes": size, "today": book.made, "limit": 10}
        return cpu_ms(lambda: by(book, question, participants, **given))

    row = {
        "participants": len(participants),
        "rank_ms": answered(rank),
        "answer_ms": answered(choose),
        "aim_ms": AIMS_MS.get(len(participants)),
    }
    if loops:
        start = time.process_time()
        decide(book, question, participants, size)
        row["loop_ms"] = (time.process_time() - start) * 1e3
    return row


@dataclass(frozen=True)
class Place:
    """What a rule picks, and what to expect of it."""

    cost: float
    hours: float
    score: float


def federation(rng: np.random.Generator, book: Book) -> tuple[list[Participant], PlacementQuestion]:
    """3 to 30 participants around one to three cities that have a cloud region, a model of 1 MB
    to 2 GB, 10 to 300 rounds, links of 20 Mbit/s to 1 Gbit/s."""
    regions = book.regions
    centres = rng.integers(0, len(regions), rng.integers(1, 4))
    participants = []
    for n in range(int(rng.integers(3, 31))):
        centre = int(rng.choice(centres))
        mbps = float(10 ** rng.uniform(1.3, 3))
        participants.append(
            Participant(
                name=f"site-{n}",
                latitude=float(np.clip(regions.latitude[centre] + rng.normal(0, 3), -89, 89)),
                longitude=float((regions.longitude[centre] + rng.normal(0, 3) + 180) % 360 - 180),
                country=regions.country[centre],
                up_mbps=mbps,
                down_mbps=mbps,
                compute_s=float(10 ** rng.uniform(0, 2)),
            )
        )
    question = asked(
        participants,
        rounds=int(rng.integers(10, 301)),
        placement={"model_bytes": int(10 ** rng.uniform(6, 9.3))},
    )
    return participants, question


def regrets(book: Book, count: int, rules: Mapping[str, Rule]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(SEED)
    kept: dict[str, list[tuple[Place, Place]]] = {name: [] for name in ("ours", *rules)}
    for _ in range(count):
        participants, question = federation(rng, book)
        size = question.placement.model_bytes
        assert size is not None
        found = rank(book, question, participants, model_bytes=size, today=book.made, limit=1)
        rows = np.flatnonzero(found.feasible)
        if found.by is None:
            continue
        ours = _place(found, int(found.rows[0]))
        for name, rule in {"ours": first, **rules}.items():
            row = rule(found, rows, rng)
            if row is not None:
                kept[name].append((ours, _place(found, row)))
        # what no rule can reach: the least score, however little the data can tell it apart
        least = found.score[rows].min()
        assert ours.score <= found.by.equal_to(float(least))
    return [
        {"rule": name, "federations": len(pairs), "skipped": count - len(pairs), **_summary(pairs)}
        for name, pairs in kept.items()
    ]


def _place(found: Ranking, row: int) -> Place:
    seconds, cost = float(found.found.seconds[row]), float(found.found.cost[row])
    return Place(cost / 1e6, seconds / 3600, float(found.score[row]))


def _summary(pairs: Sequence[tuple[Place, Place]]) -> dict[str, float]:
    if not pairs:
        return {}
    cost = np.array([its.cost / ours.cost for ours, its in pairs])
    hours = np.array([its.hours / ours.hours for ours, its in pairs])
    regret = np.array([its.score - ours.score for ours, its in pairs])
    return {
        "usd": float(np.mean([its.cost for _, its in pairs])),
        "hours": float(np.mean([its.hours for _, its in pairs])),
        "cost_ratio_p50": float(np.median(cost)),
        "cost_ratio_p95": float(np.quantile(cost, 0.95)),
        "hours_ratio_p95": float(np.quantile(hours, 0.95)),
        "regret": float(regret.mean()),
        "worse": float((regret > 0.005).mean()),
    }


COLUMNS = {
    "mean $": ("usd", ",.2f"),
    "mean h": ("hours", ".2f"),
    "$ x p50": ("cost_ratio_p50", ".2f"),
    "$ x p95": ("cost_ratio_p95", ".2f"),
    "h x p95": ("hours_ratio_p95", ".2f"),
    "regret": ("regret", ".3f"),
    "worse": ("worse", ".0%"),
}
"""By heading: which figure of a rule, and how it is written."""
WIDTH = 110
"""Of the tables, on a terminal or in a file."""


def shown(document: dict[str, Any]) -> None:
    console = Console(width=WIDTH)
    table = Table(title=f"One decision over {document['candidates']:,} candidates, CPU ms")
    for name in ("participants", "ranking", "whole answer", "aim (ranking)", "plain loops"):
        table.add_column(name, justify="right")
    for row in document["decisions"]:
        cells = (row["rank_ms"], row["answer_ms"], row["aim_ms"], row.get("loop_ms"))
        table.add_row(
            f"{row['participants']:,}", *("" if c is None else f"{c:,.1f}" for c in cells)
        )
    console.print(table)
    sky = document.get("skypilot", {"answers": ()})
    for answer in sky["answers"]:
        console.print(
            f"SkyPilot {sky['version']}: {answer['cpu_ms']:,.0f} ms CPU for "
            f"{answer['candidates']:,} candidates, picks {answer['pick']}",
            highlight=False,
        )
    table = Table(title=f"What rules pick, over {document['federations']:,} random federations")
    table.add_column("rule", no_wrap=True)
    for name in (*COLUMNS, "skipped"):
        table.add_column(name, justify="right")
    for row in document["rules"]:
        figures = (f"{row[key]:{form}}" if key in row else "" for key, form in COLUMNS.values())
        table.add_row(row["rule"], *figures, f"{row['skipped']:,}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--federations", type=one_or_more, default=1_000)
    parser.add_argument("--sizes", type=one_or_more, nargs="+", default=list(SIZES))
    parser.add_argument("--no-loops", action="store_true", help="leave out the plain loops")
    parser.add_argument("--skypilot", metavar="PYTHON", help="an interpreter that has SkyPilot")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    book, rules = shipped(), dict(RULES)
    document: dict[str, Any] = {
        "date": date.today().isoformat(),
        "book": book.id,
        "candidates": len(candidates(book)),
    }
    if given.skypilot:
        sky = skypilot.picks(given.skypilot, book, AggregatorSpec().need)
        document["skypilot"] = sky
        rules |= of_skypilot(book, sky["answers"])
    document |= {
        "decisions": decisions(book, given.sizes, not given.no_loops),
        "federations": given.federations,
        "rules": regrets(book, given.federations, rules),
    }
    if given.json:
        print(json.dumps(document))
    else:
        shown(document)


if __name__ == "__main__":
    main()
