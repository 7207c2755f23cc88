"""Spot while slack lasts, then on demand (``aggregator.purchase: deadline``).

*Slack* is what is left of the deadline beyond the rounds still to do. Nothing but slack is ever
spent by a loss, a restart or a wait, so the rule needs no clock and no history:

- On spot, a loss costs at worst the round under way and a restart on demand. Spot is kept while
  slack covers both: ``slack >= round + recover``. A round that is done costs no slack, so this is
  asked after each.
- Onto spot (back from on demand, or after a loss) the move itself comes on top:
  ``slack >= move + round + recover``; from on demand also only where what it is expected to save
  until the next loss is more than the two moves cost.
- With nothing running and no spot to be had, waiting costs slack by the second. It waits down to
  ``recover + kept``, where ``kept`` is slack for the rest of the job to go on demand and come back
  once at each loss it must expect: ``losses an hour * hours left * (move + recover)``.

The first rule is the safety net: a job whose deadline on-demand machines alone would have met, from
its first second, meets it, whatever spot does; one that they would not have met is refused when it
is submitted (`placement.evaluation.promised_seconds`). The last is what beats *uniform progress*
(Wu et al., "Can't Be Late: Optimizing Spot Instance Savings under Deadlines", NSDI 2024), which
goes on demand when idle behind the line from start to deadline, and stays until ahead of it by two
changeovers. There a changeover is 12 minutes; here it is a boot and a link, so that going on demand
for a single outage and straight back is cheap, and it is waiting that must be rationed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from fedspan.domain.spec import Purchase
from fedspan.errors import InvalidRequest

HOUR: Final = 3600.0
LOSSES_PER_HOUR: Final = 1.0
"""Taken where nobody knows better: public traces show 0.1 to 1.4 an hour up. Twice as many cost the
same on them, a quarter as many a tenth more (benchmarks/spot.py): it had better be too many."""
SPOT_SHARE: Final = 0.4
"""What spot costs of on demand, where nobody says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """A job between two rounds, or with no aggregator.

    `seconds_left` until the deadline, with `rounds_left` of `round_s` each, checkpoint included;
    `recover_s` from having nothing to the next round, on whatever machine; `move_s` without a
    round when a working machine is exchanged for another (default: as long; never longer). `on` is
    how the machine at work was bought, None with none; `spot` whether a spot machine is to be had,
    as far as known. `spot_share` is the spot price as a share of the other. `margin_s` is slack
    kept aside for what the estimates get wrong, and for the time until this is asked again.

    Raises:
        InvalidRequest: a figure that no job can have.
    """

    seconds_left: float
    rounds_left: int
    round_s: float
    recover_s: float
    on: Purchase | None
    spot: bool = True
    move_s: float | None = None
    losses_per_hour: float = LOSSES_PER_HOUR
    spot_share: float = SPOT_SHARE
    margin_s: float = 0.0

    def __post_init__(self) -> None:
        if self.on not in (None, Purchase.SPOT, Purchase.ON_DEMAND):
            raise InvalidRequest(
                f"on: no machine is bought {self.on.value!r}; give spot, on_demand or None"
            )
        if not math.isfinite(self.seconds_left):
            raise InvalidRequest(f"seconds_left: {self.seconds_left!r} is no time; give seconds")
        _not_negative("rounds_left", self.rounds_left, "rounds")
        for field in ("round_s", "recover_s", "move_s", "margin_s"):
            _not_negative(field, getattr(self, field) or 0.0, "seconds")
        for field in ("losses_per_hour", "spot_share"):
            _not_negative(field, getattr(self, field), "0 or more")
        if self.moving_s > self.recover_s:
            raise InvalidRequest(
                f"move_s: {self.moving_s:g} is more than the {self.recover_s:g} of recover_s; "
                "give at most that"
            )

    @property
    def work_s(self) -> float:
        """What is still to do, undisturbed."""
        return self.rounds_left * self.round_s

    @property
    def slack_s(self) -> float:
        return self.seconds_left - self.margin_s - self.work_s

    @property
    def moving_s(self) -> float:
        return self.recover_s if self.move_s is None else self.move_s

    @property
    def loss_s(self) -> float:
        """What a loss costs at worst: the round it falls into, and a restart on demand."""
        return self.round_s + self.recover_s

    @property
    def kept_s(self) -> float:
        """Slack for the rest of the job to go on demand and come back at each loss to expect."""
        return self.losses_per_hour * self.work_s / HOUR * (self.moving_s + self.recover_s)


@dataclass(frozen=True, slots=True)
class Decision:
    """`purchase` is what the aggregator should be from here on: spot or on demand. Spot with none
    to be had means to wait for it. `spent_in_s` is how long nothing may get done before that
    becomes on demand, 0 where it is on demand now: ask again by then."""

    purchase: Purchase
    reason: str
    slack_s: float
    spent_in_s: float


def wanted(now: Situation) -> Decision:
    """Which purchase this job's aggregator should have from here on; see the module."""
    if now.spot_share >= 1.0:
        return _on_demand(now, "spot costs no less")
    if now.on is Purchase.SPOT:
        return _while_lasts(now, now.loss_s, "a lost round and a restart on demand take")
    if not now.spot:
        return _without_spot(now)
    board = now.recover_s if now.on is None else now.moving_s
    if now.on is Purchase.ON_DEMAND and not _pays(now):
        return _on_demand(now, "spot would save less than moving there and back costs")
    return _while_lasts(now, board + now.loss_s, "going to spot and losing it again take")


def _without_spot(now: Situation) -> Decision:
    """On demand it stays there; with nothing at all it waits, as long as waiting is in order."""
    if now.on is Purchase.ON_DEMAND:
        return _on_demand(now, "no spot machine is to be had")
    return _while_lasts(
        now, now.recover_s + now.kept_s, "a restart on demand and the losses to expect take"
    )


def _while_lasts(now: Situation, needed_s: float, what: str) -> Decision:
    left = now.slack_s - needed_s
    if left < 0 or (left == 0 and not now.spot):
        return _on_demand(now, f"it is less than the {needed_s:.0f} s that {what}")
    covers = f"slack of {now.slack_s:.0f} s covers the {needed_s:.0f} s that {what}"
    return Decision(Purchase.SPOT, covers, now.slack_s, left)


def _on_demand(now: Situation, why: str) -> Decision:
    return Decision(
        Purchase.ON_DEMAND, f"slack is {now.slack_s:.0f} s, and {why}", now.slack_s, 0.0
    )


def _pays(now: Situation) -> bool:
    """Until the next loss, or to the end, spot saves more than the moves there and back cost: the
    first at the price of spot, the second on demand."""
    until = now.work_s
    if now.losses_per_hour > 0:
        until = min(until, HOUR / now.losses_per_hour)
    return (1.0 - now.spot_share) * until > now.spot_share * now.moving_s + now.recover_s


def _not_negative(field: str, figure: float, unit: str) -> None:
    if not 0 <= figure < math.inf:
        raise InvalidRequest(f"{field}: {figure!r} is wrong; give {unit}")
