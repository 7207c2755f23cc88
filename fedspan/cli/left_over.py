"""What a job left on this computer: it should be nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedspan.local.home import Home
from fedspan.providers.local import LocalProvider, processes

if TYPE_CHECKING:
    from fedspan.domain.machines import Machine


@dataclass(frozen=True, slots=True)
class LeftOver:
    """Living processes of a job's machines, and the folders of those machines."""

    processes: tuple[int, ...]
    directories: tuple[Path, ...]

    @property
    def nothing(self) -> bool:
        return not self.processes and not self.directories


def left_over(home: Home, job: str) -> LeftOver:
    ours = f"{job}-"
    living = [
        process.pid
        for process, folder in processes()
        if folder.parent == home.machines and folder.name.startswith(ours)
    ]
    return LeftOver(tuple(living), tuple(sorted(home.machines.glob(f"{ours}*"))))


def machines(home: Home) -> list[Machine]:
    """All machines of this home that are not yet gone."""
    from fedspan import wiring

    return list(LocalProvider(home.machines, {}, wiring.now).machines())
