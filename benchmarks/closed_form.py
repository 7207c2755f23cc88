"""How far the closed form that ranks spot places is from replay on recorded traces.

For every trace (a JSON file each) an estimator's figures are taken: the share of time up,
interruptions an hour up (half a one where none was seen), and the mean outage. From these follows
the closed form of `fedspan.placement.makespan`; against it stand replays of the same job from
random starts at which there is capacity. The job is 24 hours of rounds of 60 s, a checkpoint of 2 s
as often as Young and Daly say, 120 s to set up and 180 s to recover. ``ratio`` is the closed form
over the replays' mean. It knows the figures of the very time it is replayed in; ``ahead`` is the
same with figures from the first half of the trace and replays in the second.

Rows of one place wait in the same zone. Fail-over rows (``+``) take the places that one campaign (a
folder) watched for one machine type, in the order of their names, cut to the shortest; their
interruptions are pooled, and an outage is when none was up.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Self

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.options import one_or_more
from fedspan.errors import InvalidRequest
from fedspan.placement.book import Floats
from fedspan.placement.makespan import HOUR, expected_seconds, young_daly
from fedspan.placement.replay import Place, Policy, Trace, Work, quantile, replay, trace

ROOT = Path(__file__).resolve().parents[1]
MOSTLY_UP = 0.7
NEAR = 0.2


@dataclass(frozen=True)
class Figures:
    """What an estimator reads off the traces of one or more places."""

    up: float
    interruptions_per_hour: float
    outage_hours: float

    @classmethod
    def of(cls, places: tuple[Trace, ...]) -> Self:
        """The traces are equally long, and up at some time. Having seen no interruption does not
        prove that there is none: it counts as half a one."""
        up = float(np.logical_or.reduce([one.up for one in places]).mean())
        losses = max(0.5, sum(one.interruptions for one in places))
        hazard = losses / sum(one.hours * one.fraction_up for one in places)
        return cls(up, hazard, (1.0 - up) / up / hazard)

    def work(self, hours: int) -> Work:
        rounds = hours * 60
        every = min(rounds, int(young_daly(60.0, 2.0, self.interruptions_per_hour)))
        return Work(rounds, 60.0, every, 2.0, setup_seconds=120.0, recovery_seconds=180.0)

    def closed_hours(self, work: Work) -> float:
        seconds = expected_seconds(
            work.setup_seconds,
            work.rounds,
            work.checkpoint_every,
            work.round_seconds,
            work.checkpoint_seconds,
            self.interruptions_per_hour,
            work.recovery_seconds,
            self.outage_hours * HOUR,
        )
        return float(seconds) / HOUR


@dataclass(frozen=True)
class Row:
    """Hours of the job, and the closed form over the replays' mean: of the same time (`ratio`),
    and of the half after (`ahead`). Null where one was never done."""

    name: str
    places: int
    up: float
    interruptions_per_hour: float
    outage_hours: float
    closed_hours: float
    mean_hours: float | None
    p50_hours: float | None
    p95_hours: float | None
    ratio: float | None
    ahead: float | None


class Bench:
    """The job and its starts."""

    def __init__(self, hours: int, starts: int, seed: int) -> None:
        self._hours, self._starts = hours, starts
        self._rng = np.random.default_rng(seed)

    def row(self, name: str, places: tuple[Trace, ...]) -> Row:
        seen = Figures.of(places)
        work = seen.work(self._hours)
        closed, done = seen.closed_hours(work), self._replayed(work, places)
        return Row(
            name=name,
            places=len(places),
            up=round(seen.up, 4),
            interruptions_per_hour=round(seen.interruptions_per_hour, 4),
            outage_hours=round(seen.outage_hours, 3),
            closed_hours=round(closed, 2),
            mean_hours=_finite(done.mean(), 2),
            p50_hours=_finite(quantile(done, 0.5), 2),
            p95_hours=_finite(quantile(done, 0.95), 2),
            ratio=_finite(closed / done.mean(), 3),
            ahead=self._ahead(places),
        )

    def _ahead(self, places: tuple[Trace, ...]) -> float | None:
        half = len(places[0].up) // 2
        before = tuple(replace(one, up=one.up[:half]) for one in places)
        after = tuple(replace(one, up=one.up[half:]) for one in places)
        if not all(any(one.up.any() for one in part) for part in (before, after)):
            return None
        seen = Figures.of(before)
        work = seen.work(self._hours)
        return _finite(seen.closed_hours(work) / self._replayed(work, after).mean(), 3)

    def _replayed(self, work: Work, places: tuple[Trace, ...]) -> Floats:
        capacity = np.flatnonzero(np.logical_or.reduce([one.up for one in places]))
        ticks = self._rng.choice(capacity, self._starts) + self._rng.random(self._starts)
        policy = Policy(tuple(Place(one, 0) for one in places))
        return replay(work, policy, ticks * places[0].gap_seconds).hours


def _finite(figure: float, digits: int) -> float | None:
    """A figure over hours that are infinite is 0: no figure."""
    return round(float(figure), digits) if 0 < figure < np.inf else None


def recorded(folder: Path) -> list[Trace]:
    """Every trace below `folder`, by name."""
    files = sorted(folder.rglob("*.json"))
    if not files:
        raise SystemExit(f"no traces (*.json) in {folder}; say where they are with --traces DIR")
    found = []
    for file in files:
        name = str(file.relative_to(folder).with_suffix(""))
        try:
            found.append(trace(json.loads(file.read_text()), name))
        except (json.JSONDecodeError, UnicodeDecodeError) as exc:
            raise SystemExit(f"{name}: no JSON: {exc}") from None
        except InvalidRequest as exc:
            raise SystemExit(str(exc)) from None
    if not any(one.up.any() for one in found):
        raise SystemExit(f"no trace in {folder} was ever up")
    return [one for one in found if one.up.any()]


def campaigns(found: list[Trace]) -> dict[str, tuple[Trace, ...]]:
    """Traces of one folder and one machine type, where they are of at least two zones; equally
    long, from the same start."""

    def kind(one: Trace) -> tuple[str, float]:
        folder, _, file = one.name.rpartition("/")
        return str(Path(folder, f"+{file.partition('_')[2]}")), one.gap_seconds

    together = {}
    for (name, _), ones in groupby(sorted(found, key=kind), key=kind):
        places = tuple(ones)
        ticks = min(len(one.up) for one in places)
        if len(places) > 1:
            together[name] = tuple(replace(one, up=one.up[:ticks]) for one in places)
    return together


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=Path, default=ROOT.parent / "shared" / "data" / "traces")
    parser.add_argument("--hours", type=one_or_more, default=24, help="of work")
    parser.add_argument("--starts", type=one_or_more, default=1000, help="replays of each trace")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    bench = Bench(given.hours, given.starts, given.seed)
    found = recorded(given.traces)
    rows = [bench.row(one.name, (one,)) for one in found]
    rows += [bench.row(name, places) for name, places in campaigns(found).items()]
    show(rows, as_json=given.json)


def show(rows: list[Row], *, as_json: bool) -> None:
    often = [row for row in rows if row.places == 1 and row.up > MOSTLY_UP]
    near, ahead = (sum(_near(getattr(row, name)) for row in often) for name in ("ratio", "ahead"))
    if as_json:
        summary = {"mostly_up": len(often), "mostly_up_near": near, "mostly_up_near_ahead": ahead}
        print(json.dumps({**summary, "results": [asdict(row) for row in rows]}))
        return
    width = max(len(row.name) for row in rows) + 2
    titles = ("up", "loss/h", "outage", "closed", "mean", "p50", "p95", "ratio", "ahead")
    print(f"{'hours':{width}}" + "".join(f"{title:>8}" for title in titles))
    for row in rows:
        hours = (row.closed_hours, row.mean_hours, row.p50_hours, row.p95_hours)
        cells = [f"{row.up:.1%}", f"{row.interruptions_per_hour:.3f}", f"{row.outage_hours:.2f}"]
        cells += ["never" if one is None else f"{one:.1f}" for one in hours]
        cells += ["" if one is None else f"{one:.2f}" for one in (row.ratio, row.ahead)]
        print(f"{row.name:{width}}" + "".join(f"{cell:>8}" for cell in cells))
    print(
        f"of the {len(often)} traces that are up over {MOSTLY_UP:.0%} of the time, {near} are "
        f"within {NEAR:.0%} of replay, {ahead} in the half after the one measured"
    )


def _near(ratio: float | None) -> bool:
    return ratio is not None and abs(ratio - 1) <= NEAR


if __name__ == "__main__":
    main()
