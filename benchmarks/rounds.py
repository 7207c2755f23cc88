"""What a round costs: stock Flower against Fedspan, in turn, on this machine.

Both train the same model on the same rows, federate it by FedAvg, train and evaluate every
round, on as many SuperNodes. Stock is Flower as its documentation runs it: its commands, its
strategy, the model's ``state_dict``; Fedspan is the programs of its two images. Seconds a round
leave the first round out; CPU and memory are of the whole process trees.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.stock import stock_flower
from fedspan.domain.reports import Phase
from tests.flower.machines import LAYERS, NAMES, World, dataset


@dataclass(frozen=True)
class Cost:
    """`cpu_seconds` is of a round; memory is the sum of what the processes have of their own."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    first_round_seconds: float


class Meter:
    """Watches process trees: CPU seconds, and the peak of their proportional memory."""

    def __init__(self, roots: list[int]) -> None:
        self._roots = [psutil.Process(pid) for pid in roots]
        self._done = threading.Event()
        self.peak_mib = 0.0
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    def cpu_seconds(self) -> float:
        """Of all that runs, and of what has ended: that counts with whoever waited for it, and as
        a zombie while nobody has."""
        total = 0.0
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                used = process.cpu_times()
                total += used.user + used.system + used.children_user + used.children_system
        return total

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            total = 0
            for process in self._processes():
                with contextlib.suppress(psutil.Error):
                    total += process.memory_full_info().pss
            self.peak_mib = max(self.peak_mib, total / 2**20)

    def _processes(self) -> Iterator[psutil.Process]:
        for root in self._roots:
            with contextlib.suppress(psutil.Error):
                yield from (root, *root.children(recursive=True))


def fedspan(folder: Path, rounds: int, participants: int) -> Cost:
    sites = NAMES[:participants]
    started = time.monotonic()
    with World(folder, sites=sites, rounds=rounds) as world:
        programs = (world.aggregator, *world.agents.values())
        with Meter([one.pid for one in programs]) as meter:
            world.api.until(lambda: 1 in world.api.arrivals, 300)
            before, first = meter.cpu_seconds(), world.api.arrivals[1]
            world.api.until(lambda: _phase(world) in (Phase.DONE, Phase.FAILED), 60.0 * rounds)
            spent, last = meter.cpu_seconds() - before, world.api.arrivals[rounds]
    return _cost(meter, rounds, spent, (started, first, last))


def _phase(world: World) -> Phase | None:
    return world.api.aggregator.phase if world.api.aggregator else None


def stock(folder: Path, rounds: int, participants: int) -> Cost:
    folder.mkdir(parents=True)
    sites = NAMES[:participants]
    for site in sites:
        dataset(folder, site)
    started = time.monotonic()
    with stock_flower(folder, sites, LAYERS) as flower:
        flower.start()
        flower.submit(rounds)
        with Meter([one.pid for one in flower.processes]) as meter:
            first = flower.round_over(1, 300)
            before = meter.cpu_seconds()
            last = flower.round_over(rounds, 60.0 * rounds)
            spent = meter.cpu_seconds() - before
    return _cost(meter, rounds, spent, (started, first, last))


def _cost(meter: Meter, rounds: int, spent: float, marks: tuple[float, float, float]) -> Cost:
    started, first, last = marks
    between = rounds - 1
    return Cost(
        seconds=round((last - first) / between, 3),
        cpu_seconds=round(spent / between, 3),
        peak_mib=round(meter.peak_mib, 1),
        first_round_seconds=round(first - started, 2),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="at least 2")
    parser.add_argument("--participants", type=int, default=3, choices=range(1, len(NAMES) + 1))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fedspan-rounds-") as folder:
        ours = asdict(fedspan(Path(folder, "fedspan"), given.rounds, given.participants))
        theirs = asdict(stock(Path(folder, "stock"), given.rounds, given.participants))
    show({"stock": theirs, "fedspan": ours}, as_json=given.json)


def show(costs: dict[str, dict[str, float]], *, as_json: bool) -> None:
    """A table, or JSON, of both and how many times stock's cost ours is."""
    stock_costs, ours = costs["stock"], costs["fedspan"]
    ratios = {name: round(stock_costs[name] / ours[name], 2) for name in ours}
    if as_json:
        print(json.dumps({**costs, "ratio": ratios}))
        return
    print(f"{'':22}{'stock':>10}{'Fedspan':>10}{'ratio':>8}")
    for name, value in ours.items():
        label = name.replace("_", " ")
        print(f"{label:22}{stock_costs[name]:>10.2f}{value:>10.2f}{ratios[name]:>8.2f}")


if __name__ == "__main__":
    main()
