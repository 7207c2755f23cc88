"""What is compared on recorded capacity: the rules, the least there can be, and the command."""

from __future__ import annotations

import functools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.spot_optimum import optimum
from benchmarks.spot_rules import (
    BOOT,
    CHANGEOVER,
    Job,
    Seen,
    UniformProgress,
    by_deadline,
    capacity,
    first_up,
    on_demand,
    spot,
    stays,
)
from fedspan.domain.spec import Purchase
from fedspan.placement.replay import trace
from tests.unit.test_benchmarks import ran as command


def recorded(*patterns):
    return np.array([[one == "#" for one in pattern] for pattern in patterns])


def ran(rule, up, *, rounds, deadline, start=0, price=0.25):
    return Job(stays(up).tolist(), first_up(up).tolist(), start, rounds).run(rule, deadline, price)


def least(up, rounds, deadline, price):
    """By trying everything at every step: wait, stay, or change to any machine there is."""

    @functools.cache
    def best(now, left, on, boot):
        if not left:
            return 0.0
        if now + left > deadline:
            return math.inf
        costs = [best(now + 1, left, None, 0)]
        there = [row for row in range(len(up)) if up[row, now]]
        for to in (*there, "on demand"):
            booting = boot if to == on else BOOT
            paid = 1.0 if to == "on demand" else price
            after = (left, to, booting - 1) if booting else (left - 1, to, 0)
            costs.append(paid + best(now + 1, *after))
        return min(costs)

    return best(0, rounds, None, 0)


CAPACITY = st.integers(1, 3).flatmap(
    lambda places: st.lists(
        st.lists(st.sampled_from([1, 4, 9]), min_size=8, max_size=14).map(
            lambda lengths: np.resize(
                np.repeat((np.arange(len(lengths)) + lengths[0]) % 2 == 0, lengths), 40
            )
        ),
        min_size=places,
        max_size=places,
    )
)


@given(CAPACITY, st.integers(1, 12), st.integers(0, 14), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_the_optimum_is_what_trying_everything_finds(rows, rounds, slack, price):
    up, deadline = np.array(rows), rounds + slack
    found = optimum(up, np.array([0]), rounds, deadline, price)[0]

    assert found == pytest.approx(least(up, rounds, deadline, price), rel=1e-5)


@given(CAPACITY, st.integers(1, 20), st.integers(BOOT, 20), st.sampled_from([0.1, 0.5, 0.9]))
def test_no_rule_misses_the_deadline_or_costs_less_than_the_optimum(rows, rounds, slack, price):
    up, deadline = np.tile(np.array(rows), 2), rounds + slack
    found = optimum(up, np.array([0]), rounds, deadline, price)[0]

    for rule in (on_demand, by_deadline(price), UniformProgress(rounds, deadline)):
        run = ran(rule, up, rounds=rounds, deadline=deadline, price=price)
        assert run.steps <= deadline
        assert run.cost >= found * (1 - 1e-5)


def test_spot_alone_waits_in_its_zone_and_does_lost_rounds_again():
    run = ran(spot, recorded("#####...########"), rounds=6, deadline=9)

    assert (run.steps, run.losses) == (5 + 3 + BOOT + 4, 1)
    assert run.cost == 0.25 * (5 + 1 + BOOT + 4)


def test_another_zone_is_taken_at_once_and_the_one_lost_longest_ago():
    up = recorded("####...#####....", "....####.###....", "################")
    run = ran(spot, up, rounds=4, deadline=99)

    assert run.losses == 2  # at 4 in the first, at 8 in the second; the third stays
    assert run.steps == 9 + BOOT + 3


def test_our_rule_goes_on_demand_in_an_outage_and_comes_back():
    up = recorded("#" * 40 + "." * 40 + "#" * 200)
    run = ran(by_deadline(0.25), up, rounds=120, deadline=150)
    late = ran(spot, up, rounds=120, deadline=150)

    assert run.steps <= 150 < late.steps
    assert run.cost < ran(UniformProgress(120, 150), up, rounds=120, deadline=150).cost


def test_uniform_progress_leaves_on_demand_when_it_is_ahead_by_two_changeovers():
    rule = UniformProgress(100, 200)
    behind, _ = rule(Seen(150, 76, None, False))
    level, _ = rule(Seen(150, 72, Purchase.ON_DEMAND, True))
    ahead, _ = rule(Seen(150, 75 - CHANGEOVER, Purchase.ON_DEMAND, True))

    assert (behind, level, ahead) == (Purchase.ON_DEMAND, Purchase.ON_DEMAND, Purchase.SPOT)
    assert rule(Seen(50, 45, None, True))[0] is Purchase.ON_DEMAND
    assert rule(Seen(50, 5, None, True))[0] is Purchase.ON_DEMAND  # and to the end


def test_a_place_is_up_in_a_step_when_it_was_up_all_through_it():
    seen = trace({"metadata": {"gap_seconds": 90}, "data": [1, 1, 0, 1]}, "zone")

    assert capacity((seen,))[0, :6].tolist() == [True, True, True, False, False, True]


# -- the command


def write(folder, name, pattern):
    file = folder / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    data = [int(one == "#") for one in pattern]
    file.write_text(json.dumps({"metadata": {"gap_seconds": 600}, "data": data}))


def test_the_benchmark_tells_what_each_rule_costs_and_how_far_the_aims_are(tmp_path):
    write(tmp_path, "campaign/zone-a_small", ("#" * 20 + "...") * 20)
    write(tmp_path, "campaign/zone-b_small", ("#" * 7 + "." * 9) * 30)
    write(tmp_path, "short/zone_small", "####")  # shorter than the longest deadline
    options = ("--traces", str(tmp_path), "--hours", "4", "--starts", "7")
    document = json.loads(command("spot", *options, "--json").stdout)
    table = command("spot", *options).stdout
    one, several = document["settings"]

    assert (one["pools"], one["starts"], several["pools"], several["places"]) == (2, 7, 1, 2)
    for setting in document["settings"]:
        assert [row["deadline"] for row in setting["deadlines"]] == [1.1, 1.25, 1.5]
        for deadline in setting["deadlines"]:
            rows = {row["rule"]: row for row in deadline["rows"]}
            ours = rows["ours, by deadline"]
            assert ours["misses"] == rows["uniform progress"]["misses"] == 0
            assert 1 <= ours["over_optimum"] < rows["on demand"]["over_optimum"]
            assert rows["on demand"]["cost"] == 1
    for row in document["multi_fedls"]:
        assert 1 < row["ours_time"] < row["published_time"]
    assert "fail-over between zones: 7 starts in 1 campaign" in table
    assert "with fail-over, deadline 1.1 x work: 0 deadlines missed" in table


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--traces", "nowhere"), "no traces (*.json) in nowhere; say where they are with"),
        (("--spot-price", "1"), "argument --spot-price: between 0 and 1, got 1"),
        (("--losses-per-hour", "-1"), "argument --losses-per-hour: 0 or more, got -1"),
    ],
)
def test_the_benchmark_says_what_it_cannot_use(options, said):
    done = command("spot", *options)

    assert done.returncode
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_traces_that_are_too_short_are_told(tmp_path):
    write(tmp_path, "campaign/zone-a_small", "####")
    done = command("spot", "--traces", str(tmp_path))

    assert done.returncode == 1
    assert done.stderr == (
        "no traces are as long as the longest deadline, 36 h; give fewer --hours\n"
    )
