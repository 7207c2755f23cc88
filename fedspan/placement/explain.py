"""The answer in plain words. What would print as nothing, or print alike, is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, assert_never

from fedspan.domain.placements import Candidate, Demand, PlacementQuestion
from fedspan.domain.spec import PlacementSpec, Purchase, Score

ALIKE: Final = 0.005
"""Differences below this share are not worth a word, unless they decide."""
LEAST_USD: Final = 0.0001
LEAST_HOURS: Final = 1 / 3600
LEAST_MS: Final = 0.1
"""The least that is told in figures; what is below half of it is left out, unless it decides."""
KNOWN: Final = {"list": "a list price", "derived": "derived", "estimate": "an estimate"}

Tie = Literal["interruption", "distance", "basis", "age", "carbon", "name"]
Reason = Literal[Tie, "score"]
Bound = Literal["participant", "network"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What is told. `second` comes next after `first`, None when nothing else is feasible;
    `reason` is the first of what orders candidates that sets the two apart; `cheapest` costs
    least by the hour with its address, of the `feasible` ones. `hourly` and `cheapest_hourly` are
    dollars an hour of machine and address. A round of `first` waits for `quorum` of the
    `participants`, or (`bound`) longer for the aggregator's own network."""

    first: Candidate
    second: Candidate | None
    cheapest: Candidate
    participants: int
    quorum: int
    reason: Reason
    bound: Bound
    feasible: int
    hourly: float
    cheapest_hourly: float


def explain(question: PlacementQuestion, story: Story) -> str:
    """Why the first, and not the second, nor the cheapest by the hour."""
    said = [_first(story.first), _pace(story)]
    if story.second is not None:
        said.append(_second(question.placement, story, story.second))
    elif story.feasible == 1:
        said.append("No other candidate fits.")
    said.append(_hourly(story))
    return " ".join(said)


def explain_conflict(
    demands: Sequence[Demand],
    further: Sequence[Demand],
    considered: int,
    together: Sequence[str] = (),
) -> str:
    """`further` conflict still were all of `demands` dropped; `together` is what all of these
    limits would have to become."""
    none = f"None of {considered:,} candidates fits" if considered > 1 else "No candidate fits"
    said = [f"{none}: {_not_met(demands)}."]
    ways = [f"{one.constraint} {one.becomes}" for one in demands if one.becomes is not None]
    if ways:
        said.append(f"All else kept, it would take {'; or '.join(ways)}.")
    elif further:
        dropped = "that" if len(demands) == 1 else "they"
        said.append(f"Were {dropped} dropped, still {_not_met(further)}.")
        if together:
            said.append(f"It would take {' with '.join(together)}.")
    elif len(demands) == 1:
        said.append(f"Nothing {demands[0].constraint} may be set to is enough.")
    else:
        said.append("Loosening one of them alone is not enough.")
    return " ".join(said)


def _not_met(demands: Sequence[Demand]) -> str:
    told = [f"{one.constraint} ({one.wanted})" for one in demands]
    if len(told) == 1:
        return f"{told[0]} cannot be met"
    return f"{', '.join(told[:-1])} and {told[-1]} cannot all be met"


def _first(one: Candidate) -> str:
    parts = _parts(one)
    return (
        f"{_place(one)} is expected to cost {_usd(one.cost_usd.total)} and to take "
        f"{_hours(one.hours.expected)}{': ' if parts else ''}{parts}."
    )


def _parts(one: Candidate) -> str:
    cost = one.cost_usd
    if not cost.total:
        return "all free"
    parts = [
        ("the machine", cost.vm),
        ("egress", cost.egress),
        ("the address", cost.address),
        ("what participants in clouds pay to send", cost.participants),
    ]
    return ", ".join(f"{_usd(usd)} for {name}" for name, usd in parts if usd >= LEAST_USD / 2)


