"""How long a job takes on a machine that may be taken away, in expectation.

Rounds are done in stretches that end with a checkpoint; a loss costs the stretch it falls in. With
interruptions at random (`L` an hour up), a stretch of s seconds takes
``(e^(L·s) - 1)·e^(L·recovery)·(1/L + outage)``, for a recovery may be interrupted as well; and
exactly s where nothing interrupts. Arguments are figures or arrays that broadcast.
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
    setup = np.asarray(setup_seconds, float)
    recovery, outage = np.asarray(recovery_seconds, float), np.asarray(outage_seconds, float)
    seconds = _in_one_piece(setup, hazard) + _each(_losses(setup, hazard), outage)
    length = every * round_seconds + checkpoint_seconds
    seconds = seconds + full * _stretch(length, hazard, recovery, outage)
    if np.any(rest):
        length = rest * round_seconds + checkpoint_seconds
        last = _stretch(length, hazard, recovery, outage)
        seconds = seconds + np.where(rest > 0, last, 0.0)
    return np.asarray(seconds, float)


def expected_rounds(
    rounds: Figures,
    checkpoint_every: Figures,
    round_seconds: Figures,
    checkpoint_seconds: Figures,
    interruptions_per_hour: Figures,
) -> Floats:
    """How many rounds are begun in all, counting those that a loss undid: each is sent to every
    participant. Of a stretch of m rounds of t seconds, ``e^(L·checkpoint)·(e^(L·m·t) - 1)/(1 -
    e^(-L·t))``, for a loss while the checkpoint is written undoes them all as well."""
    every = np.minimum(checkpoint_every, rounds)
    full = np.floor_divide(rounds, every)
    rest = rounds - full * every
    hazard = np.asarray(interruptions_per_hour, float) / HOUR
    risk = hazard * round_seconds
    begun = full * _begun(every, risk)
    if np.any(rest):
        begun = begun + np.where(rest > 0, _begun(rest, risk), 0.0)
    again = 1.0 + _losses(np.asarray(checkpoint_seconds, float), hazard)
    with np.errstate(over="ignore"):
        return np.asarray(begun * again, float)


def _begun(rounds: Figures, risk: Floats) -> Floats:
    """Of one stretch; `risk` is the interruptions expected in a round."""
    seldom: Bools = risk < SELDOM
    with np.errstate(over="ignore"):
        each = -np.expm1(-np.where(seldom, 1.0, risk))
        return np.where(seldom, rounds, np.expm1(risk * rounds) / each)


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


def _stretch(seconds: Floats, hazard: Floats, recovery: Floats, outage: Floats) -> Floats:
    """Expected seconds until so many were had in one piece; `hazard` is per second. Before each
    further try there is an outage, and a recovery, each as often as that is interrupted."""
    losses, within = _losses(seconds, hazard), _losses(recovery, hazard)
    again = outage + _each(within, outage) + _in_one_piece(recovery, hazard)
    return _in_one_piece(seconds, hazard) + _each(losses, again)


def _each(count: Floats, seconds: Floats) -> Floats:
    """So many times so many seconds; none of what lasts for ever is nothing."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where((count > 0) & (seconds > 0), count * seconds, 0.0)


def _losses(seconds: Floats, hazard: Floats) -> Floats:
    """Interruptions before so many seconds were had in one piece."""
    with np.errstate(over="ignore"):
        found: Floats = np.expm1(hazard * seconds)
        return found


def _in_one_piece(seconds: Floats, hazard: Floats) -> Floats:
    """``(e^(L·s) - 1)/L``: seconds spent until s of them were had without an interruption."""
    seldom: Bools = hazard < SELDOM
    return np.where(seldom, seconds, _losses(seconds, hazard) / np.where(seldom, 1.0, hazard))
