"""The providers that the contract suite holds against its word. A new cloud joins this list."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedspan.domain.machines import Role
from fedspan.providers.base import Provider
from fedspan.providers.local import LocalProvider
from fedspan.providers.memory import MemoryProvider

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
# A machine that starts a child, and one that left the group for a session of its own.
FAMILY = """
import subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
subprocess.Popen(sleep)
subprocess.Popen(sleep, start_new_session=True)
print("booted", flush=True)
time.sleep(600)
"""


def memory(request: Any) -> Iterator[Provider]:
    yield MemoryProvider(lambda: NOW)


def local(request: Any) -> Iterator[Provider]:
    provider = local_provider(request.getfixturevalue("tmp_path"))
    yield provider
    for machine in provider.machines():
        provider.terminate(machine)


def local_provider(folder: Path, program: str = FAMILY) -> LocalProvider:
    command = [sys.executable, "-c", program]
    commands = {Role.AGGREGATOR: command, Role.CLIENT: command}
    return LocalProvider(folder / "machines", commands, lambda: NOW)


PROVIDERS: list[Callable[[Any], Iterator[Provider]]] = [memory, local]
