"""What every store checks before it writes, so that all of them refuse the same."""

from __future__ import annotations

from collections.abc import Sequence

from fedspan.errors import TooLarge
from fedspan.stores.base import MAX_BODY_BYTES, MAX_CHANGES, MAX_WRITE_BYTES, Change, Put


def check_changes(changes: Sequence[Change]) -> None:
    """Raise unless one `write` may hold `changes`.

    Raises:
        TooLarge: a body, or all of them together.
        ValueError: too many changes or a key twice; our own code is wrong, not the data.
    """
    if len(changes) > MAX_CHANGES:
        raise ValueError(f"{len(changes)} changes in one write; at most {MAX_CHANGES}")
    if len({change.key for change in changes}) < len(changes):
        raise ValueError("a key appears twice in one write")
    sizes = {c.key: len(c.body.encode()) for c in changes if isinstance(c, Put)}
    for key, size in sizes.items():
        if size > MAX_BODY_BYTES:
            raise TooLarge(f"{key} has {size} bytes; at most {MAX_BODY_BYTES}")
    if sum(sizes.values()) > MAX_WRITE_BYTES:
        raise TooLarge(f"one write of {sum(sizes.values())} bytes; at most {MAX_WRITE_BYTES}")
