"""Every sentence is read back, and each claim held against the numbers."""

from __future__ import annotations

import math
import re
from collections import Counter
from datetime import date, timedelta
from random import Random

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from fedspan.domain.placements import Cost, Demand, PlacementQuestion, Slowest
from fedspan.domain.spec import Purchase
from fedspan.placement.book import BASES
from fedspan.placement.choose import choose, rank
from fedspan.placement.explain import Story, explain, explain_conflict
from fedspan.placement.federation import band_ms
from fedspan.services.books import shipped
from tests.placement.books import TODAY, quickly
from tests.support.places import a_candidate

USD = r"(?:less than )?\$[\d,]+(?:\.\d+)?"
TIME = r"(?:less than 1 s|[\d,.]+ (?:h|min|s))"
MS = r"(?:less than 0\.1|[\d.]+) ms"
PART = {
    "vm": "the machine",
    "egress": "egress",
    "address": "the address",
    "participants": "what participants in clouds pay to send",
}
GAP = {**PART, "participants": "what participants pay"}
PARTS = "|".join(PART.values())
FIRST = (
    rf"is expected to cost (?P<total>{USD}) and to take (?P<hours>{TIME})"
    rf"(?:: (?P<parts>all free|{USD} for (?:{PARTS})(?:, {USD} for (?:{PARTS}))*))?\."
)
SLOWEST = rf"(?P<slowest>\S+) \((?P<rtt>{MS}) away, (?P<known>measured|estimated(?:, ±{MS})?)\)"
PACE = (
    rf"A round takes (?P<round>[\d,.]+ s); it waits for (?:(?:(?P<one>the first of (?P<of>[\d,]+) "
    rf"participants, )|(?P<some>both|all [\d,]+|the first [\d,]+ of [\d,]+) participants, last "
    rf"for )?{SLOWEST}|the machine's own network(?:, which (?P<share>both|all [\d,]+) "
    r"participants share,)? longer than for (?P<than>any of them|\S+))\."
)
DIFFERS = (
    rf"(?:costs (?P<usd>{USD}) (?P<dearer>more|less)(?: \(mostly (?P<mostly>[^)]+)\))?)?"
    rf"(?: and )?(?:takes (?P<time>{TIME}) (?P<slower>more|less))?"
)
RULE = (
    r"(?P<rule>by dollars alone|by hours alone|by dollars and (?P<hour_usd>"
    rf"{USD}) an hour|with (?P<weight>[\d.e+-]+)% of the weight on cost)"
)
WHY = (
    r"(?:because (?:(?P<interruption>it is likelier to be interrupted)"
    r"(?: \((?P<its>[\d.]+%) against (?P<mine>[\d.]+%)\))?"
    r"|(?P<distance>its furthest participant is further away)"
    r"|(?P<basis>its price is (?P<worse>[a-z ]+?) and the first's (?P<better>[a-z ]+))"
    r"|(?P<age>its price is older) \((?P<old>[\d-]+) against (?P<new>[\d-]+)\)"
    r"|(?P<carbon>its grid emits more carbon|its grid's carbon is unknown))"
    r"|(?P<name>by its name alone))"
)
SECOND = (
    rf"(?:{DIFFERS}; {RULE} (?:(?P<score>it comes second)"
    r"|the two are equal within the data's error, and it comes second @WHY@)"
    r"|(?P<hair>differs by less than can be shown here; @RULE@ it comes second)"
    r"|(?P<good>is as good within the data's error; it comes second @WHY@))\."
)
HOURLY = (
    rf"(?:By the hour nothing that fits is cheaper \((?P<as_cheap>{USD})(?P<a> with its address)?"
    rf"\)|The cheapest machine by the hour that fits, @CHEAPEST@ at (?P<rate>{USD})"
    rf"(?P<b> with its address)?, would come to (?P<come>{USD})(?:, (?P<share_egress>nearly all|"
    rf"\d+%) of it egress)?, and take (?P<then>{TIME}))\."
)


