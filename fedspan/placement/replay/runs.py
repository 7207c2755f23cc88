"""A job replayed from many starts at once, from loss to loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fedspan.placement.book import Floats, Ints
from fedspan.placement.makespan import HOUR
from fedspan.placement.replay.traces import INSTANT
from fedspan.placement.replay.work import Policy, Standby, Work

GIVE_UP_HOURS: Final = 8_760.0
"""A year: a run that is not done by then counts as one that never is."""


@dataclass(frozen=True, eq=False)
class Replays:
    """A row a run. `hours` from start to end, waiting included, and `cost_micro_usd` of the time a
    machine ran, to the fraction of a second: both `inf` where it was never done. `rounds_again`
    are those begun and lost, also the one a loss fell into."""

    hours: Floats
    cost_micro_usd: Floats
    interruptions: Ints
    rounds_again: Ints

    def quantile(self, share: float) -> Quantile:
        return Quantile(quantile(self.hours, share), quantile(self.cost_micro_usd, share))


@dataclass(frozen=True)
class Quantile:
    hours: float
    cost_micro_usd: float


def quantile(values: Floats, share: float) -> float:
    """The least of `values` that this share of them does not exceed."""
    return float(np.quantile(values, share, method="inverted_cdf"))


def replay(
    work: Work, policy: Policy, starts: Floats, *, give_up_hours: float = GIVE_UP_HOURS
) -> Replays:
    """`work` under `policy`, once from each of `starts`: seconds on the clock of the traces.
    What is not done after `give_up_hours` counts as never done."""
    runs = _Runs(work, policy, np.asarray(starts, float))
    last, stall = runs.now + give_up_hours * HOUR, _stall(policy)
    open = np.arange(len(runs.now))
    while open.size:
        place, until = runs.look(open)
        up = place >= 0
        if up.any():
            runs.on_spot(open[up], place[up], until[up])
        if not up.all():
            runs.without(open[~up], until[~up])
        on = ~runs.over & (runs.now < last) & (runs.now - runs.gained < stall)
        open = open[on[open]]
    done = runs.over & (runs.now <= last)
    return Replays(
        hours=np.where(done, runs.now - starts, np.inf) / HOUR,
        cost_micro_usd=np.where(done, np.rint(runs.cost), np.inf),
        interruptions=runs.interruptions,
        rounds_again=runs.again,
    )


def _stall(policy: Policy) -> float:
    """Seconds without anything gained after which nothing ever will be: what follows a loss
    depends only on when in the traces it is, and at the same time of the traces there are only so
    many places to be in. Unknown (`inf`) where traces are not equally long."""
    lengths = {one.trace.hours for one in policy.places}
    return (len(policy.places) + 3) * lengths.pop() * HOUR if len(lengths) == 1 else np.inf


class _Runs:
    """Where each run stands; `rows` are those a step is about."""

    def __init__(self, work: Work, policy: Policy, starts: Floats) -> None:
        runs = len(starts)
        self.work, self.policy, self.now = work, policy, starts.copy()
        self.gained = starts.copy()  # when there was last more done than before
        self.stretches = np.zeros(runs)  # with their checkpoint
        self.booted = np.zeros(runs, dtype=bool)
        self.standing = np.zeros(runs, dtype=bool)  # on demand, and working
        self.over = np.zeros(runs, dtype=bool)
        self.cost = np.zeros(runs)
        self.interruptions = np.zeros(runs, dtype=np.int64)
        self.again = np.zeros(runs, dtype=np.int64)

    def look(self, rows: Ints) -> tuple[Ints, Floats]:
        """The first place that is up and until when; else -1 and when the first comes up."""
        now = self.now[rows]
        place, until = np.full(len(rows), -1), np.full(len(rows), np.inf)
        for number, one in enumerate(self.policy.places):
            up, change = one.trace.at(now)
            until = np.where(place >= 0, until, np.where(up, change, np.minimum(until, change)))
            place = np.where((place < 0) & up, number, place)
        return place, until

    def on_spot(self, rows: Ints, place: Ints, until: Floats) -> None:
        """Until it is lost, or all is done."""
        work, boot, left = self.work, self._boot(rows), self._left(rows)
        had = until - self.now[rows] - boot
        over = had >= left - INSTANT
        some = np.where(over, 0.0, np.maximum(had, 0.0))
        stretches = np.floor((some + INSTANT) / work.stretch_seconds)
        lost = np.ceil((some - stretches * work.stretch_seconds - INSTANT) / work.round_seconds)
        rounds = work.rounds - (self.stretches[rows] + stretches) * work.stretch_rounds
        most = np.minimum(rounds, work.stretch_rounds)
        end = np.where(over, self.now[rows] + boot + left, until)
        self._bill(rows, np.array([one.price for one in self.policy.places])[place], end)
        self.again[rows] += np.where(over, 0.0, np.clip(lost, 0.0, most)).astype(np.int64)
        self.interruptions[rows] += ~over
        self.stretches[rows] += stretches
        gained = (stretches > 0) | ((had >= 0) & ~self.booted[rows])
        self.gained[rows] = np.where(gained, end, self.gained[rows])
        self.booted[rows] |= had >= 0
        self.standing[rows] = False
        self.over[rows] = over

    def without(self, rows: Ints, until: Floats) -> None:
        """No place is up before `until`."""
        if self.policy.standby is None:
            self.now[rows] = until
        else:
            self._on_demand(rows, until, self.policy.standby)

    def _on_demand(self, rows: Ints, until: Floats, standby: Standby) -> None:
        left = self._left(rows)
        ready = self.now[rows] + np.where(self.standing[rows], 0.0, self._boot(rows))
        each = self.work.stretch_seconds
        stretches = np.maximum(1.0, np.ceil((until - ready - INSTANT) / each))
        over = (stretches * each >= left - INSTANT) | (not standby.back)
        end = ready + np.where(over, left, stretches * each)
        self._bill(rows, standby.price, end)
        self.stretches[rows] += np.where(over, 0.0, stretches)
        self.gained[rows] = end
        self.booted[rows] = self.standing[rows] = True
        self.over[rows] = over

    def _bill(self, rows: Ints, price: Ints | int, end: Floats) -> None:
        self.cost[rows] += price * (end - self.now[rows]) / HOUR
        self.now[rows] = end

    def _boot(self, rows: Ints) -> Floats:
        work = self.work
        return np.where(self.booted[rows], work.recovery_seconds, work.setup_seconds)

    def _left(self, rows: Ints) -> Floats:
        """Seconds of work; whole stretches come first."""
        return self.work.seconds - self.stretches[rows] * self.work.stretch_seconds
