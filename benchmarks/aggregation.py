"""Our folding against Flower's own FedAvg: throughput and memory, side by side in one run.

Each runs in a process of its own and does the whole of a round's aggregation, from replies as
they come out of Flower's transport to the new global model as a Flower record. Every participant
has random data of its own. Flower's API takes a list, so its replies are all made beforehand;
ours are made as they are asked for, as they arrive in a job, and making them is not timed.
The order of our sum is fixed, so a reply before its turn waits as a file: in order none does, and
in reverse, the worst there is, all but the last to come do. Their files are in `TMPDIR`.

Memory is the peak above what the process held before any model existed, in models.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from flwr.app import Array, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.task_identity import TaskIdentity
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.options import one_or_more
from fedspan.flower.strategies import aggregate, gathering
from fedspan.flower.wire import ARRAYS, METRICS, arrays, trained_of

MEGABYTE = 1_000_000
BLOCK = 250_000


def measured(name: str, participants: int, megabytes: int) -> dict[str, float | str]:
    """One way of aggregating, in this process."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    work = WAYS[name]
    work(2, 1)  # what a first call costs is nobody's throughput
    gc.collect()
    base = peak_mb()
    clock = work(participants, megabytes)
    gigabytes = participants * megabytes / 1000
    return {
        "name": name,
        "wall_gb_s": gigabytes / clock.wall,
        "cpu_gb_s": gigabytes / clock.cpu,
        "peak_models": (peak_mb() - base) / megabytes,
        "check": clock.check,
    }


class Clock:
    """Wall and CPU seconds of the `with` blocks it is used in."""

    def __init__(self) -> None:
        self.wall = self.cpu = self.check = 0.0

    def __enter__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *exc: object) -> None:
        self.wall += time.perf_counter() - self._wall
        self.cpu += time.process_time() - self._cpu


def flower(participants: int, megabytes: int) -> Clock:
    messages = list(replies(participants, megabytes))
    clock = Clock()
    with clock:
        arrays, _ = FedAvg().aggregate_train(1, messages)
    assert arrays is not None
    clock.check = float(arrays["flat"].numpy()[:1000].sum(dtype=np.float64))
    return clock


def fedspan(participants: int, megabytes: int, step: int = 1) -> Clock:
    """`step` -1 has the last participant reply first."""
    clock = Clock()
    like = np.empty(megabytes * MEGABYTE // 4, np.float32)  # never touched: takes no memory
    with tempfile.TemporaryDirectory() as folder:
        names = [f"p{index:03d}" for index in range(participants)]
        gathered = gathering("fedavg", names, like, Path(folder, "replies"))
        arriving = replies(participants, megabytes, step)
        for name in names[::step]:
            message = next(arriving)
            with clock:
                gathered.add(name, trained_of(message, like))
            del message
        with clock:
            flat = aggregate(FedAvg(), 1, gathered, like)
    clock.check = float(flat[:1000].sum(dtype=np.float64))
    return clock


def reverse(participants: int, megabytes: int) -> Clock:
    return fedspan(participants, megabytes, -1)


WAYS = {"flower": flower, "fedspan": fedspan, "fedspan-reverse": reverse}
LABELS = {
    "flower": "Flower",
    "fedspan": "Fedspan, replies in order",
    "fedspan-reverse": "Fedspan, replies in reverse",
}


def replies(participants: int, megabytes: int, step: int = 1) -> Iterator[Message]:
    """Train replies with distinct random models, one at a time."""
    for index in range(participants)[::step]:
        data = npy(np.random.default_rng(index), megabytes * MEGABYTE // 4)
        array = Array("float32", (megabytes * MEGABYTE // 4,), "numpy.ndarray", data)
        del data
        metrics = MetricRecord({"num-examples": 100 + index, "train_loss": 1.0, "seconds": 1.0})
        content = RecordDict({ARRAYS: arrays(array), METRICS: metrics})
        del array
        message = [Message(content, 0, MessageType.TRAIN)]
        del content, metrics
        yield message.pop()  # nothing of it stays here


def npy(random: np.random.Generator, size: int) -> bytes:
    """A .npy file of `size` normal floats, made without a second copy of it."""
    file = BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (size,)}
    np.lib.format.write_array_header_1_0(file, header)
    for start in range(0, size, BLOCK):
        file.write(random.standard_normal(min(BLOCK, size - start), np.float32).data)
    return file.getvalue()


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE


def apart(name: str, options: argparse.Namespace) -> dict[str, float | str]:
    """`measured` in a fresh process."""
    command = [sys.executable, __file__, "--only", name]
    command += ["--participants", str(options.participants)]
    command += ["--megabytes", str(options.megabytes)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        raise SystemExit(f"{LABELS[name]}: {said}")
    found: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return found


def shown(rows: list[dict[str, float | str]], options: argparse.Namespace) -> Table:
    table = Table(title=f"{options.participants} participants x {options.megabytes} MB, FedAvg")
    for heading in ("", "GB/s wall", "GB/s CPU", "peak, models"):
        table.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        figures = (float(row[key]) for key in ("wall_gb_s", "cpu_gb_s", "peak_models"))
        table.add_row(LABELS[str(row["name"])], *(f"{figure:.2f}" for figure in figures))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--participants", type=one_or_more, default=32)
    parser.add_argument("--megabytes", type=one_or_more, default=100)
    parser.add_argument("--json", action="store_true", help="one JSON document, no table")
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measured(options.only, options.participants, options.megabytes)))
        return
    rows = [apart(name, options) for name in WAYS]
    flowers, *ours = (float(row["check"]) for row in rows)
    if any(abs(flowers - one) > 1e-3 for one in ours) or len(set(ours)) > 1:
        raise SystemExit(f"the means differ: Flower's {flowers}, Fedspan's {ours}")
    if options.json:
        sizes = {"participants": options.participants, "megabytes": options.megabytes}
        print(json.dumps({**sizes, "results": rows}))
    else:
        Console().print(shown(rows, options))


if __name__ == "__main__":
    main()
