"""How long a job takes on a machine that may be taken away, in expectation.

Rounds are done in stretches that end with a checkpoint; a loss costs the stretch it falls in. With
interruptions at random (`L` an hour up), a stretch of s seconds takes
``(e^(L·s) - 1)·(1/L + recovery + outage)``, and exactly s where nothing interrupts. Arguments are
figures or arrays that broadcast.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from fedspan.placement.book import Bools, Floats, Ints

HOUR: Final = 3600.0
NEVER: Final = 2**53
"""Rounds between checkpoints where none pays: more than any job has."""
SELDOM: Final = 1e-30
"""Interruptions a second that make no difference a float could hold."""

Figures = float | Floats | Ints


def expected_seconds(
    setup_seconds: Figures,
    rounds: Figures,
    checkpoint_every: Figures,
    round_seconds: Figures,
    checkpoint_seconds: Figures,
    interruptions_per_hour: Figures,
    recovery_seconds: Figures,
    outage_seconds: Figures,
) -> Floats:
    """Seconds from start to end of `rounds` rounds, with a checkpoint after each
    `checkpoint_every` and after the last, which may close a shorter stretch. `recovery_seconds` is
    from having a machine again to working again, `outage_seconds` the mean wait for one before.
    Infinite where it is more than a float holds."""
    every = np.minimum(checkpoint_every, rounds)
    full = np.floor_divide(rounds, every)
    rest = rounds - full * every
    hazard = np.asarray(interruptions_per_hour, float) / HOUR
    loss = np.add(recovery_seconds, outage_seconds)
    seconds = full * _stretch(every * round_seconds + checkpoint_seconds, hazard, loss)
    if np.any(rest):
        last = _stretch(rest * round_seconds + checkpoint_seconds, hazard, loss)
        seconds = seconds + np.where(rest > 0, last, 0.0)
    return np.asarray(setup_seconds + seconds, float)


def young_daly(
    round_seconds: Figures, checkpoint_seconds: Figures, interruptions_per_hour: Figures
) -> Ints:
    """Rounds between checkpoints, at least 1, that cost least time; `NEVER` where nothing
    interrupts. Take the job's rounds where they are fewer."""
    twice = 2.0 * HOUR * np.asarray(checkpoint_seconds, float)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        best = np.sqrt(twice / interruptions_per_hour) / round_seconds
    return np.clip(np.rint(np.nan_to_num(best, nan=1.0)), 1, NEVER).astype(np.int64)


def p_interruption(interruptions_per_hour: Figures, hours: Figures) -> Floats:
    """The chance of at least one interruption in so many hours up."""
    hazard = np.asarray(interruptions_per_hour, float)
    with np.errstate(invalid="ignore"):
        chance = -np.expm1(-hazard * hours)
    return np.where(hazard > 0, chance, 0.0)


def _stretch(seconds: Floats, hazard: Floats, loss: Floats) -> Floats:
    """Expected seconds until so many were had in one piece; `hazard` is per second, `loss` the
    seconds each interruption costs besides what was done."""
    seldom: Bools = hazard < SELDOM
    with np.errstate(over="ignore"):
        losses = np.expm1(hazard * seconds)
        return np.where(seldom, seconds, losses * (1.0 / np.where(seldom, 1.0, hazard) + loss))
