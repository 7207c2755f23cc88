"""What is said below the places of an answer: how sure, how dear beside others, on what prices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from fedspan.cli.render import dollars
from fedspan.domain.placements import STALE_DAYS, Candidate, PlacementAnswer, PriceAge
from fedspan.domain.places import named
from fedspan.domain.spec import Purchase
from fedspan.domain.texts import plain
from fedspan.wiring import now

BOUGHT: Final = {
    Purchase.SPOT: "spot",
    Purchase.ON_DEMAND: "on demand",
    Purchase.ANY: "any",
    Purchase.DEADLINE: "by the deadline",
}

SOON_H: Final = 2.0
"""Hours; what is done sooner is told in minutes."""


def reasons(found: PlacementAnswer) -> Iterator[tuple[str, RenderableType]]:
    best = found.candidates[0]
    if found.stability is not None:
        often = f"{found.stability.best} of {found.stability.draws} draws"
        rivals = plain(", ".join(found.stability.rivals))
        said = f"best in {often} of RTTs and prices within their error"
        yield "Stability", Text(f"{said}; otherwise {rivals}" if rivals else said)
    if found.compared is not None:
        yield "Compared", Text(beside(found.compared, best))
    if found.cheapest_hour is not None:
        yield "Per hour", Text(f"cheapest by the hour: {beside(found.cheapest_hour, best)}")
    if found.prices is not None:
        yield "Prices", Text("; ".join([_machine_prices(found.prices), *_tariffs(found)]))
    yield "Places", Text(f"{found.considered:,} looked at, {found.feasible:,} fit")
    yield "Model", Text(_sent(found))
    if found.assumptions:
        yield "Assumed", Text("\n".join(map(plain, found.assumptions)))
    yield "Book", Text(plain(found.book))


def _sent(found: PlacementAnswer) -> str:
    program = f" with a program of {_size(found.program_bytes)}" if found.program_bytes else ""
    return f"{_size(found.model_bytes)}, twice down{program} and once up a round"


def _machine_prices(found: PriceAge) -> str:
    old = found.stale or "none"
    said = dates((found.oldest, found.newest))
    return f"machines {said}, {old} of those shown older than {STALE_DAYS} days"


def _tariffs(found: PlacementAnswer) -> Iterator[str]:
    told = [one for one in found.candidates if one.egress_date is not None]
    days = [one.egress_date for one in told if one.egress_date is not None]
    if days:
        sources = plain(", ".join(sorted({one.egress_source for one in told} - {""})))
        old = f", older than {STALE_DAYS} days" if any(map(old_egress, told)) else ""
        yield f"egress {dates(days)}{f' ({sources})' if sources else ''}{old}"


def beside(one: Candidate, best: Candidate | None) -> str:
    """What `one` costs and takes, by how much that differs from `best`, and what it breaks."""
    city = f" ({one.city})" if one.city else ""
    where = f"{named(one)}{city}, {one.machine_type}, {BOUGHT[one.purchase]}"
    priced = f"{where}, at {_usd(one.price_usd_hour)}/h: "
    if best is not None and _machine(one) == _machine(best):
        return plain(f"{priced}the best itself")
    said = f"{priced}{_usd(one.cost_usd.total)} and {_time(one.hours.expected, one.hours.expected)}"
    if best is not None:
        said += f", that is {_dearer(one, best)} and {_longer(one, best)} the best"
    breaks = f"; it breaks {', '.join(one.breaks)}" if one.breaks else ""
    return plain(said + breaks)


def _machine(one: Candidate) -> tuple[str, ...]:
    return one.place, one.machine_type, one.purchase, one.network_tier


def _dearer(one: Candidate, best: Candidate) -> str:
    more = round(one.cost_usd.total - best.cost_usd.total, 4)
    if not more:
        return "as dear"
    return f"{_usd(abs(more))} {'less' if more < 0 else 'more'}"


def _longer(one: Candidate, best: Candidate) -> str:
    """Ends with ``as`` or ``than``."""
    hours = one.hours.expected - best.hours.expected
    said, soon = _time(abs(hours), one.hours.expected), "shorter" if hours < 0 else "longer"
    return "as long as" if said == _time(0.0, one.hours.expected) else f"{said} {soon} than"


def _time(hours: float, all_: float) -> str:
    """In the unit that suits `all_` hours."""
    return f"{hours:,.2f} h" if all_ >= SOON_H else f"{hours * 60:,.1f} min"


def _usd(amount: float) -> str:
    return dollars(round(amount * 1_000_000))


def _size(count: float) -> str:
    """In decimal units, as networks and their tariffs count."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


def dates(found: Iterable[date]) -> str:
    days = sorted(found)
    return f"of {days[0]}" + (f" to {days[-1]}" if days[-1] != days[0] else "")


def old_egress(one: Candidate) -> bool:
    return one.egress_date is not None and (now().date() - one.egress_date).days > STALE_DAYS
