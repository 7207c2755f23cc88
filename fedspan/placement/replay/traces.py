"""When places had capacity, as recorded or made up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from fedspan.domain.parsing import nearest
from fedspan.errors import InvalidRequest
from fedspan.placement.book import Bools, Floats
from fedspan.placement.makespan import HOUR

INSTANT: Final = 1e-6
"""Seconds that arithmetic on times may be off."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Whether a place was up, a tick each `gap_seconds`. After its last tick it starts again at
    its first: jobs may be longer than anybody recorded."""

    name: str
    gap_seconds: float
    up: Bools

    @property
    def hours(self) -> float:
        return len(self.up) * self.gap_seconds / HOUR

    @property
    def fraction_up(self) -> float:
        return float(self.up.mean())

    @property
    def interruptions(self) -> int:
        """That were seen; starting again at the first tick is none."""
        return int(np.count_nonzero(self.up[:-1] & ~self.up[1:]))

    @property
    def interruptions_per_hour(self) -> float:
        """An hour up."""
        hours_up = self.hours * self.fraction_up
        return self.interruptions / hours_up if hours_up else 0.0

    @property
    def outage_hours(self) -> float:
        """The mean, by interruption; 0 where there was none."""
        hours_down = self.hours * (1.0 - self.fraction_up)
        return hours_down / self.interruptions if self.interruptions else 0.0

    def at(self, seconds: Floats) -> tuple[Bools, Floats]:
        """Whether it is up then, and until when that stays so (`inf`: for ever)."""
        tick = np.floor((seconds + INSTANT) / self.gap_seconds)
        row = (tick % len(self.up)).astype(np.int64)
        return self.up[row], (tick + self._stays[row]) * self.gap_seconds

    @cached_property
    def _stays(self) -> Floats:
        """By tick, how many ticks (it included) until the other state, over the end too."""
        ticks = len(self.up)
        changes = np.flatnonzero(self.up != np.roll(self.up, 1))
        if not changes.size:
            return np.full(ticks, np.inf)
        nexts = np.append(changes, changes[0] + ticks)
        here = np.arange(ticks)
        return (nexts[np.searchsorted(nexts, here, side="right")] - here).astype(float)


def trace(document: Any, name: str) -> Trace:
    """``{"metadata": {"gap_seconds": 32}, "data": [0, 1, ...]}``: how many instances were up at
    each tick. Up is when all were: as many as the trace ever had, and at least one.

    Raises:
        InvalidRequest: it is of another shape.
    """
    if not isinstance(document, dict):
        raise InvalidRequest(f"{name}: not an object; give metadata.gap_seconds and data")
    metadata, data = (_field(document, key, name) for key in ("metadata", "data"))
    if not isinstance(metadata, dict):
        raise InvalidRequest(f"{name}: metadata: not an object; give {{'gap_seconds': 60}}")
    gap = _field(metadata, "gap_seconds", f"{name}: metadata")
    if isinstance(gap, bool) or not isinstance(gap, int | float) or not 0 < gap < math.inf:
        raise InvalidRequest(
            f"{name}: metadata.gap_seconds: {gap!r} is no time; give seconds above 0"
        )
    if not isinstance(data, list) or not data:
        raise InvalidRequest(f"{name}: data: must be a list of at least one number of instances")
    for tick, count in enumerate(data):
        if type(count) is not int or count < 0:
            raise InvalidRequest(
                f"{name}: data.{tick}: {count!r} is no number of instances; give 0 or more"
            )
    most = max(1, *data)
    return Trace(name, float(gap), np.array([count == most for count in data]))


def synthetic(
    rng: np.random.Generator,
    interruptions_per_hour: float,
    mean_down_hours: float,
    hours: float,
    gap_seconds: float,
) -> Trace:
    """A made-up place whose times up and down are exponential, looked at each tick: what is
    shorter than a tick goes unseen. It is up at first as likely as at any time."""
    ticks = np.arange(max(1, round(hours * HOUR / gap_seconds))) * gap_seconds
    name = f"synthetic {interruptions_per_hour:g}/h"
    if interruptions_per_hour <= 0:
        return Trace(name, gap_seconds, np.ones(len(ticks), dtype=bool))
    up, down = HOUR / interruptions_per_hour, HOUR * mean_down_hours
    first = bool(rng.random() < up / (up + down))
    lasted, changes = 0.0, np.empty(0)
    while lasted <= ticks[-1]:
        pairs = 16 + int(1.2 * (ticks[-1] - lasted) / (up + down))
        scale = np.tile((up, down) if first else (down, up), pairs)
        changes = np.append(changes, lasted + np.cumsum(rng.exponential(scale)))
        lasted = float(changes[-1])
    odd = np.searchsorted(changes, ticks, side="right") % 2 == 1
    return Trace(name, gap_seconds, odd ^ first)


def _field(document: dict[Any, Any], key: str, where: str) -> Any:
    if key not in document:
        raise InvalidRequest(f"{where}: {key}: is required{nearest(key, map(str, document))}")
    return document[key]
