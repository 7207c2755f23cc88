"""The real programs of an aggregator's and of participants' machines, on this one."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import psutil

from fedspan.domain.machines import Role
from fedspan.domain.reports import Desired
from fedspan.domain.sites import Dataset
from fedspan.domain.spec import JobSpec
from fedspan.learning.datasets import describe
from fedspan.providers.forking import ForkServer
from tests.flower.api import TOKEN, Api

ROOT: Final = Path(__file__).resolve().parents[2]
JOB: Final = "job-1"
LAYERS: Final[tuple[object, ...]] = ({"linear": 8}, {"relu": {}}, {"linear": 2})
NAMES: Final = ("seoul", "busan", "daejeon", "jeju", "suwon")


def dataset(folder: Path, site: str, rows: int = 120) -> Dataset:
    """Rows that can be told apart, different at each site."""
    random = np.random.default_rng(sum(site.encode()))
    x = random.normal(size=(rows, 8)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] > 0).astype(np.int64)
    np.savez(folder / f"{site}.npz", x=x, y=y)
    return describe("toy", folder / f"{site}.npz", "target")


def job(rounds: int, sites: tuple[str, ...], layers: tuple[object, ...]) -> JobSpec:
    participants = sites or ("nobody",)
    return JobSpec.model_validate(
        {
            "name": "toy",
            "rounds": rounds,
            "seed": 7,
            "participants": participants,
            "model": {"layers": list(layers)},
            "data": {"dataset": "toy"},
        }
    )


class Forked(psutil.Process):
    """The first process of a machine. What it exited with is in a file; of one that was killed, by
    a signal we do not know, nothing is."""

    def __init__(self, pid: int, exited: Path) -> None:
        super().__init__(pid)
        self._exited = exited

    def wait(self, timeout: float | None = None) -> int:
        super().wait(timeout)
        return int(self._exited.read_text()) if self._exited.exists() else -1


@cache
def _fork_server(role: Role) -> ForkServer:
    """One for all worlds, which spares each the imports; it ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="fedspan-forks-"))
    program = str(ROOT / "tests" / "flower" / "entry.py")
    command = [sys.executable, "-P", "-m", "fedspan.flower.fork_server", role, program]
    made = ForkServer(command, os.environ, folder / "console.txt")
    atexit.register(shutil.rmtree, folder)
    atexit.register(made.close)
    return made


@dataclass
class World:
    """A control plane, an aggregator and a machine a site, from `with` to its end."""

    folder: Path
    sites: tuple[str, ...] = NAMES[:1]
    rounds: int = 2
    layers: tuple[object, ...] = LAYERS
    extra: Mapping[str, str] = field(default_factory=dict)
    relayed: bool = False
    prepare: Callable[[Api], None] = lambda api: None
    """What is done to the API before anyone can have called it."""

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        data = {site: dataset(self.folder, site) for site in self.sites or ("nobody",)}
        self.api = Api(job(self.rounds, self.sites, self.layers), data)
        self.api.relayed = self.relayed
        self.prepare(self.api)
        self.api.__enter__()
        self.aggregator = self._start("aggregator", FEDSPAN_JOB=JOB, FEDSPAN_EPOCH="1")
        self.agents = {
            site: self._start(
                site,
                FEDSPAN_SITE=site,
                FEDSPAN_MACHINE=f"{site}-1",
                FEDSPAN_DATASETS=json.dumps({"toy": data[site].path}),
            )
            for site in self.sites
        }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                self._show_logs()
            self.stop()
        finally:
            self.api.__exit__(kind, error, traceback)

    def stop(self) -> dict[str, int]:
        """Have the API tell all to stop; what each exited with."""
        self.api.desired, self.api.away = Desired.STOP, False
        everyone = {"aggregator": self.aggregator, **self.agents}
        codes = {}
        for name, machine in everyone.items():
            try:
                codes[name] = machine.wait(20)
            except psutil.TimeoutExpired:
                machine.kill()
                codes[name] = machine.wait(20)
        return codes

    def work(self, name: str) -> Path:
        return self.folder / name

    def _start(self, name: str, **environment: str) -> Forked:
        role = Role.AGGREGATOR if name == "aggregator" else Role.CLIENT
        machine = self.folder / "machines" / name
        (machine / "work").mkdir(parents=True)
        variables = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "ENTRY_POINT": str(ROOT / f"{role}_image" / "entrypoint.py"),
            "FEDSPAN_API": self.api.url,
            "FEDSPAN_TOKEN": TOKEN,
            "FEDSPAN_WORK": str(self.work(name)),
            "FEDSPAN_OBJECTS": (self.folder / "objects").as_uri(),
            "OMP_NUM_THREADS": "1",
            **environment,
            **self.extra,
        }
        pid = _fork_server(role).fork(machine, variables)
        assert pid is not None
        return Forked(pid, machine / "work" / "exited")

    def _show_logs(self) -> None:
        for log in sorted(self.folder.glob("*/logs/*.log")):
            print(f"--- {log.relative_to(self.folder)}", log.read_text()[-3000:], sep="\n")


def below(process: psutil.Process) -> list[psutil.Process]:
    """All processes `process` started, and those they started."""
    return list(process.children(recursive=True))


def named(process: psutil.Process, name: str) -> psutil.Process:
    """The process below `process` that bears this name, once there is one."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for one in below(process):
            with contextlib.suppress(psutil.NoSuchProcess):
                if one.name() == name[:15]:
                    return one
        time.sleep(0.02)
    raise AssertionError(f"no {name} below {process.pid}")


def kill(process: psutil.Process) -> None:
    process.send_signal(signal.SIGKILL)


def eventually(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)
