"""Starts this computer's machines: ``python -P -m fedspan.flower.fork_server ROLE PROGRAM``.

A Python that has imported Flower and PyTorch took seconds of a core for it, a fork of one takes
milliseconds. This process imports them once and forks a machine, which runs the PROGRAM of its
image, for each request on the socket that is its standard input. It ends with who started it, or
when it was asked for nothing for a while; its machines stay. `fedspan.providers.forking` asks.

A request is a machine's folder, and with it comes a file that holds the machine's environment.
The fork alone reads that: no machine finds another's token in the memory it shares with them.
"""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from fedspan.domain.machines import Role
from fedspan.flower import workers
from fedspan.flower.warm import let_go
from fedspan.providers.forking import FOLDER_BYTES
from fedspan.providers.local import MARK

IDLE_SECONDS: Final = 600.0
WARM_UPS: Final[dict[Role, Callable[[], str | None]]] = {
    Role.AGGREGATOR: workers.warm_up_aggregator,
    Role.CLIENT: workers.warm_up_client,
}


def main() -> int:
    """Serve until the socket is closed."""
    role, program = Role(sys.argv[1]), sys.argv[2]
    requests = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # machines that end leave no zombies
    os.environ |= workers.QUIET
    WARM_UPS[role]()
    while select.select([requests], [], [], IDLE_SECONDS)[0]:
        folder, descriptors, _, _ = socket.recv_fds(requests, FOLDER_BYTES, 1)
        if not folder or _hung_up(requests):
            break
        [environment] = descriptors
        machine = Path(os.fsdecode(folder))
        pid = let_go(
            f"fedspan-{role}",
            partial(_be, machine, environment, program),
            machine / "console.log",
            keep=[environment],
        )
        os.close(environment)
        requests.send(str(pid).encode())
    return 0


def _hung_up(requests: socket.socket) -> bool:
    """Whether who asked is gone: what it asked for, its successor will ask for again."""
    try:
        return not requests.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False


def _be(machine: Path, environment: int, program: str) -> None:
    """The life of a machine, in the fork."""
    with os.fdopen(environment, "rb") as file:
        variables: dict[str, str] = json.load(file)
    os.environ.clear()
    os.environ |= variables
    _show(f"{MARK}={machine}")
    os.chdir(machine / "work")
    sys.argv = [program]
    runpy.run_path(program, run_name="__main__")


def _show(variable: str) -> None:
    """Have ``/proc/PID/environ`` show it alone, as of a process that was executed with it: there
    machines are recognized. That shows the memory where the environment of this process's first
    parent was, of which nothing is in use any more."""
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    start, end = int(fields[47]), int(fields[48])  # env_start and env_end of proc(5)
    ctypes.memmove(start, os.fsencode(variable).ljust(end - start, b"\0"), end - start)


if __name__ == "__main__":
    sys.exit(main())