def _pace(story: Story) -> str:
    one, count = story.first, story.participants
    takes = f"A round takes {_seconds(one.round_s)}"
    if story.bound == "network":
        shared = f", which {_all(count)} participants share," if count > 1 else ""
        than = "any of them" if count > 1 else one.worst.participant
        return f"{takes}; it waits for the machine's own network{shared} longer than for {than}."
    slowest = f"{one.worst.participant} ({_distance(one)})"
    if count == 1:
        return f"{takes}; it waits for {slowest}."
    if story.quorum == 1:
        return f"{takes}; it waits for the first of {count:,} participants, {slowest}."
    some = f"the first {story.quorum:,} of {count:,}" if story.quorum < count else _all(count)
    return f"{takes}; it waits for {some} participants, last for {slowest}."


def _all(count: int) -> str:
    return "both" if count == 2 else f"all {count:,}"


def _distance(one: Candidate) -> str:
    away = f"{_ms(one.worst.rtt_ms)} away"
    if one.worst.measured:
        return f"{away}, measured"
    band = f", ±{_ms(one.worst.band_ms)}" if one.worst.band_ms >= LEAST_MS / 2 else ""
    return f"{away}, estimated{band}"


def _second(spec: PlacementSpec, story: Story, second: Candidate) -> str:
    the_next, rule = f"The next, {_place(second)},", _rule(spec)
    differs = _differences(spec, story, second)
    if story.reason == "score":
        differs = differs or "differs by less than can be shown here"
        return f"{the_next} {differs}; {rule} it comes second."
    why = _why(story.reason, story.first, second)
    if not differs:
        return f"{the_next} is as good within the data's error; it comes second {why}."
    return (
        f"{the_next} {differs}; {rule} the two are equal within the data's error, and it comes "
        f"second {why}."
    )


def _rule(spec: PlacementSpec) -> str:
    cost, time = _weighed(spec)
    if not (cost and time):
        return "by dollars alone" if cost else "by hours alone"
    if spec.score is Score.MONEY:
        return f"by dollars and {_usd(spec.hour_usd)} an hour"
    return f"with {100 * spec.balance:.6g}% of the weight on cost"


def _weighed(spec: PlacementSpec) -> tuple[bool, bool]:
    """Whether dollars count, and hours."""
    if spec.score is Score.MONEY:
        return True, spec.hour_usd > 0
    return spec.balance > 0, spec.balance < 1


@dataclass(frozen=True, slots=True)
class _Gap:
    """How much more the second is than the first: in words, whether that `shows` in figures and
    is `notable`, and whether the second is the `worse` for it."""

    told: str
    shows: bool
    notable: bool
    worse: bool


def _differences(spec: PlacementSpec, story: Story, second: Candidate) -> str:
    """In dollars and hours. If the score decided, what it decided by is among them."""
    gaps = _cost_gap(story.first, second), _time_gap(story.first, second)
    told = [gap for gap in gaps if gap.notable]
    counts = zip(gaps, _weighed(spec), strict=True)
    worse = [gap for gap, weighs in counts if weighs and gap.worse]
    if story.reason == "score" and not any(gap.notable for gap in worse):
        deciding = [gap for gap in worse if gap.shows] or worse
        told = [gap for gap in gaps if gap.notable or gap in deciding]
    return " and ".join(gap.told for gap in told)


def _cost_gap(first: Candidate, second: Candidate) -> _Gap:
    here, there = first.cost_usd.total, second.cost_usd.total
    told = f"costs {_usd(abs(there - here))} {_more(here, there)}{_mostly(first, second)}"
    shows = abs(there - here) >= LEAST_USD / 2
    return _Gap(told, shows, shows and _apart(here, there), there > here)


def _time_gap(first: Candidate, second: Candidate) -> _Gap:
    here, there = first.hours.expected, second.hours.expected
    told = f"takes {_hours(abs(there - here))} {_more(here, there)}"
    shows = abs(there - here) >= LEAST_HOURS / 2
    return _Gap(told, shows, shows and _apart(here, there), there > here)


def _more(here: float, there: float) -> str:
    return "more" if there > here else "less"