def pattern(story):
    """Names of groups are unique, so what recurs is numbered."""

    def numbered(text, number):
        return re.sub(r"\(\?P<(\w+)>", rf"(?P<\g<1>_{number}>", text)

    second = "No other candidate fits\\." if story.second is None else SECOND
    second = second.replace("@WHY@", numbered(WHY, 1), 1).replace("@WHY@", numbered(WHY, 2))
    second = second.replace("@RULE@", numbered(RULE, 3))
    place = "" if story.second is None else f"The next, {re.escape(named(story.second))}, "
    hourly = HOURLY.replace("@CHEAPEST@", re.escape(named(story.cheapest)))
    first = re.escape(named(story.first))
    return re.compile(f"{first} {FIRST} {PACE} {place}{second} {hourly}")


def named(one):
    option = "spot" if one.purchase is Purchase.SPOT else "on demand"
    tier = f", {one.network_tier} tier" if one.network_tier else ""
    city = f" ({one.city})" if one.city else ""
    return f"{one.provider}:{one.region}{city} on {one.machine_type} {option}{tier}"


def read(text, story):
    """The claims, by name, of a text all of which is understood."""
    found = pattern(story).fullmatch(text)
    assert found, text
    said = {}
    for name, value in found.groupdict().items():
        if value is not None:
            said[re.sub(r"_\d$", "", name)] = value
    return said


def is_figure(told, value):
    """`told`, such as ``$1,204.10`` or ``6.2 h``, is `value` (dollars, hours, ms or a share)
    rounded to its last digit, and shows nothing as what is not nothing."""
    units = {"h": 1.0, "min": 1 / 60, "s": 1 / 3600, "ms": 1.0}
    number, unit = re.search(r"[\d,.]*\d", told)[0].replace(",", ""), told.split()[-1]
    digit = 10.0 ** -len(number.partition(".")[2])
    scale = units.get(unit, 0.01 if told.endswith("%") else 1.0)
    if told.startswith("less than"):
        return 0 <= value < float(number) * scale and (value > 0 or unit in units)
    if told.endswith("%") and float(number) in (0, 100):
        return value * 100 == float(number)
    if float(number) == 0:
        return value == 0 or unit in ("ms", "min")
    return abs(float(number) * scale - value) <= (0.5 + 1e-6) * digit * scale


def check(text, question, story):
    said = read(text, story)
    check_first(said, story)
    check_pace(said, story)
    if story.second is None:
        assert story.feasible == 1
    else:
        check_difference(said, story)
        check_order(said, question.placement, story)
    check_hourly(said, story)
    return said


def check_first(said, story):
    cost = story.first.cost_usd
    assert is_figure(said["total"], cost.total)
    assert is_figure(said["hours"], story.first.hours.expected)
    told = dict(
        reversed(part.split(" for ", 1))
        for part in re.split(", (?=[$l])", said.get("parts", ""))
        if " for " in part
    )
    assert (said.get("parts") == "all free") == (cost.total == 0)
    for part, name in PART.items():
        usd = getattr(cost, part)
        assert is_figure(told[name], usd) if name in told else usd < 0.00005 + 1e-12
        assert name not in told or usd > 0


def counted(some, count):
    if some < count:
        return f"the first {some:,} of {count:,}"
    return "both" if count == 2 else f"all {count:,}"


def check_pace(said, story):
    first, count = story.first, story.participants
    assert is_figure(said["round"], first.round_s / 3600)
    if story.bound == "network":
        assert "slowest" not in said
        assert said["than"] == ("any of them" if count > 1 else first.worst.participant)
        assert ("share" in said) == (count > 1)
        assert count == 1 or said["share"] == counted(count, count)
        return
    assert said["slowest"] == first.worst.participant
    assert is_figure(said["rtt"], first.worst.rtt_ms)
    assert said["known"].startswith("measured") == first.worst.measured
    if "±" in said["known"]:
        assert is_figure(said["known"].split("±")[1], first.worst.band_ms)
        assert first.worst.band_ms > 0
    if count == 1:
        assert not {"some", "one"} & set(said)
    elif story.quorum == 1:
        assert said["of"] == f"{count:,}"
    else:
        assert said["some"] == counted(story.quorum, count)


