"""How far a site is from the regions: asked for, measured there, and kept with the site.

A site of kind local is measured by whoever asks, on this computer; of another, its agent is told
in the answers to its reports until it has answered. Nothing a running job depends on changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import structlog

from fedspan.app import App
from fedspan.domain.endpoints import endpoint
from fedspan.domain.measurements import (
    Asked,
    Measured,
    Measurement,
    Place,
    Plan,
    Question,
    merged,
)
from fedspan.domain.parsing import nearest
from fedspan.domain.sites import Site, SiteKind
from fedspan.errors import Conflict, Corrupt, InvalidRequest
from fedspan.services import books
from fedspan.services.changes import ATTEMPTS
from fedspan.services.linking import lost
from fedspan.stores.base import Change
from fedspan.stores.records import Table

if TYPE_CHECKING:  # NumPy loads with the use cases that need it
    from fedspan.placement.book import Regions

UNSURE_KM: Final = 300.0
"""The position of a region is its city's, or what tables agree on; they differ by up to this."""

log = structlog.get_logger()


def ask(app: App, name: str, question: Question) -> Plan:
    """Have the site `name` measured. What is asked already stays asked under its id; a question
    for other regions takes its place.

    Raises:
        NotFound: no such site.
        InvalidRequest: a region nobody knows; or none named, by a site without a position.
        Conflict: others were faster each time; try again.
    """
    site = app.sites.get(name).value
    places = _chosen(_seen_from(app, site), site, question)
    wanted = tuple(place.region for place in places)
    for _ in range(ATTEMPTS):
        found = _table(app).find(name)
        known = found.value if found else Measurement(site=name)
        if known.asked is not None and known.asked.regions == wanted:
            return Plan(kind=site.kind, asked=known.asked, places=places)
        asked = Asked(id=app.new_id(), at=app.now(), regions=wanted)
        put = known.model_copy(update={"asked": asked})
        try:
            app.store.write([_table(app).put(put, name, expected=found.version if found else 0)])
        except Conflict:
            continue
        return Plan(kind=site.kind, asked=asked, places=places)
    raise Conflict(f"site {name} is being changed by others; try again")


def measurement(app: App, name: str) -> Measurement:
    """What was measured, and what is still asked. Raises `NotFound`."""
    app.sites.get(name)
    found = _table(app).find(name)
    return found.value if found else Measurement(site=name)


def answer(app: App, name: str, told: Measured) -> Measurement:
    """Keep what was measured on a person's computer; once, however often it is told.

    Raises:
        NotFound: no such site.
        InvalidRequest: a region that was not asked for.
        Conflict: it answers a request that another has replaced, or that nobody made.
    """
    known = measurement(app, name)
    if known.asked is not None and known.asked.id == told.request:
        stray = [one.region for one in told.probed if one.region not in known.asked.regions]
        if stray:
            raise InvalidRequest(f"probed: {', '.join(stray)} was not asked for")
        known = _kept(app, name, told) or measurement(app, name)
    if known.answered != told.request:
        raise Conflict(f"site {name}: request {told.request!r} is not open; ask to measure again")
    return known


def hear(app: App, name: str, told: Measured) -> None:
    """Keep what an agent measured. What nobody asks (any more) changes nothing: a report is never
    refused for it, or the agent's heartbeats would end."""
    try:
        new = _kept(app, name, told)
    except Corrupt as exc:  # the book; it stays asked until that is whole again
        log.warning("MeasurementNotKept", site=name, error=str(exc))
        return
    if new is not None:
        reached, missed = len(new.reached), len(new.unreached)
        log.info("SiteMeasured", site=name, reached=reached, unreached=missed)