def _apart(here: float, there: float) -> bool:
    return abs(there - here) > ALIKE * max(here, there)


def _mostly(first: Candidate, second: Candidate) -> str:
    """What more than half of the difference in dollars is."""
    mine, its = first.cost_usd, second.cost_usd
    whole = its.total - mine.total
    gaps = {
        "egress": its.egress - mine.egress,
        "the machine": its.vm - mine.vm,
        "the address": its.address - mine.address,
        "what participants pay": its.participants - mine.participants,
    }
    most = max(gaps, key=lambda name: gaps[name] * whole)
    return f" (mostly {most})" if 2 * abs(gaps[most]) > abs(whole) else ""


def _why(reason: Tie, first: Candidate, second: Candidate) -> str:
    match reason:
        case "interruption":
            risks = _chances(second.p_interruption, first.p_interruption)
            return f"because it is likelier to be interrupted{risks}"
        case "distance":
            return "because its furthest participant is further away"
        case "basis":
            its, mine = KNOWN[second.price_basis], KNOWN[first.price_basis]
            return f"because its price is {its} and the first's {mine}"
        case "age":
            dates = f"{second.price_date} against {first.price_date}"
            return f"because its price is older ({dates})"
        case "carbon":
            unknown = second.gco2 is None
            grid = "its grid's carbon is unknown" if unknown else "its grid emits more carbon"
            return f"because {grid}"
        case "name":
            return "by its name alone"
    assert_never(reason)


def _chances(its: float, mine: float) -> str:
    """The two chances in as many digits as tell them apart, and from none and certainty."""
    for digits in range(3):
        told = [f"{chance:.{digits}%}" for chance in (its, mine)]
        edges = {f"{edge:.{digits}%}" for edge in (0, 1)}
        exact = all(
            one not in edges or chance in (0, 1)
            for one, chance in zip(told, (its, mine), strict=True)
        )
        if told[0] != told[1] and exact:
            return f" ({told[0]} against {told[1]})"
    return ""


def _hourly(story: Story) -> str:
    one = story.cheapest
    addressed = story.cheapest_hourly != one.price_usd_hour
    addressed |= story.hourly != story.first.price_usd_hour
    address = " with its address" if addressed else ""
    if story.hourly - story.cheapest_hourly < LEAST_USD / 200:
        return f"By the hour nothing that fits is cheaper ({_usd(story.hourly)}{address})."
    return (
        f"The cheapest machine by the hour that fits, {_place(one)} at "
        f"{_usd(story.cheapest_hourly)}{address}, would come to {_usd(one.cost_usd.total)}"
        f"{_of_egress(one)}, and take {_hours(one.hours.expected)}."
    )


def _of_egress(one: Candidate) -> str:
    share = one.cost_usd.egress / one.cost_usd.total if one.cost_usd.total else 0.0
    if share < 0.01:
        return ""
    told = f"{share:.0%}"
    return f", {'nearly all' if told == '100%' and share < 1 else told} of it egress"


def _place(one: Candidate) -> str:
    option = "spot" if one.purchase is Purchase.SPOT else "on demand"
    tier = f", {one.network_tier} tier" if one.network_tier else ""
    city = f" ({one.city})" if one.city else ""
    return f"{one.place}{city} on {one.machine_type} {option}{tier}"


def _usd(value: float) -> str:
    if value < LEAST_USD / 2:
        return f"less than ${LEAST_USD:.4f}" if value else "$0"
    return f"${value:,.2f}" if value >= 1 else f"${value:.4f}"


def _hours(value: float) -> str:
    if value >= 1:
        return f"{value:,.1f} h"
    if value >= 1 / 60:
        return f"{value * 60:.0f} min"
    return f"{value * 3600:.0f} s" if value >= LEAST_HOURS / 2 else "less than 1 s"


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 10 else f"{value:.1f} s"


def _ms(value: float) -> str:
    if value < LEAST_MS / 2:
        return f"less than {LEAST_MS} ms"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"
