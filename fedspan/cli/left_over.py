"""What a job left on this computer: it should be nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from fedspan.local.home import Home
from fedspan.providers.local import MARK, LocalProvider

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
    processes = []
    for process in psutil.process_iter():
        try:
            folder = Path(process.environ().get(MARK, ""))
            alive = process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if alive and folder.parent == home.machines and folder.name.startswith(ours):
            processes.append(process.pid)
    return LeftOver(tuple(processes), tuple(sorted(home.machines.glob(f"{ours}*"))))


def machines(home: Home) -> list[Machine]:
    """All machines of this home that are not yet gone."""
    from fedspan import wiring

    return list(LocalProvider(home.machines, {}, wiring.now).machines())
