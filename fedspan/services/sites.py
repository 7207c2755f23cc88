"""Sites: registered, shown, removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fedspan.app import App
from fedspan.domain.credentials import Cloud
from fedspan.domain.parsing import nearest, refused
from fedspan.domain.sites import Dataset, Site
from fedspan.errors import Conflict, InvalidRequest
from fedspan.services import books
from fedspan.services.changes import write_all
from fedspan.services.measure import forgotten, known_region
from fedspan.stores.base import Change

WHERE: Final = ("kind", "credential", "latitude", "longitude", "cloud")
"""What says where a site is. What was measured elsewhere holds no more."""


def register_site(app: App, site: Site) -> Site:
    """Add a site, or replace the one of that name. Measured RTTs stay, unless `site` has its own
    or is somewhere else now.

    Raises:
        InvalidRequest: its `cloud`, or a place of its `rtt_ms`, is no region, its country is none,
            or it has half a position.
        Conflict: it would change while a job uses it. What was measured may change.
    """
    _check(app, site)
    if site.cloud is not None:
        site = site.model_copy(update={"cloud": known_region(app, "cloud", site.cloud)})
    known = app.sites.find(site.name)
    if known is None:
        _free(app, site.name)
        app.store.write([app.sites.put(site, site.name, expected=0)])
        return site
    moved = _where(site) != _where(known.value)
    if not moved and not site.rtt_ms:
        site = site.model_copy(update={"rtt_ms": known.value.rtt_ms})
    if known.value != site:
        if known.value.model_copy(update={"rtt_ms": site.rtt_ms}) != site:
            _free(app, site.name)
        changes: list[Change] = [app.sites.put(site, site.name, expected=known.version)]
        if moved:
            changes.append(forgotten(app, site.name))
        app.store.write(changes)
    return site


def with_datasets(site: Site, datasets: Sequence[Dataset]) -> Site:
    """`site` with `datasets` too; one it has takes the place of its own of that name."""
    held = {one.name: one for one in (*site.datasets, *datasets)}
    return site.model_copy(update={"datasets": tuple(held.values())})


def delete_site(app: App, name: str) -> None:
    """Raises `NotFound`, and `Conflict` while a job needs the site."""
    app.sites.get(name)
    _free(app, name)
    write_all(app, [app.agents.delete(machine, name) for machine in app.agents.ids(name)])
    app.store.write([app.sites.delete(name), forgotten(app, name)])


def _check(app: App, site: Site) -> None:
    if site.faults:
        raise InvalidRequest(*site.faults)
    if site.credential is not None:
        _check_credential(app, site.name, site.credential)
    if site.rtt_ms:
        known = books.current(app).regions.index
        unknown = [place for place in site.rtt_ms if place not in known]
        if unknown:
            raise refused(
                unknown,
                lambda place: (
                    f"rtt_ms: site {site.name}: {place!r} is no region{nearest(place, known)}"
                ),
            )


def _check_credential(app: App, site: str, name: str) -> None:
    found = app.credentials.find(name)
    if found is None:
        near = nearest(name, app.credentials.ids())
        raise InvalidRequest(f"credential: site {site}: no credential {name!r} is registered{near}")
    if found.value.provider is not Cloud.OPENSTACK:
        raise InvalidRequest(
            f"credential: site {site}: {name!r} is one of {found.value.provider}; participants' "
            "machines run in OpenStack, or are their own (kind agent)"
        )


def _free(app: App, name: str) -> None:
    running = [assignment.job for assignment in app.assignments.list(name)]
    if running:
        raise Conflict(f"site {name} takes part in job {', '.join(running)}; cancel it first")


def _where(site: Site) -> tuple[object, ...]:
    return tuple(getattr(site, field) for field in WHERE)
