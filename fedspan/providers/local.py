"""This computer as a cloud: a machine is a process group in a folder of its own.

Machines outlive the process that started them, as VMs do, so all that is known of one lies in
its folder: ``machine.json`` and ``process.json``, the console's output in ``console.log``, and
``work/``, where it runs. Every process of a machine carries its id in the environment; that is
how those are found that left the group.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import psutil

from fedspan.domain.machines import Machine, MachineSpec, MachineState, Offer, Role
from fedspan.domain.spec import CpuArch, Need
from fedspan.errors import NoCapacity, ProviderError, StorageFull
from fedspan.providers.base import Capabilities
from fedspan.providers.forking import ForkServer
from fedspan.providers.user_data import NOTICES

MARK: Final = "FEDSPAN_LOCAL_MACHINE"
"""The environment variable every process of a machine inherits; its value is the folder."""
PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
KEPT_LOGS: Final = 200
GONE_SECONDS: Final = 5.0
"""How long a killed process may take to disappear; it is milliseconds unless it sits in I/O."""


class LocalProvider:
    """`commands` says what a machine of each role runs: the image's entry point; `fork_servers`
    what forks such a machine, for the roles that have one."""

    name = "local"
    capabilities = Capabilities(user_data_bytes=1_000_000, here=True)

    def __init__(
        self,
        folder: Path,
        commands: Mapping[Role, Sequence[str]],
        now: Callable[[], datetime],
        fork_servers: Mapping[Role, Sequence[str]] | None = None,
    ) -> None:
        self._folder = folder
        self._commands = commands
        self._now = now
        inherited = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self._environment = inherited
        self._fork_servers = {
            role: ForkServer(command, inherited, folder.parent / "logs" / f"{role}-forks.txt")
            for role, command in (fork_servers or {}).items()
        }
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._taken: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def offers(self, need: Need) -> Sequence[Offer]:
        """This computer, at no price; what it lacks in cores it makes up in patience."""
        memory = psutil.virtual_memory().total // (1024 * 1024)
        offer = Offer(
            provider=self.name,
            region="local",
            machine_type="process-group",
            vcpus=max(need.vcpus, os.cpu_count() or 1),
            memory_mib=memory,
            price=0,
            arch=CpuArch.ARM if platform.machine() in ("arm64", "aarch64") else CpuArch.X86,
        )
        return [offer] if offer.fits(need) else []

    def launch(self, job: str, spec: MachineSpec) -> Machine:
        folder = self._folder / spec.key
        try:
            with self._alone(spec.key):
                (folder / "work").mkdir(parents=True, mode=0o700, exist_ok=True)
                machine = _read_machine(folder)
                if machine is None:
                    machine = self._record(folder, job, spec)
                if _process(folder) is None and not _marked(folder):
                    self._start(folder, spec)
        except OSError as exc:
            raise _translated(f"launch {spec.key}", exc) from exc
        return machine.model_copy(update={"state": MachineState.RUNNING})

    def machines(self, job: str | None = None) -> Sequence[Machine]:
        self._reap()
        found = []
        for folder in sorted(self._folder.glob("*/")):
            machine = _read_machine(folder)
            if machine is not None and job in (None, machine.job):
                state = MachineState.RUNNING if _process(folder) else MachineState.STOPPED
                found.append(machine.model_copy(update={"state": state}))
        return found

    def terminate(self, machine: Machine) -> None:
        """Kill the whole group and whoever left it, see them gone, then remove the folder; the
        console's output stays in ``logs/`` beside the machines."""
        folder = self._folder / machine.id
        if not folder.exists():
            return
        with self._alone(machine.id):
            _kill_group(folder)
            _see_gone(folder)
            self._reap()
            _keep_log(folder, self._folder.parent / "logs")
            try:
                _remove(folder)
            except OSError as exc:
                raise _translated(f"terminate {machine.id}", exc) from exc

    def close(self) -> None:
        """Its machines stay."""
        for server in self._fork_servers.values():
            server.close()

    @contextlib.contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """While the machine of `key` is started or ended, nobody else does either: a process
        that is just being made shows by nothing yet that it is the machine's."""
        with self._lock:
            taken = self._taken.setdefault(key, threading.Lock())
        with taken:
            yield

    def _record(self, folder: Path, job: str, spec: MachineSpec) -> Machine:
        machine = Machine(
            id=spec.key,
            job=job,
            key=spec.key,
            role=spec.role,
            epoch=spec.epoch,
            offer=spec.offer,
            state=MachineState.PENDING,
            launched=self._now(),
        )
        _write(folder / "machine.json", machine.model_dump_json())
        return machine

    def _start(self, folder: Path, spec: MachineSpec) -> None:
        environment = self._environment | spec.environment
        environment |= {MARK: str(folder), "FEDSPAN_WORK": str(folder / "work")}
        environment |= {NOTICES: "file"}  # work/notice.json, as anyone may write it
        pid = self._forked(folder, spec.role, environment)
        if pid is None:
            pid = self._executed(folder, spec, environment)
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended already
            born = psutil.Process(pid).create_time()
            _write(folder / "process.json", json.dumps({"pid": pid, "created": born}))

    def _forked(self, folder: Path, role: Role, environment: Mapping[str, str]) -> int | None:
        """Once the first machine is started, all fork servers begin to import: others follow. A
        control plane that comes back to machines that run may need no more of their role."""
        running = {one.role for one in self.machines() if one.state is MachineState.RUNNING}
        for other in self._fork_servers.keys() - running:
            self._fork_servers[other].begin()
        if role not in self._fork_servers:
            return None
        pid = self._fork_servers[role].fork(folder, environment)
        if pid is None:
            _see_gone(folder)  # a fork that was not told of
        return pid

    def _executed(self, folder: Path, spec: MachineSpec, environment: Mapping[str, str]) -> int:
        with (folder / "console.log").open("ab") as console:
            child = subprocess.Popen(
                list(self._commands[spec.role]),
                cwd=folder / "work",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with self._lock:
            self._children[spec.key] = child
        return child.pid

    def _reap(self) -> None:
        """Take the status of children that have ended, so that they are no zombies."""
        with self._lock:
            ended = [id for id, child in self._children.items() if child.poll() is not None]
            for id in ended:
                del self._children[id]


def _read_machine(folder: Path) -> Machine | None:
    try:
        return Machine.model_validate_json((folder / "machine.json").read_bytes())
    except FileNotFoundError:
        return None


def _process(folder: Path) -> psutil.Process | None:
    """The machine's first process while it lives; a number used again is not taken for it."""
    try:
        known = json.loads((folder / "process.json").read_bytes())
        process = psutil.Process(known["pid"])
        same = abs(process.create_time() - known["created"]) < 0.1
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (FileNotFoundError, psutil.NoSuchProcess):
        return None


def _kill_group(folder: Path) -> None:
    process = _process(folder)
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _living(folder: Path) -> list[psutil.Process]:
    """The first process, the rest of its family, and whoever left the group."""
    first = _process(folder)
    return [*([first] if first else []), *_marked(folder)]


def _see_gone(folder: Path) -> None:
    """Kill every process of a machine. Raises `ProviderError` for those that stay."""
    end = time.monotonic() + GONE_SECONDS
    while alive := _living(folder):
        if time.monotonic() > end:
            raise ProviderError(f"local machine {folder.name}: {alive} do not end")
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.01)  # not `wait_procs`: an orphan is a zombie until init looks after it


def _marked(folder: Path) -> list[psutil.Process]:
    """Every living process whose environment names this machine."""
    return [process for process, of in processes() if of == folder]


def processes() -> Iterator[tuple[psutil.Process, Path]]:
    """Every living process of a machine on this computer, and that machine's folder."""
    for process in psutil.process_iter():
        try:
            folder = process.environ().get(MARK)
            alive = process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if folder and alive:
            yield process, Path(folder)


def _keep_log(folder: Path, logs: Path) -> None:
    logs.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):  # another thread was faster
        (folder / "console.log").replace(logs / f"{folder.name}.log")
    for old in sorted(logs.glob("*.log"), key=lambda log: log.name)[:-KEPT_LOGS]:
        old.unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    """The record goes last: while anything is left, the machine is listed."""
    shutil.rmtree(folder / "work", ignore_errors=True)
    for name in ("process.json", "machine.json"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)


def _translated(action: str, exc: OSError) -> ProviderError | StorageFull | NoCapacity:
    match exc.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return StorageFull(f"local {action}: no room left on the disk")
        case errno.EAGAIN | errno.ENOMEM:
            return NoCapacity(f"local {action}: {exc.strerror}")
        case _:
            return ProviderError(f"local {action}: {exc}")
