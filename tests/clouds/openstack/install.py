"""The environment OpenStack runs in: its pins fit no other program's, so it has one of its own.

``python tests/clouds/openstack/install.py`` makes it from ``requirements.lock``, once: it is kept
between runs in ``.venv-openstack`` beside the repository's ``.venv``, or where
``FEDSPAN_OPENSTACK_VENV`` says.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

LOCK = Path(__file__).with_name("requirements.lock")


def folder() -> Path:
    given = os.environ.get("FEDSPAN_OPENSTACK_VENV")
    return Path(given) if given else Path(__file__).parents[3] / ".venv-openstack"


def install(home: Path | None = None) -> Path:
    """The environment's Python, in an environment that has what the lock file names. Whoever asks
    meanwhile waits. Raises `CalledProcessError` when pip cannot; the next call starts afresh."""
    home = home or folder()
    python, stamp = home / "bin" / "python", home / ".installed"
    wanted = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return python
        stamp.unlink(missing_ok=True)
        venv.create(home, with_pip=True, symlinks=True)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
        # The lock file is complete, so there is nothing to resolve; most modules are never used.
        given = ["--no-deps", "--no-compile", "--requirement", LOCK]
        subprocess.run([*pip, *given], check=True)
        stamp.write_text(wanted)
    return python


if __name__ == "__main__":
    print(install())
