"""``fedspan site measure``: who measures, what people see meanwhile, and the table."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from fedspan.cli import render
from fedspan.cli.api import Api
from fedspan.domain.measurements import Asked, Measured, Measurement, Place, Plan
from fedspan.domain.texts import plain
from fedspan.errors import Conflict
from fedspan.probing import Probe

PROBE: Final = Probe()
LOOK_SECONDS: Final = 0.5


def measured_here(api: Api, site: str, plan: Plan, console: Console) -> Measurement:
    """Measured by this process, and kept."""
    with _progress(console, f"measuring {site}", len(plan.places)) as seen:
        probed = PROBE.measure(plan.asked.regions, lambda one: seen())
    return api.put_measured(site, Measured(request=plan.asked.id, probed=probed))


def awaited(api: Api, site: str, plan: Plan, wait_seconds: float, console: Console) -> Measurement:
    """Measured by the site's agent, or still asked of it when the time is over.

    Raises:
        Conflict: someone asked for something else meanwhile.
        NotFound: the site was deleted meanwhile.
    """
    until = time.monotonic() + wait_seconds
    with _waiting(console, f"waiting for the agent of {site}", wait_seconds):
        while True:
            known = api.measurement(site)
            if known.answered == plan.asked.id:
                return known
            if known.asked is None or known.asked.id != plan.asked.id:
                raise Conflict(
                    f"site {site}: someone else asked to measure it meanwhile; ask again"
                )
            left = until - time.monotonic()
            if left <= 0:
                return known
            time.sleep(min(LOOK_SECONDS, left))


def document(plan: Plan, known: Measurement) -> dict[str, Any]:
    return {
        "site": known.site,
        "kind": plan.kind.value,
        "request": plan.asked.id,
        "answered": known.answered == plan.asked.id,
        "regions": [_row(place, known, plan.asked) for place in plan.places],
    }


def _row(place: Place, known: Measurement, asked: Asked) -> dict[str, Any]:
    """What was measured before is shown with its date; `error` says why there is nothing newer."""
    reached, unreached = known.reached.get(place.region), known.unreached.get(place.region)
    return {
        **place.model_dump(mode="json"),
        "median_ms": reached.median_ms if reached else None,
        "min_ms": reached.min_ms if reached else None,
        "answered": reached.answered if reached else 0,
        "measured": reached.model_dump(mode="json")["at"] if reached else None,
        "error": unreached.reason if unreached else None,
    }


def shown(plan: Plan, known: Measurement) -> list[RenderableType]:
    """The nearest in time first; then those that were not reached, with the reason."""
    reached = [place for place in plan.places if place.region in known.fresh(plan.asked.regions)]
    missed = [place for place in plan.places if place.region in known.unreached]
    made: list[RenderableType] = []
    if reached:
        made.append(_times(sorted(reached, key=lambda one: _median(known, one)), known))
    if missed:
        made += ["", _reasons(missed, known)] if made else [_reasons(missed, known)]
    return made


def _median(known: Measurement, place: Place) -> tuple[float, str]:
    return known.reached[place.region].median_ms, place.region


def _times(places: list[Place], known: Measurement) -> RenderableType:
    columns = ("Median ms", "Min ms", "Connects", "Estimate ms", "Km")
    made = render.table("Region", "City", *columns, right=columns, whole=("Region",))
    for place in places:
        one = known.reached[place.region]
        made.add_row(
            place.region,
            plain(place.city),
            f"{one.median_ms:.1f}",
            f"{one.min_ms:.1f}",
            str(one.answered),
            "" if place.estimate_ms is None else f"{place.estimate_ms:.0f} ± {place.band_ms:.0f}",
            "" if place.km is None else f"{place.km:,.0f}",
        )
    return made


def _reasons(places: list[Place], known: Measurement) -> RenderableType:
    made = render.table("Region", "City", "Not reached", whole=("Region",))
    for place in places:
        reason = plain(known.unreached[place.region].reason)
        made.add_row(place.region, plain(place.city), Text(reason, "yellow"))
    return made


@contextlib.contextmanager
def _progress(console: Console, text: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, nothing elsewhere; call what it yields once a region."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    shown = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        task = progress.add_task(text, total=total)
        yield lambda: progress.advance(task)


@contextlib.contextmanager
def _waiting(console: Console, text: str, seconds: float) -> Iterator[None]:
    if not console.is_terminal:
        yield
        return
    with console.status(f"{text}, at most {seconds:g} s"):
        yield
