"""The book: what the clouds offer, what it costs, where it is. A value; reading and writing files
is the caller's affair.

Rows are columns of arrays, so that thousands of candidates are one expression. Every price and
carbon figure names its source; every source its date.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

BASES: Final = ("list", "derived", "estimate")
"""How a price is known, best first: from the provider's list; by a rule tested on it; guessed."""

EPOCH: Final = date(1970, 1, 1)

LADDER: Final = (0.10, 0.19, 0.37, 0.72, 1.40)
"""Interruptions an hour while up, by bucket of AWS's Spot Advisor. A bucket is a rank, not a rate:
public traces of real spot machines ('Can't Be Late', NSDI 2024) show 0.095 to 1.39, and this is
the geometric ladder between them."""

UNRANKED: Final = {"aws": 0.37, "gcp": 0.10, "azure": 0.37}
"""The same where nobody ranks a machine type: the middle, and for GCP the lowest step, as its one
public trace shows fewer still."""

ASSUMED_MBPS_PER_VCPU: Final = 390.0
"""Of machines whose provider states no rate: the median of AWS's 76 types that do not burst
(390.6), up to `MOST_ASSUMED_MBPS`, a rate every network of today has."""

MOST_ASSUMED_MBPS: Final = 10_000.0


def unranked(provider: str) -> float:
    """`UNRANKED`; the middle of the ladder for a provider nobody knows."""
    return UNRANKED.get(provider, LADDER[len(LADDER) // 2])


def assumed_mbps(vcpus: int) -> float:
    return min(vcpus * ASSUMED_MBPS_PER_VCPU, MOST_ASSUMED_MBPS)


@dataclass(frozen=True)
class Source:
    """Where figures come from: `dated` is the day they were true, as far as is known."""

    id: str
    title: str
    where: str
    dated: date
    licence: str


@dataclass(frozen=True)
class Regions:
    """A row a region. Degrees; `gco2` is grams CO2 per kWh of its grid, NaN where unknown.
    A region without a position (NaN) is this computer: no distance to anybody."""

    provider: tuple[str, ...]
    name: tuple[str, ...]
    city: tuple[str, ...]
    country: tuple[str, ...]
    continent: tuple[str, ...]
    eu: Bools
    eea: Bools
    latitude: Floats
    longitude: Floats
    gco2: Floats
    gco2_source: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.name)

    @cached_property
    def index(self) -> dict[str, int]:
        """Row by ``provider:name``."""
        pairs = zip(self.provider, self.name, strict=True)
        return {f"{provider}:{name}": row for row, (provider, name) in enumerate(pairs)}

    @cached_property
    def called(self) -> dict[str, tuple[int, ...]]:
        """Rows by what people write: ``provider:name``, or the name alone, which providers may
        share."""
        rows: dict[str, tuple[int, ...]] = {full: (row,) for full, row in self.index.items()}
        for row, name in enumerate(self.name):
            rows[name] = (*rows.get(name, ()), row)
        return rows


@dataclass(frozen=True)
class Machines:
    """A row a machine type of a provider. `nic_mbps` is what its network sends, Mbit/s, as the
    provider documents it: AWS what is sustained, GCP and Azure a most that they do not promise.
    Where one says nothing, it is assumed from the vCPUs (`nic_assumed`)."""

    provider: tuple[str, ...]
    name: tuple[str, ...]
    arch: tuple[str, ...]
    vcpus: Ints
    memory_mib: Ints
    gpu: tuple[str, ...]
    gpus: Ints
    nic_mbps: Floats
    nic_assumed: Bools

    def __len__(self) -> int:
        return len(self.name)


@dataclass(frozen=True)
class Prices:
    """A row a machine type in a region by purchase option. `price` is micro-dollars an hour,
    `dated` days since 1970-01-01, `basis` an index of `BASES`, `interruptions` the expected
    number an hour while it is up (0 on demand), `source` the id of a `Source`."""

    region: Ints
    machine: Ints
    spot: Bools
    price: Ints
    basis: Ints
    dated: Ints
    interruptions: Floats
    source: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True)
class Tariff:
    """Marginal price of what is sent in a month: from ``starts[k]`` units on, each costs
    ``price[k]`` micro-dollars. What is free is a first step at 0. `unit` is bytes: clouds differ
    in whether their gigabyte is 10^9 or 2^30."""

    starts: tuple[float, ...]
    price: tuple[int, ...]
    unit: int
    source: str


@dataclass(frozen=True)
class Egress:
    """`internet` names a tariff for ``(region row, network tier, destination)``; tiers of a
    provider are in `tiers`, the default first; destinations are ``world``, ``oceania``,
    ``china`` (a tariff of ``world`` holds where the others have no own). `between` is
    micro-dollars a gigabyte (`between_unit` bytes) from region row to region row of the same
    provider, -1 across providers. `address` is micro-dollars an hour for a public address, by
    provider; ``gcp:spot`` is that of spot machines where they pay another. `sources` says where
    these two and the rates of networks are from, by ``between:aws``, ``address:gcp:spot`` and
    ``nic:aws``. A tier without a tariff in a region is not offered there."""

    tariffs: tuple[Tariff, ...]
    tiers: dict[str, tuple[str, ...]]
    internet: dict[tuple[int, str, str], int]
    between: Ints
    between_unit: int
    address: dict[str, int]
    sources: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Anchors:
    """Measured RTT in ms between known places (the same both ways; NaN on the diagonal and where
    not measured),
    the typical ms per 1,000 km by pair of continents (``"EU-NA"``, sorted; ``"*"`` else), and
    the error of the model built on them: within `band_ms` in 9 of 10 cases, by distance up to
    `band_km`, left out one by one."""

    name: tuple[str, ...]
    latitude: Floats
    longitude: Floats
    rtt_ms: Floats
    slopes: dict[str, float]
    band_km: Floats
    band_ms: Floats
    source: str


@dataclass(frozen=True, eq=False)
class Book:
    """The same book is the same object. `made` is the day it was put together, `sha256` is of
    its file."""

    made: date
    sources: dict[str, Source]
    regions: Regions
    machines: Machines
    prices: Prices
    egress: Egress
    anchors: Anchors
    sha256: str = ""

    @property
    def id(self) -> str:
        return f"{self.made.isoformat()} {self.sha256[:12]}".strip()
