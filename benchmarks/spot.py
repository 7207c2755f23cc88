"""Spot machines under a deadline: what rules cost on recorded capacity, and what is the least.

24 hours of rounds of 60 s, a checkpoint after each, 180 s until another machine works, from random
starts in recorded traces (JSON, see --traces), once in a single zone and once with all the zones
that a campaign (a folder) watched for one machine type. Every rule fails over in the same way. The
deadline is a multiple of the work. ``x optimum`` is the bill of all starts over that of the
cheapest schedules that whoever knows all outages could make (benchmarks/spot_optimum.py).

Then the setting of Multi-FedLS: 30 rounds of 623.57 s, revocations at random, 180 s to boot, with
a checkpoint every round as jobs do it here, and every 10 rounds as published.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one thread, whatever the machine has

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.closed_form import campaigns, recorded
from benchmarks.options import not_negative, one_or_more, share
from benchmarks.spot_optimum import optimum
from benchmarks.spot_rules import (
    BOOT,
    STEP_S,
    Job,
    Run,
    UniformProgress,
    by_deadline,
    capacity,
    first_up,
    on_demand,
    recorded_steps,
    spot,
    stays,
)
from benchmarks.spot_tables import OURS, shown
from fedspan.placement.book import Floats, Ints
from fedspan.placement.makespan import HOUR
from fedspan.placement.purchasing import LOSSES_PER_HOUR
from fedspan.placement.replay import Trace, Work, sampled

ROOT = Path(__file__).resolve().parents[1]
DEADLINES = (1.1, 1.25, 1.5)
ROUNDS, ROUND_S, BOOT_S = 30, 623.57, 180.0
REVOCATION_HOURS = (2, 4, 6)
DRAWS = 20_000


@dataclass(frozen=True)
class Ask:
    rounds: int
    deadlines: tuple[int, ...]
    spot_price: float
    losses_per_hour: float


@dataclass(frozen=True, eq=False)
class Pool:
    """Places that a job may move between, and the steps at which it starts."""

    places: tuple[Trace, ...]
    starts: Ints


def pools(
    groups: Sequence[tuple[Trace, ...]], rng: np.random.Generator, starts: int, longest: int
) -> list[Pool]:
    """`starts` spread over the groups that are as long as the longest deadline."""
    able = [(one, recorded_steps(one) - longest) for one in groups]
    able = [(one, room) for one, room in able if room >= 0]
    if not able:
        raise SystemExit(
            f"no traces are as long as the longest deadline, {longest * STEP_S / HOUR:g} h; "
            "give fewer --hours"
        )
    counts = np.bincount(np.arange(starts) % len(able), minlength=len(able)).tolist()
    return [
        Pool(one, rng.integers(0, room, count, endpoint=True))
        for (one, room), count in zip(able, counts, strict=True)
        if count
    ]


def compared(asked: Ask, found: Sequence[Pool], several: bool) -> dict[str, Any]:
    """Every rule at every deadline, and what the optimum costs."""
    parts = [_pool(asked, pool, several) for pool in found]
    return {
        "zones": "several" if several else "one",
        "pools": len(found),
        "places": sum(len(one.places) for one in found),
        "starts": sum(len(one.starts) for one in found),
        "always_capacity": int(sum(one["always"].sum() for one in parts)),
        "deadlines": [
            _deadline(asked, deadline, [one[deadline] for one in parts], parts)
            for deadline in asked.deadlines
        ],
    }


def _pool(asked: Ask, pool: Pool, several: bool) -> dict[Any, Any]:
    up = capacity(pool.places)
    until, starts = stays(up), pool.starts.tolist()
    rows, longest = until.tolist(), max(asked.deadlines)

    def runs(places: list[list[int]], ups: list[int], rule: Any, deadline: int) -> list[Run]:
        return [
            Job(places, ups, start, asked.rounds).run(rule(), deadline, asked.spot_price)
            for start in starts
        ]

    alone = [
        runs([row], first_up(up[place : place + 1]).tolist(), lambda: spot, longest)
        for place, row in enumerate(rows)
    ]
    some, ups = up.any(axis=0), first_up(up).tolist()
    found: dict[Any, Any] = {
        "always": np.array([some[one : one + asked.rounds + BOOT].all() for one in starts])
    }
    for deadline in asked.deadlines:
        kinds = {
            "on demand": runs(rows, ups, lambda: on_demand, deadline),
            "spot, one zone": alone[0],
            "uniform progress": runs(
                rows, ups, lambda end=deadline: UniformProgress(asked.rounds, end), deadline
            ),
            OURS: runs(
                rows, ups, lambda: by_deadline(asked.spot_price, asked.losses_per_hour), deadline
            ),
        }
        if several:
            best = [min(ones, key=lambda run: run.steps) for ones in zip(*alone, strict=True)]
            kinds["spot, best zone in hindsight"] = best
        least = optimum(up, pool.starts, asked.rounds, deadline, asked.spot_price)
        found[deadline] = {"runs": kinds, "optimum": least}
    return found


def _deadline(
    asked: Ask, deadline: int, parts: Sequence[dict[str, Any]], whole: Sequence[dict[Any, Any]]
) -> dict[str, Any]:
    """`parts` by pool, put together."""
    least = np.concatenate([one["optimum"] for one in parts])
    always = np.concatenate([one["always"] for one in whole])
    order = (
        "on demand",
        "spot, one zone",
        "spot, best zone in hindsight",
        "uniform progress",
        OURS,
    )
    rows = [
        _row(name, [run for one in parts for run in one["runs"][name]], asked, deadline, least)
        for name in order
        if name in parts[0]["runs"]
    ]
    alone = asked.rounds + BOOT
    ours = np.array([run.steps for one in parts for run in one["runs"][OURS]])[always]
    return {
        "deadline": round(deadline / asked.rounds, 4),
        "rows": rows,
        "optimum_cost": float(least.mean() / alone),
        "time_where_capacity": _quantiles(ours / alone) if ours.size else None,
    }


def _row(
    name: str, runs: Sequence[Run], asked: Ask, deadline: int, least: Floats
) -> dict[str, Any]:
    steps = np.array([run.steps for run in runs], float)
    cost = np.array([run.cost for run in runs])
    hours = _quantiles(steps * STEP_S / HOUR)
    return {
        "rule": name,
        "hours_p50": hours["p50"],
        "hours_p95": hours["p95"],
        "cost": float(cost.mean() / (asked.rounds + BOOT)),
        "over_optimum": float(cost.sum() / least.sum()),
        "over_optimum_p95": float(np.quantile(cost / least, 0.95)),
        "misses": int((steps > deadline).sum()),
        "interruptions": float(np.mean([run.losses for run in runs])),
    }


def _quantiles(values: Floats) -> dict[str, float]:
    return {name: float(np.quantile(values, at)) for name, at in (("p50", 0.5), ("p95", 0.95))}


def multi_fedls(seed: int, spot_price: float) -> list[dict[str, Any]]:
    """Mean hours and cost by how often machines are revoked, over those of on demand."""
    work = Work(ROUNDS, ROUND_S, setup_seconds=BOOT_S, recovery_seconds=BOOT_S)
    alone = (BOOT_S + work.seconds) / HOUR
    found: list[dict[str, Any]] = []
    for every in REVOCATION_HOURS:
        row: dict[str, Any] = {"revoked_every_hours": every, "on_demand_hours": alone}
        for name, rounds in (("ours", 1), ("published", 10)):
            rng = np.random.default_rng(seed)
            hours = sampled(rng, replace(work, checkpoint_every=rounds), 1 / every, 0.0, DRAWS)
            row |= {
                f"{name}_time": float(hours.mean() / alone),
                f"{name}_time_p95": float(np.quantile(hours, 0.95) / alone),
                f"{name}_cost": float(spot_price * hours.mean() / alone),
            }
        found.append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=Path, default=ROOT.parent / "shared" / "data" / "traces")
    parser.add_argument("--hours", type=one_or_more, default=24, help="of work")
    parser.add_argument("--starts", type=one_or_more, default=1000, help="in one zone, and in many")
    parser.add_argument("--spot-price", type=share, default=0.3, help="as a share of on demand's")
    parser.add_argument(
        "--losses-per-hour", type=not_negative, default=LOSSES_PER_HOUR, help="that ours expects"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rounds = round(given.hours * HOUR / STEP_S)
    deadlines = tuple(round(rounds * one) for one in DEADLINES)
    asked = Ask(rounds, deadlines, given.spot_price, given.losses_per_hour)
    found, rng = recorded(given.traces), np.random.default_rng(given.seed)
    groups = ([(one,) for one in found], list(campaigns(found).values()))
    document = {
        "hours": given.hours,
        "spot": given.spot_price,
        "settings": [
            compared(asked, pools(group, rng, given.starts, max(asked.deadlines)), several)
            for several, group in enumerate(groups)
            if group
        ],
        "multi_fedls_work": f"{ROUNDS} rounds of {ROUND_S:g} s",
        "multi_fedls": multi_fedls(given.seed, given.spot_price),
    }
    if given.json:
        print(json.dumps(document))
    else:
        shown(document)


if __name__ == "__main__":
    main()
