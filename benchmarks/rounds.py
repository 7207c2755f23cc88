"""What a round costs: stock Flower against Fedspan, in turn, on this machine.

Both train the same model on the same rows, federate it by FedAvg, train and evaluate every
round, on as many SuperNodes, each with one thread for its arithmetic. Stock is Flower as its
documentation runs it: its commands, its strategy, the model's ``state_dict``. Fedspan is
``fedspan up`` and a job submitted to it.

Seconds and CPU seconds a round leave the first round out. CPU and memory are of the whole process
trees: Fedspan's include the control plane, which stock Flower has no like of; the last line of
the table says how much of the memory that is. ``submit_to_first_round_seconds`` is, of Fedspan,
from the submit call at a control plane that runs to the job's first ``RoundDone``: its machines
are started in that time, the control plane is not. Of stock, which has no such service, it is
from starting its commands to the end of the first round.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.options import two_or_more
from benchmarks.stock import stock_flower
from fedspan.cli.api import Api, Wire
from fedspan.domain.jobs import Job
from fedspan.domain.sites import Site
from fedspan.flower.aggregator import free_port
from fedspan.local.home import Home
from tests.flower.machines import LAYERS, NAMES, ROOT, dataset, job

SPARE_ROUNDS = 2
"""Beyond those measured: a job's machines go within moments of its last round, and with them what
the kernel knows of their CPU."""


@dataclass(frozen=True)
class Cost:
    """`cpu_seconds` is of a round; memory is the sum of what the processes have of their own."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    submit_to_first_round_seconds: float
    control_plane_mib: float | None = None


class Meter:
    """Watches process trees: CPU seconds, and the peak of their proportional memory."""

    def __init__(self, roots: list[int]) -> None:
        self._roots = [psutil.Process(pid) for pid in roots]
        self._done = threading.Event()
        self.peak_mib = self.roots_mib = 0.0
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
            total = roots = 0
            for process in self._processes():
                with contextlib.suppress(psutil.Error):
                    taken = process.memory_full_info().pss
                    total += taken
                    roots += taken if process in self._roots else 0
            self.peak_mib = max(self.peak_mib, total / 2**20)
            self.roots_mib = max(self.roots_mib, roots / 2**20)

    def _processes(self) -> Iterator[psutil.Process]:
        for root in self._roots:
            with contextlib.suppress(psutil.Error):
                yield from (root, *root.children(recursive=True))


def fedspan(folder: Path, rounds: int, participants: int) -> Cost:
    folder.mkdir(parents=True)
    sites = NAMES[:participants]
    spec = job(rounds + SPARE_ROUNDS, sites, LAYERS).model_dump(mode="json")
    with control_plane(Home(folder / "home")) as (process, api):
        for site in sites:
            api.put_site(Site(name=site, datasets=(dataset(folder, site),)))
        with Meter([process.pid]) as meter:
            submitted = time.time()
            id = api.submit(spec, "benchmark").id
            begun = reached(api, id, 1, 300)
            before = meter.cpu_seconds()
            over = reached(api, id, rounds, 60.0 * rounds)
            spent = meter.cpu_seconds() - before
        done = {one.round: one.at.timestamp() for one in api.events(id) if one.code == "RoundDone"}
    if over.ended or over.rounds_done == begun.rounds_done:
        raise SystemExit("Fedspan: the rounds were over before the CPU was read; take more rounds")
    cpu = spent / (over.rounds_done - begun.rounds_done)
    made = _cost(meter, rounds, cpu, (submitted, done[1], done[rounds]))
    return replace(made, control_plane_mib=round(meter.roots_mib, 1))


@contextlib.contextmanager
def control_plane(home: Home) -> Iterator[tuple[subprocess.Popen[bytes], Api]]:
    """``fedspan up`` on `home`, as a process of its own; ended with its jobs."""
    home.prepare()
    words = ("--home", str(home.path), "up", "--port", str(free_port()))
    command = [sys.executable, "-m", "fedspan.cli.main", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        (home.path / "fedspan.log").open("ab") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            while home.running() is None:
                if process.poll() is not None:
                    said = (home.path / "fedspan.log").read_text()[-2000:]
                    raise SystemExit(f"Fedspan: no control plane: {said}")
                time.sleep(0.05)
            with Wire(home) as wire:
                api = Api(wire)
                api.health()
                try:
                    yield process, api
                finally:
                    end_jobs(api)  # no machine stays
        finally:
            process.terminate()


def end_jobs(api: Api) -> None:
    """Cancel what runs, and wait for its machines to go."""
    for one in api.every_job():
        if not one.ended:
            api.cancel(one.id)
            while not api.job(one.id).ended:
                time.sleep(0.1)


def reached(api: Api, id: str, number: int, seconds: float) -> Job:
    """The job, once that round of it is done."""
    deadline = time.monotonic() + seconds
    while (found := api.job(id)).rounds_done < number:
        if found.ended:
            raise SystemExit(f"Fedspan: the job ended before round {number}: {found.outcome}")
        if time.monotonic() > deadline:
            raise SystemExit(f"Fedspan: round {number} was not done within {seconds:g} s")
        time.sleep(0.1)
    return found


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
            cpu = (meter.cpu_seconds() - before) / (rounds - 1)
    return _cost(meter, rounds, cpu, (started, first, last))


def _cost(meter: Meter, rounds: int, cpu: float, marks: tuple[float, float, float]) -> Cost:
    started, first, last = marks
    return Cost(
        seconds=round((last - first) / (rounds - 1), 3),
        cpu_seconds=round(cpu, 3),
        peak_mib=round(meter.peak_mib, 1),
        submit_to_first_round_seconds=round(first - started, 2),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=two_or_more, default=5, help="at least 2")
    parser.add_argument("--participants", type=int, default=3, choices=range(1, len(NAMES) + 1))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fedspan-rounds-") as folder:
        ours = asdict(fedspan(Path(folder, "fedspan"), given.rounds, given.participants))
        theirs = asdict(stock(Path(folder, "stock"), given.rounds, given.participants))
    show({"stock": theirs, "fedspan": ours}, as_json=given.json)


def show(costs: dict[str, dict[str, float | None]], *, as_json: bool) -> None:
    """A table, or JSON, of both and how many times stock's cost ours is."""
    names = costs["fedspan"]
    pairs = {name: (costs["stock"][name], costs["fedspan"][name]) for name in names}
    ratios = {name: round(a / b, 2) for name, (a, b) in pairs.items() if a and b}
    if as_json:
        print(json.dumps({**costs, "ratio": ratios}))
        return
    print(f"{'':34}{'stock':>10}{'Fedspan':>10}{'ratio':>8}")
    for name, pair in pairs.items():
        label = LABELS.get(name, name.replace("_", " "))
        figures = (f"{one:.2f}" if one is not None else "" for one in (*pair, ratios.get(name)))
        print("{:34}{:>10}{:>10}{:>8}".format(label, *figures))
    print("* Fedspan: from the submit call; stock: from starting its commands")


LABELS = {
    "submit_to_first_round_seconds": "submit to first round, seconds *",
    "control_plane_mib": "of which control plane, MiB",
}


if __name__ == "__main__":
    main()
