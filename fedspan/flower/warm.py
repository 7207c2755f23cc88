"""Warm workers: a machine imports Flower (and PyTorch) once, then forks whatever it runs.

A fork starts in milliseconds and shares the parent's memory; a Python that imports Flower takes
more than a second, with PyTorch four. Three rules keep that safe. Whoever forks has one thread.
CUDA is touched in children only. And nothing outlives its parent: on Linux the kernel kills a
child with it, elsewhere the child watches for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

TOKEN: Final = "FEDSPAN_TOKEN"
"""Environment: what a machine proves itself with to the API. Children start without it; a fork
still shares the memory of who holds it, so warm workers are for apps one trusts: our own."""
KILLED: Final = "was killed by"
"""In the word on how a process ended: a signal ended it, which was none of its own doing."""
NO_ROOM: Final = 74
"""What a process exits with that found no room on the disk, not even for saying so."""
ROOMLESS: Final = "found no room on the disk"
"""In the word on how such a process ended."""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_STILL_THERE_SECONDS: Final = 0.2


class Stop:
    """Whether a signal asked this process to stop. As PID 1 it would else ignore them."""

    def __init__(self) -> None:
        self.asked = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    @property
    def code(self) -> int:
        """What a process that a signal stopped exits with."""
        return 128 + self.asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = number


@dataclass(slots=True)
class Child:
    """A process of ours. `code` is what it exited with, or minus the signal that ended it."""

    name: str
    pid: int
    started: float
    code: int | None = None

    @property
    def alive(self) -> bool:
        return self.code is None

    @property
    def ended(self) -> str:
        """How it ended, for people."""
        match self.code:
            case None:
                return f"{self.name} runs"
            case code if code < 0:
                return f"{self.name} {KILLED} {signal.Signals(-code).name}"
            case code if code == NO_ROOM:
                return f"{self.name} {ROOMLESS}"
            case code:
                return f"{self.name} exited with {code}"


@dataclass(slots=True)
class Family:
    """The children of this process: it starts, reaps and stops them."""

    logs: Path
    children: list[Child] = field(default_factory=list)

    def fork(self, name: str, work: Callable[[], object], keep: Sequence[int] = ()) -> Child:
        """Run `work` in a forked child whose output goes to ``<logs>/<name>.log``.

        Of this process's descriptors it has `keep` alone; signals are back to their defaults.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        pid = _fork(_Birth(name, os.getpid(), self.logs / f"{name}.log", keep), work)
        child = Child(name, pid, time.monotonic())
        self.children.append(child)
        return child

    def run(self, name: str, command: Sequence[str], extra: Mapping[str, str] = {}) -> Child:
        """Run a command of this Python's environment as `fork` runs a function."""
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))

        def execute() -> NoReturn:
            os.execvpe(command[0], list(command), {**os.environ, "PATH": path, **extra})

        return self.fork(name, execute)

    def reap(self) -> list[Child]:
        """Children that ended since the last call. As PID 1 it buries orphans, too."""
        ended = []
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                child = next((one for one in self.children if one.pid == found[0]), None)
                if child:
                    child.code = os.waitstatus_to_exitcode(found[1])
                    self.children.remove(child)
                    ended.append(child)
        return ended

    def stop(self, *children: Child, grace_seconds: float = 2.0) -> None:
        """End `children` (all, when none is named): politely, then not."""
        going = [child for child in children or tuple(self.children) if child.alive]
        for child in going:
            _signal(child, signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while any(child.alive for child in going) and time.monotonic() < deadline:
            self.reap()
            time.sleep(0.02)
        for child in going:
            _signal(child, signal.SIGKILL)
        while any(child.alive for child in going):
            self.reap()
            time.sleep(0.005)


def let_go(name: str, work: Callable[[], object], log: Path, keep: Sequence[int] = ()) -> int:
    """As `Family.fork`, for a process that outlives this one, in a session of its own; its id."""
    return _fork(_Birth(name, None, log, keep), work)


def die_with(parent: int) -> None:
    """End this process when `parent` ends, whatever ended it."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before the kernel knew
        os.kill(os.getpid(), signal.SIGKILL)


def watch(parent: int) -> None:
    """What `die_with` does on Linux, for the others: a thread that looks. Never before a fork."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(_STILL_THERE_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    if sys.platform != "linux":
        threading.Thread(target=look, daemon=True).start()


@dataclass(frozen=True, slots=True)
class _Birth:
    """`parent`: with whom it dies, if with anybody."""

    name: str
    parent: int | None
    log: Path
    keep: Sequence[int]


def _fork(birth: _Birth, work: Callable[[], object]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # else the child's collector would touch, and so copy, all our pages
    pid = os.fork()
    if not pid:
        _live(birth, work)
    gc.unfreeze()
    return pid


def _live(birth: _Birth, work: Callable[[], object]) -> NoReturn:
    """The whole life of a forked child: nothing of the parent's stack runs after it."""
    code = 1
    try:
        if birth.parent is None:
            os.setsid()
        else:
            die_with(birth.parent)
        _prctl(_PR_SET_NAME, birth.name.encode())
        _settle(birth.log, birth.keep)
        work()
        code = 0
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _prctl(option: int, value: int | bytes) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def _settle(log: Path, keep: Sequence[int]) -> None:
    """Own output, own signals, none of the parent's descriptors, and no token."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout, sys.stderr = _lines(1), _lines(2)
    # Not closed: their owners among the parent's objects live on here, and one that closes its
    # number later would close what has it by then.
    for descriptor in [int(entry.name) for entry in Path("/dev/fd").iterdir()]:
        if descriptor > 2 and descriptor not in keep:
            with contextlib.suppress(OSError):  # the listing's own, gone by now
                os.fstat(descriptor)
                os.dup2(null, descriptor, inheritable=False)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop(TOKEN, None)


class _Lossy(io.FileIO):
    """A log that loses what there is no room for: a line is not worth its process."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(memoryview(data).cast("B"))


def _lines(descriptor: int) -> io.TextIOWrapper:
    raw = io.BufferedWriter(_Lossy(descriptor, "w", closefd=False))
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True)


def _signal(child: Child, number: int) -> None:
    if child.alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, number)
