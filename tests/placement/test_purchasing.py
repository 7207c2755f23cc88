"""Spot while slack lasts: what is bought, and that no deadline is missed for it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspan.domain.spec import Purchase
from fedspan.errors import InvalidRequest
from fedspan.placement.purchasing import HOUR, Situation, wanted

SPOT, ON_DEMAND = Purchase.SPOT, Purchase.ON_DEMAND


def situation(slack_s, *, rounds=100, **figures):
    """100 rounds of a minute are left, and 3 minutes make another machine work."""
    usual = {"round_s": 60.0, "recover_s": 180.0, "on": SPOT, "losses_per_hour": 1.0}
    given = {**usual, **figures}
    left = rounds * given["round_s"] + slack_s + given.get("margin_s", 0.0)
    return Situation(seconds_left=left, rounds_left=rounds, **given)


# -- single decisions


def test_spot_is_kept_while_slack_covers_a_lost_round_and_a_restart():
    kept, left = (wanted(situation(slack)) for slack in (240.0, 239.0))

    assert (kept.purchase, kept.spent_in_s) == (SPOT, 0.0)
    assert (left.purchase, left.spent_in_s) == (ON_DEMAND, 0.0)
    assert left.reason == (
        "slack is 239 s, and it is less than the 240 s that a lost round and a restart on demand "
        "take"
    )


@pytest.mark.parametrize(("on", "move_s", "needed"), [(None, 60.0, 420), (ON_DEMAND, 60.0, 300)])
def test_going_to_spot_takes_slack_for_the_move_as_well(on, move_s, needed):
    enough, short = (
        wanted(situation(slack, on=on, move_s=move_s)) for slack in (needed, needed - 1)
    )

    assert (enough.purchase, short.purchase) == (SPOT, ON_DEMAND)


def test_an_outage_is_waited_for_until_only_the_slack_for_later_losses_is_left():
    # 100 minutes of work at a loss an hour: 1.67 times there and back, of 6 minutes
    decision = wanted(situation(3600.0, on=None, spot=False))
    then = wanted(situation(3600.0 - decision.spent_in_s, on=None, spot=False))

    assert decision.purchase is SPOT
    assert decision.spent_in_s == pytest.approx(3600 - 180 - 600)
    assert then.purchase is ON_DEMAND


def test_without_losses_to_expect_waiting_leaves_slack_for_a_restart_alone():
    assert wanted(situation(3600.0, on=None, spot=False, losses_per_hour=0.0)).spent_in_s == 3420


def test_on_demand_stays_where_spot_is_not_to_be_had():
    assert wanted(situation(1e6, on=ON_DEMAND, spot=False)).purchase is ON_DEMAND


def test_on_demand_stays_where_the_way_to_spot_and_back_costs_more_than_it_saves():
    assert wanted(situation(1e6, on=ON_DEMAND, rounds=5)).purchase is ON_DEMAND
    assert wanted(situation(1e6, on=ON_DEMAND, losses_per_hour=20.0)).purchase is ON_DEMAND
    assert wanted(situation(1e6, on=ON_DEMAND)).purchase is SPOT


@pytest.mark.parametrize("on", [None, SPOT, ON_DEMAND])
def test_spot_that_costs_no_less_is_not_wanted(on):
    decision = wanted(situation(1e6, on=on, spot_share=1.0))

    assert decision.purchase is ON_DEMAND
    assert decision.reason.endswith("spot costs no less")


def test_a_margin_is_slack_that_nothing_spends():
    with_it = wanted(situation(500.0, margin_s=100.0))

    assert with_it == wanted(situation(500.0))


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"on": Purchase.ANY}, "on: no machine is bought 'any'; give spot, on_demand or None"),
        ({"recover_s": -1.0}, "recover_s: -1.0 is wrong; give seconds"),
        ({"losses_per_hour": math.nan}, "losses_per_hour: nan is wrong; give 0 or more"),
        ({"move_s": 200.0}, "move_s: 200 is more than the 180 of recover_s; give at most that"),
        ({"margin_s": math.inf}, "margin_s: inf is wrong; give seconds"),
    ],
)
def test_figures_that_no_job_can_have_are_refused(figures, said):
    with pytest.raises(InvalidRequest) as refused:
        Situation(
            **{
                "seconds_left": 9e3,
                "rounds_left": 100,
                "round_s": 60.0,
                "recover_s": 180.0,
                "on": SPOT,
                **figures,
            }
        )

    assert str(refused.value) == said


# -- what always holds

SITUATIONS = st.builds(
    situation,
    st.floats(-1e4, 1e6),
    rounds=st.integers(0, 2_000),
    round_s=st.floats(0.1, 1e4),
    recover_s=st.floats(300, 1e4),
    move_s=st.none() | st.floats(0, 300),
    on=st.sampled_from((None, SPOT, ON_DEMAND)),
    spot=st.booleans(),
    losses_per_hour=st.floats(0, 10),
    spot_share=st.floats(0, 2),
    margin_s=st.floats(0, 1e4),
)


@given(SITUATIONS, st.floats(0, 1e5))
def test_more_time_never_turns_spot_into_on_demand(now, more):
    later = wanted(replace(now, seconds_left=now.seconds_left + more))

    assert wanted(now).purchase is ON_DEMAND or later.purchase is SPOT


@given(SITUATIONS)
def test_waiting_as_long_as_was_told_ends_on_demand(now):
    decision = wanted(now)
    nothing = replace(now, on=None, spot=False)
    if decision.purchase is SPOT and now.on is None and not now.spot:
        after = replace(nothing, seconds_left=now.seconds_left - decision.spent_in_s - 0.001)

        assert wanted(after).purchase is ON_DEMAND
    else:
        assert decision.spent_in_s >= 0.0


class World:
    """A job under the policy, second by second as events fall: `lasts` says for how long each spot
    machine stays, boot included, `outages` for how long none is to be had after each loss."""

    def __init__(self, now: Situation, lasts, outages) -> None:
        self.now, self.clock, self.rounds = now, 0.0, now.rounds_left
        self.deadline = now.seconds_left
        self.lasts, self.outages = iter(lasts), iter(outages)
        self.until = 0.0  # when there is spot again
        self.lost = math.inf  # when the machine at work is
        self.on = None

    def seen(self) -> Situation:
        return replace(
            self.now,
            seconds_left=self.deadline - self.clock,
            rounds_left=self.rounds,
            on=self.on,
            spot=self.clock >= self.until,
        )

    def run(self) -> float:
        while self.rounds:
            seen = self.seen()
            decision = wanted(seen)
            if decision.purchase is SPOT and not seen.spot and self.on is None:
                self.clock = min(self.until, self.clock + max(decision.spent_in_s, 1e-3))
            elif decision.purchase is not self.on:
                self.move(decision.purchase)
            else:
                self.work()
        return self.clock

    def move(self, to: Purchase) -> None:
        took = self.now.recover_s if self.on is None else self.now.moving_s
        self.on, self.lost = to, math.inf
        if to is SPOT:
            self.lost = self.clock + next(self.lasts, math.inf)
        self.spend(took)

    def work(self) -> None:
        if self.spend(self.now.round_s):
            self.rounds -= 1

    def spend(self, seconds: float) -> bool:
        if self.clock + seconds <= self.lost:
            self.clock += seconds
            return True
        self.clock, self.on = self.lost, None
        self.lost, self.until = math.inf, self.clock + next(self.outages, 0.0)
        return False


ROUNDS = st.floats(0, 3) | st.floats(0, 40)
"""Times are drawn in rounds, so that they fall where decisions change."""


@settings(max_examples=300)
@given(
    st.integers(1, 60),
    st.floats(1, 900),
    ROUNDS,
    st.floats(0, 1),
    ROUNDS,
    st.floats(0, 10),
    st.lists(ROUNDS, max_size=60),
    st.lists(ROUNDS, max_size=60),
)
def test_no_deadline_is_missed_that_on_demand_alone_would_have_met(
    rounds, round_s, recovery, share, slack, losses_per_hour, lasts, outages
):
    recover_s = recovery * round_s
    start = Situation(
        seconds_left=recover_s + (rounds + slack) * round_s,
        rounds_left=rounds,
        round_s=round_s,
        recover_s=recover_s,
        move_s=share * recover_s,
        on=None,
        losses_per_hour=losses_per_hour,
    )
    world = World(start, *([one * round_s for one in times] for times in (lasts, outages)))

    assert world.run() <= start.seconds_left + 1e-2


def test_a_job_with_much_slack_waits_out_its_outages_and_ends_on_spot():
    start = situation(10 * HOUR, on=None)
    world = World(start, lasts=[1_000.0, 2_000.0], outages=[600.0, 1_200.0])

    assert world.run() == pytest.approx(3 * 180 + 100 * 60 + 600 + 1_200 + (1_000 - 180) % 60 + 20)
    assert world.on is SPOT
