"""A bill counts traffic as the quote did."""

from __future__ import annotations

from datetime import date

import pytest

from fedspan.domain.placements import Participant, PlacementQuestion
from fedspan.domain.rates import Messages, Rates
from fedspan.placement.choose import choose
from fedspan.placement.rates import earlier, rates
from fedspan.services.books import shipped
from fedspan.services.offers import offer_of

TODAY = date(2026, 11, 29)
SIZE, ROUNDS = 2_000_000_000, 30
SITES = (
    Participant(name="seoul", latitude=37.5, longitude=127.0, country="KR"),
    Participant(name="sydney", latitude=-33.9, longitude=151.2, country="AU"),
    Participant(name="perth", latitude=-31.9, longitude=115.9),
    Participant(name="beijing", latitude=39.9, longitude=116.4, country="CN"),
    Participant(name="dublin", cloud="aws:eu-west-1"),
    Participant(name="iowa", cloud="gcp:us-central1"),
)
NAMES = tuple(one.name for one in SITES)
PLACES = ("aws:eu-west-1", "aws:ap-northeast-2", "gcp:us-central1", "gcp:asia-northeast3", "azure:")


def answer(place: str, used_gb: dict[str, float], program: int = 0, **options: float):
    wanted = {"need": {"vcpus": 2, "memory_mib": 4096}, "purchase": "on_demand"}
    question = PlacementQuestion(
        rounds=ROUNDS,
        participants=SITES,
        aggregator={**wanted, "regions": {"allow": [place.strip(":")]}},
        placement={"model_bytes": SIZE, "egress_used_gb": used_gb},
        quorum=2,
        strategy=options,
    )
    sizes = {"model_bytes": SIZE, "program_bytes": program}
    return choose(shipped(), question, SITES, **sizes, today=TODAY, limit=4)


@pytest.mark.parametrize("used_gb", [{}, {"aws": 99.0, "gcp": 5_000.0}], ids=["fresh", "used"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("program", [0, 300_000_000])
def test_undisturbed_traffic_is_billed_as_it_was_quoted(place, used_gb, program):
    told = Messages((*NAMES, *NAMES), NAMES, SIZE * ROUNDS, program * ROUNDS)
    for quoted in answer(place, used_gb, program).candidates:
        made = rates(shipped(), offer_of(quoted), SITES, used_gb=used_gb, earlier={})
        sent = made.counted((), told)
        charged = [flow.charge(one) for flow, one in zip(made.flows, sent, strict=True)]
        ours = set(made.down.values())
        egress = sum(one for index, one in enumerate(charged) if index in ours)

        assert egress == pytest.approx(quoted.cost_usd.egress * 1e6, abs=len(charged) + 1)
        assert made.charge(sent) - egress == pytest.approx(
            quoted.cost_usd.participants * 1e6, abs=len(charged) + 1
        )
        assert egress > 0


@pytest.mark.parametrize(
    ("option", "trained", "evaluated"),
    [("fraction_train", 3, 6), ("fraction_evaluate", 6, 3)],
)
@pytest.mark.parametrize("place", PLACES)
def test_of_a_fraction_as_much_is_quoted_as_will_be_billed_on_average(
    place, option, trained, evaluated
):
    half, whole = SIZE * ROUNDS * 3 // 6, SIZE * ROUNDS
    training, evaluation = (half if count == 3 else whole for count in (trained, evaluated))
    for quoted in answer(place, {}, **{option: 0.5}).candidates:
        made = rates(shipped(), offer_of(quoted), SITES, used_gb={}, earlier={})
        sent = made.counted((), Messages(NAMES, NAMES, training))
        sent = made.counted(sent, Messages(NAMES, (), evaluation))

        assert made.charge(sent) == pytest.approx(
            (quoted.cost_usd.egress + quoted.cost_usd.participants) * 1e6, abs=len(sent) + 1
        )


def test_fewer_than_the_quorum_are_never_chosen():
    [few, *_], [none, *_] = (
        answer("aws:eu-west-1", {}, fraction_evaluate=part).candidates for part in (0.34, 0.01)
    )

    assert few.cost_usd == none.cost_usd


def test_an_address_is_quoted_by_the_hour():
    [first, *_] = answer("aws:eu-west-1", {}).candidates

    assert first.address_usd_hour == 0.005


def test_another_incarnation_goes_on_where_the_months_steps_were_left():
    [quoted, *_] = answer("aws:eu-west-1", {}).candidates
    offer = offer_of(quoted)
    first = rates(shipped(), offer, SITES[:1], used_gb={"aws": 10.0}, earlier={})
    sent = first.counted((), Messages(NAMES, NAMES, SIZE * ROUNDS))
    again = rates(
        shipped(), offer, SITES[:1], used_gb={"aws": 10.0}, earlier=earlier([(first, sent)])
    )

    assert again.flows[0].before == first.flows[0].before + SIZE * ROUNDS
    whole = first.counted((), Messages(NAMES, NAMES, 2 * SIZE * ROUNDS))
    assert first.charge(sent) + again.charge(sent) == pytest.approx(first.charge(whole), abs=1)


def test_what_a_participant_sent_counts_in_nobody_elses_month():
    [quoted, *_] = answer("gcp:us-central1", {}).candidates
    first = rates(shipped(), offer_of(quoted), SITES, used_gb={}, earlier={})
    sent = first.counted((), Messages((), NAMES, SIZE))

    assert not any(earlier([(first, sent)]).values())


def test_a_computer_nobody_bills_sends_for_nothing():
    [quoted, *_] = answer("aws:eu-west-1", {}).candidates
    here = offer_of(quoted).model_copy(update={"provider": "local", "region": "here"})
    made = rates(shipped(), here, SITES[:4], used_gb={}, earlier={})

    assert made == Rates()
