"""What must hold of every answer, whatever the book and the question."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from fedspan.domain.placements import PlacementQuestion
from fedspan.domain.spec import LONGEST_SECONDS, seconds
from tests.placement import slow
from tests.placement.books import (
    TODAY,
    cases,
    chosen,
    key,
    quickly,
    ranked,
    sizes,
    with_one_tier,
    with_price,
    with_rows,
)

EQUAL = 1.005
"""A money score that is this much higher counts as equal."""


def slowly(book, question):
    return slow.evaluate(
        book,
        question,
        question.participants,
        **sizes(question),
        today=TODAY,
    )


def with_spec(question, path, value):
    """The question with another value at a dotted path."""
    told = question.model_dump()
    *parents, last = path.split(".")
    inner = told
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return PlacementQuestion.model_validate(told)


def keys_in_order(book, ranking):
    """Price rows by their content, so that the order of the rows does not show."""
    table, prices, regions = ranking.on.table, book.prices, book.regions
    found = []
    for row in ranking.rows.tolist():
        price = int(table.price_row[row])
        region, machine = int(prices.region[price]), int(prices.machine[price])
        place = f"{regions.provider[region]}:{regions.name[region]}"
        name = book.machines.name[machine]
        found.append((place, name, bool(prices.spot[price]), table.tier[row]))
    return found


@quickly
@given(cases())
def test_all_that_is_shown_satisfies_every_constraint(case):
    book, question = case
    need, limits, placement = question.aggregator.need, question.limits, question.placement
    by_key = {one.key: one for one in slowly(book, question)}

    answer = chosen(book, question)

    for one in answer.candidates:
        assert by_key[key(one)].violated == frozenset()
        assert one.vcpus >= need.vcpus
        assert one.memory_mib >= need.memory_mib
        assert need.arch in (None, one.arch)
        assert one.gpus >= need.gpu.count if need.gpu else one.gpus == 0
        assert need.gpu is None or need.gpu.model in (None, one.gpu)
        assert question.aggregator.purchase in ("any", "deadline", one.purchase)
        assert by_key[key(one)].promised <= limits.deadline + 0.2
        assert one.round_s <= limits.round + 0.001
        assert limits.budget_usd is None or one.cost_usd.total <= limits.budget_usd + 2e-6
        assert limits.max_rtt_ms is None or one.worst.rtt_ms <= limits.max_rtt_ms + 0.01
        assert (
            limits.max_interruption is None or one.p_interruption <= limits.max_interruption + 1e-6
        )
        assert placement.estimates or one.price_basis != "estimate"
        assert placement.price_days is None or (TODAY - one.price_date).days <= placement.price_days


@quickly
@given(cases())
def test_no_candidate_at_all_beats_the_first(case):
    book, question = case
    fit = [one for one in slowly(book, question) if one.feasible]
    assume(fit)
    by = slow.scale(fit, question.placement)

    first = key(chosen(book, question, limit=1).candidates[0])

    (found,) = [one for one in fit if one.key == first]
    bound = by.equal_to(min(by.of(one) for one in fit))
    assert by.of(found) <= bound + abs(bound) / 10**9
    assert not any(
        other.total * 1006 < found.total * 1000 and other.seconds * 1.006 < found.seconds
        for other in fit
    )


@quickly
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_prices_does_not_matter(case, random):
    book, question = case
    rows = list(range(len(book.prices)))
    random.shuffle(rows)
    shuffled = with_rows(book, rows)

    one, other = ranked(book, question), ranked(shuffled, question)

    assert keys_in_order(book, one) == keys_in_order(shuffled, other)


@quickly
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_participants_does_not_matter(case, random):
    book, question = case
    people = list(question.participants)
    random.shuffle(people)
    shuffled = question.model_copy(update={"participants": tuple(people)})

    one, other = ranked(book, question), ranked(book, shuffled)

    assert keys_in_order(book, one) == keys_in_order(book, other)
    assert other.found.cost == pytest.approx(one.found.cost, rel=1e-9, abs=1e-3)
    assert other.found.seconds == pytest.approx(one.found.seconds, rel=1e-9)


@settings(quickly, max_examples=40)
@given(cases(), st.randoms(use_true_random=False))
def test_an_answer_is_the_same_whatever_the_order_of_what_it_rests_on(case, random):
    book, question = case
    people, rows = list(question.participants), list(range(len(book.prices)))
    random.shuffle(people)
    random.shuffle(rows)
    shuffled = question.model_copy(update={"participants": tuple(people)})

    one, other = chosen(book, question), chosen(with_rows(book, rows), shuffled)

    assert [key(candidate) for candidate in one.candidates] == [
        key(candidate) for candidate in other.candidates
    ]
    assert one.front == other.front
    assert one.conflict == other.conflict


def best_money(book, question):
    """Dollars of the first, and of the cheapest, by the money score; None when nothing fits."""
    ranking = ranked(book, question)
    if not len(ranking.rows):
        return None
    score = ranking.score[ranking.rows]
    return float(score[0]), float(score.min())


@quickly
@given(cases(score=st.just("money")), st.integers(0, 23))
def test_one_more_candidate_never_makes_the_best_worse(case, dropped):
    book, question = case
    rows = list(range(len(book.prices)))
    assume(len(rows) > 1)
    rows.pop(dropped % len(rows))

    more, fewer = best_money(book, question), best_money(with_rows(book, rows), question)

    if fewer is not None:
        assert more is not None
        assert more[1] <= fewer[1]
        assert more[0] <= fewer[0] * EQUAL


def ahead(book, question, price_row):
    """Price rows of the candidates before the one of `price_row`; None when it is not ranked."""
    ranking = ranked(book, question)
    rows = [int(ranking.on.table.price_row[row]) for row in ranking.rows.tolist()]
    return set(rows[: rows.index(price_row)]) if price_row in rows else None


@quickly
@given(cases(score=st.just("money")), st.integers(0, 23), st.floats(1.0001, 3))
def test_a_higher_price_never_makes_a_candidate_better(case, row, factor):
    book, question = case
    book = with_one_tier(book)
    row %= len(book.prices)
    price = int(book.prices.price[row])
    dearer = with_price(book, row, max(price + 1, int(price * factor)))

    before, after = ahead(book, question, row), ahead(dearer, question, row)

    if before is None:
        assert after is None
    elif after is not None:
        assert before <= after


@quickly
@given(cases(), st.integers(0, 23), st.floats(1.0001, 3))
def test_a_higher_price_never_brings_a_candidate_onto_the_front(case, row, factor):
    book, question = case
    row %= len(book.prices)
    price = int(book.prices.price[row])
    dearer = with_price(book, row, max(price + 1, int(price * factor)))

    def on_front(of):
        ranking = ranked(of, question)
        table = ranking.on.table
        return {table.tier[n] for n in ranking.front.tolist() if table.price_row[n] == row}

    assert on_front(dearer) <= on_front(book)


@quickly
@given(cases(demanding=True))
def test_what_conflicts_does_is_minimal_and_the_smallest(case):
    book, question = case
    answer = chosen(book, question)
    assume(answer.conflict is not None)
    told = {demand.constraint for demand in answer.conflict}
    event(f"{len(told)} conflict")

    exact = slowly(book, question)

    violated = [one.violated for one in exact]
    assert all(broken & told for broken in violated)
    for name in told:
        assert any(not broken & (told - {name}) for broken in violated)
    assert len(told) == len(slow.conflict(exact))


def relaxed(book, question, demand):
    """The question with what `demand` should become, and the same not quite so far; None where
    there is no such thing."""
    words = demand.becomes
    number = re.search(r"[\d.]+(?:e[+-]?\d+)?$", re.sub(r" ms$", "", words).replace("$", ""))
    value = float(number[0]) if number else None
    name = demand.constraint
    change = partial(with_spec, question, name)
    match name:
        case "aggregator.need.vcpus" | "aggregator.need.memory_mib":
            return change(int(value)), change(int(value) + 1)
        case "aggregator.need.arch" | "aggregator.purchase":
            return change(words.split(" or ")[0]), None
        case "aggregator.need.gpu":
            if words == "none":
                return change(None), None
            if question.aggregator.need.gpu is None:
                return change({"count": int(words.removeprefix("at least "))}), None
            count, model = words.split(" or ")[0].split(" x ")
            return change({"count": int(count), "model": model}), None
        case "aggregator.regions.allow":
            also = words.removeprefix("also ").split(" or ")[0]
            return change((*question.aggregator.regions.allow, also)), None
        case "aggregator.regions.deny":
            spared = words.removeprefix("without ").split(" or ")[0].split(" and ")
            denied = question.aggregator.regions.deny
            return change(tuple(one for one in denied if one not in spared)), None
        case "placement.estimates":
            return change(True), None
        case "placement.price_days":
            return change(int(value)), change(int(value) - 1)
        case "limits.max_rtt_ms":
            return change(value), change(value - 0.1001) if value > 0.11 else None
        case "limits.deadline" | "limits.round":
            told = words.removeprefix("at least ")
            value, step = seconds(told), {"s": 1, "m": 6, "h": 36, "d": 864}[told[-1]]
            assert name == "limits.round" or value <= LONGEST_SECONDS
            less = value - 1.0001 * step
            return change(value), change(less) if less > 0 else None
        case "limits.budget_usd":
            return change(value), change(value - 0.0001001) if value > 0.00011 else None
        case "limits.max_interruption":
            return change(value), change(max(0.0, value - 0.0001001)) if value else None
    raise AssertionError(name)


@quickly
@given(cases(demanding=True))
def test_what_a_constraint_would_have_to_become_is_enough_and_not_too_much(case):
    book, question = case
    answer = chosen(book, question)
    assume(answer.conflict is not None)
    exact = slowly(book, question)

    for demand in answer.conflict:
        only = [one for one in exact if one.violated == {demand.constraint}]
        event(f"{demand.constraint}: {'helps' if demand.becomes else 'does not help'}")
        if demand.becomes is None:
            assert demand.constraint == "limits.deadline" or not only
            assert all(one.promised > LONGEST_SECONDS for one in only)
        elif demand.constraint != "participants":
            assert only
            enough, too_little = relaxed(book, question, demand)
            assert ranked(book, enough).feasible.any()
            assert too_little is None or not ranked(book, too_little).feasible.any()


def test_a_case_has_something_to_choose_from_more_often_than_not():
    """Else the properties above would hold of nothing."""
    fitting, candidates = [], []

    @settings(quickly, max_examples=60, database=None)
    @given(cases())
    def count(case):
        ranking = ranked(*case)
        fitting.append(bool(ranking.feasible.any()))
        candidates.append(len(ranking.on.table))

    count()

    assert 0.3 < np.mean(fitting) < 0.95
    assert np.max(candidates) > 20
