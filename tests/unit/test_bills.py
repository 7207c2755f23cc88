"""A bill adds up, whichever way it is looked at."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from fedspan.domain.bills import Bill, Charges, Incarnation, apportioned, bill, shown
from fedspan.domain.machines import Offer
from fedspan.domain.rates import Flow, Rates, Tariff, hourly
from fedspan.domain.rounds import AWAY, Checkpoint, Participation, Round, Status
from tests.support.world import START

PEOPLE = ("busan", "daejeon", "seoul")
GB = 10**9
AWS = Tariff(starts=(0, 100 * GB, 10_240 * GB), prices=(0, 90_000, 85_000), unit=GB)
FLAT = Tariff(starts=(0,), prices=(20_000,), unit=GB)
SINGLE = Rates(flows=(Flow(cloud="aws", tariff=FLAT),), down=dict.fromkeys(PEOPLE, 0))


def offer(provider: str = "aws", price: int = 100_000) -> Offer:
    machine = {"machine_type": "m", "vcpus": 2, "memory_mib": 4096}
    return Offer(provider=provider, region="r", price=price, **machine)


def incarnation(epoch: int = 1, seconds: float = 3600.0, **more: object) -> Incarnation:
    start = START + timedelta(days=epoch)
    given = {"launched": start, "stopped": start + timedelta(seconds=seconds)}
    return Incarnation(**{"epoch": epoch, "offer": offer(), "address": 5_000, **given, **more})


def a_round(number: int = 1, epoch: int = 1, seconds: float = 600.0, **people: Status) -> Round:
    parts = {name: Participation(status=status) for name, status in people.items()}
    return Round(
        job="j",
        number=number,
        epoch=epoch,
        seconds=seconds,
        participants=parts or dict.fromkeys(PEOPLE, Participation(status=Status.DONE)),
        parameters=1,
        checkpoint=Checkpoint(key="k", sha256="0" * 64, bytes=GB),
    )


def added(parts: list[Charges]) -> Charges:
    return Charges(
        **{name: sum(getattr(one, name) for one in parts) for name in Charges.model_fields}
    )


def views(one: Bill) -> list[Charges]:
    """What each view adds up to, by kind of charge."""
    outside = [one.overhead, one.unfinished]
    return [
        added([*one.clouds.values()]),
        added([*one.rounds.values(), *outside]),
        added([*one.participants.values(), *outside]),
    ]


tariffs = st.builds(
    lambda widths, prices, unit: Tariff(
        starts=tuple(sum(widths[:n]) for n in range(len(widths) + 1)),
        prices=tuple(prices[: len(widths) + 1]),
        unit=unit,
    ),
    st.lists(st.integers(1, 10**13), max_size=2),
    st.lists(st.integers(0, 10**6), min_size=3, max_size=3),
    st.sampled_from([1, GB, 2**30]),
)


@st.composite
def rates(draw: st.DrawFn) -> Rates:
    flow = st.builds(
        Flow,
        cloud=st.sampled_from(["aws", "gcp"]),
        tariff=tariffs,
        before=st.integers(0, 10**13),
    )
    down, up = draw(st.lists(flow, max_size=2)), draw(st.lists(flow, max_size=2))
    return Rates(
        flows=(*down, *up),
        down=draw(_among(range(len(down)))),
        up=draw(_among(range(len(down), len(down) + len(up)))),
    )


def _among(flows: range) -> st.SearchStrategy[dict[str, int]]:
    if not flows:
        return st.just({})
    return st.dictionaries(st.sampled_from(PEOPLE), st.sampled_from(flows))


participants = st.dictionaries(
    st.sampled_from(PEOPLE),
    st.builds(
        Participation,
        status=st.sampled_from(Status),
        message=st.sampled_from(["", AWAY, "why"]),
        evaluated=st.booleans(),
    ),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[Incarnation, Rates]], list[Round]]:
    """Incarnations, some that never ran, and rounds that took up to more than the time there
    was: clocks differ."""
    known, rounds = [], []
    for epoch in range(1, draw(st.integers(1, 4)) + 1):
        seconds = draw(st.floats(0, 1e5))
        one = incarnation(epoch, seconds, offer=offer(draw(st.sampled_from(["aws", "gcp"])), 7_777))
        spoke = draw(st.none() | st.floats(-10, seconds + 10))
        told = {
            "launched": draw(st.sampled_from([one.launched, None])),
            "begun": None if spoke is None else START + timedelta(days=epoch, seconds=spoke),
            "round": draw(st.integers(0, 12)),
            "asked": PEOPLE[: draw(st.integers(0, 3))],
            "evaluated": PEOPLE[draw(st.integers(0, 3)) :],
            "bytes": draw(st.integers(0, 10**12)),
            "program": draw(st.integers(0, 10**12)),
        }
        known.append((one.model_copy(update=told), draw(rates())))
        for _ in range(draw(st.integers(0, 3))):
            lasted = draw(st.floats(0, 6e4))
            one_round = a_round(len(rounds) + 1, epoch, lasted)
            size = one_round.checkpoint.model_copy(update={"bytes": draw(st.integers(1, 10**13))})
            people = {"participants": draw(participants), "checkpoint": size}
            rounds.append(one_round.model_copy(update=people))
    return known, rounds


@given(histories())
def test_every_view_adds_up_to_the_total_kind_by_kind(history):
    known, rounds = history
    made = bill("j", known, rounds, settled=True)
    clouds, by_round, by_participant = views(made)

    assert clouds == by_round == by_participant
    assert clouds.total == made.total


@given(histories())
def test_the_machines_and_the_bytes_are_billed_whole(history):
    known, rounds = history
    made = bill("j", known, rounds, settled=True)
    ran = [(one, one.stopped - one.launched) for one, _ in known if one.launched]

    assert views(made)[0].machine == sum(hourly(one.offer.price, long) for one, long in ran)
    assert views(made)[0].address == sum(hourly(one.address, long) for one, long in ran)


@given(histories(), st.randoms(use_true_random=False))
def test_the_order_in_which_it_is_told_does_not_matter(history, chance: random.Random):
    known, rounds = history
    shuffled = [
        one.model_copy(
            update={"participants": dict(_shuffled(chance, [*one.participants.items()]))}
        )
        for one in _shuffled(chance, rounds)
    ]
    again = bill("j", _shuffled(chance, known), shuffled, settled=True)

    assert again == bill("j", known, rounds, settled=True)
    assert again.model_dump_json() == bill("j", known, rounds, settled=True).model_dump_json()


def _shuffled(chance: random.Random, found: list) -> list:
    return chance.sample(found, k=len(found))


@given(histories())
def test_a_bill_travels(history):
    made = bill("j", *history, settled=False)

    assert Bill.model_validate_json(made.model_dump_json()) == made


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**12), min_size=1))
def test_nothing_is_lost_where_an_amount_is_shared(amount, weights):
    parts = apportioned(amount, dict(enumerate(weights)))

    assert sum(parts.values()) == amount
    assert all(part >= 0 for part in parts.values())
    total = sum(weights)
    if total:
        for part, weight in zip(parts.values(), weights, strict=True):
            assert abs(part * total - amount * weight) < total


@given(st.lists(st.integers(0, 10**9), min_size=1), st.sampled_from([100, 10_000]))
@example([5_000, 5_000], 10_000)
def test_what_is_shown_adds_up_to_what_is_shown_as_the_total(amounts, unit):
    parts = shown(amounts, unit)
    [total] = shown([sum(amounts)], unit)

    assert sum(parts) == total
    for amount, part in zip(amounts, parts, strict=True):
        assert abs(part * unit - amount) < unit


@given(tariffs, st.integers(0, 10**14), st.integers(0, 10**14))
def test_more_bytes_never_cost_less(tariff, some, more):
    flow = Flow(cloud="aws", tariff=tariff, before=some)

    assert 0 <= flow.charge(0) == tariff.charge(0) == 0
    assert flow.charge(more) + tariff.charge(some) == tariff.charge(some + more)


def test_an_hour_of_two_rounds_is_shared_by_those_who_were_asked():
    rounds = [a_round(1), a_round(2, seconds=1200, seoul=Status.DONE, busan=Status.SKIPPED)]
    made = bill("j", [(incarnation(), Rates())], rounds, settled=True)

    # of $0.10 an hour: 10 minutes, 20, and what is left; the first is shared by three
    assert {n: one.machine for n, one in made.rounds.items()} == {1: 16_667, 2: 33_333}
    assert made.overhead == Charges(machine=50_000, address=2_500)
    assert {name: one.machine for name, one in made.participants.items()} == {
        "busan": 5_556,
        "daejeon": 5_556,
        "seoul": 5_555 + 33_333,
    }
    assert made.total == 105_000


def test_egress_climbs_the_steps_of_a_month_in_the_order_of_the_rounds():
    flow = Flow(cloud="aws", tariff=AWS, before=97 * GB)
    rates = Rates(flows=(flow,), down=dict.fromkeys(PEOPLE, 0))
    rounds = [a_round(2), a_round(1)]
    made = bill("j", [(incarnation(), rates)], rounds, settled=True)

    # the first round's three gigabytes are the last that are free
    assert [one.egress for one in made.rounds.values()] == [0, 270_000]
    assert made.participants["seoul"].egress == 90_000


def test_who_was_not_asked_is_billed_nothing():
    people = {"seoul": Participation(status=Status.DONE)}
    people |= {"busan": Participation(status=Status.FAILED, message=AWAY)}
    people |= {"daejeon": Participation(status=Status.FAILED, message="out of memory")}
    one = a_round().model_copy(update={"participants": people})
    made = bill("j", [(incarnation(), SINGLE)], [one], settled=True)

    assert made.participants.keys() == {"seoul", "daejeon"}
    assert made.rounds[1].egress == 40_000


def test_a_model_that_is_sent_to_be_evaluated_is_billed_with_its_program():
    people = {"seoul": Participation(status=Status.DONE, evaluated=True)}
    people |= {"busan": Participation(status=Status.SKIPPED, evaluated=True)}
    people |= {"daejeon": Participation(status=Status.DONE)}
    one = a_round().model_copy(update={"participants": people})
    made = bill("j", [(incarnation(program=GB // 2), SINGLE)], [one], settled=True)

    # a gigabyte is $0.02; the machine's time goes to those that trained
    assert {name: part.egress for name, part in made.participants.items()} == {
        "busan": 30_000,
        "daejeon": 30_000,
        "seoul": 60_000,
    }
    assert made.participants["busan"].machine == 0
    assert views(made)[0].egress == made.rounds[1].egress == 120_000


def test_what_a_participant_in_a_cloud_sends_is_billed_by_its_cloud():
    flows = (Flow(cloud="aws", tariff=FLAT), Flow(cloud="gcp", tariff=AWS, before=200 * GB))
    rates = Rates(flows=flows, down=dict.fromkeys(PEOPLE, 0), up={"seoul": 1})
    made = bill("j", [(incarnation(), rates)], [a_round()], settled=True)

    assert made.clouds["gcp"] == Charges(uploads=90_000)
    assert made.participants["seoul"].uploads == 90_000
    assert made.clouds["aws"].egress == 60_000


def test_a_round_that_was_lost_is_billed_where_it_was_begun():
    lost = incarnation(
        1, begun=START + timedelta(days=1, seconds=3000), round=2, asked=PEOPLE[:2], bytes=GB
    )
    rounds = [a_round(1), a_round(2, epoch=2)]
    again = lost.model_copy(update={"evaluated": PEOPLE[1:]})
    made, more = (
        bill("j", [(one, SINGLE), (incarnation(2), SINGLE)], rounds, settled=True)
        for one in (lost, again)
    )

    assert made.unfinished == Charges(machine=16_667, address=833, egress=40_000)
    assert more.unfinished.egress == 80_000
    assert made.rounds[2].egress == 60_000
    assert made.incarnations == 2


def test_a_lost_round_that_was_complete_after_all_is_no_unfinished_one():
    """The aggregator was lost after the checkpoint and before the report: the next one told it."""
    lost = incarnation(1, begun=START + timedelta(days=1), round=1, asked=PEOPLE, bytes=GB)
    made = bill("j", [(lost, SINGLE)], [a_round(1)], settled=True)

    assert made.unfinished == Charges()
    assert made.rounds[1].egress == 60_000


def test_a_machine_that_was_refused_costs_nothing():
    made = bill("j", [(incarnation(launched=None), SINGLE)], [], settled=False)

    assert made.total == 0


@pytest.mark.parametrize(
    ("starts", "prices"), [((), ()), ((1,), (1,)), ((0, 5, 5), (1, 1, 1)), ((0,), (1, 2))]
)
def test_a_tariff_whose_steps_do_not_ascend_is_refused(starts, prices):
    with pytest.raises(ValidationError):
        Tariff(starts=starts, prices=prices, unit=1)


def test_a_clock_that_went_back_costs_nothing():
    assert hourly(100_000, timedelta(seconds=-5)) == 0
