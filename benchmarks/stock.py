"""Stock Flower for the benchmarks: its own commands, started as its documentation says."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from fedspan.errors import AggregatorLost
from fedspan.flower.aggregator import free_port
from fedspan.flower.certificates import server_certificate
from fedspan.flower.control import Control, RunState

HERE = Path(__file__).resolve().parent
START_SECONDS = 60.0
LOOK_SECONDS = 10.0
PROJECT = """
[project]
name = "stock-app"
version = "1.0.0"
description = "The benchmarks' job"
license = "Apache-2.0"
dependencies = ["flwr>=1.41,<1.43"]

[tool.flwr.app]
publisher = "fedspan"

[tool.flwr.app.components]
serverapp = "stock_app.server_app:app"
clientapp = "stock_app.client_app:app"

[tool.flwr.app.config]
layers = "[]"
folder = ""
rounds = 1
participants = 1
"""


@dataclass
class Stock:
    """A SuperLink with TLS and a SuperNode a site; `via` is where the SuperNodes connect."""

    folder: Path
    sites: Sequence[str]
    layers: Sequence[object]
    port: int = field(default_factory=free_port)
    via: int | None = None
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, via: int | None = None) -> None:
        now = datetime.fromtimestamp(time.time(), UTC)
        self.tls = server_certificate(self.folder / "tls", "127.0.0.1", now)
        self.via = via
        self.control = Control(f"127.0.0.1:{self.port}", self.tls.ca)
        self._run_all()

    def submit(self, rounds: int) -> None:
        from flwr.cli.build import build_fab_from_files

        files: dict[str, bytes | Path] = {"pyproject.toml": PROJECT.encode()}
        files |= {f"stock_app/{one.name}": one for one in (HERE / "stock_app").glob("*.py")}
        self.control.start_run(
            build_fab_from_files(files)[0],
            {
                "layers": json.dumps(self.layers),
                "folder": str(self.folder),
                "rounds": rounds,
                "participants": len(self.sites),
            },
        )

    def round_over(self, number: int, seconds: float) -> float:
        """When that round was over, on the monotonic clock."""
        deadline = time.monotonic() + seconds
        look = time.monotonic() + LOOK_SECONDS
        while time.monotonic() < deadline:
            self._check()
            ended: list[RunState] = []
            if time.monotonic() > look:  # seldom: the SuperLink pays for it
                runs = list(self.control.runs().values())
                ended = runs if all(run.finished for run in runs) else []
                look += LOOK_SECONDS
            over = self.marks()
            if len(over) >= number:
                return over[number - 1][0]
            if ended:
                raise SystemExit(f"stock Flower: {ended[0]}{self._said()}")
            time.sleep(0.1)
        raise SystemExit(
            f"stock Flower: round {number} was not over within {seconds:g} s{self._said()}"
        )

    def marks(self) -> list[tuple[float, str]]:
        """When each round was over, in the order they were, and the hash of its model."""
        file = self.folder / "marks"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(float(when), model) for when, model in (line.split() for line in lines)]

    def lose_superlink(self) -> float:
        """SIGKILL to the SuperLink and all it started, as when their machine is gone; when."""
        superlink = self.processes.pop(0)
        family = psutil.Process(superlink.pid).children(recursive=True)
        superlink.kill()
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        superlink.wait()
        return time.monotonic()

    def restart(self) -> None:
        """As an operator would: the same commands at the same address. The SuperNodes, too, for a
        SuperLink that lost its memory answers their heartbeats with 401, and then they end."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()
        self._run_all()

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _run_all(self) -> None:
        self._run_superlink()
        self._wait_for_superlink()
        address = f"127.0.0.1:{self.via or self.port}"
        link = ("--superlink", address, "--root-certificates", self.tls.ca)
        for site in self.sites:
            runtime = ("--host", "127.0.0.1", "--port", free_port())
            config = ("--node-config", f'participant="{site}"')
            self._run("flower-supernode", *link, *runtime, *config)

    def _run_superlink(self) -> None:
        certificates = ("--ssl-certfile", self.tls.certificate, "--ssl-keyfile", self.tls.key)
        address = ("--host", "127.0.0.1", "--port", self.port)
        self._run("flower-superlink", *address, *certificates, "--ssl-ca-certfile", self.tls.ca)

    def _run(self, *command: object) -> None:
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        environment = {
            **os.environ,
            "PATH": path,
            "PYTHONPATH": str(HERE.parent),
            "FLWR_HOME": str(self.folder / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "OMP_NUM_THREADS": "1",
        }
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            arguments = [str(one) for one in command]
            self.processes.append(
                subprocess.Popen(arguments, env=environment, stdout=log, stderr=log)
            )

    def _wait_for_superlink(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self._check()
            try:
                self.control.runs()
                return
            except AggregatorLost:
                time.sleep(0.05)
        raise SystemExit(f"stock Flower: no SuperLink within {START_SECONDS:g} s{self._said()}")

    def _check(self) -> None:
        """Stop the benchmark when a process has ended: none does before `stop`."""
        for process in self.processes:
            if process.poll() is not None:
                name = Path(str(process.args[0])).name  # type: ignore[index]
                code = process.returncode
                raise SystemExit(f"stock Flower: {name} ended with {code}{self._said()}")

    def _said(self) -> str:
        """The end of each log."""
        logs = sorted(self.folder.glob("*.log"))
        return "".join(f"\n--- {one.name}\n{one.read_text()[-2000:]}" for one in logs)


@contextmanager
def stock_flower(folder: Path, sites: Sequence[str], layers: Sequence[object]) -> Iterator[Stock]:
    flower = Stock(folder, sites, layers)
    try:
        yield flower
    finally:
        flower.stop()
