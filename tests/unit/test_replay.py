"""How long a job takes where machines are taken away: expected, replayed, sampled."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspan.errors import InvalidRequest
from fedspan.placement.makespan import (
    NEVER,
    expected_rounds,
    expected_seconds,
    p_interruption,
    young_daly,
)
from fedspan.placement.replay import (
    Place,
    Policy,
    Replays,
    Standby,
    Trace,
    Work,
    quantile,
    replay,
    sampled,
    synthetic,
    trace,
)
from tests.unit.test_benchmarks import ran

HOUR = 3600


def near(figures, expected, *, errors=4.0):
    """Whether the mean of `figures` is what is expected, within its standard error."""
    return abs(np.mean(figures) - expected) < errors * np.std(figures) / math.sqrt(len(figures))


# -- the closed form


def test_without_interruptions_a_job_takes_its_work_and_a_last_shorter_stretch_its_checkpoint():
    assert expected_seconds(90, 10, 3, 60, 2, 0.0, 120, 3600) == 90 + 10 * 60 + 4 * 2
    assert expected_seconds(90, 9, 3, 60, 2, 0.0, 120, 3600) == 90 + 9 * 60 + 3 * 2
    assert expected_seconds(90, 10, NEVER, 60, 2, 0.0, 120, 3600) == 90 + 10 * 60 + 2


@pytest.mark.parametrize("hazard", [1e-320, 1e-200, 1e-28, 1e-26, 1e-12])
def test_ever_rarer_interruptions_come_to_none(hazard):
    assert expected_seconds(90, 10, 3, 60, 2, hazard, 120, 3600) == pytest.approx(698, rel=1e-11)


def test_seldom_interruptions_add_what_they_cost_times_their_chance():
    added = expected_seconds(90, 10, 10, 60, 8, 1e-6, 120, 3600) - 698

    in_setup, in_work = 90 * (90 / 2 + 3600), 608 * (608 / 2 + 120 + 3600)
    assert added == pytest.approx(1e-6 / HOUR * (in_setup + in_work), rel=1e-3)


def test_what_no_float_holds_is_infinite():
    assert expected_seconds(90, 10, 10, 1e6, 2, 50.0, 120, 0) == math.inf
    assert expected_seconds(90, 10, 10, 1e6, 2, 50.0, 0, 0) == math.inf
    assert expected_seconds(0, 10, 1, 0.0, 0, 1e200, 0, 0) == 0


HAZARDS = st.floats(0, 20)
SECONDS = st.floats(0.01, 5_000)


@given(
    rounds=st.integers(1, 500),
    every=st.integers(1, 600),
    seconds=SECONDS,
    hazard=HAZARDS,
    checkpoint=st.floats(0, 60),
    lost=st.floats(0, 10_000),
    more=st.tuples(st.integers(0, 50), st.floats(0, 100), st.floats(0, 2)),
)
def test_more_rounds_longer_rounds_and_more_interruptions_never_take_less(
    rounds, every, seconds, hazard, checkpoint, lost, more
):
    def took(rounds, seconds, hazard):
        return expected_seconds(60, rounds, every, seconds, checkpoint, hazard, 30, lost)

    before = took(rounds, seconds, hazard) * (1 - 1e-12)

    assert took(rounds + more[0], seconds, hazard) >= before
    assert took(rounds, seconds + more[1], hazard) >= before
    assert took(rounds, seconds, hazard + more[2]) >= before


def test_many_candidates_at_once_are_each_as_if_alone():
    hazards, seconds = np.array([0.0, 0.3, 1.4, 0.0]), np.array([60.0, 5.0, 900.0, 7.0])
    every = np.array([20, 3, 1, NEVER])
    alone = [
        expected_seconds(60, 20, int(m), float(s), 2, float(h), 120, 600.0)
        for m, s, h in zip(every, seconds, hazards, strict=True)
    ]

    assert expected_seconds(60, 20, every, seconds, 2, hazards, 120, 600.0).tolist() == alone


def test_the_closed_form_is_what_single_runs_take_on_average():
    chance = random.Random(3)
    hazard, recovery, outage = 1.4 / HOUR, 240.0, 1_800.0

    def in_one_piece(seconds, again=0.0):
        spent = seconds
        while (up := chance.expovariate(hazard)) < seconds:
            spent += up + chance.expovariate(1 / outage)
            spent += in_one_piece(again) if again else 0.0
        return spent

    def one_run():
        stretches = (3 * 200 + 30, 3 * 200 + 30, 1 * 200 + 30)
        return in_one_piece(60.0) + sum(in_one_piece(one, recovery) for one in stretches)

    runs = [one_run() for _ in range(20_000)]

    assert near(runs, expected_seconds(60, 7, 3, 200, 30, 1.4, recovery, outage))


@given(seconds=st.floats(1, 60), checkpoint=st.floats(0.1, 20), hazard=st.floats(0.05, 1.5))
def test_no_other_number_of_rounds_between_checkpoints_is_much_better(seconds, checkpoint, hazard):
    every = np.arange(1, 2_001)
    best = expected_seconds(0, 2_000, every, seconds, checkpoint, hazard, 60, 600).min()
    ours = young_daly(seconds, checkpoint, hazard)

    assert expected_seconds(0, 2_000, ours, seconds, checkpoint, hazard, 60, 600) <= best * 1.02


def test_checkpoints_that_cost_nothing_come_each_round_and_needless_ones_never():
    assert young_daly(60, np.array([0.0, 2.0, 0.0]), np.array([1.0, 0.0, 0.0])).tolist() == [
        1,
        NEVER,
        1,
    ]


def test_the_chance_of_an_interruption_grows_with_the_hours():
    hours = np.array([0.0, 1.0, math.inf])

    assert p_interruption(0.5, hours) == pytest.approx([0.0, 1 - math.exp(-0.5), 1.0])
    assert p_interruption(0.0, hours).tolist() == [0.0, 0.0, 0.0]


# -- traces


def shown(pattern, gap=60, name="here"):
    return Trace(name, gap, np.array([one == "#" for one in pattern]))


def test_a_recorded_trace_is_up_when_all_its_nodes_are():
    assert trace({"metadata": {"gap_seconds": 32}, "data": [0, 1, 1]}, "a").up.tolist() == [
        False,
        True,
        True,
    ]
    assert trace({"metadata": {"gap_seconds": 32}, "data": [3, 4, 0]}, "a").up.tolist() == [
        False,
        True,
        False,
    ]
    assert not trace({"metadata": {"gap_seconds": 0.5}, "data": [0, 0]}, "a").up.any()


FINE = {"gap_seconds": 32}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "zone: not an object"),
        ({"data": [1]}, "zone: metadata: is required"),
        ({"metadata": FINE, "dta": [1]}, "zone: data: is required"),
        ({"metadata": 3, "data": [1]}, "zone: metadata: not an object"),
        ({"metadata": {"gap": 1}, "data": [1]}, "metadata: gap_seconds: is required"),
        ({"metadata": {"gap_seconds": 0}, "data": [1]}, "gap_seconds: 0 is no time"),
        ({"metadata": {"gap_seconds": math.nan}, "data": [1]}, "gap_seconds: nan is no time"),
        ({"metadata": {"gap_seconds": "32"}, "data": [1]}, "gap_seconds: '32' is no time"),
        ({"metadata": {"gap_seconds": True}, "data": [1]}, "gap_seconds: True is no time"),
        ({"metadata": FINE, "data": []}, "zone: data: must be a list"),
        ({"metadata": FINE, "data": "111"}, "zone: data: must be a list"),
        ({"metadata": FINE, "data": [1, -1]}, "zone: data.1: -1 is no number"),
        ({"metadata": FINE, "data": [1, 0.5]}, "zone: data.1: 0.5 is no number"),
        ({"metadata": FINE, "data": [None]}, "zone: data.0: None is no number"),
    ],
)
def test_a_trace_of_another_shape_is_refused_by_its_field(document, said):
    with pytest.raises(InvalidRequest) as refused:
        trace(document, "zone")

    assert said in str(refused.value)


def test_what_an_estimator_reads_off_a_trace():
    seen = shown("##..###.##", gap=360)

    assert seen.hours == 1.0
    assert seen.fraction_up == pytest.approx(0.7)
    assert seen.interruptions_per_hour == pytest.approx(2 / 0.7)
    assert seen.outage_hours == pytest.approx(0.3 / 2)
    assert shown("##").outage_hours == shown("..").interruptions_per_hour == 0.0


def test_a_made_up_trace_has_the_figures_it_was_asked_for():
    made = synthetic(np.random.default_rng(5), 0.8, 0.5, 20_000, 20)
    again = synthetic(np.random.default_rng(5), 0.8, 0.5, 20_000, 20)

    assert made.hours == 20_000
    assert made.interruptions_per_hour == pytest.approx(0.8, rel=0.03)
    assert made.outage_hours == pytest.approx(0.5, rel=0.03)
    assert np.array_equal(made.up, again.up)
    assert synthetic(np.random.default_rng(5), 0.0, 0.5, 10, 60).up.all()


# -- replay


@pytest.mark.parametrize("field", ["rounds", "checkpoint_every", "round_seconds"])
def test_work_that_none_can_have_is_refused(field):
    with pytest.raises(InvalidRequest, match=f"{field}: 0 is"):
        Work(**{"rounds": 5, "round_seconds": 60, field: 0})


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_a_time_that_is_none_is_refused(seconds):
    with pytest.raises(InvalidRequest, match=r"setup_seconds: .* is no time"):
        Work(5, 60.0, setup_seconds=seconds)


def test_a_policy_without_places_is_refused():
    with pytest.raises(InvalidRequest, match="places: must not be empty"):
        Policy(())


def replayed(policy, *, start=0.0, **figures):
    figures = {"rounds": 4, "round_seconds": 60, "setup_seconds": 60, **figures}
    found = replay(Work(**{"recovery_seconds": 30, **figures}), policy, np.array([start]))
    cost, hours = found.cost_micro_usd[0], found.hours[0]
    return hours * 60, cost, found.interruptions[0], found.rounds_again[0]


def test_a_job_waits_in_its_zone_and_does_again_what_no_checkpoint_holds():
    # a minute of setup and two rounds; lost, two minutes; half a one of recovery, and the rest
    zone = Policy((Place(shown("###..########"), 60_000),))

    assert replayed(zone) == (7.5, 5_500, 1, 0)
    assert replayed(zone, checkpoint_every=3) == (9.5, 7_500, 1, 2)
    assert replayed(zone, start=3 * 60.0) == (7.0, 5_000, 0, 0)
    assert replayed(zone, start=2.5 * 60) == (7.5, 5_500, 1, 0)


def test_a_job_longer_than_its_trace_sees_it_again():
    assert replayed(Policy((Place(shown("####."), 0),)), rounds=8)[0] == 12.5
    assert replayed(Policy((Place(shown("#.##"), 0),)), rounds=4, start=120.0)[0] == 6.5


def test_a_job_for_which_no_time_up_is_long_enough_is_never_done():
    zone = Policy((Place(shown("####.."), 60),))
    hours, cost, *_ = replayed(zone, checkpoint_every=4)

    assert (hours, cost) == (math.inf, math.inf)
    assert replayed(Policy((Place(shown("..."), 60),)))[0] == math.inf


def test_a_lost_job_goes_on_in_the_first_place_that_is_up():
    places = (
        Place(shown("###......####"), 60_000),
        Place(shown(".....########"), 6_000),
        Place(shown("#####..######"), 600),
    )

    assert replayed(Policy(places[:1]), rounds=6)[0] == 13.5
    assert replayed(Policy(places), rounds=6) == (8.5, 3_000 + 20 + 350, 2, 1)


def test_a_standby_works_while_no_place_is_up_and_hands_back_at_a_checkpoint():
    zone = (Place(shown("###...#######"), 60_000),)
    back = Policy(zone, Standby(600_000))
    stays = Policy(zone, Standby(600_000, back=False))

    # on demand from minute 3, 0.5 recovery, 3 rounds until 6.5; spot again, 0.5, the other 3
    assert replayed(back, rounds=8) == (10.0, 6_500 + 35_000, 1, 0)
    assert replayed(stays, rounds=8) == (9.5, 3_000 + 65_000, 1, 0)
    assert replayed(Policy((Place(shown("."), 1),), Standby(60_000)))[:2] == (5.0, 5_000)


@dataclass
class Slow:
    """One run, second by second."""

    work: Work
    policy: Policy
    now: int
    saved: int = 0
    machine: int | None = None
    boot = progress = stretches = paid = interruptions = again = 0
    booted: bool = False

    def run(self, limit):
        started, self.now = self.now, self.now
        while self.saved < self.work.rounds:
            if self.now - started >= limit:
                return None
            self.second()
            self.now += 1
        return self.now - started, self.paid // HOUR, self.interruptions, self.again

    def second(self):
        places, standby = self.policy.places, self.policy.standby
        up = [bool(p.trace.up[self.now // p.trace.gap_seconds % len(p.trace.up)]) for p in places]
        on_spot = self.machine is not None and self.machine >= 0
        if on_spot and not up[self.machine]:
            rounds = min(self.progress, self.ahead() * self.work.round_seconds)
            self.again += -(-rounds // self.work.round_seconds)
            self.interruptions += 1
            self.machine = None
        leaves = self.machine == -1 and standby.back and self.stretches and not self.progress
        if leaves and any(up):
            self.machine = None
        if self.machine is None:
            if not any(up) and standby is None:
                return
            self.machine = up.index(True) if any(up) else -1
            self.boot = self.work.recovery_seconds if self.booted else self.work.setup_seconds
            self.booted = self.booted or not self.boot
            self.progress = self.stretches = 0
        self.paid += standby.price if self.machine < 0 else places[self.machine].price
        self.work_on()

    def ahead(self):
        return min(self.work.checkpoint_every, self.work.rounds - self.saved)

    def work_on(self):
        if self.boot:
            self.boot -= 1
            self.booted = self.booted or not self.boot
            return
        self.progress += 1
        if self.progress == self.ahead() * self.work.round_seconds + self.work.checkpoint_seconds:
            self.saved += self.ahead()
            self.stretches += 1
            self.progress = 0


TRACES = st.builds(
    shown, st.text("#.", min_size=1, max_size=12), gap=st.sampled_from([7, 20, 60, 90])
)
POLICIES = st.builds(
    Policy,
    st.lists(
        st.builds(Place, TRACES, st.sampled_from([HOUR, 2 * HOUR])), min_size=1, max_size=3
    ).map(tuple),
    st.none() | st.builds(Standby, st.just(9 * HOUR), st.booleans()),
)
WORKS = st.builds(
    Work,
    rounds=st.integers(1, 8),
    round_seconds=st.integers(1, 40),
    checkpoint_every=st.integers(1, 5),
    checkpoint_seconds=st.integers(0, 15),
    setup_seconds=st.integers(0, 30),
    recovery_seconds=st.integers(0, 30),
)


@given(WORKS, POLICIES, st.lists(st.integers(0, 3_000), min_size=1, max_size=3))
def test_replay_is_what_happens_second_by_second(work, policy, starts):
    limit = 3_600
    found = replay(work, policy, np.array(starts, float), give_up_hours=limit / HOUR)

    for row, start in enumerate(starts):
        slow = Slow(work, policy, start).run(limit)
        if slow is None:
            assert found.hours[row] == found.cost_micro_usd[row] == math.inf
            continue
        assert found.hours[row] * HOUR == pytest.approx(slow[0])
        figures = (found.cost_micro_usd, found.interruptions, found.rounds_again)
        assert tuple(one[row] for one in figures) == slow[1:]


def test_quantiles_are_hours_that_a_run_had_even_when_some_are_never_done():
    none = np.zeros(4, dtype=np.int64)
    runs = Replays(np.array([3.0, 1.0, math.inf, 2.0]), np.array([9.0, 4.0, 5.0, 7.0]), none, none)

    assert runs.quantile(0.5).hours == 2.0
    assert runs.quantile(0.5).cost_micro_usd == 5.0
    assert runs.quantile(0.95).hours == math.inf
    assert quantile(np.full(3, math.inf), 0.5) == math.inf


# -- samples


@pytest.mark.parametrize("hazard", [0.1, 0.6, 1.4])
def test_samples_have_the_mean_of_the_closed_form(hazard):
    rng = np.random.default_rng(7)
    work = Work(240, 90.0, 4, 6.0)
    closed = expected_seconds(0, 240, 4, 90.0, 6.0, hazard, 0, 0.7 * HOUR) / HOUR

    assert near(sampled(rng, work, hazard, 0.7, 20_000), closed)


def test_samples_of_more_outages_than_are_drawn_at_once_have_that_mean_too():
    work = Work(600 * 60, 60.0)
    hours = sampled(np.random.default_rng(6), work, 2.0, 0.2, 300)

    assert near(hours, expected_seconds(0, 600 * 60, 1, 60.0, 0, 2.0, 0, 0.2 * HOUR) / HOUR)


def test_samples_lose_machines_that_recover_as_the_closed_form_expects():
    rng = np.random.default_rng(8)
    work = Work(240, 90.0, 4, 6.0, 60.0, recovery_seconds=240.0)
    hours = sampled(rng, work, 1.4, 0.7, 20_000)
    closed = float(expected_seconds(60.0, 240, 4, 90.0, 6.0, 1.4, 240.0, 0.7 * HOUR)) / HOUR

    assert near(hours, closed)


def test_rounds_begun_are_those_of_single_runs():
    chance, risk, checkpoint = random.Random(4), 0.8 / HOUR * 300.0, 0.8 / HOUR * 40.0

    def begun():
        count = 0
        for stretch in (5, 5, 2):
            done = 0
            while done <= stretch:
                count += done < stretch
                kept = chance.expovariate(risk if done < stretch else checkpoint) >= 1
                done = done + 1 if kept else 0
        return count

    runs = [begun() for _ in range(20_000)]

    assert near(runs, expected_rounds(12, 5, 300.0, 40.0, 0.8))
    assert expected_rounds(12, 5, 300.0, 40.0, 0.0) == 12


@pytest.mark.parametrize(("hazard", "outage"), [(0.3, 0.5), (1.4, 1.0)])
def test_samples_are_distributed_like_replays_of_made_up_traces(hazard, outage):
    rng = np.random.default_rng(9)
    work = Work(300, 60.0, 3, 5.0, setup_seconds=200.0, recovery_seconds=150.0)
    runs = 400
    drawn = np.sort(sampled(rng, work, hazard, outage, runs))
    made = [synthetic(rng, hazard, outage, 60, 5) for _ in range(runs)]
    begun = [np.flatnonzero(one.up)[:1] * one.gap_seconds for one in made]
    played = np.sort(
        [
            replay(work, Policy((Place(one, 0),)), start).hours[0]
            for one, start in zip(made, begun, strict=True)
        ]
    )
    both = np.concatenate([drawn, played])
    shares = [np.searchsorted(one, both, side="right") / runs for one in (drawn, played)]

    assert near(played - drawn.mean(), 0.0, errors=4 * math.sqrt(2))
    assert np.abs(shares[0] - shares[1]).max() < 1.95 * math.sqrt(2 / runs)  # KS, 1 in 1,000


def test_samples_without_interruptions_are_the_work_itself():
    hours = sampled(np.random.default_rng(0), Work(10, 60.0, 3, 2.0, 90.0), 0.0, 1.0, 5)

    assert hours.tolist() == [(90 + 600 + 8) / HOUR] * 5


def test_samples_repeat_with_their_seed_and_hopeless_work_is_never_done():
    def drawn(work):
        return sampled(np.random.default_rng(4), work, 1.4, 1.0, 20)

    assert drawn(Work(50, 60.0)).tolist() == drawn(Work(50, 60.0)).tolist()
    assert set(drawn(Work(1, 30.0 * HOUR))) == {math.inf}
    assert set(drawn(Work(1, 1.0, setup_seconds=30.0 * HOUR))) == {math.inf}


# -- the benchmark


def write(folder, name, pattern):
    file = folder / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    data = [int(one == "#") for one in pattern]
    file.write_text(json.dumps({"metadata": {"gap_seconds": 600}, "data": data}))


def test_the_benchmark_sets_the_closed_form_against_replay(tmp_path):
    write(tmp_path, "campaign/zone-a_small", ("#" * 50 + "..") * 20)
    write(tmp_path, "campaign/zone-b_small", ("#." * 5) * 60)
    write(tmp_path, "campaign/zone-c_small", "...")
    options = ("--traces", str(tmp_path), "--hours", "3", "--starts", "300")
    document = json.loads(ran("closed_form", *options, "--json").stdout)
    rows = {row["name"]: row for row in document["results"]}
    table = ran("closed_form", *options).stdout

    assert set(rows) == {"campaign/zone-a_small", "campaign/zone-b_small", "campaign/+small"}
    assert (document["mostly_up"], document["mostly_up_near"]) == (1, 1)
    assert rows["campaign/zone-a_small"]["outage_hours"] == pytest.approx(1 / 3, rel=0.06)
    assert rows["campaign/zone-b_small"]["mean_hours"] > 6
    assert rows["campaign/+small"]["places"] == 2
    assert "of the 1 traces that are up over 70% of the time, 1 are within 20%" in table


def test_the_benchmark_says_where_traces_are_missing():
    done = ran("closed_form", "--traces", "nowhere")

    assert done.returncode == 1
    assert "no traces (*.json) in nowhere; say where they are with --traces DIR" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "zone: no JSON"),
        ("{}", "zone: metadata: is required"),
        (json.dumps({"metadata": FINE, "data": [0, 0]}), "ever up"),
    ],
)
def test_the_benchmark_names_a_trace_it_cannot_use(tmp_path, content, said):
    from benchmarks.closed_form import recorded

    (tmp_path / "zone.json").write_text(content)
    with pytest.raises(SystemExit, match=said):
        recorded(tmp_path)