def check_difference(said, story):
    mine, its = story.first.cost_usd, story.second.cost_usd
    if "usd" in said:
        gap = its.total - mine.total
        assert said["dearer"] == ("more" if gap > 0 else "less")
        assert is_figure(said["usd"], abs(gap))
        assert shows(said["usd"]) or story.reason == "score"
        most = {
            name
            for part, name in GAP.items()
            if (getattr(its, part) - getattr(mine, part)) / gap > 0.5 + 1e-9
        }
        assert said["mostly"] in most if most else "mostly" not in said or abs(gap) < 1e-4
    if "time" in said:
        gap = story.second.hours.expected - story.first.hours.expected
        assert said["slower"] == ("more" if gap > 0 else "less")
        assert is_figure(said["time"], abs(gap))
        assert shows(said["time"]) or story.reason == "score"


def shows(told):
    return "less than" not in told and re.search("[1-9]", told)


def losses(spec, story):
    """By what counts, and as it would be said: how much worse the second is."""
    dollars = story.second.cost_usd.total - story.first.cost_usd.total
    hours = story.second.hours.expected - story.first.hours.expected
    money = spec.score == "money"
    counts = {
        "usd": dollars if money or spec.balance else 0.0,
        "time": hours if (spec.hour_usd if money else spec.balance < 1) else 0.0,
    }
    return {name: gap for name, gap in counts.items() if gap > 0}


def check_order(said, spec, story):
    if "rule" in said:
        check_rule(said, spec)
    first, second = story.first, story.second
    tied = Counter(
        kind
        for kind in ("interruption", "distance", "basis", "age", "carbon", "name")
        if kind in said
    )
    if "score" in said or "hair" in said:
        assert story.reason == "score"
        assert not tied
        worse = losses(spec, story)
        if "hair" in said:
            assert not worse
        else:
            assert worse.keys() & said.keys()
        return
    assert tied == Counter([story.reason])
    if "good" in said:
        for here, there, least in (
            (first.cost_usd.total, second.cost_usd.total, 0.0001),
            (first.hours.expected, second.hours.expected, 1 / 3600),
        ):
            assert abs(here - there) <= max(0.005 * max(here, there) + 1e-9, least)
    if "interruption" in said and "its" in said:
        assert is_figure(said["its"], second.p_interruption)
        assert is_figure(said["mine"], first.p_interruption)
        assert float(said["its"].strip("%")) > float(said["mine"].strip("%"))
    if "basis" in said:
        words = {"list": "a list price", "derived": "derived", "estimate": "an estimate"}
        assert (said["worse"], said["better"]) == (
            words[second.price_basis],
            words[first.price_basis],
        )
    if "age" in said:
        assert (said["old"], said["new"]) == (str(second.price_date), str(first.price_date))
        assert said["old"] < said["new"]
    if "carbon" in said:
        assert said["carbon"].endswith("unknown") == (second.gco2 is None)


def check_rule(said, spec):
    money = spec.score == "money"
    if said["rule"] == "by dollars alone":
        assert spec.hour_usd == 0 if money else spec.balance == 1
    elif said["rule"] == "by hours alone":
        assert not money
        assert spec.balance == 0
    elif "hour_usd" in said:
        assert money
        assert is_figure(said["hour_usd"], spec.hour_usd)
    else:
        assert not money
        assert float(said["weight"]) == pytest.approx(100 * spec.balance, rel=1e-5)


def check_hourly(said, story):
    one = story.cheapest
    addressed = "a" in said or "b" in said
    assert addressed == (
        story.hourly != story.first.price_usd_hour or story.cheapest_hourly != one.price_usd_hour
    )
    if "as_cheap" in said:
        assert story.hourly <= story.cheapest_hourly + 1e-6
        assert is_figure(said["as_cheap"], story.hourly)
        return
    assert story.hourly > story.cheapest_hourly
    assert is_figure(said["rate"], story.cheapest_hourly)
    assert is_figure(said["come"], one.cost_usd.total)
    assert is_figure(said["then"], one.hours.expected)
    share = one.cost_usd.egress / one.cost_usd.total if one.cost_usd.total else 0.0
    told = said.get("share_egress")
    if told == "nearly all":
        assert 0.99 < share < 1
    else:
        assert is_figure(told, share) if told else share < 0.01


