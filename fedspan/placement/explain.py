"""The answer in plain words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fedspan.domain.placements import Candidate, Demand, PlacementQuestion
from fedspan.domain.spec import Purchase, Score

ALIKE = 0.005
"""Shares below this are not worth a word."""


def explain(
    question: PlacementQuestion,
    shown: Sequence[Candidate],
    cheapest: Candidate | None,
    participants: int,
) -> str:
    """Why the first, and not the second, nor the cheapest by the hour."""
    first = shown[0]
    said = [_first(first, participants)]
    if len(shown) > 1:
        said.append(_second(question, first, shown[1]))
    else:
        said.append("No other candidate fits.")
    if cheapest is not None:
        said.append(_hourly(first, cheapest))
    return " ".join(said)


def explain_conflict(demands: Sequence[Demand], further: Sequence[Demand], considered: int) -> str:
    """`further` conflict still were all of `demands` dropped."""
    said = [f"None of {considered:,} places fits: {_not_met(demands)}."]
    ways = [f"{one.constraint} {one.becomes}" for one in demands if one.becomes]
    if ways:
        said.append(f"All else kept, it would take {'; or '.join(ways)}.")
    elif further:
        said.append(f"Were that dropped, still {_not_met(further)}.")
    else:
        said.append("Loosening one of them alone is not enough.")
    return " ".join(said)


def _not_met(demands: Sequence[Demand]) -> str:
    told = [f"{one.constraint} ({one.wanted})" for one in demands]
    if len(told) == 1:
        return f"{told[0]} cannot be met"
    return f"{', '.join(told[:-1])} and {told[-1]} cannot all be met"


def _first(one: Candidate, participants: int) -> str:
    return (
        f"{_place(one)} is expected to cost {_usd(one.cost_usd.total)} and to take "
        f"{_hours(one.hours.expected)}: {_parts(one)}. {_pace(one, participants)}"
    )


def _pace(one: Candidate, participants: int) -> str:
    known = "measured" if one.worst.measured else f"estimated, ±{one.worst.band_ms:.0f} ms"
    among = "" if participants == 1 else f" of {participants:,} participants"
    return (
        f"A round takes {_seconds(one.round_s)}; it waits longest for "
        f"{one.worst.participant}{among} ({one.worst.rtt_ms:.0f} ms away, {known})."
    )


def _parts(one: Candidate) -> str:
    cost = one.cost_usd
    parts = [("the machine", cost.vm), ("egress", cost.egress), ("the address", cost.address)]
    if cost.participants:
        parts.append(("what participants in clouds pay to send", cost.participants))
    return ", ".join(f"{_usd(usd)} for {name}" for name, usd in parts if usd > 0) or "all free"


def _second(question: PlacementQuestion, first: Candidate, second: Candidate) -> str:
    said = f"The next, {_place(second)}, {_difference(first, second)}"
    spec = question.placement
    if spec.score is Score.MONEY:
        rule = f"dollars and {_usd(spec.hour_usd)} an hour" if spec.hour_usd else "dollars"
        return f"{said}; by {rule} it comes second."
    return f"{said}; with {spec.balance:.0%} of the weight on cost it comes second."


def _difference(first: Candidate, other: Candidate) -> str:
    words = [
        _more(first.cost_usd.total, other.cost_usd.total, "costs", _usd),
        _more(first.hours.expected, other.hours.expected, "takes", _hours),
    ]
    found = [word for word in words if word]
    if not found:
        return f"is as good within the data's error, and {_tie(first, other)}"
    why = _why(first, other)
    return " and ".join(found) + (f" ({why})" if why else "")


def _more(here: float, there: float, verb: str, form: Callable[[float], str]) -> str:
    gap = there - here
    if abs(gap) <= ALIKE * max(here, there, 1e-9):
        return ""
    return f"{verb} {form(abs(gap))} {'more' if gap > 0 else 'less'}"


def _why(first: Candidate, other: Candidate) -> str:
    """What most of the difference in dollars is."""
    mine, its = first.cost_usd, other.cost_usd
    gaps = {
        "egress": its.egress - mine.egress,
        "the machine": its.vm - mine.vm,
        "what participants pay": its.participants - mine.participants,
    }
    most = max(gaps, key=lambda name: abs(gaps[name]))
    whole = its.total - mine.total
    if abs(whole) <= ALIKE * max(its.total, mine.total, 1e-9) or gaps[most] * whole <= 0:
        return ""
    return f"mostly {most}"


def _tie(first: Candidate, other: Candidate) -> str:
    if other.p_interruption > first.p_interruption:
        risks = f"{other.p_interruption:.0%} against {first.p_interruption:.0%}"
        return f"likelier to be interrupted, {risks}"
    if other.worst.rtt_ms > first.worst.rtt_ms:
        return "further from the participants"
    if other.price_basis != first.price_basis:
        return f"its price is only {other.price_basis}"
    return "comes after it by the age of its price, carbon or name"


def _hourly(first: Candidate, cheapest: Candidate) -> str:
    hour = f"{_usd(cheapest.price_usd_hour)} an hour"
    same = (first.place, first.machine_type, first.purchase, first.network_tier)
    if same == (
        cheapest.place,
        cheapest.machine_type,
        cheapest.purchase,
        cheapest.network_tier,
    ):
        return f"It is also the cheapest by the hour ({hour})."
    share = cheapest.cost_usd.egress / cheapest.cost_usd.total if cheapest.cost_usd.total else 0.0
    egress = f", {share:.0%} of it egress" if share >= 0.01 else ""
    return (
        f"The cheapest machine by the hour, {_place(cheapest)} at {hour}, would come to "
        f"{_usd(cheapest.cost_usd.total)}{egress}, and take {_hours(cheapest.hours.expected)}."
    )


def _place(one: Candidate) -> str:
    option = "spot" if one.purchase is Purchase.SPOT else "on demand"
    tier = f", {one.network_tier} tier" if one.network_tier else ""
    city = f" ({one.city})" if one.city else ""
    return f"{one.place}{city} on {one.machine_type} {option}{tier}"


def _usd(value: float) -> str:
    return f"${value:,.2f}" if value >= 1 else f"${value:.4f}"


def _hours(value: float) -> str:
    return f"{value:.1f} h" if value >= 1 else f"{value * 60:.0f} min"


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
