"""What distance costs: a model of 400 tensors (1.6 MB) over a line with 60 ms of round trip.

Stock Flower sends each tensor as objects of its own, at most two at a time; Fedspan sends one
packed array. Seconds a round leave the first round out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.options import two_or_more
from benchmarks.stock import stock_flower
from fedspan.domain.reports import Phase
from fedspan.flower.aggregator import free_port
from tests.flower.machines import NAMES, World, dataset

DEEP: tuple[object, ...] = (*({"linear": 44} for _ in range(199)), {"linear": 2})
"""200 layers, each a matrix and a vector."""


@contextmanager
def relay(target: int, rtt_ms: float) -> Iterator[int]:
    """A port of loopback that is `rtt_ms` away from `target`."""
    port = free_port()
    program = str(Path(__file__).with_name("relay.py"))
    command = [sys.executable, program, str(port), str(target), "--rtt-ms", str(rtt_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout and process.stdout.readline() == b"ready\n"
            yield port
        finally:
            process.kill()


def fedspan(folder: Path, rounds: int, rtt_ms: float) -> float:
    with World(folder, sites=NAMES[:1], rounds=rounds, layers=DEEP, relayed=True) as world:
        api = world.api
        api.until(lambda: api.aggregator is not None and api.aggregator.address is not None)
        assert api.aggregator and api.aggregator.address
        with relay(int(api.aggregator.address.rpartition(":")[2]), rtt_ms) as port:
            api.via = f"127.0.0.1:{port}"
            over = (Phase.DONE, Phase.FAILED)
            api.until(lambda: api.aggregator is not None and api.aggregator.phase in over, 600)
            if rounds not in api.arrivals:
                raise SystemExit(f"Fedspan: {api.aggregator.fault or 'the job ended too early'}")
            return (api.arrivals[rounds] - api.arrivals[1]) / (rounds - 1)


def stock(folder: Path, rounds: int, rtt_ms: float) -> float:
    folder.mkdir(parents=True)
    dataset(folder, NAMES[0])
    with stock_flower(folder, NAMES[:1], DEEP) as flower, relay(flower.port, rtt_ms) as port:
        flower.start(via=port)
        flower.submit(rounds)
        first = flower.round_over(1, 600)
        return (flower.round_over(rounds, 600.0 * rounds) - first) / (rounds - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=two_or_more, default=3, help="at least 2")
    parser.add_argument("--rtt-ms", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fedspan-wan-") as folder:
        ours = fedspan(Path(folder, "fedspan"), given.rounds, given.rtt_ms)
        theirs = stock(Path(folder, "stock"), given.rounds, given.rtt_ms)
    result = {
        "rtt_ms": given.rtt_ms,
        "stock_seconds": round(theirs, 2),
        "fedspan_seconds": round(ours, 2),
        "ratio": round(theirs / ours, 1),
        "took_seconds": round(time.monotonic() - started, 1),
    }
    if given.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name.replace('_', ' '):18}{value:>8}")


if __name__ == "__main__":
    main()