micro_usd = st.one_of(st.just(0), st.integers(1, 200), st.integers(0, 10**6), st.integers(0, 10**9))
nudges = st.one_of(
    st.just(0), st.integers(-120, 120), st.integers(-(10**6), 10**6), st.integers(-(10**9), 10**9)
)
chances = st.one_of(st.just(0.0), st.just(1.0), st.floats(0, 1), st.floats(0.43, 0.45))
rates = st.one_of(st.just(0.0), st.floats(0, 1e-3), st.floats(0, 40))
seconds = st.one_of(st.floats(0, 3), st.floats(0, 7_200), st.floats(0, 1e7))
days = st.integers(0, 500).map(lambda ago: TODAY - timedelta(days=ago))


@st.composite
def costs(draw, near=None):
    """In whole micro-dollars; `near` another, or anywhere."""
    parts = [draw(micro_usd) for _ in PART]
    if near is not None:
        before = [round(getattr(near, part) * 1e6) for part in PART]
        parts = [max(0, here + draw(nudges)) for here in before]
    named = dict(zip(PART, (usd / 1e6 for usd in parts), strict=True))
    return Cost(**named, total=sum(parts) / 1e6)


@st.composite
def candidates(draw, place, near=None):
    here = draw(seconds) / 3600
    if near is not None:
        factor = st.sampled_from((1.0, 1.0 + 1e-6, 0.999, 1.004, 0.9, 2.0))
        here = near.hours.expected * draw(factor) + draw(st.sampled_from((0.0, 1e-4, 2e-4)))
    return a_candidate(
        place,
        city=draw(st.sampled_from(("", "Seoul", "St. Gallen", "Boardman/Umatilla, Oregon"))),
        machine_type=draw(st.sampled_from(("c7g.large", "e2-medium"))),
        purchase=draw(st.sampled_from((Purchase.SPOT, Purchase.ON_DEMAND))),
        network_tier=draw(st.sampled_from(("", "premium"))),
        hours=round(here, 4),
        round_s=draw(st.floats(1, 20) | st.floats(1, 1e5)),
        cost_usd=draw(costs(near.cost_usd if near else None)),
        worst=Slowest(
            participant=draw(st.sampled_from(("paris", "st-anna"))),
            rtt_ms=draw(st.floats(0, 1) | st.floats(0, 400)),
            band_ms=draw(st.floats(0, 1) | st.floats(0, 60)),
            measured=draw(st.booleans()),
        ),
        p_interruption=draw(chances),
        gco2=draw(st.none() | st.floats(0, 1e4)),
        price_usd_hour=draw(rates),
        price_date=draw(days),
        price_basis=draw(st.sampled_from(BASES)),
    )


weights = st.sampled_from((0.0, 0.25, 0.5, 0.9995, 1.0))
specs = st.one_of(
    st.fixed_dictionaries({"balance": weights}),
    st.fixed_dictionaries(
        {"score": st.just("money"), "hour_usd": st.sampled_from((0.0, 1e-5, 0.5, 20.0))}
    ),
)


@st.composite
def told(draw):
    """A question and a story whose order the numbers bear out."""
    question = PlacementQuestion.model_validate(
        {"rounds": 1, "participants": ["paris"], "placement": draw(specs)}, strict=False
    )
    first = draw(candidates("aws:eu-west-1"))
    second = draw(candidates("gcp:asia-east1", near=draw(st.sampled_from((first, None)))))
    cheapest = draw(st.sampled_from((first, second)) | candidates("azure:uksouth"))
    address = draw(st.sampled_from((0.0, 0.005)))
    participants = draw(st.sampled_from((1, 2, 3, 10_000)))
    hourly = first.price_usd_hour + address
    alone = draw(st.integers(0, 5)) == 0
    return question, Story(
        first=first,
        second=None if alone else second,
        cheapest=cheapest,
        participants=participants,
        quorum=draw(st.integers(1, participants)),
        reason=draw(st.sampled_from(reasons(question.placement, first, second))),
        bound=draw(st.sampled_from(("participant", "network"))),
        feasible=1 if alone else draw(st.integers(2, 9)),
        hourly=hourly,
        cheapest_hourly=min(hourly, cheapest.price_usd_hour + address),
    )


