"""Machines of this computer that are forked, which spares them seconds of imports each.

A fork server (`fedspan.flower.fork_server`) is a process of the control plane's and ends with it;
the machines it forked do not.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

FOLDER_BYTES: Final = 4096
"""At most, of the path of a machine's folder: what Linux takes."""
ROOM: Final = "FEDSPAN_FORK_ROOM"
"""An environment variable of a fork server that is of no use but for its length: a fork shows its
machine's folder there."""
ANSWER_SECONDS: Final = 60.0
"""How long a fork may take: the imports before the first, mostly."""

log = structlog.get_logger()


class ForkServer:
    """One of `command`, started when it is wanted and again when it ended; what it says besides
    is in `console`."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], console: Path
    ) -> None:
        self._command = list(command)
        self._environment = {**environment, ROOM: " " * FOLDER_BYTES}
        self._console = console
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Have it import what machines need, if it does not already; `fork` tells if it cannot."""
        if self._lock.acquire(blocking=False):
            try:
                with contextlib.suppress(OSError):
                    self._running()
            finally:
                self._lock.release()

    def fork(self, folder: Path, environment: Mapping[str, str]) -> int | None:
        """The id of the process of a new machine in `folder`; None when there is no fork server
        that makes one. Then none comes later."""
        with self._lock:
            try:
                return self._ask(folder, environment)
            except (OSError, ValueError) as exc:
                log.warning("no fork of a machine", machine=folder.name, error=str(exc))
                self._end()
                return None

    def close(self) -> None:
        with self._lock:
            self._end()

    def _ask(self, folder: Path, environment: Mapping[str, str]) -> int:
        requests = self._running()
        requests.settimeout(ANSWER_SECONDS)
        descriptor = os.memfd_create("environment")
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            file.write(json.dumps(dict(environment)).encode())
            file.seek(0)
            socket.send_fds(requests, [os.fsencode(folder)], [descriptor])
        return int(requests.recv(64))

    def _running(self) -> socket.socket:
        if self._requests is not None and self._process and self._process.poll() is None:
            return self._requests
        self._end()
        self._requests, theirs = socket.socketpair()
        self._console.parent.mkdir(mode=0o700, exist_ok=True)
        with theirs, self._console.open("wb") as console:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._console.parent,
                env=self._environment,
                stdin=theirs.fileno(),
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C of who watches is not for it
            )
        return self._requests

    def _end(self) -> None:
        """After this it forks nothing any more."""
        if self._requests is not None:
            self._requests.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
        self._process = self._requests = None
