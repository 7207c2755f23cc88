"""What a machine runs: a command of the test, in a process group of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Boots:
    """`command` is called with the file of a machine's user data and a folder to work in; with
    None nothing runs, and machines are quiet."""

    command: list[str] | None
    folder: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, machine: str, user_data: str) -> None:
        if self.command is None:
            return
        folder = self.folder / machine
        folder.mkdir(parents=True)
        document = folder / "user-data"
        document.write_text(user_data)
        with Path(folder, "console.log").open("wb") as console:
            self.running[machine] = subprocess.Popen(
                [*self.command, str(document), str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd=folder,
                start_new_session=True,
            )

    def ended(self, machine: str) -> bool:
        """Whether it has powered itself off."""
        process = self.running.get(machine)
        return process is not None and process.poll() is not None

    def stop(self, machine: str) -> None:
        process = self.running.pop(machine, None)
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop_all(self) -> None:
        for machine in list(self.running):
            self.stop(machine)