def reasons(spec, first, second):
    """For which `first` may precede `second`."""
    cost = second.cost_usd.total - first.cost_usd.total
    time = second.hours.expected - first.hours.expected
    money = spec.score == "money"
    weights = (1.0, spec.hour_usd) if money else (spec.balance, 1 - spec.balance)
    gap = weights[0] * cost + weights[1] * time
    found = ["distance", "name"]
    found += 4 * ["score"] if gap > 0 else []
    found += ["interruption"] if second.p_interruption > first.p_interruption else []
    worse = BASES.index(second.price_basis) > BASES.index(first.price_basis)
    found += ["basis"] if worse else []
    found += ["age"] if second.price_date < first.price_date else []
    found += ["carbon"] if first.gco2 is not None else []
    return found


@settings(quickly, max_examples=300)
@given(told())
def test_every_claim_of_a_story_is_true(case):
    question, story = case
    said = check(explain(question, story), question, story)

    event(" ".join(sorted({story.reason, *{"good", "hair"} & said.keys()})))


def a_story(**changes):
    given = {
        "first": a_candidate(),
        "second": a_candidate("gcp:europe-west4", city="Eemshaven", cost=120.0, hours=6.2),
        "cheapest": a_candidate("aws:ap-south-1", city="Mumbai", cost=161.5, hours=11.9),
        "participants": 5,
        "quorum": 5,
        "reason": "score",
        "bound": "participant",
        "feasible": 9,
        "hourly": 0.0484,
        "cheapest_hourly": 0.0134,
    }
    return Story(**{**given, **changes})


def a_question(**placement):
    return PlacementQuestion.model_validate(
        {"rounds": 1, "participants": ["paris"], "placement": placement}, strict=False
    )


def test_a_story_reads_like_this():
    assert explain(a_question(), a_story()) == (
        "aws:eu-central-1 (Frankfurt) on c7g.large spot is expected to cost $79.00 and to take "
        "6.2 h: $0.3100 for the machine, $78.66 for egress, $0.0310 for the address. A round "
        "takes 112 s; it waits for all 5 participants, last for seoul (231 ms away, estimated, "
        "±34 ms). The next, gcp:europe-west4 (Eemshaven) on c7g.large spot, costs $41.00 more "
        "(mostly egress); with 50% of the weight on cost it comes second. The cheapest machine "
        "by the hour that fits, aws:ap-south-1 (Mumbai) on c7g.large spot at $0.0134 with its "
        "address, would come to $161.50, nearly all of it egress, and take 11.9 h."
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reason": "interruption", "second": {"p_interruption": 0.0312}}, "(3.12% against 3.10%)"),
        ({"reason": "interruption", "second": {"p_interruption": 0.031001}}, "interrupted."),
        ({"reason": "interruption", "second": {"p_interruption": 0.5}}, "(50% against 3%)"),
        (
            {
                "reason": "interruption",
                "first": a_candidate(p_interruption=0.004),
                "second": {"p_interruption": 0.006},
            },
            "(0.6% against 0.4%)",
        ),
        ({"reason": "distance"}, "its furthest participant is further away"),
        ({"reason": "distance", "second": {"cost": 79.5}}, "costs $0.5000 more (mostly egress);"),
        (
            {"first": a_candidate(cost_usd=Cost(vm=3e-5, egress=0, address=0, total=3e-5))},
            "to cost less than $0.0001 and to take 6.2 h. A round",
        ),
        (
            {"first": a_candidate(cost_usd=Cost(vm=0, egress=0, address=0, total=0))},
            "to cost $0 and to take 6.2 h: all free. A round",
        ),
        (
            {
                "first": a_candidate(
                    worst=Slowest(participant="seoul", rtt_ms=0.01, band_ms=0.01, measured=False)
                )
            },
            "last for seoul (less than 0.1 ms away, estimated).",
        ),
        ({"reason": "basis", "second": {"price_basis": "estimate"}}, "is an estimate and the fir"),
        (
            {"reason": "age", "second": {"price_date": date(2025, 6, 28)}},
            "older (2025-06-28 against 2026-11-20)",
        ),
        ({"reason": "carbon"}, "its grid emits more carbon"),
        ({"reason": "carbon", "second": {"gco2": None}}, "its grid's carbon is unknown"),
        ({"reason": "name"}, "is as good within the data's error; it comes second by its name"),
        ({"reason": "score"}, "differs by less than can be shown here; with 50% of the weight"),
        ({"quorum": 3}, "it waits for the first 3 of 5 participants, last for seoul"),
        ({"quorum": 1}, "it waits for the first of 5 participants, seoul ("),
        ({"participants": 1, "quorum": 1}, "it waits for seoul ("),
        ({"participants": 2, "quorum": 2}, "it waits for both participants, last for seoul"),
        ({"bound": "network"}, "own network, which all 5 participants share, longer than for any"),
        ({"second": None, "feasible": 1}, "No other candidate fits."),
        ({"cheapest_hourly": 0.0484}, "By the hour nothing that fits is cheaper ($0.0484 with"),
    ],
)
def test_what_decided_is_what_is_said(changes, said):
    second = changes.get("second", {})
    if second is not None:
        changes = {**changes, "second": a_candidate("gcp:europe-west4", **second)}
    story = a_story(**changes)
    text = explain(a_question(), story)

    assert said in text
    check(text, a_question(), story)


