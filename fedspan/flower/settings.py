"""What an aggregator's machine is told by its environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fedspan.flower.certificates import LOOPBACK
from fedspan.flower.files import OBJECTS, WORK
from fedspan.flower.reporting import API, wanted

JOB: Final = "FEDSPAN_JOB"
EPOCH: Final = "FEDSPAN_EPOCH"
ADDRESS: Final = "FEDSPAN_ADDRESS"
PORT: Final = "FEDSPAN_PORT"


@dataclass(frozen=True, slots=True)
class Settings:
    """Who this machine is, and where it works."""

    api: str
    job: str
    epoch: int
    objects: str
    work: Path
    address: str
    port: int = 0

    @classmethod
    def from_env(cls) -> Settings:
        return cls(
            api=wanted(API),
            job=wanted(JOB),
            epoch=int(wanted(EPOCH)),
            objects=wanted(OBJECTS),
            work=Path(os.environ.get(WORK) or Path.cwd()).resolve(),
            address=os.environ.get(ADDRESS) or LOOPBACK,
            port=int(os.environ.get(PORT) or 0),
        )
