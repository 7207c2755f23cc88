"""What pyproject's extras bring, where it is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fedspan.errors import Unsupported


@contextmanager
def needed(by: str, extra: str) -> Iterator[None]:
    """Around imports. Raises `Unsupported` where `extra`, which brings what `by` needs, is not
    installed."""
    try:
        yield
    except ImportError as exc:
        # google-auth says in its own words which of its libraries there is not.
        missing = exc if isinstance(exc, ModuleNotFoundError) else exc.__cause__
        name = (missing.name or "") if isinstance(missing, ModuleNotFoundError) else ""
        if name.partition(".")[0] in ("", "fedspan"):
            raise  # a fault of ours
        raise Unsupported(
            f"{by} needs {name}, which is not installed: pip install 'fedspan[{extra}]'"
        ) from exc
