"""The optimizer on the shipped book: what a person asks, and what is refused."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from fedspan.domain.parsing import parsed
from fedspan.domain.placements import Participant, PlacementAnswer, PlacementQuestion
from fedspan.domain.spec import seconds
from fedspan.errors import InvalidRequest
from fedspan.placement.choose import choose, rank
from fedspan.placement.federation import federation
from fedspan.services.books import shipped

TODAY = date(2026, 11, 20)
KOREA = [
    {"name": "seoul", "latitude": 37.57, "longitude": 126.98, "country": "KR"},
    {"name": "busan", "latitude": 35.18, "longitude": 129.08, "country": "KR"},
    {"name": "daejeon", "latitude": 36.35, "longitude": 127.38, "country": "KR"},
]
EUROPE = [
    {"name": "paris", "latitude": 48.86, "longitude": 2.35, "country": "FR"},
    {"name": "berlin", "latitude": 52.52, "longitude": 13.40, "country": "DE"},
    {"name": "madrid", "latitude": 40.42, "longitude": -3.70, "country": "ES"},
    {"name": "rome", "latitude": 41.90, "longitude": 12.50, "country": "IT"},
    {"name": "vienna", "latitude": 48.21, "longitude": 16.37, "country": "AT"},
]


def question(participants=None, **changes):
    given = {
        "rounds": 200,
        "participants": participants or KOREA,
        "placement": {"model_bytes": 10**9},
    }
    return parsed(PlacementQuestion, {**given, **changes})


def asked(participants=None, *, limit=10, compare=None, **changes):
    put = question(participants, **changes)
    return choose(
        shipped(),
        put,
        put.participants,
        model_bytes=put.placement.model_bytes,
        today=TODAY,
        limit=limit,
        compare=compare,
    )


def problems(*args, **changes):
    with pytest.raises(InvalidRequest) as caught:
        asked(*args, **changes)
    return "; ".join(caught.value.problems)


def test_hospitals_in_korea_with_a_small_model_are_sent_to_a_region_near_them():
    answer = asked(placement={"model_bytes": 500_000})

    assert answer.conflict is None
    assert len(answer.candidates) == 10
    assert len({(one.place, one.purchase) for one in answer.candidates}) == 10
    assert answer.candidates[0].country in {"KR", "JP"}
    assert answer.candidates[0].worst.rtt_ms < 50
    assert {one.name for one in question().participants} >= {answer.candidates[0].worst.participant}


def test_for_a_large_model_egress_is_most_of_the_bill():
    best = asked(EUROPE).candidates[0].cost_usd

    assert best.egress / best.total > 0.9


def test_the_cheapest_hour_is_priced_beside_the_best():
    answer = asked(EUROPE)
    cheapest = answer.cheapest_hour
    hourly = [one.price_usd_hour for one in asked(EUROPE, limit=100).candidates]

    assert cheapest.price_usd_hour <= min(hourly)
    assert "by the hour" in answer.explanation
    assert f"${cheapest.cost_usd.total:,.2f}" in answer.explanation


def test_the_parts_of_a_cost_add_up_to_the_micro_dollar():
    for one in asked(EUROPE, limit=50).candidates:
        cost = one.cost_usd
        parts = cost.vm + cost.egress + cost.address + cost.participants

        assert round(parts * 1e6) == round(cost.total * 1e6)


def test_the_same_question_has_the_same_answer():
    assert asked() == asked()


def test_the_front_is_whole_however_few_are_shown():
    few, many = asked(EUROPE, limit=1), asked(EUROPE, limit=100)

    def front(answer):
        found = [answer.candidates[row] for row in answer.front] + list(answer.rest_of_front)
        return sorted((one.cost_usd.total, one.hours.expected, one.place) for one in found)

    assert len(few.candidates) == 1
    assert front(few) == front(many)
    for (cost, hours, _), (dearer, faster, _) in itertools.pairwise(front(few)):
        assert (dearer, hours) == (cost, faster) or (dearer > cost and faster < hours)


@pytest.mark.parametrize("purchase", ["spot", "on_demand"])
def test_only_what_a_person_wants_to_buy_is_offered(purchase):
    answer = asked(aggregator={"purchase": purchase})

    assert {one.purchase.value for one in answer.candidates} == {purchase}


def test_by_the_deadline_both_ways_of_buying_are_offered():
    answer = asked(aggregator={"purchase": "deadline"})
    spot, on_demand = (
        asked(aggregator={"purchase": one}).feasible for one in ("spot", "on_demand")
    )

    assert answer == asked(aggregator={"purchase": "any"})
    assert answer.feasible == spot + on_demand
    assert min(spot, on_demand) > 0
    assert any(one.startswith("interruptions_per_hour") for one in answer.assumptions)


def test_spot_is_quoted_with_its_spread_and_its_risk():
    answer = asked(aggregator={"purchase": "spot"})

    for one in answer.candidates:
        assert 0 < one.p_interruption <= 1
        assert one.hours.p50 < one.hours.p95
        assert one.hours.p50 * 0.5 < one.hours.expected < one.hours.p95 * 1.5


def test_residency_keeps_the_aggregator_inside():
    answer = asked(KOREA, aggregator={"regions": {"allow": ["eu"], "deny": ["DE", "azure"]}})
    book = shipped()
    inside = {place for place, row in book.regions.index.items() if book.regions.eu[row]}

    assert {one.place for one in answer.candidates} <= inside
    assert not {one.country for one in answer.candidates} & {"DE"}
    assert not {one.provider for one in answer.candidates} & {"azure"}


@pytest.mark.parametrize("arch", ["x86", "arm"])
def test_the_architecture_can_be_asked_for(arch):
    answer = asked(aggregator={"need": {"vcpus": 2, "memory_mib": 4096, "arch": arch}})

    assert {one.arch.value for one in answer.candidates} == {arch}


def test_gpu_aggregators_are_placed():
    need = {"vcpus": 4, "memory_mib": 8192, "gpu": {"count": 1, "model": "L4"}}
    answer = asked(aggregator={"need": need})

    assert {one.gpu for one in answer.candidates} == {"L4"}
    assert min(one.gpus for one in answer.candidates) >= 1


def test_a_quorum_does_not_wait_for_the_furthest():
    far = [*EUROPE, {"name": "auckland", "latitude": -36.85, "longitude": 174.76, "country": "NZ"}]
    every, most = asked(far), asked(far, quorum=5)

    assert every.candidates[0].worst.participant == "auckland"
    assert most.candidates[0].worst.participant != "auckland"
    assert most.candidates[0].round_s < every.candidates[0].round_s


def test_a_measured_rtt_counts_more_than_an_estimate():
    told = {**KOREA[0], "rtt_ms": {"aws:ap-northeast-2": 400.0}}
    answer = asked([told], compare="aws:ap-northeast-2")

    assert answer.compared.worst.rtt_ms == 400.0
    assert answer.compared.worst.measured
    assert any("were measured" in line for line in answer.assumptions)


def test_a_participant_in_a_public_cloud_is_reached_at_inter_region_prices():
    inside = [{"name": f"clinic-{n}", "cloud": "aws:eu-west-1"} for n in range(3)]
    answer = asked(inside, compare="aws:eu-west-1")
    elsewhere = asked(inside, compare="gcp:europe-west1").compared

    assert answer.candidates[0].place == "aws:eu-west-1"
    assert answer.compared.cost_usd.egress == 0
    assert elsewhere.cost_usd.egress > 10
    assert elsewhere.cost_usd.participants > 10


def test_a_cloud_region_may_leave_its_provider_out_where_only_one_has_it():
    full, bare = ({**KOREA[0], "cloud": cloud} for cloud in ("aws:eu-west-1", "eu-west-1"))

    assert asked([bare]) == asked([full])
    assert asked([bare]).candidates[0].cost_usd != asked([KOREA[0]]).candidates[0].cost_usd


def test_a_region_that_two_providers_have_is_told_apart():
    regions = shipped().regions
    names = ("eu-west-1", *regions.name[1:-1], "eu-west-1")
    book = replace(
        shipped(),
        regions=replace(regions, provider=("a", *regions.provider[1:-1], "b"), name=names),
    )
    one = Participant(name="paris", cloud="eu-west-1")

    with pytest.raises(InvalidRequest, match="paris sits in no known region 'eu-west-1'; did you"):
        federation(book, [one])
    assert federation(book, [one.model_copy(update={"cloud": "b:eu-west-1"})]).cloud == [
        len(regions) - 1
    ]


def test_of_many_that_measured_nowhere_the_first_are_named():
    lost = [{"name": f"p{n}", "rtt_ms": {"aws:moon": 3}} for n in range(1000)]
    with pytest.raises(InvalidRequest) as caught:
        asked(lost)

    assert caught.value.problems[0].startswith("participants: p0 measured no known region")
    assert caught.value.problems[20:] == ("and 980 more",)


LEAST = {"up_mbps": 0.001, "down_mbps": 0.001, "compute_s": 1e9}
MOST = {"up_mbps": 1e9, "down_mbps": 1e9, "compute_s": 0}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # what never ends takes infinitely long
@pytest.mark.parametrize("purchase", ["spot", "on_demand"])
@pytest.mark.parametrize("figures", [LEAST, MOST], ids=["least", "most"])
@pytest.mark.parametrize("model_bytes", [1, 10**13])
@pytest.mark.parametrize("every", [1, 10**6])
def test_the_most_that_may_be_asked_is_answered(purchase, figures, model_bytes, every):
    answer = asked(
        [{**KOREA[0], **figures}, {"name": "far", "rtt_ms": {"aws:eu-west-1": 60_000}, **figures}],
        rounds=10**6,
        placement={
            "model_bytes": model_bytes,
            "checkpoint_every": every,
            "egress_used_gb": {"aws": 1e9},
            "price_days": 10**30,
        },
        limits={"budget_usd": 1e300, "max_rtt_ms": 1e300, "deadline": 604_800},
        aggregator={"purchase": purchase, "need": {"vcpus": 1, "memory_mib": 1}},
    )

    assert (answer.conflict is None) == bool(answer.candidates)
    assert PlacementAnswer.model_validate_json(answer.model_dump_json()).considered > 0


def test_what_was_sent_this_month_uses_up_what_is_free():
    fresh = asked(compare="aws:us-east-1").compared.cost_usd.egress
    used = {"model_bytes": 10**9, "egress_used_gb": {"aws": 100}}
    later = asked(compare="aws:us-east-1", placement=used).compared.cost_usd.egress

    assert later - fresh == pytest.approx(9.0)


def test_an_hour_of_waiting_has_its_price():
    thrifty = asked(EUROPE, placement={"model_bytes": 10**9, "score": "money"})
    hasty = asked(EUROPE, placement={"model_bytes": 10**9, "score": "money", "hour_usd": 100_000})

    assert thrifty.candidates[0].cost_usd.total <= hasty.candidates[0].cost_usd.total
    assert hasty.candidates[0].hours.expected <= thrifty.candidates[0].hours.expected


def test_what_was_not_said_is_told():
    answer = asked([{**KOREA[0], "up_mbps": 10}, KOREA[1]])
    told = "\n".join(answer.assumptions)

    assert "up_mbps: 100 Mbit/s for busan\n" in told
    assert "down_mbps: 100 Mbit/s for seoul, busan\n" in told
    assert "compute_s: 30 s" in told


def test_the_region_a_person_would_rather_have_is_priced_whatever_the_limits():
    answer = asked(compare="us-east-1", limits={"max_rtt_ms": 60})

    assert answer.compared.place == "aws:us-east-1"
    assert answer.compared.worst.rtt_ms > 60
    assert answer.compared.breaks == ("limits.max_rtt_ms",)
    assert answer.candidates[0].breaks == ()


def test_old_prices_are_marked():
    answer = asked(limit=100)
    late = {one.place: one for one in answer.candidates if (TODAY - one.price_date).days > 90}

    assert answer.prices.stale == sum(one.stale for one in answer.candidates)
    assert all(one.stale for one in late.values())


def test_stability_names_who_else_was_first():
    answer = asked(EUROPE)

    assert answer.stability.draws == 100
    assert 0 < answer.stability.best <= 100
    assert bool(answer.stability.rivals) == (answer.stability.best < 100)


def test_ten_thousand_participants_are_placed():
    rng = np.random.default_rng(7)
    many = [
        {
            "name": f"site-{n}",
            "latitude": float(rng.uniform(-50, 65)),
            "longitude": float(rng.uniform(-180, 180)),
        }
        for n in range(10_000)
    ]
    placement = {"model_bytes": 10**6}
    answer = asked(many, rounds=10, quorum=9_000, placement=placement)

    assert answer.candidates
    assert "for all 10,000 participants" in answer.assumptions[0]


def demands(**changes):
    answer = asked(**changes)
    assert answer.candidates == ()
    assert answer.front == ()
    return {one.constraint: one for one in answer.conflict}, answer


def test_when_nothing_fits_the_contradiction_is_named_with_its_ways_out():
    found, answer = demands(
        aggregator={"regions": {"allow": ["eu"]}}, limits={"max_rtt_ms": 50, "deadline": "7d"}
    )

    assert set(found) == {"aggregator.regions.allow", "limits.max_rtt_ms"}
    nearer = float(found["limits.max_rtt_ms"].becomes.removeprefix("at least ").split()[0])
    assert 100 < nearer < 400
    assert found["aggregator.regions.allow"].becomes.startswith("also ")
    assert "or limits.max_rtt_ms at least" in answer.explanation


def test_a_way_out_is_a_way_out():
    found, _ = demands(limits={"budget_usd": 0.01, "deadline": "7d"})
    enough = float(found["limits.budget_usd"].becomes.removeprefix("at least $"))

    assert asked(limits={"budget_usd": enough, "deadline": "7d"}).candidates
    assert not asked(limits={"budget_usd": enough - 0.001, "deadline": "7d"}).candidates


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"aggregator": {"need": {"vcpus": 10_000, "memory_mib": 1}}}, "aggregator.need.vcpus"),
        ({"aggregator": {"need": {"memory_mib": 10**9}}}, "aggregator.need.memory_mib"),
        ({"limits": {"deadline": 60}}, "limits.deadline"),
        ({"placement": {"model_bytes": 1, "price_days": 1}}, "placement.price_days"),
        (
            {"aggregator": {"need": {"gpu": {"count": 64}}}},
            "aggregator.need.gpu",
        ),
    ],
)
def test_one_demand_that_nobody_meets_is_the_conflict(changes, constraint):
    found, _ = demands(**changes)

    assert set(found) == {constraint}
    assert found[constraint].becomes


@pytest.mark.parametrize("purchase", ["any", "deadline", "on_demand"])
def test_a_deadline_and_a_budget_that_both_bar_all_are_told_with_what_they_would_take(purchase):
    aggregator = {"purchase": purchase}
    found, answer = demands(limits={"deadline": 60, "budget_usd": 0.001}, aggregator=aggregator)
    said = re.search(
        r"It would take limits\.deadline at least ([\d.]+m) with limits\.budget_usd at least "
        r"\$([\d.]+)\.$",
        answer.explanation,
    )
    deadline, budget = seconds(said[1]), float(said[2])

    assert set(found) == {"limits.deadline"}
    both = {"deadline": deadline, "budget_usd": budget}
    assert asked(limits=both, aggregator=aggregator).candidates
    for less in ({"deadline": deadline - 6}, {"budget_usd": round(budget - 0.0001, 4)}):
        assert not asked(limits={**both, **less}, aggregator=aggregator).candidates


def test_a_limit_that_nobody_wrote_is_told_as_the_default():
    found, answer = demands(rounds=1, placement={"model_bytes": 5 * 10**10})

    assert found["limits.round"].wanted == "at most 1h, the default"
    assert "the default" in answer.explanation


def test_a_way_out_that_others_bar_is_none():
    found, answer = demands(
        aggregator={"need": {"vcpus": 10_000, "memory_mib": 1}}, limits={"deadline": 60}
    )

    assert set(found) == {"aggregator.need.vcpus"}
    assert found["aggregator.need.vcpus"].becomes is None
    assert "Were that dropped, still limits.deadline" in answer.explanation


def test_a_participant_nobody_can_reach_is_a_conflict():
    nowhere = [{"name": "island", "rtt_ms": {"aws:eu-west-1": 20}}]
    found, _ = demands(participants=nowhere, aggregator={"regions": {"allow": ["gcp"]}})

    assert set(found) == {"participants", "aggregator.regions.allow"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"aggregator": {"regions": {"allow": ["eu-west-11"]}}}, "did you mean 'eu-west-1'?"),
        ({"aggregator": {"regions": {"deny": ["XX"]}}}, "aggregator.regions.deny: nothing is"),
        ({"aggregator": {"need": {"gpu": {"model": "L44"}}}}, "did you mean 'L4'?"),
        (
            {"placement": {"model_bytes": 1, "egress_used_gb": {"awz": 1}}},
            "placement.egress_used_gb: no provider 'awz'; did you mean 'aws'?",
        ),
        ({"compare": "eu-wst-1"}, "compare: no region 'eu-wst-1'; did you mean 'eu-west-1'?"),
        (
            {"participants": [{"name": "a", "cloud": "aws:eu-west-9"}]},
            "a sits in no known region 'aws:eu-west-9'; did you mean",
        ),
        (
            {"participants": [{**KOREA[0], "rtt_ms": {"aws:moon": 3}}]},
            "seoul measured no known region 'aws:moon'",
        ),
    ],
)
def test_a_name_nobody_knows_is_told_with_the_nearest(changes, said):
    assert said in problems(**changes)


def test_scores_of_what_is_infeasible_are_no_numbers():
    put = question(aggregator={"purchase": "spot"})
    found = rank(shipped(), put, put.participants, model_bytes=1, today=TODAY, limit=1)

    assert np.isnan(found.score[~found.on.table.spot]).all()
    assert not np.isnan(found.score[found.feasible]).any()