def test_only_a_candidate_that_is_alone_is_said_to_be():
    assert "No other" not in explain(a_question(), a_story())


@pytest.mark.parametrize(
    ("placement", "said"),
    [
        ({"score": "money"}, "by dollars alone it"),
        ({"score": "money", "hour_usd": 20.0}, "by dollars and $20.00 an hour it"),
        ({"balance": 1.0}, "by dollars alone it"),
        ({"balance": 0.25}, "with 25% of the weight on cost it"),
    ],
)
def test_the_score_is_named_as_it_was_asked_for(placement, said):
    assert f"; {said} comes second." in explain(a_question(**placement), a_story())


def test_a_small_difference_that_decides_is_said():
    slower = a_candidate("gcp:europe-west4", cost=79.002, hours=4.0)
    text = explain(a_question(score="money"), a_story(second=slower))

    assert "costs $0.0020 more (mostly egress) and takes 2.2 h less; by dollars alone" in text


def test_what_decides_by_less_than_prints_is_said():
    first = a_candidate(cost_usd=Cost(vm=0.001427, egress=0, address=0, total=0.001427), hours=0.2)
    dear = Cost(vm=0.001467, egress=0, address=0, total=0.001467)
    second = a_candidate("gcp:us-east5", cost_usd=dear, hours=0.1)
    text = explain(a_question(score="money"), a_story(first=first, second=second))

    assert (
        "costs less than $0.0001 more (mostly the machine) and takes 6 min less; by dollars alone "
        "it comes second"
    ) in text


def demand(name, becomes=None):
    return Demand(constraint=name, wanted="at most 60 s", becomes=becomes)


A, B = "limits.deadline", "limits.max_rtt_ms"


@pytest.mark.parametrize(
    ("demands", "further", "considered", "said"),
    [
        (
            [demand(A, "at least 90 s")],
            [],
            19_995,
            f"None of 19,995 candidates fits: {A} (at most 60 s) cannot be met. All else kept, it "
            f"would take {A} at least 90 s.",
        ),
        (
            [demand(A)],
            [],
            1,
            f"No candidate fits: {A} (at most 60 s) cannot be met. Nothing {A} may be set to is "
            "enough.",
        ),
        (
            [demand(A)],
            [demand(B)],
            2,
            f"None of 2 candidates fits: {A} (at most 60 s) cannot be met. Were that dropped, "
            f"still {B} (at most 60 s) cannot be met.",
        ),
        (
            [demand(A), demand(B)],
            [],
            2,
            f"None of 2 candidates fits: {A} (at most 60 s) and {B} (at most 60 s) cannot all be "
            "met. Loosening one of them alone is not enough.",
        ),
        (
            [demand(A, "at least 90 s"), demand(B, "at least 9 ms")],
            [],
            2,
            f"None of 2 candidates fits: {A} (at most 60 s) and {B} (at most 60 s) cannot all be "
            f"met. All else kept, it would take {A} at least 90 s; or {B} at least 9 ms.",
        ),
    ],
)
def test_a_conflict_reads_like_this(demands, further, considered, said):
    assert explain_conflict(demands, further, considered) == said


def test_a_demand_that_no_value_meets_is_said_to_be_so():
    far = {**person(Random(1), 0), "compute_s": 3_000.0}
    answer = ask(asked_of([far], rounds=500), limit=10)

    assert [(one.constraint, one.becomes) for one in answer.conflict] == [("limits.deadline", None)]
    assert answer.explanation.endswith("Nothing limits.deadline may be set to is enough.")


