"""What the death of an aggregator costs: stock Flower against Fedspan, in turn, on this machine.

Both train the same model on the same rows. While round K is under way the aggregator's machine
dies, as the participants see it: every process of it gets SIGKILL, and its memory is gone.

Stock Flower is looked at twice. *Left alone*, nobody does anything: what it does by itself is
waited for. *Restarted by hand*, an operator who saw it at once starts a SuperLink at the same
address and every participant's SuperNode again, and submits the same app: as good as it gets,
since its default keeps nodes and runs in memory and its ServerApp keeps no checkpoint. Its seconds
count from the kill, with no time for a person to notice; rounds done again are all those that had
been done, for the run starts at round one.

*Equal* says whether the final model is the one of a run that nothing disturbed: for Fedspan the
SHA-256 of the chosen model, for stock its last round's parameters.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.options import two_or_more
from benchmarks.rounds import control_plane, reached
from benchmarks.stock import Stock, stock_flower
from fedspan.cli.api import Api
from fedspan.domain.events import Event
from fedspan.domain.sites import Site
from fedspan.local.home import Home
from fedspan.providers.local import processes
from tests.flower.machines import LAYERS, NAMES, dataset, job

ROUND_SECONDS = 300.0
ALONE_SECONDS = 60.0
"""A stock SuperNode that lost its SuperLink tries again for ever; so long it is given."""
MARKS = ("MachineGone", "AggregatorPlaced", "AggregatorLaunched", "AggregatorReady", "RoundDone")
"""The events of a recovery, in their order."""


@dataclass(frozen=True)
class Result:
    """What became of the job. `next_round_seconds` is from the kill to the end of the next whole
    round, whichever that is, and `caught_up_seconds` to the end of the round that was killed;
    `rounds_lost` were complete and are no more. `phases` says where the time went."""

    outcome: str
    rounds_lost: int
    rounds_done_again: int
    next_round_seconds: float | None = None
    caught_up_seconds: float | None = None
    equal: bool | None = None
    phases: dict[str, float] = field(default_factory=dict)


def fedspan(folder: Path, rounds: int, killed: int, sites: Sequence[str]) -> Result:
    folder.mkdir(parents=True)
    spec = job(rounds, tuple(sites), LAYERS).model_dump(mode="json")
    home = Home(folder / "home")
    with control_plane(home) as (_, api):
        for site in sites:
            api.put_site(Site(name=site, datasets=(dataset(folder, site),)))
        calm = api.submit(spec, "calm").id
        _ended(api, calm)
        hurt = api.submit(spec, "hurt").id
        reached(api, hurt, killed - 1, ROUND_SECONDS * killed)
        while api.job(hurt).progress.round < killed:
            time.sleep(0.02)
        at = time.time()
        _kill_aggregator(home)
        _ended(api, hurt)
        done = api.rounds(hurt)
        events = [one for one in api.events(hurt) if one.at.timestamp() > at]
        equal = api.model(hurt).sha256 == api.model(calm).sha256
        state = str(api.job(hurt).state)
    kept = sum(1 for one in done if one.epoch == 1)
    phases = _phases(events, at)
    over = round(sum(phases.values()), 1)
    return Result(
        state, killed - 1 - min(kept, killed - 1), killed - kept, over, over, equal, phases
    )


def _ended(api: Api, id: str) -> None:
    deadline = time.monotonic() + ROUND_SECONDS
    while not api.job(id).ended:
        if time.monotonic() > deadline:
            raise SystemExit(f"Fedspan: job {id} has not ended within {ROUND_SECONDS:g} s")
        time.sleep(0.1)


def _kill_aggregator(home: Home) -> None:
    for process, folder in processes():
        if folder.is_relative_to(home.machines) and "aggregator" in folder.name:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _phases(events: Sequence[Event], at: float) -> dict[str, float]:
    """Seconds from each mark to the next, the first from the kill."""
    taken, before = {}, at
    for code in MARKS:
        found = next((one.at.timestamp() for one in events if one.code == code), before)
        taken[code], before = round(max(0.0, found - before), 2), max(before, found)
    return taken


def stock_alone(folder: Path, rounds: int, killed: int, sites: Sequence[str]) -> tuple[Result, str]:
    """What stock Flower does by itself; and the model of its run that nothing disturbed."""
    with _stock(folder, sites) as flower:
        flower.submit(rounds)
        flower.round_over(rounds, ROUND_SECONDS * rounds)
        calm = flower.marks()[-1][1]
        flower.submit(rounds)
        flower.round_over(rounds + killed - 1, ROUND_SECONDS * killed)
        flower.lose_superlink()
        time.sleep(ALONE_SECONDS)
        again = len(flower.marks()) - (rounds + killed - 1)
        trying = sum(1 for one in flower.processes if one.poll() is None)
    said = f"no end in {ALONE_SECONDS:g} s; {trying} of {len(sites)} SuperNodes try on"
    return Result(said if not again else "went on", killed - 1, again), calm


def stock_by_hand(
    folder: Path, rounds: int, killed: int, sites: Sequence[str], calm: str
) -> Result:
    with _stock(folder, sites) as flower:
        flower.submit(rounds)
        flower.round_over(killed - 1, ROUND_SECONDS * killed)
        at = flower.lose_superlink()
        flower.restart()
        flower.submit(rounds)
        first = flower.round_over(killed, ROUND_SECONDS)
        same = flower.round_over(2 * killed - 1, ROUND_SECONDS * killed)
        flower.round_over(killed - 1 + rounds, ROUND_SECONDS * rounds)
        equal = flower.marks()[-1][1] == calm
    return Result(
        "succeeded, by hand", killed - 1, killed, round(first - at, 1), round(same - at, 1), equal
    )


@contextlib.contextmanager
def _stock(folder: Path, sites: Sequence[str]) -> Iterator[Stock]:
    folder.mkdir(parents=True)
    for site in sites:
        dataset(folder, site)
    with stock_flower(folder, sites, LAYERS) as flower:
        flower.start()
        yield flower


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=two_or_more, default=4, help="of the job")
    parser.add_argument("--killed", type=two_or_more, default=3, help="the round it happens in")
    parser.add_argument("--participants", type=int, default=3, choices=range(1, len(NAMES) + 1))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.killed > given.rounds:
        parser.error(f"--killed {given.killed}: the job has {given.rounds} rounds")
    sites, shape = NAMES[: given.participants], (given.rounds, given.killed)
    with tempfile.TemporaryDirectory(prefix="fedspan-kill-") as folder:
        ours = fedspan(Path(folder, "fedspan"), *shape, sites)
        alone, calm = stock_alone(Path(folder, "alone"), *shape, sites)
        by_hand = stock_by_hand(Path(folder, "hand"), *shape, sites, calm)
    results = {"stock, left alone": alone, "stock, restarted": by_hand, "Fedspan": ours}
    show(results, as_json=given.json)


def show(results: dict[str, Result], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({name: asdict(one) for name, one in results.items()}))
        return
    table = Table("", *results)
    for label, name in LABELS.items():
        values = (getattr(one, name) for one in results.values())
        table.add_row(label, *("" if one is None else str(one) for one in values))
    Console(width=110).print(table)
    phases = results["Fedspan"].phases
    print("Fedspan:", " · ".join(f"{code} {seconds:.1f} s" for code, seconds in phases.items()))


LABELS = {
    "outcome": "outcome",
    "rounds lost": "rounds_lost",
    "rounds done again": "rounds_done_again",
    "next whole round, s": "next_round_seconds",
    "killed round done, s": "caught_up_seconds",
    "equal model": "equal",
}


if __name__ == "__main__":
    main()
