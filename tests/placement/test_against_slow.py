"""The optimizer against one that was written apart from it, a candidate at a time: they agree on
every figure of every candidate, on what is ruled out, on the order and on what conflicts."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedspan.placement.evaluation import evaluate, setting
from fedspan.placement.latency import great_circle_km
from tests.placement import slow
from tests.placement.books import TODAY, books, cases, chosen, degrees, key, quickly, ranked, sizes


def slowly(book, question):
    """Every candidate by the slow scorer; gives up where the nearest region is a matter of the
    last bit."""
    for participant in question.participants:
        place = slow.place_of(book, participant)
        if place is not None:
            assume(len(nearest_continents(book, place)) == 1)
    return slow.evaluate(
        book,
        question,
        question.participants,
        **sizes(question),
        today=TODAY,
    )


def nearest_continents(book, place):
    placed = [row for row in range(len(book.regions)) if slow.place_of_region(book, row)]
    km = {row: slow.km(slow.place_of_region(book, row), place) for row in placed}
    return {book.regions.continent[row] for row in placed if km[row] <= min(km.values()) + 1e-6}


def near(ours, exact, least):
    """Within `least`, or 1e-9 of it."""
    return abs(ours - float(exact)) <= max(least, 1e-9 * abs(float(exact)))


@settings(quickly, max_examples=120)
@given(cases())
def test_every_figure_of_every_candidate_is_that_of_the_slow_scorer(case):
    book, question = case
    exact = slowly(book, question)

    on = setting(book, question, question.participants, **sizes(question))
    ours = evaluate(on)

    assert len(ours.seconds) == len(exact)
    for n, one in enumerate(exact):
        region = int(on.table.region[n])
        assert (region, int(on.table.price_row[n]), on.table.tier[n]) == (
            one.region_row,
            one.price_row,
            one.tier,
        )
        if not math.isfinite(one.seconds):
            assert ours.seconds[n] == one.seconds
            continue
        assert ours.round_s[n] == pytest.approx(one.round_seconds, rel=1e-9)
        assert ours.seconds[n] == pytest.approx(one.seconds, rel=1e-9)
        assert ours.p_interruption[n] == pytest.approx(one.p_interruption, rel=1e-9, abs=1e-12)
        assert on.reach.furthest[region] == pytest.approx(one.max_rtt_ms, rel=1e-9)
        assert any(on.reach.rtt[region] == pytest.approx(rtt, rel=1e-9) for rtt in one.deciding_ms)
        assert near(ours.bill.vm[n], one.vm, 1)
        assert near(ours.bill.egress[n], one.egress, 1)
        assert near(ours.bill.address[n], one.address, 1)
        assert near(ours.bill.participants[n], one.participants_pay, 1)
        assert near(ours.cost[n], one.total, 1)


def close(a, b):
    return a == b or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def is_a_matter_of_the_last_bit(exact, placement):
    """Whether floats may rightly disagree with fractions on who is on the front or in a group."""
    fit = [one for one in exact if one.feasible]
    for values in ([one.total for one in fit], [Fraction(one.seconds) for one in fit]):
        ordered = itertools.pairwise(sorted(values))
        if any(a != b and close(float(a), float(b)) for a, b in ordered):
            return True
    if not fit:
        return False
    by = slow.scale(fit, placement)
    groups = [[float(score) for score, _ in group] for group in slow.groups(exact, placement)]
    bounds = [float(by.equal_to(Fraction(min(group)))) for group in groups]
    every = [score for group in groups for score in group]
    return any(close(score, bound) for score in every for bound in bounds if score or bound)


def assert_in_order(first, second):
    """By what breaks ties; figures that differ by rounding alone may stand either way."""
    for a, b in zip(first, second, strict=True):
        if isinstance(a, float) and a != b and close(a, b):
            return
        if a != b:
            assert a < b, (first, second)
            return


@settings(quickly, max_examples=120)
@given(cases())
def test_the_ranking_is_that_of_the_slow_scorer(case):
    book, question = case
    exact = slowly(book, question)
    assume(not is_a_matter_of_the_last_bit(exact, question.placement))
    groups = slow.groups(exact, question.placement)

    ranking = ranked(book, question)

    if groups:
        by = slow.scale([one for one in exact if one.feasible], question.placement)
        assert ranking.by.per_micro_usd == pytest.approx(float(by.per_micro_usd), rel=1e-6)
        assert ranking.by.per_second == pytest.approx(float(by.per_second), rel=1e-6)
    number = {(one.price_row, one.tier): row for row, one in enumerate(exact)}
    rows = iter(ranking.rows.tolist())
    for group in groups:
        expected = {number[one.price_row, one.tier]: (one, score) for score, one in group}
        ours = list(itertools.islice(rows, len(group)))
        assert set(ours) == set(expected)
        for row in ours:
            assert ranking.score[row] == pytest.approx(float(expected[row][1]), rel=1e-6, abs=1e-9)
        for a, b in itertools.pairwise(ours):
            assert_in_order(
                *(slow.tie_key(expected[row][0], float(ranking.score[row])) for row in (a, b))
            )
    assert next(rows, None) is None
    assert ranking.feasible.tolist() == [one.feasible for one in exact]


@quickly
@given(cases())
def test_the_front_is_that_of_the_slow_scorer(case):
    book, question = case
    exact = slowly(book, question)
    assume(not is_a_matter_of_the_last_bit(exact, question.placement))
    front = slow.front([one for one in exact if one.feasible])

    answer = chosen(book, question)

    shown = {key(answer.candidates[n]) for n in answer.front}
    rest = [key(candidate) for candidate in answer.rest_of_front]
    assert shown.isdisjoint(rest)
    assert len(rest) == len(set(rest))
    assert shown | set(rest) == {one.key for one in front}


@quickly
@given(cases(), st.integers(1, 8))
def test_an_answer_shows_the_best_of_each_place_and_tells_what_they_cost(case, limit):
    book, question = case
    exact = slowly(book, question)
    by_key = {one.key: one for one in exact}
    ranking = ranked(book, question)
    best = {}
    for row in ranking.rows.tolist():
        one = exact[row]
        best.setdefault((one.provider, one.region, one.spot), one)

    answer = chosen(book, question, limit)

    assert [key(one) for one in answer.candidates] == [one.key for one in best.values()][:limit]
    assert answer.considered == len(exact)
    assert answer.feasible == sum(one.feasible for one in exact)
    for candidate in (*answer.candidates, *answer.rest_of_front):
        one = by_key[key(candidate)]
        parts = (one.vm, one.egress, one.address, one.participants_pay)
        told = candidate.cost_usd
        for ours, part in zip(
            (told.vm, told.egress, told.address, told.participants), parts, strict=True
        ):
            assert near(ours * 1e6, part, 1)
        assert round(told.total * 1e6) == round(
            sum(x * 1e6 for x in (told.vm, told.egress, told.address, told.participants))
        )
        assert candidate.hours.expected == pytest.approx(one.hours, rel=1e-9, abs=5.1e-5)
        assert candidate.round_s == pytest.approx(one.round_seconds, rel=1e-9, abs=5.1e-4)
        assert any(candidate.worst.rtt_ms == pytest.approx(r, abs=5.1e-3) for r in one.deciding_ms)


@quickly
@given(cases(demanding=True))
def test_what_conflicts_is_what_the_slow_scorer_says(case):
    book, question = case
    exact = slowly(book, question)

    answer = chosen(book, question)

    told = answer.conflict and tuple(demand.constraint for demand in answer.conflict)
    assert told == slow.conflict(exact)
    assert bool(answer.candidates) == (told is None)


@quickly
@given(books())
def test_distances_are_those_of_the_haversine_formula(book):
    regions = book.regions
    placed = [row for row in range(len(regions)) if slow.place_of_region(book, row)]

    ours = great_circle_km(
        regions.latitude[placed],
        regions.longitude[placed],
        regions.latitude[placed][::-1],
        regions.longitude[placed][::-1],
    )

    for km, here, there in zip(ours, placed, reversed(placed), strict=True):
        exact = slow.km(slow.place_of_region(book, here), slow.place_of_region(book, there))
        assert km == pytest.approx(exact, rel=1e-7, abs=1e-6)


@quickly
@given(degrees, degrees)
def test_the_slow_distance_is_the_angle_between_two_vectors(here, there):
    def vector(place):
        lat, lon = np.radians(place)
        return np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])

    one, other = vector(here), vector(there)
    angle = math.atan2(float(np.linalg.norm(np.cross(one, other))), float(one @ other))

    assert slow.km(here, there) == pytest.approx(6371 * angle, rel=1e-6, abs=1e-6)


def test_the_slow_tariff_charges_each_gigabyte_at_its_step():
    """100 free, 900 at 0.09 dollars, the rest at 0.05; 50 are used, 1,050 are sent."""
    from fedspan.placement.book import Tariff

    tariff = Tariff(starts=(0.0, 100.0, 1_000.0), price=(0, 90_000, 50_000), unit=10**9, source="s")

    assert slow.marginal(tariff, Fraction(50), Fraction(1_050 * 10**9)) == (
        900 * 90_000 + 100 * 50_000
    )


def test_the_slow_makespan_of_a_job_that_is_never_interrupted_is_a_sum():
    """10 rounds of 60 s, a checkpoint of 0.5 + 1 s after the 4th, the 8th and the last."""
    assert slow.job_s(60.0, 10, 4, 100_000_000, 0.0) == 180 + 600 + 3 * 1.5


def test_the_slow_makespan_and_rounds_are_what_a_simulation_finds():
    """Three rounds of 600 s and a checkpoint of 1 s, at two interruptions an hour."""
    random, runs = Random(1), 20_000
    per_second, taken, begun = 2 / 3600, 0.0, 0
    for _ in range(runs):
        left = random.expovariate(per_second)  # until the next interruption
        for length in (180.0, 1_801.0):
            while left < length:
                taken += left
                begun += min(3, math.ceil(left / 600)) if length > 180 else 0
                left = random.expovariate(per_second)
                while length > 180 and left < 240:
                    taken += left
                    left = random.expovariate(per_second)
                if length > 180:
                    taken, left = taken + 240, left - 240
            taken, left = taken + length, left - length
            begun += 3 if length > 180 else 0

    expected = slow.uninterrupted_s(180.0, per_second) + slow.segment_s(1_801.0, per_second)
    assert taken / runs == pytest.approx(expected, rel=0.02)
    assert begun / runs == pytest.approx(slow.rounds_begun(600.0, 3, 3, 1.0, per_second), rel=0.02)