def person(random, number):
    regions = shipped().regions
    row = random.randrange(len(regions))
    near = float(regions.latitude[row]), float(regions.longitude[row])
    told = {
        "name": f"p{number}",
        "latitude": min(90.0, max(-90.0, near[0] + random.uniform(-4, 4))),
        "longitude": min(180.0, max(-180.0, near[1] + random.uniform(-4, 4))),
        "country": regions.country[row],
    }
    if random.random() < 0.2:
        told["cloud"] = f"{regions.provider[row]}:{regions.name[row]}"
    if random.random() < 0.7:
        told["up_mbps"] = told["down_mbps"] = random.choice((10.0, 100.0, 10_000.0))
    if random.random() < 0.5:
        told["compute_s"] = random.choice((0.0, 0.1, 5.0, 60.0))
    return told


def asked_of(people, rounds=100, **changes):
    given = {"rounds": rounds, "participants": people, "limits": {"deadline": "7d"}}
    placement = {"model_bytes": 10**8, **changes.pop("placement", {})}
    return PlacementQuestion.model_validate(
        {**given, "placement": placement, **changes}, strict=False
    )


def a_random_question(random):
    size = random.choice((1, 2, 3, 5, 20, 200))
    placement = {"model_bytes": random.choice((1, 10**6, 10**8, 10**9))}
    if random.random() < 0.4:
        placement |= {"score": "money", "hour_usd": random.choice((0.0, 0.5, 20.0))}
    else:
        placement["balance"] = random.choice((0.0, 0.25, 0.5, 0.9, 1.0))
    aggregator = {}
    if random.random() < 0.5:
        aggregator["purchase"] = random.choice(("spot", "on_demand"))
    if random.random() < 0.4:
        allowed = random.choice(("eu", "US", "aws", "KR", "gcp:us-west4", "azure:uksouth"))
        aggregator["regions"] = {"allow": [allowed]}
    if random.random() < 0.2:
        aggregator["need"] = {"vcpus": random.choice((60, 90)), "memory_mib": 1}
    people = [person(random, number) for number in range(size)]
    quorum = {"quorum": random.randint(1, size)} if random.random() < 0.4 else {}
    rounds = random.choice((1, 10, 100, 500))
    return asked_of(people, rounds, placement=placement, aggregator=aggregator, **quorum)


def ask(question, limit):
    return choose(
        shipped(),
        question,
        question.participants,
        model_bytes=question.placement.model_bytes,
        today=TODAY,
        limit=limit,
    )


