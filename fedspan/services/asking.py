"""Several clouds asked at once: one that hangs costs the others nothing but the wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from fedspan.errors import CloudUnavailable

T = TypeVar("T")

PATIENCE_SECONDS: Final = 15.0
"""A tear-down asks thrice in the 60 s of its Lambda."""


def at_once(
    asks: Mapping[str, Callable[[], T]], seconds: float = PATIENCE_SECONDS
) -> dict[str, T | Exception]:
    """What each of `asks` returned or raised, by its name. Of one that has said nothing after
    `seconds` it is `CloudUnavailable`; what it does then changes nothing here."""
    said: dict[str, T | Exception] = {}

    def ask(name: str, call: Callable[[], T]) -> None:
        try:
            answer: T | Exception = call()
        except Exception as exc:
            answer = exc
        said[name] = answer

    threads = [
        threading.Thread(target=ask, args=one, name=f"ask-{one[0]}", daemon=True)
        for one in asks.items()
    ]
    end = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    late = CloudUnavailable(f"no answer within {seconds:g} s")
    heard = dict(said)  # who answers from here on is late
    return {name: heard.get(name, late) for name in asks}
