"""What a person demands of a place, and which demands contradict each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from fedspan.domain.countries import ALIASES, COUNTRIES
from fedspan.domain.parsing import nearest
from fedspan.domain.placements import Demand, PlacementQuestion
from fedspan.domain.spec import LONGEST_SECONDS, Limits, Purchase, step_of, unit_of, written
from fedspan.errors import InvalidRequest
from fedspan.placement.book import BASES, EPOCH, Book, Bools, Floats, Ints
from fedspan.placement.candidates import Candidates


@dataclass(frozen=True, eq=False)
class Constraint:
    """`met` by candidate; `relaxed` says what would let one of some rows in, None if nothing. Of a
    limit, `values` is what it limits, told in whole `step`."""

    name: str
    wanted: str
    met: Bools
    relaxed: Callable[[Ints], str | None]
    values: Floats | None = None
    step: float = 1.0


@dataclass(frozen=True, eq=False)
class Expected:
    """What constraints look at, by candidate: dollars, seconds of the job (what a deadline is held
    against) and of a round, ms and a probability."""

    usd: Floats
    seconds: Floats
    round_s: Floats
    furthest_ms: Floats
    p_interruption: Floats


def of_offer(table: Candidates, question: PlacementQuestion, today: date) -> list[Constraint]:
    """Those that a machine, its place and its price meet by themselves."""
    need = question.aggregator.need
    found = [
        _least("aggregator.need.vcpus", need.vcpus, table.vcpus),
        _least("aggregator.need.memory_mib", need.memory_mib, table.memory_mib),
    ]
    if need.arch is not None:
        found.append(_arch(table, need.arch.value))
    found.append(_gpu(table, need.gpu.count, need.gpu.model) if need.gpu else _no_gpu(table))
    regions = question.aggregator.regions
    if regions.allow:
        found.append(_allow(table, regions.allow))
    if regions.deny:
        found.append(_deny(table, regions.deny))
    if question.aggregator.purchase in (Purchase.SPOT, Purchase.ON_DEMAND):
        found.append(_purchase(table, question.aggregator.purchase))
    if not question.placement.estimates:
        found.append(_no_estimates(table))
    if question.placement.price_days is not None:
        found.append(_fresh(table, question.placement.price_days, today))
    return found


def of_outcome(question: PlacementQuestion, expected: Expected) -> list[Constraint]:
    """Those that depend on what is to be expected there."""
    limits = question.limits
    found = []
    lost = np.isinf(expected.furthest_ms)
    if lost.any():
        found.append(
            Constraint(
                "participants",
                "every participant's RTT known",
                ~lost,
                lambda rows: "a position, or a measured RTT, for every participant",
            )
        )
    if limits.max_rtt_ms is not None:
        known = np.where(lost, 0.0, expected.furthest_ms)
        found.append(_most("limits.max_rtt_ms", limits.max_rtt_ms, known, "{:.1f} ms".format, 0.1))
    by_default = [
        _lasting("limits.deadline", limits.deadline, expected.seconds, LONGEST_SECONDS),
        _lasting("limits.round", limits.round, expected.round_s),
    ]
    found += [_as_said(one, limits) for one in by_default]
    if limits.budget_usd is not None:
        budget, usd = limits.budget_usd, expected.usd
        found.append(_most("limits.budget_usd", budget, usd, "${:.4f}".format, 0.0001))
    if limits.max_interruption is not None:
        found.append(
            _most(
                "limits.max_interruption",
                limits.max_interruption,
                expected.p_interruption,
                "{:.4f}".format,
                0.0001,
            )
        )
    return found


def all_met(constraints: Sequence[Constraint], count: int) -> Bools:
    met = np.ones(count, dtype=bool)
    for one in constraints:
        met &= one.met
    return met


def conflict(constraints: Sequence[Constraint]) -> tuple[Demand, ...]:
    """The smallest set of constraints that no candidate meets together, in their order, each with
    what it would have to become were all others kept.

    Raises:
        InvalidRequest: there is no candidate at all to speak of.
    """
    if not constraints or not constraints[0].met.size:
        raise InvalidRequest("there is nothing to choose from: the list of candidates is empty")
    broken = np.zeros(constraints[0].met.size, dtype=np.int64)
    for bit, one in enumerate(constraints):
        broken |= np.where(one.met, 0, 1 << bit)
    kinds = np.unique(broken).tolist()
    members = next(
        chosen
        for size in range(1, len(constraints) + 1)
        for chosen in itertools.combinations(range(len(constraints)), size)
        if all(kind & sum(1 << bit for bit in chosen) for kind in kinds)
    )
    return tuple(
        Demand(
            constraint=constraints[bit].name,
            wanted=constraints[bit].wanted,
            becomes=_becomes(constraints[bit], np.flatnonzero(broken == 1 << bit)),
        )
        for bit in members
    )


def without(constraints: Sequence[Constraint], demands: Sequence[Demand]) -> tuple[Demand, ...]:
    """What would conflict still if these demands were dropped; empty if nothing."""
    dropped = {one.constraint for one in demands}
    kept = [one for one in constraints if one.name not in dropped]
    if all_met(kept, constraints[0].met.size).any():
        return ()
    return conflict(kept)


def _becomes(one: Constraint, rows: Ints) -> str | None:
    return one.relaxed(rows) if rows.size else None


def _least(name: str, wanted: int, have: Ints) -> Constraint:
    return Constraint(
        name,
        f"at least {wanted}",
        have >= wanted,
        lambda rows: f"at most {int(have[rows].max())}",
    )


def _as_said(one: Constraint, limits: Limits) -> Constraint:
    """A limit that nobody wrote is told as what it is."""
    if one.name.removeprefix("limits.") in limits.model_fields_set:
        return one
    return replace(one, wanted=f"{one.wanted}, the default")


def _most(
    name: str,
    wanted: float,
    values: Floats,
    shown: Callable[[float], str],
    step: float,
    most: float = math.inf,
) -> Constraint:
    """`step` is the last digit that is `shown`: what is told is rounded up to it, so that it holds.
    More than `most` nobody may ask for."""

    def relaxed(rows: Ints) -> str | None:
        least = float(values[rows].min())
        best = math.ceil(least / step) * step if math.isfinite(least) else math.inf
        return f"at least {shown(best)}" if best < math.inf and best <= most else None

    return Constraint(name, f"at most {shown(wanted)}", values <= wanted, relaxed, values, step)


def _lasting(name: str, wanted: float, values: Floats, most: float = math.inf) -> Constraint:
    """A limit of time, told in the unit it was written in."""
    unit = unit_of(wanted)
    return _most(name, wanted, values, lambda value: written(value, unit), step_of(unit), most)


def _one_of(names: Sequence[str]) -> str:
    return " or ".join(sorted(set(names)))


def _arch(table: Candidates, wanted: str) -> Constraint:
    arch = table.book.machines.arch
    met = np.array([one == wanted for one in arch], dtype=bool)[table.machine]
    return Constraint(
        "aggregator.need.arch",
        wanted,
        met,
        lambda rows: _one_of([arch[one] for one in table.machine[rows].tolist()]),
    )


def _gpu(table: Candidates, count: int, model: str | None) -> Constraint:
    machines = table.book.machines
    known = {one for one in machines.gpu if one}
    if model is not None and model not in known:
        raise InvalidRequest(f"aggregator.need.gpu.model: no GPU {model!r}{nearest(model, known)}")
    fits = np.array([model in (None, one) for one in machines.gpu], dtype=bool)
    met = (machines.gpus >= count) & fits

    def relaxed(rows: Ints) -> str:
        found = set(table.machine[rows].tolist())
        seen = {
            f"{machines.gpus[one]} x {machines.gpu[one]}" for one in found if machines.gpus[one]
        }
        return _one_of(list(seen)) if seen else "none"

    wanted = f"at least {count} x {model or 'any GPU'}"
    return Constraint("aggregator.need.gpu", wanted, met[table.machine], relaxed)


def _no_gpu(table: Candidates) -> Constraint:
    """Who asks for none would pay for it just for the network that comes with it."""
    met = (table.book.machines.gpus == 0)[table.machine]
    return Constraint("aggregator.need.gpu", "none", met, lambda rows: "at least 1")


def _purchase(table: Candidates, wanted: Purchase) -> Constraint:
    other = Purchase.ON_DEMAND if wanted is Purchase.SPOT else Purchase.SPOT
    met = table.spot if wanted is Purchase.SPOT else ~table.spot
    return Constraint(
        "aggregator.purchase", wanted.value, met, lambda rows: f"{other.value} or any"
    )


def _no_estimates(table: Candidates) -> Constraint:
    met = table.book.prices.basis[table.price_row] != BASES.index("estimate")
    return Constraint("placement.estimates", "false", met, lambda rows: "true")


def _fresh(table: Candidates, days: int, today: date) -> Constraint:
    age = (today - EPOCH).days - table.book.prices.dated[table.price_row]
    return Constraint(
        "placement.price_days",
        f"at most {days}",
        age <= days,
        lambda rows: f"at least {int(age[rows].min())}",
    )


def _allow(table: Candidates, tokens: Sequence[str]) -> Constraint:
    met = named(table.book, tokens, "aggregator.regions.allow")[table.region]
    return Constraint(
        "aggregator.regions.allow",
        ", ".join(tokens),
        met,
        lambda rows: f"also {_places(table, rows)}",
    )


def _deny(table: Candidates, tokens: Sequence[str]) -> Constraint:
    masks = {one: named(table.book, [one], "aggregator.regions.deny") for one in tokens}
    barred = np.any(list(masks.values()), axis=0)

    def relaxed(rows: Ints) -> str:
        """Fewest words to take back for one region; a region may be meant by several."""
        regions = np.unique(table.region[rows]).tolist()
        barring = [[word for word, mask in masks.items() if mask[region]] for region in regions]
        fewest = min(len(words) for words in barring)
        ways = dict.fromkeys(" and ".join(words) for words in barring if len(words) == fewest)
        return f"without {' or '.join(ways)}"

    return Constraint("aggregator.regions.deny", ", ".join(tokens), ~barred[table.region], relaxed)


def _places(table: Candidates, rows: Ints) -> str:
    """A few of the regions of these rows, by name."""
    names = list(table.book.regions.index)
    found = sorted({names[region] for region in table.region[rows].tolist()})
    more = f" or {len(found) - 3} more" if len(found) > 3 else ""
    return " or ".join(found[:3]) + more


def named(book: Book, tokens: Sequence[str], field: str) -> Bools:
    """Which regions the tokens name: a provider, a region, a country, ``eu`` or ``eea``.

    Raises:
        InvalidRequest: a token that names nothing, with the nearest that does.
    """
    regions = book.regions
    met = np.zeros(len(regions), dtype=bool)
    for token in tokens:
        met |= _named(book, token, field)
    return met


def _named(book: Book, token: str, field: str) -> Bools:
    regions, word = book.regions, token.lower()
    if word == "eu":
        return regions.eu
    if word == "eea":
        return regions.eea
    if word in regions.provider:
        return np.array([one == word for one in regions.provider], dtype=bool)
    code = ALIASES.get(token.upper(), token.upper())
    if word in regions.called:
        return np.isin(np.arange(len(regions)), regions.called[word])
    if code in COUNTRIES:
        return np.array([one == code for one in regions.country], dtype=bool)
    known = {"eu", "eea", *regions.provider, *regions.called, *regions.country}
    raise InvalidRequest(f"{field}: nothing is called {token!r}{_near(token, known)}")


def _near(token: str, known: set[str]) -> str:
    hint = nearest(token, known)
    if hint.startswith("; did you"):
        return hint
    return "; write a provider, a region, a country's two letters, eu or eea"
