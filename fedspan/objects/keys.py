"""Which keys an object may have, in a folder as in a bucket."""

from __future__ import annotations

from typing import Final

from fedspan.errors import InvalidRequest

STAGING: Final = ".staging"
"""The folder of objects not yet whole. No key lies in it and no list shows it."""

MAX_PART_BYTES: Final = 255
"""The longest file name of the usual file systems."""

MAX_KEY_BYTES: Final = 900
"""S3 takes 1024, a bucket's prefix included."""


def check_key(key: str) -> str:
    """`key`, if it is one.

    Raises:
        InvalidRequest: not a relative POSIX path of plain parts.
    """
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise InvalidRequest(f"key {key!r}: a part is empty, '.' or '..'")
    if not key.isprintable():  # control characters, lone surrogates; S3's XML cannot name them
        raise InvalidRequest(f"key {key!r}: has an unprintable character")
    if parts[0] == STAGING:
        raise InvalidRequest(f"key {key!r}: {STAGING} is ours")
    longest = max(len(part.encode()) for part in parts)
    if longest > MAX_PART_BYTES or len(key.encode()) > MAX_KEY_BYTES:
        limits = f"a part has at most {MAX_PART_BYTES} bytes, a key {MAX_KEY_BYTES}"
        raise InvalidRequest(f"key {key[:40]!r}...: {limits}")
    return key


def folder_of(prefix: str) -> str:
    """The folder that holds every key starting with `prefix`; "" is the root.

    Raises:
        InvalidRequest: as `check_key`.
    """
    folder = prefix.rpartition("/")[0]
    return check_key(folder) if folder or prefix.startswith("/") else ""