def _kept(app: App, name: str, told: Measured) -> Measurement | None:
    """None when it answers nothing that is asked. The site's `rtt_ms` has the medians."""
    for _ in range(ATTEMPTS):
        found = _table(app).find(name)
        if found is None or found.value.asked is None or found.value.asked.id != told.request:
            return None
        stored = app.sites.get(name)
        site, regions = stored.value, found.value.asked.regions
        new = merged(found.value, told, app.now(), _least_km(_seen_from(app, site)))
        changes: list[Change] = [_table(app).put(new, name, expected=found.version)]
        rtt = {**site.rtt_ms, **new.fresh(regions)}
        if rtt != site.rtt_ms:
            changed = site.model_copy(update={"rtt_ms": rtt})
            changes.append(app.sites.put(changed, name, expected=stored.version))
        try:
            app.store.write(changes)
        except Conflict:
            continue
        return new
    raise Conflict(f"site {name} is being changed by others; try again")


def asked_of(app: App, name: str, machine: str) -> Asked | None:
    """What `machine` shall measure: of the machines that speak, one measures for its site."""
    found = _table(app).find(name)
    if found is None or found.value.asked is None:
        return None
    if app.sites.get(name).value.kind is SiteKind.LOCAL:
        return None  # this computer measures for it
    now, silent = app.now(), app.settings.lost_seconds
    here = sorted(a.machine for _, a in app.agents.all(name) if not lost(a, now, silent))
    return found.value.asked if here[:1] == [machine] else None


def forgotten(app: App, name: str) -> Change:
    """The change that removes what was measured at a site."""
    return _table(app).delete(name)


def known_region(app: App, field: str, region: str) -> str:
    """`region` as ``provider:name``; the provider may be left out.

    Raises:
        InvalidRequest: there is none of that name.
    """
    return _named(books.current(app).regions.index, field, region)


def _table(app: App) -> Table[Measurement]:
    return Table(app.store, "measurement", Measurement)


def _named(known: Mapping[str, object], field: str, region: str) -> str:
    for full in known:
        if region in (full, full.partition(":")[2]):
            return full
    raise InvalidRequest(f"{field}: {region!r} is no region{nearest(region, known)}")


def _chosen(seen: Mapping[str, Place], site: Site, question: Question) -> tuple[Place, ...]:
    if question.regions:
        named = dict.fromkeys(_named(seen, "regions", one) for one in question.regions)
        return tuple(seen[one] for one in named)
    near = sorted((one.km, one.region) for one in seen.values() if one.km is not None)
    if not near:
        raise InvalidRequest(
            f"regions: site {site.name} has no position, so which are near is unknown; name the "
            "regions to measure, or give the site a latitude and longitude"
        )
    return tuple(seen[region] for _, region in near[: question.nearest])


def _seen_from(app: App, site: Site) -> dict[str, Place]:
    """Every region that can be measured, by its name, with what the map says of it."""
    import numpy as np

    from fedspan.placement.latency import band_ms, estimated

    book = books.current(app)
    regions, here = book.regions, _position(book.regions, site)
    rtt = km = band = np.full(len(regions), np.nan)
    if here is not None:
        (rtt,), (km,) = estimated(book, np.array(here[:1]), np.array(here[1:]))
        band = band_ms(book, km)
    return {
        full: Place(
            region=full,
            city=regions.city[row],
            country=regions.country[row],
            km=_known(km[row]),
            estimate_ms=_known(rtt[row]),
            band_ms=_known(band[row]),
        )
        for full, row in regions.index.items()
        if endpoint(full) is not None
    }


def _position(regions: Regions, site: Site) -> tuple[float, float] | None:
    """Degrees; of the region the site sits in, when it says only that."""
    if site.latitude is not None and site.longitude is not None:
        return site.latitude, site.longitude
    row = regions.index.get(site.cloud or "")
    if row is None or math.isnan(regions.latitude[row]):
        return None
    return float(regions.latitude[row]), float(regions.longitude[row])


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 1)


def _least_km(seen: Mapping[str, Place]) -> dict[str, float]:
    """How far each region is from the site at least, where that is known."""
    return {
        one.region: one.km - UNSURE_KM
        for one in seen.values()
        if one.km is not None and one.km > UNSURE_KM
    }
