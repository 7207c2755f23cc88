"""The least that a job can cost whose every outage is known beforehand: exact, by dynamic
programming.

All spot places have one price, and every change of machine boots for `BOOT` steps. Then among the
cheapest schedules is one of this form:

- *Who boards spot takes the place that stays longest, and stays until it is lost or all is done.*
  Leaving it earlier can be put off: a round more here costs no more than one anywhere later, and
  whoever boards later finds a place that stays at least as long.
- *Who is on demand leaves only for spot, or at the end.* A stretch on demand before a pause can be
  moved to the end of the pause.

So two states are enough, with nothing and on demand, and jumps along spot. Time and slack say how
much is left: ``rounds = deadline - time - slack``. Waiting takes a step of slack, a boot `BOOT`, a
round none. As every loss is known, no round is begun that would be lost. tests/unit/test_spot.py
holds it against a search through every schedule.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.spot_rules import BOOT, stays
from fedspan.placement.book import Bools, Floats, Ints

FIGURES: Final = 20_000_000
"""What is kept at once, some of the starts at a time."""


def optimum(up: Bools, starts: Ints, rounds: int, deadline: int, spot_price: float) -> Floats:
    """By start, the least cost of `rounds` done within `deadline` steps, an on-demand step being
    1; `inf` where not even that can be."""
    longest = stays(up).max(axis=0)
    each = max(1, FIGURES // ((deadline + 2) * (deadline - rounds + 1)))
    parts = []
    for first in range(0, len(starts), each):
        some = starts[first : first + each, None]
        until = longest[some + np.arange(deadline)] - some
        parts.append(_cheapest(until.T, rounds, deadline, spot_price))
    return np.concatenate(parts)


def _cheapest(until: Ints, rounds: int, deadline: int, spot_price: float) -> Floats:
    """`until` by step and start: when the place that stays longest is lost, from the start on."""
    most, count = deadline - rounds, until.shape[1]
    slack, row, price = np.arange(most + 1), np.arange(count), np.float32(spot_price)
    idle = np.full((deadline + 2, count, most + 1), np.inf, np.float32)
    idle[deadline] = 0.0  # all is done; the row after stands for what cannot be
    working = [idle[deadline]] * (BOOT + 1)  # on demand, the next steps
    for now in range(deadline - 1, -1, -1):
        best, left = idle[now], deadline - now - slack
        best[:, 1:] = idle[now + 1][:, :-1]
        if most >= BOOT:
            lost = until[now]
            to = np.where(lost > now + BOOT, np.minimum(lost, deadline), deadline + 1)
            paid = price * np.minimum((lost - now)[:, None], BOOT + left).astype(np.float32)
            boarded = idle[to, row, : most + 1 - BOOT] + paid[:, BOOT:]
            np.minimum(best[:, BOOT:], boarded, out=best[:, BOOT:])
            if now + BOOT <= deadline:
                begun = working[BOOT - 1][:, : most + 1 - BOOT] + np.float32(BOOT)
                np.minimum(best[:, BOOT:], begun, out=best[:, BOOT:])
        best[:, left <= 0] = 0.0
        working = [np.minimum(working[0] + np.float32(1), best), *working[:BOOT]]
    return idle[0][:, most].astype(np.float64)
