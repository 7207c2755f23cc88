"""A Fedspan of its own on this computer: a home, and the commands that are run on it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from fedspan.cli.api import Api, Wire
from fedspan.domain.jobs import Job
from fedspan.local.home import Home
from fedspan.local.hospitals import demo_spec, write_hospitals
from fedspan.providers.local import MARK

FEDSPAN = str(Path(sys.executable).with_name("fedspan"))
PATIENCE = 420.0
"""A participant that is killed in the middle of an upload is waited for by Flower for 180 s."""


@dataclass
class Installation:
    """A home of its own, and the commands run on it; `variables` are in their environment."""

    home: Home
    port: int = field(default_factory=lambda: free_port())
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    variables: Mapping[str, str] = field(default_factory=dict)

    def start(self, *words: str) -> subprocess.Popen[str]:
        made = subprocess.Popen(
            [FEDSPAN, "--home", str(self.home.path), *words],
            env={**os.environ, **self.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(made)
        return made

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        made = self.start(*words)
        out, err = made.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(made.args, made.returncode, out, err)

    def ask(self, *words: str) -> Any:
        """The JSON document a command prints."""
        ran = self.run(*words, "--json")
        assert ran.stdout, ran.stderr
        return json.loads(ran.stdout)

    def up(self) -> subprocess.Popen[str]:
        made = self.start("up", "--port", str(self.port))
        until(lambda: self.home.running() is not None, "the control plane is up", made)
        return made

    def submit_demo(self, rounds: int, **changes: Any) -> str:
        for site in write_hospitals(self.home.sites):
            [dataset] = site.datasets
            offered = f"{dataset.name}={dataset.path}:{dataset.target}"
            assert self.run("site", "add", site.name, "--dataset", offered).returncode == 0
        file = self.home.path / "spec.json"
        file.write_text(json.dumps({**demo_spec(rounds, 7), **changes}))
        return str(self.ask("job", "submit", str(file))["job"])

    def job(self, id: str) -> Job:
        """By the API, for whoever asks often: a command takes a second of a core."""
        with Wire(self.home) as wire:
            return Api(wire).job(id)

    def events(self, id: str) -> Sequence[str]:
        """The codes of a job's events, by the API."""
        with Wire(self.home) as wire:
            return [one.code for one in Api(wire).events(id)]

    def machines(self) -> list[tuple[psutil.Process, str]]:
        """Every living process of a machine of this home, and the machine's name."""
        found = []
        for process in psutil.process_iter():
            try:
                folder = process.environ().get(MARK, "")
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            if folder.startswith(str(self.home.machines)):
                found.append((process, Path(folder).name))
        return found

    def kill_machine(self, role: str) -> None:
        """SIGKILL to every process of the machine whose name has `role` in it."""
        for process, machine in self.machines():
            if role in machine:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    def end(self) -> None:
        """End what is left of it: commands, then machines."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self.kill_machine("")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(
    condition: Callable[[], Any], what: str, process: subprocess.Popen[str] | None = None
) -> None:
    """Wait for `condition`; a hang is a failure with a name."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"still waiting until {what}"
        if process is not None and process.poll() is not None:
            raise AssertionError(f"ended while waiting until {what}: {process.communicate()}")
        time.sleep(0.1)
