"""SkyPilot's optimizer on our book's prices: what it picks, and what it takes to do so."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fedspan.domain.spec import Need
from fedspan.placement.book import Book
from fedspan.placement.candidates import candidates

CATALOGUE = Path(".sky", "catalogs", "v8")
"""Where SkyPilot 0.14 reads prices, below its HOME."""
COLUMNS = (
    "InstanceType",
    "AcceleratorName",
    "AcceleratorCount",
    "vCPUs",
    "MemoryGiB",
    "GpuInfo",
    "Price",
    "SpotPrice",
    "Region",
)
"""Of the columns it knows, not AvailabilityZone: the book's prices are a region's."""
QUIET = {
    "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_GCE_CHECK": "true",
}
"""It tells nobody that it runs, and looks for no credentials on the network."""
MOST_S = 600


def picks(python: str, book: Book, need: Need) -> dict[str, Any]:
    """SkyPilot's ``version``, and in ``answers``, on demand and spot, the ``cpu_ms`` of its
    decision, how many ``candidates`` it looked at, and its ``pick``: ``aws:us-east-1 c6i.large
    on demand``. It runs in an empty HOME, without the environment of this process.

    Raises:
        SystemExit: `python` cannot be run or is no Python, has no SkyPilot, or fails.
    """
    script = Path(__file__).with_name("skypilot_optimizer.py")
    command = [python, "-I", str(script), str(need.vcpus), str(need.memory_mib / 1024)]
    with tempfile.TemporaryDirectory() as home:
        write_catalogue(book, Path(home, CATALOGUE))
        environment = {"HOME": home, "PATH": os.environ.get("PATH", os.defpath), **QUIET}
        try:
            done = subprocess.run(
                command, env=environment, cwd=home, capture_output=True, text=True, timeout=MOST_S
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise SystemExit(f"--skypilot {python}: {exc}") from exc
    if done.returncode != 0:
        raise SystemExit(f"--skypilot {python}: {done.stderr.strip()[-2000:]}")
    try:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError):
        raise SystemExit(f"--skypilot {python}: no answer; is it a Python?") from None


def write_catalogue(book: Book, folder: Path) -> None:
    """A file for each provider, a row for each machine type in a region; dollars an hour, empty
    where it is not sold so."""
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    machines, prices = book.machines, book.prices
    for n, price in enumerate((prices.price / 1e6).tolist()):
        region, machine = int(prices.region[n]), int(prices.machine[n])
        row = rows.setdefault(
            (region, machine),
            {
                "InstanceType": machines.name[machine],
                "AcceleratorName": machines.gpu[machine],
                "AcceleratorCount": int(machines.gpus[machine]) or "",
                "vCPUs": int(machines.vcpus[machine]),
                "MemoryGiB": int(machines.memory_mib[machine]) / 1024,
                "Region": book.regions.name[region],
            },
        )
        row["SpotPrice" if prices.spot[n] else "Price"] = price
    for provider in dict.fromkeys(book.regions.provider):
        path = folder / provider / "vms.csv"
        path.parent.mkdir(parents=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="")
            writer.writeheader()
            own = (row for key, row in rows.items() if book.regions.provider[key[0]] == provider)
            writer.writerows(own)


def row_of(book: Book, pick: str) -> int:
    """Our candidate that is `pick`, in the provider's default network tier."""
    place, machine_type, purchase = pick.split(" ", 2)
    region = book.regions.index[place]
    provider = book.regions.provider[region]
    types = list(zip(book.machines.provider, book.machines.name, strict=True))
    table = candidates(book)
    same = (table.region == region) & (table.machine == types.index((provider, machine_type)))
    return int(np.flatnonzero(same & (table.spot == (purchase == "spot")))[0])