class Numbers:
    """What the ranking of a question knows of each candidate, in plain figures."""

    def __init__(self, question):
        self.question = question
        self.ranking = rank(
            shipped(),
            question,
            question.participants,
            model_bytes=question.placement.model_bytes,
            today=TODAY,
            limit=10,
        )
        table, found = self.ranking.on.table, self.ranking.found
        self.table, self.found = table, found
        self.hourly = (table.price + table.address) / 1e6
        self.feasible = np.flatnonzero(self.ranking.feasible)
        self.first = int(self.ranking.rows[0])

    def candidate(self, row):
        """As far as the text tells of it."""
        table, found, book = self.table, self.found, self.ranking.on.book
        region, machine = int(table.region[row]), int(table.machine[row])
        on, priced = self.ranking.on, int(table.price_row[row])
        cost = {part: round(float(getattr(found.bill, part)[row])) for part in PART}
        slowest = int(on.reach.deciding[region])
        known = bool((slowest, region) in on.parties.measured)
        gco2 = float(book.regions.gco2[region])
        return a_candidate(
            f"{book.regions.provider[region]}:{book.regions.name[region]}",
            city=book.regions.city[region],
            machine_type=book.machines.name[machine],
            purchase=Purchase.SPOT if table.spot[row] else Purchase.ON_DEMAND,
            network_tier=table.tier[row],
            hours=round(float(found.seconds[row]) / 3600, 4),
            round_s=round(float(found.round_s[row]), 3),
            cost_usd=Cost(
                **{part: usd / 1e6 for part, usd in cost.items()}, total=sum(cost.values()) / 1e6
            ),
            worst=Slowest(
                participant=on.parties.names[slowest],
                rtt_ms=round(float(on.parties.rtt[slowest, region]), 2),
                band_ms=round(band_ms(book, on.parties, slowest, region), 2),
                measured=known,
            ),
            p_interruption=round(float(found.p_interruption[row]), 6),
            gco2=None if math.isnan(gco2) else gco2,
            price_usd_hour=float(table.price[row]) / 1e6,
            price_date=date(1970, 1, 1) + timedelta(days=int(book.prices.dated[priced])),
            price_basis=BASES[int(book.prices.basis[priced])],
        )

    def name(self, row):
        table, book = self.table, self.ranking.on.book
        machine = book.machines.name[int(table.machine[row])]
        option = "spot" if table.spot[row] else "on demand"
        tier = f", {table.tier[row]} tier" if table.tier[row] else ""
        return f"{machine} {option}{tier}"

    def row_named(self, text, before, after):
        """The feasible candidate whose name stands between two phrases, if they are there."""
        if before not in text:
            return None
        regions = self.ranking.on.book.regions
        rest = text.split(before, 1)[1]
        found = []
        for row in self.feasible.tolist():
            region = int(self.table.region[row])
            place = (
                f"{regions.provider[region]}:{regions.name[region]} ({regions.city[region]}) on "
            )
            if rest.startswith(place) and rest.startswith(place + self.name(row) + after):
                found.append(row)
        assert len(found) == 1, text
        return found[0]

    def reason(self, second):
        """By what the first of the ranking precedes `second`: whatever differs first."""
        by, score = self.ranking.by, self.ranking.score
        if score[second] > by.equal_to(float(score[self.feasible].min())):
            return "score"
        book, on, pair = self.ranking.on.book, self.ranking.on, (self.first, second)
        region = [int(self.table.region[row]) for row in pair]
        price = [int(self.table.price_row[row]) for row in pair]
        carbon = [float(book.regions.gco2[one]) for one in region]
        keys = {
            "interruption": [self.found.p_interruption[row] for row in pair],
            "distance": [on.reach.furthest[one] for one in region],
            "basis": [book.prices.basis[one] for one in price],
            "age": [-book.prices.dated[one] for one in price],
            "carbon": [math.inf if math.isnan(one) else one for one in carbon],
            "score": [score[row] for row in pair],
        }
        name, (here, there) = next(
            ((name, two) for name, two in keys.items() if two[0] != two[1]), ("name", (0, 1))
        )
        assert here < there
        return name

    def story(self, text):
        """Who is spoken of is taken from the text, all else from the figures."""
        on, question, first = self.ranking.on, self.question, self.first
        second = self.row_named(text, "The next, ", ", ")
        cheapest = self.row_named(text, "by the hour that fits, ", " at $")
        least = float(self.hourly[self.feasible].min())
        cheapest = first if cheapest is None else cheapest
        assert self.hourly[cheapest] == least
        count = len(question.participants)
        wire = on.reach.compute + count * 3 * question.placement.model_bytes / on.table.nic[first]
        return Story(
            first=self.candidate(first),
            second=None if second is None else self.candidate(second),
            cheapest=self.candidate(cheapest),
            participants=count,
            quorum=question.quorum or count,
            reason="name" if second is None else self.reason(second),
            bound="network" if wire > on.reach.first[on.table.region[first]] else "participant",
            feasible=len(self.feasible),
            hourly=float(self.hourly[first]),
            cheapest_hourly=least,
        )


@pytest.mark.parametrize("seed", range(40))
def test_every_claim_of_an_answer_is_true(seed):
    random = Random(seed)
    question = a_random_question(random)
    answer = ask(question, limit=random.choice((1, 10)))
    if answer.conflict is not None:
        assert answer.explanation.startswith(f"None of {answer.considered:,} candidates fits: ")
        return
    numbers = Numbers(question)
    story = numbers.story(answer.explanation)
    said = check(answer.explanation, question, story)

    assert named(answer.candidates[0]) == named(story.first)
    if len(answer.candidates) > 1:
        assert named(answer.candidates[1]) == named(story.second)
    assert (story.second is None) == (answer.feasible == 1)
    if "rate" in said:
        assert named(answer.cheapest_hour) == named(story.cheapest)
    assert answer.candidates[0].worst == story.first.worst
