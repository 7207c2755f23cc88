"""The one folder that holds all state of an embedded installation.

::

    fedspan.db          metadata (SQLite)
    objects/            models, checkpoints, shipped logs
    machines/, logs/    process groups, and what their consoles said
    sites/              data the demo wrote for its hospitals
    owner               what this installation marks machines with, on every cloud
    signing.key         tokens are signed with it (mode 0600)
    master.key          credentials of clouds are sealed with it (mode 0600)
    control.json        the control plane that runs here: its process and address
    lock                held while one does
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from fedspan.errors import AlreadyRunning, Corrupt, InvalidRequest, StorageFull
from fedspan.keys.private import private_bytes

DEFAULT_PORT: Final = 8470
MOST_KEY_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Control:
    """A control plane that runs, or ran, on a home."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class Home:
    path: Path

    @property
    def database(self) -> Path:
        return self.path / "fedspan.db"

    @property
    def objects_url(self) -> str:
        """FEDSPAN_OBJECTS_URL, or a folder here."""
        return os.environ.get("FEDSPAN_OBJECTS_URL") or (self.path / "objects").resolve().as_uri()

    @property
    def machines(self) -> Path:
        return self.path / "machines"

    @property
    def sites(self) -> Path:
        return self.path / "sites"

    def prepare(self) -> None:
        """Make the folder, for its owner only.

        Raises:
            InvalidRequest: it cannot be a folder of ours. StorageFull: there is no room.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.machines.mkdir(mode=0o700, exist_ok=True)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(f"no room left for {self.path}") from exc
            raise InvalidRequest(f"--home {self.path}: {exc.strerror}") from exc

    def owner(self) -> str:
        """Marks this home's machines on clouds, made on first use: the sweep of another
        installation in the same account leaves them alone."""
        return self._made_once("owner", f"fedspan-{secrets.token_hex(4)}".encode()).read_text()

    def signing_key(self) -> bytes:
        """The key of this home's tokens, made on first use. Raises `Denied` while others may read
        it: who can, makes tokens."""
        path = self.path / "signing.key"
        self._made_once(path.name, secrets.token_bytes(32))
        key = private_bytes(path, "the signing key", MOST_KEY_BYTES)
        if len(key) < 32:
            raise Corrupt(f"{path} is no signing key; remove it, and a new one is made")
        return key

    def _made_once(self, name: str, content: bytes) -> Path:
        """The file `name`; with `content`, where there was none yet."""
        path = self.path / name
        if not path.exists():
            beside = self.path / f".{name}.{os.getpid()}"
            try:
                with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                    file.write(content)
                with contextlib.suppress(FileExistsError):
                    os.link(beside, path)  # whole or not at all, and the first one stays
                beside.unlink()
            except OSError as exc:
                if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise StorageFull(f"no room left for {path}") from exc
                raise
        return path

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the home; the lock goes with the process, however it ends.

        Raises:
            AlreadyRunning: another control plane holds it.
        """
        with (self.path / "lock").open("a") as file:
            if not _locked(file):
                control = self.control()
                where = f" (process {control.pid}, {control.url})" if control else ""
                raise AlreadyRunning(
                    f"a control plane already runs on {self.path}{where}; "
                    "use it, end it with `fedspan down`, or name another --home"
                )
            yield

    def running(self) -> Control | None:
        """The control plane that holds this home now, if one does."""
        try:
            with (self.path / "lock").open("r") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return self.control()
        except FileNotFoundError:
            return None
        return None

    def control(self) -> Control | None:
        """The last control plane that ran here."""
        try:
            known = json.loads((self.path / "control.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return Control(pid=known["pid"], port=known["port"])

    def write_control(self, control: Control) -> None:
        beside = self.path / "control.json.new"
        beside.write_text(json.dumps({"pid": control.pid, "port": control.port}))
        beside.replace(self.path / "control.json")


def _locked(file: IO[str]) -> bool:
    """Take the lock. Those who only look (`Home.running`) hold it for an instant, so look twice."""
    for _ in range(5):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.05)
    return False
