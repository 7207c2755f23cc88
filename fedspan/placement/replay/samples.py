"""A job's hours where outages come at random: the spread around what `makespan` expects."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from fedspan.placement.book import Floats
from fedspan.placement.makespan import HOUR, expected_seconds
from fedspan.placement.replay.runs import GIVE_UP_HOURS
from fedspan.placement.replay.work import Work

AT_ONCE: Final = 512
"""The most outages of a run that are drawn in one go."""


def sampled(
    rng: np.random.Generator,
    work: Work,
    interruptions_per_hour: float,
    outage_hours: float,
    draws: int,
    *,
    give_up_hours: float = GIVE_UP_HOURS,
) -> Floats:
    """Hours of `draws` runs that start on a machine, wait out each outage, and see times up and
    down that are exponential. `inf`: not done by then. Same `rng`, same hours."""
    if interruptions_per_hour <= 0:
        return np.full(draws, (work.setup_seconds + work.seconds) / HOUR)
    hours = np.full(draws, np.inf)
    open = np.arange(draws)
    spent, done, booted = np.zeros(draws), np.zeros(draws), np.zeros(draws, dtype=bool)
    width = _outages(work, interruptions_per_hour)
    while open.size:
        up = rng.exponential(HOUR / interruptions_per_hour, (open.size, width))
        down = rng.exponential(HOUR * outage_hours, (open.size, width))
        fits = booted[:, None] | np.logical_or.accumulate(up >= work.setup_seconds, axis=1)
        again = np.column_stack([booted, fits[:, :-1]])  # booted in an earlier time up
        boot = np.where(again, work.recovery_seconds, work.setup_seconds)
        stretches = np.floor(np.maximum(up - boot, 0.0) / work.stretch_seconds)
        total = done[:, None] + np.cumsum(stretches, axis=1)
        left = work.seconds - (total - stretches) * work.stretch_seconds
        over = up - boot >= left
        lasted = spent[:, None] + np.cumsum(up + down, axis=1)
        runs = np.flatnonzero(over.any(axis=1))
        at = (runs, over[runs].argmax(axis=1))
        hours[open[runs]] = (lasted[at] - up[at] - down[at] + boot[at] + left[at]) / HOUR
        on = ~over.any(axis=1) & (lasted[:, -1] < give_up_hours * HOUR)
        open, spent, done, booted = open[on], lasted[on, -1], total[on, -1], fits[on, -1]
    return np.where(hours <= give_up_hours, hours, np.inf)


def _outages(work: Work, interruptions_per_hour: float) -> int:
    """How many to draw at once so that a second go is seldom."""
    busy = expected_seconds(
        work.setup_seconds,
        work.rounds,
        work.stretch_rounds,
        work.round_seconds,
        work.checkpoint_seconds,
        interruptions_per_hour,
        work.recovery_seconds,
        0.0,
    )
    mean = min(float(busy) * interruptions_per_hour / HOUR, AT_ONCE)
    return min(AT_ONCE, math.ceil(mean + 4 * math.sqrt(mean)) + 2)
