"""Files that only their owner may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fedspan.errors import Denied


def private_bytes(path: Path, what: str, most: int) -> bytes:
    """The first `most` bytes of `path`. `what` it is begins the message.

    Raises:
        Denied: others may read it or change it, or we may not. `OSError`, such as
        `FileNotFoundError`, of all else.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            content = file.read(most)
    except PermissionError as exc:
        raise Denied(f"{what} {path}: {exc.strerror}") from exc
    if found.st_uid not in (os.geteuid(), 0):
        raise Denied(
            f"{what} {path} belongs to another user ({found.st_uid}), who can read and change it; "
            f"`chown {os.geteuid()} {path}` if it is yours"
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise Denied(f"others may read {what} {path} (mode {mode:04o}); `chmod 600 {path}`")
    return content
