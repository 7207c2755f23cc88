"""Parts that are made when they are first used: a function pays for what it asks, no more."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TypeVar, cast

P = TypeVar("P")


def late(make: Callable[[], P]) -> P:
    """Stands for what `make` makes, and makes it once, when something of it is first asked. One
    that could not be made is tried again. For parts that are known by their methods alone."""
    return cast(P, _Late(make))


class _Late:
    def __init__(self, make: Callable[[], object]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> object:
        return self._make()

    def __getattr__(self, name: str) -> object:
        return getattr(self._made, name)
