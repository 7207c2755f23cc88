"""A job step by step on recorded capacity, under the rules that are compared.

A step is a round: 60 s. A place is up in a step when it was up all through it; the step in which a
machine is lost is lost whole, and billed. A new machine, of whatever kind, boots for `BOOT` steps,
is billed for them, and may be lost in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fedspan.domain.spec import Purchase
from fedspan.placement.book import Bools, Ints
from fedspan.placement.makespan import HOUR
from fedspan.placement.purchasing import LOSSES_PER_HOUR, Situation, wanted
from fedspan.placement.replay import Trace
from fedspan.placement.replay.traces import INSTANT

STEP_S: Final = 60.0
BOOT: Final = 3
"""Steps until another machine works: the boot of Multi-FedLS' measurements."""
CHANGEOVER: Final = BOOT + 1
NEVER: Final = 10**9
COPIES: Final = 4
"""Of a record, one after the other: who has no deadline may wait beyond its end."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a rule knows: `left` steps to the deadline, `rounds` still to do, the machine at work,
    and whether a spot machine is to be had."""

    left: int
    rounds: int
    on: Purchase | None
    spot: bool


Wish = tuple[Purchase, int]
"""What to be on (spot, with none to be had and nothing at work, is to wait), and for how many steps
that stands if no spot machine is to be had in them."""
Rule = Callable[[Seen], Wish]


@dataclass(frozen=True, slots=True)
class Run:
    """Steps from start to end, what they cost where an on-demand step is 1, and losses."""

    steps: int
    cost: float
    losses: int


def on_demand(seen: Seen) -> Wish:
    return Purchase.ON_DEMAND, NEVER


def spot(seen: Seen) -> Wish:
    return Purchase.SPOT, NEVER


def by_deadline(spot_share: float, losses_per_hour: float = LOSSES_PER_HOUR) -> Rule:
    """Ours: `fedspan.placement.purchasing`, as jobs run it."""

    def rule(seen: Seen) -> Wish:
        now = Situation(
            seconds_left=seen.left * STEP_S,
            rounds_left=seen.rounds,
            round_s=STEP_S,
            recover_s=BOOT * STEP_S,
            on=seen.on,
            spot=seen.spot,
            spot_share=spot_share,
            losses_per_hour=losses_per_hour,
        )
        decision = wanted(now)
        if decision.purchase is Purchase.ON_DEMAND:
            return decision.purchase, NEVER
        return decision.purchase, int(decision.spent_in_s // STEP_S)

    return rule


class UniformProgress:
    """Of "Can't Be Late" (Wu et al., NSDI 2024, section 5.2.2): on demand when idle and behind the
    line from start to deadline, until ahead of where the line is two changeovers later; spot
    whenever there is some, and until it is lost; on demand to the end when idle or on demand with
    less than two changeovers to spare. A changeover is a boot and the round that was lost."""

    def __init__(self, rounds: int, deadline: int) -> None:
        self._rounds, self._deadline, self._last = rounds, deadline, False

    def __call__(self, seen: Seen) -> Wish:
        return self._wanted(seen), 1

    def _wanted(self, seen: Seen) -> Purchase:
        slack = seen.left - seen.rounds
        self._last |= seen.on is not Purchase.SPOT and slack < 2 * CHANGEOVER
        if self._last:
            return Purchase.ON_DEMAND
        if seen.on is Purchase.SPOT:
            return Purchase.SPOT
        if seen.on is Purchase.ON_DEMAND:
            return Purchase.SPOT if self._ahead(seen, 2 * CHANGEOVER) else Purchase.ON_DEMAND
        return Purchase.SPOT if seen.spot or self._ahead(seen, 0) else Purchase.ON_DEMAND

    def _ahead(self, seen: Seen, later: int) -> bool:
        """Of where uniform progress would be `later` steps from now."""
        then = self._deadline - seen.left + later
        return (self._rounds - seen.rounds) * self._deadline >= then * self._rounds


def capacity(places: Sequence[Trace]) -> Bools:
    """Whether each place was up in each step, `COPIES` times what all of them recorded."""
    steps = recorded_steps(places)
    begin = np.arange(steps) * STEP_S
    rows = []
    for one in places:
        up, until = one.at(begin)
        rows.append(up & (until >= begin + STEP_S - INSTANT))
    return np.tile(np.array(rows), COPIES)


def recorded_steps(places: Sequence[Trace]) -> int:
    return int(min(one.hours for one in places) * HOUR // STEP_S)


def stays(up: Bools) -> Ints:
    """By place and step, the step at which it is lost that is up now; else the step itself."""
    steps = up.shape[1]
    down = np.where(up, steps, np.arange(steps))
    until: Ints = np.minimum.accumulate(down[:, ::-1], axis=1)[:, ::-1]
    return until


def first_up(up: Bools) -> Ints:
    """By step, the first from there on in which a place is up."""
    return stays(~up.any(axis=0, keepdims=True))[0]


class Job:
    """`rounds` to do from the step `start` on, on the places whose `until` (see `stays`) is given;
    `up` is, by step, the first from there on in which one of them is up."""

    def __init__(
        self, until: Sequence[Sequence[int]], up: Sequence[int], start: int, rounds: int
    ) -> None:
        self._until, self._up, self._now, self._start = until, up, start, start
        self._rounds, self._boot, self._place = rounds, 0, -1
        self._on: Purchase | None = None
        self._lost_at = [-1] * len(until)
        self._losses, self._spot_steps, self._steps = 0, 0, 0

    def run(self, rule: Rule, deadline: int, spot_price: float) -> Run:
        """Raises `IndexError` when the record ends before the job."""
        while self._rounds:
            place = self._next_place() if self._up[self._now] == self._now else -1
            left = self._start + deadline - self._now
            to, stands = rule(Seen(left, self._rounds, self._on, place >= 0))
            self._turn(to, place)
            if self._on is Purchase.SPOT:
                self._on_spot(self._until[self._place][self._now])
            else:
                self._step(max(1, min(stands, self._up[self._now] - self._now)))
        cost = self._steps + spot_price * self._spot_steps
        return Run(self._now - self._start, cost, self._losses)

    def _next_place(self) -> int:
        """The place that is up and was lost longest ago, if ever."""
        now = self._now
        up = [row for row, until in enumerate(self._until) if until[now] > now]
        return min(up, key=self._lost_at.__getitem__)

    def _turn(self, to: Purchase, place: int) -> None:
        if to is self._on:
            return
        if to is Purchase.SPOT and place < 0:
            self._on = None
            return
        self._on, self._place, self._boot = to, place, BOOT

    def _step(self, most: int) -> None:
        """Waits or works on demand for `most` steps, or until all is done."""
        if self._on is None:
            self._now += most
            return
        steps = min(most, self._boot + self._rounds)
        booted = min(steps, self._boot)
        self._boot, self._rounds = self._boot - booted, self._rounds - (steps - booted)
        self._now, self._steps = self._now + steps, self._steps + steps

    def _on_spot(self, until: int) -> None:
        """To the end of the boot; then on, until it is lost or all is done: while it works slack
        does not change, and for nothing else does a rule leave it."""
        wanted = self._boot or self._rounds
        steps = min(until - self._now, wanted)
        if self._boot:
            self._boot -= steps
        else:
            self._rounds -= steps
        lost = steps < wanted
        self._now += steps + lost
        self._spot_steps += steps + lost
        if lost:
            self._losses += 1
            self._lost_at[self._place], self._on = self._now, None
