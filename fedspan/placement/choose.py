"""From a question to its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np

from fedspan.domain.parsing import nearest
from fedspan.domain.placements import (
    STALE_DAYS,
    Candidate,
    Cost,
    Participant,
    PlacementAnswer,
    PlacementQuestion,
    PriceAge,
    Slowest,
)
from fedspan.domain.spec import CpuArch, Purchase
from fedspan.errors import InvalidRequest
from fedspan.placement.assumptions import assumptions
from fedspan.placement.book import BASES, EPOCH, Book, Bools, Floats, Ints, Source
from fedspan.placement.constraints import (
    Constraint,
    Expected,
    all_met,
    conflict,
    of_offer,
    of_outcome,
    without,
)
from fedspan.placement.duration import wire_seconds
from fedspan.placement.evaluation import (
    Evaluation,
    Setting,
    evaluate,
    promised_seconds,
    setting,
)
from fedspan.placement.explain import Story, explain, explain_conflict
from fedspan.placement.federation import band_ms
from fedspan.placement.front import Scale, TieBreaks, pareto, ranked, scale
from fedspan.placement.loosening import together
from fedspan.placement.stability import Draws, draws

POOL: Final = 50
"""The best that are looked at again when prices and RTTs are drawn within their error."""
MACHINE: Final = ("aggregator.need.", "aggregator.purchase")
"""Constraints that a place a person would rather have must still meet."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """`rows` are the best candidates, in order, at least `POOL` where there are so many;
    `front` those on the Pareto front of all; `by` what scored them, None when none is feasible."""

    on: Setting
    found: Evaluation
    constraints: Sequence[Constraint]
    feasible: Bools
    front: Ints
    by: Scale | None
    score: Floats
    rows: Ints


def rank(
    book: Book,
    question: PlacementQuestion,
    participants: Sequence[Participant],
    *,
    model_bytes: int,
    program_bytes: int = 0,
    today: date,
    limit: int,
) -> Ranking:
    """Every candidate judged, the feasible ordered; `program_bytes` travel with each model down.
    `score` is NaN where infeasible.

    Raises:
        InvalidRequest: the question names a region, country, provider or GPU nobody knows, or
            the book has no candidate.
    """
    on = setting(book, question, participants, model_bytes, program_bytes)
    if not len(on.table):
        raise InvalidRequest("there is nothing to choose from: the list of candidates is empty")
    _known_providers(book, question)
    found = evaluate(on)
    expected = Expected(
        usd=found.cost / 1e6,
        seconds=promised_seconds(on, found),
        round_s=found.round_s,
        furthest_ms=on.reach.furthest[on.table.region],
        p_interruption=found.p_interruption,
    )
    constraints = [*of_offer(on.table, question, today), *of_outcome(question, expected)]
    feasible = all_met(constraints, len(on.table))
    rows = np.flatnonzero(feasible)
    cost, seconds = found.cost, found.seconds
    score = np.full(len(on.table), np.nan)
    front, by, best = rows, None, rows
    if rows.size:
        front = rows[pareto(cost[rows], seconds[rows])]
        by = scale(question.placement, cost[front], seconds[front])
        score[rows] = by.of(cost[rows], seconds[rows])
        best = ranked(by, rows, score[rows], _ties(on, found), max(limit, POOL))
    return Ranking(on, found, constraints, feasible, front, by, score, best)


def choose(
    book: Book,
    question: PlacementQuestion,
    participants: Sequence[Participant],
    *,
    model_bytes: int,
    program_bytes: int = 0,
    today: date,
    limit: int,
    compare: str | None = None,
) -> PlacementAnswer:
    """The best candidates, of at most `limit` places, and the Pareto front; or what contradicts
    itself. `compare` names a region whose best candidate is priced too.

    Raises:
        InvalidRequest: see `rank`; or `compare` is no region.
    """
    regions = None if compare is None else _compared(book, compare)
    ranking = rank(
        book,
        question,
        participants,
        model_bytes=model_bytes,
        program_bytes=program_bytes,
        today=today,
        limit=limit,
    )
    on, best = ranking.on, _a_row_a_place(ranking, max(limit, 2))
    rows = best[:limit]
    rest = np.setdiff1d(ranking.front, rows)
    pool = np.unique(np.concatenate((ranking.rows, best, rest)))
    show = _Show(ranking, draws(on, ranking.found, pool), today)
    shown, others = (tuple(show.candidate(row) for row in some.tolist()) for some in (rows, rest))
    compared = None if regions is None else show.best_in(regions)
    cheapest, demands, stability = None, None, None
    if shown:
        hourly = show.cheapest_row()
        cheapest = show.candidate(hourly)
        explanation = explain(question, _story(show, best, shown, cheapest, hourly))
        stability = show.drawn.stability(int(rows[0]))
    else:
        demands = conflict(ranking.constraints)
        further = without(ranking.constraints, demands)
        both = together(ranking.constraints, (*demands, *further)) if further else ()
        explanation = explain_conflict(demands, further, len(on.table), both)
    on_front = set(ranking.front.tolist())
    return PlacementAnswer(
        candidates=shown,
        front=tuple(n for n, row in enumerate(rows.tolist()) if row in on_front),
        rest_of_front=others,
        stability=stability,
        explanation=explanation,
        conflict=demands,
        compared=compared,
        cheapest_hour=cheapest,
        assumptions=assumptions(on, participants),
        prices=_age(shown),
        considered=len(on.table),
        feasible=int(ranking.feasible.sum()),
        model_bytes=model_bytes,
        program_bytes=program_bytes,
        book=book.id,
    )


def _story(
    show: _Show, best: Ints, shown: Sequence[Candidate], cheapest: Candidate, hourly_row: int
) -> Story:
    """`best` are the first of the list, at least two where two kinds are feasible; `shown` some
    of them; `cheapest` is the candidate in `hourly_row`."""
    ranking = show.ranking
    on, table, by = ranking.on, ranking.on.table, ranking.by
    assert by is not None
    first, others = int(best[0]), np.append(best, ranking.rows)
    row = next((row for row in others.tolist() if row != first), None)
    second = None if row is None else shown[1] if len(shown) > 1 else show.candidate(row)
    hourly = (table.price + table.address) / 1e6
    wire = wire_seconds(
        on.reach.compute, len(on.parties), on.work.sent, table.nic[first : first + 1]
    )
    return Story(
        first=shown[0],
        second=second,
        cheapest=cheapest,
        participants=len(on.parties),
        quorum=on.work.needed,
        reason="name"
        if row is None
        else _ties(on, ranking.found).reason(by, ranking.score, first, row),
        bound="network" if wire[0] > on.reach.first[table.region[first]] else "participant",
        feasible=int(ranking.feasible.sum()),
        hourly=float(hourly[first]),
        cheapest_hourly=float(hourly[hourly_row]),
    )


def _a_row_a_place(ranking: Ranking, limit: int) -> Ints:
    """The best of each region and purchase option, for a place is what is asked for and its other
    machines are much alike."""
    if ranking.by is None:
        return ranking.rows
    table, feasible = ranking.on.table, np.flatnonzero(ranking.feasible)
    ties, score = _ties(ranking.on, ranking.found), ranking.score[feasible]
    kinds: dict[tuple[int, bool], int] = {}
    rows = ranking.rows
    for more in (20 * POOL, len(feasible), None):
        for row in rows.tolist():
            kinds.setdefault((int(table.region[row]), bool(table.spot[row])), row)
        if len(kinds) >= limit or more is None:
            break
        rows = ranked(ranking.by, feasible, score, ties, more)
    return np.array(list(kinds.values())[:limit], dtype=np.int64)


def _known_providers(book: Book, question: PlacementQuestion) -> None:
    known = set(book.regions.provider)
    for name in question.placement.egress_used_gb:
        if name not in known:
            raise InvalidRequest(
                f"placement.egress_used_gb: no provider {name!r}{nearest(name, known)}"
            )


def _ties(on: Setting, found: Evaluation) -> TieBreaks:
    return TieBreaks(on.table, found.p_interruption, on.reach.furthest)


def _compared(book: Book, word: str) -> Ints:
    called = book.regions.called
    if word not in called:
        raise InvalidRequest(f"compare: no region {word!r}{nearest(word, called)}")
    return np.array(called[word], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class _Show:
    """Candidates as a person gets them, of the ranking and beside it; those may be infeasible."""

    ranking: Ranking
    drawn: Draws
    today: date

    def candidate(self, row: int, score: float | None = None) -> Candidate:
        return _candidate(self.ranking, row, self.drawn, self.today, score)

    def best_in(self, regions: Ints) -> Candidate | None:
        """The best of these regions that has the machine asked for, limits or not."""
        ranking = self.ranking
        table, found = ranking.on.table, ranking.found
        machine = [one for one in ranking.constraints if one.name.startswith(MACHINE)]
        known = np.isfinite(ranking.on.reach.first)
        there = (np.isin(np.arange(len(known)), regions) & known)[table.region]
        rows = np.flatnonzero(all_met(machine, len(table)) & there & np.isfinite(found.cost))
        if not rows.size:
            return None
        inside = rows[ranking.feasible[rows]]
        rows = inside if inside.size else rows
        cost, seconds = found.cost[rows], found.seconds[rows]
        by = ranking.by or scale(ranking.on.question.placement, cost, seconds)
        score = by.of(cost, seconds)
        best = int(ranked(by, rows, score, _ties(ranking.on, found), 1)[0])
        return self.candidate(best, float(score[rows == best][0]))

    def cheapest_row(self) -> int:
        """What a tool would take that sorts by the price of an hour, its address included; of
        several the best, so that it is not made worse than it is."""
        ranking, table = self.ranking, self.ranking.on.table
        rows = np.flatnonzero(ranking.feasible)
        hourly = table.price[rows] + table.address[rows]
        return int(rows[np.lexsort((ranking.score[rows], hourly))[0]])


def _candidate(
    ranking: Ranking, row: int, drawn: Draws, today: date, score: float | None = None
) -> Candidate:
    on, found, table = ranking.on, ranking.found, ranking.on.table
    regions, machines, prices = on.book.regions, on.book.machines, on.book.prices
    region, machine, priced = (
        int(column[row]) for column in (table.region, table.machine, table.price_row)
    )
    dated = EPOCH + timedelta(days=int(prices.dated[priced]))
    egress = _egress_source(on, row)
    return Candidate(
        provider=regions.provider[region],
        region=regions.name[region],
        city=regions.city[region],
        country=regions.country[region],
        machine_type=machines.name[machine],
        vcpus=int(machines.vcpus[machine]),
        memory_mib=int(machines.memory_mib[machine]),
        arch=CpuArch(machines.arch[machine]),
        gpu=machines.gpu[machine],
        gpus=int(machines.gpus[machine]),
        purchase=Purchase.SPOT if table.spot[row] else Purchase.ON_DEMAND,
        network_tier=table.tier[row],
        hours=drawn.hours(row),
        round_s=round(float(found.round_s[row]), 3),
        cost_usd=_cost(found, row),
        worst=_worst(on, region),
        p_interruption=round(float(found.p_interruption[row]), 6),
        gco2=_grams(on, row, float(found.seconds[row])),
        score=round(float(ranking.score[row]) if score is None else score, 6),
        price_usd_hour=float(table.price[row]) / 1e6,
        address_usd_hour=float(table.address[row]) / 1e6,
        price_date=dated,
        price_basis=BASES[int(prices.basis[priced])],
        price_source=prices.source[priced],
        stale=(today - dated).days > STALE_DAYS,
        egress_date=None if egress is None else egress.dated,
        egress_source="" if egress is None else egress.id,
        breaks=tuple(one.name for one in ranking.constraints if not one.met[row]),
    )


def _egress_source(on: Setting, row: int) -> Source | None:
    tariffs, tariff = on.book.egress.tariffs, int(on.table.internet[0, row])
    return on.book.sources[tariffs[tariff].source] if tariff < len(tariffs) else None


def _cost(found: Evaluation, row: int) -> Cost:
    """In whole micro-dollars, whose sum is the total."""
    parts = (found.bill.vm, found.bill.egress, found.bill.address, found.bill.participants)
    vm, egress, address, participants = (round(float(part[row])) for part in parts)
    total = vm + egress + address + participants
    return Cost(
        vm=vm / 1e6,
        egress=egress / 1e6,
        address=address / 1e6,
        participants=participants / 1e6,
        total=total / 1e6,
    )


def _worst(on: Setting, region: int) -> Slowest:
    row = int(on.reach.deciding[region])
    return Slowest(
        participant=on.parties.names[row],
        rtt_ms=round(float(on.parties.rtt[row, region]), 2),
        band_ms=round(band_ms(on.book, on.parties, row, region), 2),
        measured=(row, region) in on.parties.measured,
    )


WATTS_PER_VCPU: Final = 2.5
"""Half way between idle and full: Cloud Carbon Footprint's coefficients for the three clouds lie
between 0.7 and 4.3 W a vCPU."""
PUE: Final = 1.15
"""Power for cooling and the rest of the building: what the three clouds report, rounded up."""


def _grams(on: Setting, row: int, seconds: float) -> float | None:
    """gCO2 of the machine while it runs, from the grid's average; GPUs are not counted."""
    per_kwh = float(on.book.regions.gco2[on.table.region[row]])
    if np.isnan(per_kwh):
        return None
    vcpus = int(on.book.machines.vcpus[on.table.machine[row]])
    return round(WATTS_PER_VCPU * vcpus * PUE / 1000 * seconds / 3600 * per_kwh, 3)


def _age(shown: Sequence[Candidate]) -> PriceAge | None:
    if not shown:
        return None
    dates = [one.price_date for one in shown]
    return PriceAge(oldest=min(dates), newest=max(dates), stale=sum(one.stale for one in shown))
