"""Sites: registered, shown, removed."""

from __future__ import annotations

from fedspan.app import App
from fedspan.domain.sites import Site
from fedspan.errors import Conflict
from fedspan.services.changes import write_all


def register_site(app: App, site: Site) -> Site:
    """Add a site, or replace the one of that name.

    Raises:
        Conflict: it would change while a job uses it.
    """
    known = app.sites.find(site.name)
    if known is None or known.value != site:
        _free(app, site.name)
        version = known.version if known else 0
        app.store.write([app.sites.put(site, site.name, expected=version)])
    return site


def delete_site(app: App, name: str) -> None:
    """Raises `NotFound`, and `Conflict` while a job needs the site."""
    app.sites.get(name)
    _free(app, name)
    write_all(app, [app.agents.delete(machine, name) for machine in app.agents.ids(name)])
    app.store.write([app.sites.delete(name)])


def _free(app: App, name: str) -> None:
    running = [assignment.job for assignment in app.assignments.list(name)]
    if running:
        raise Conflict(f"site {name} takes part in job {', '.join(running)}; cancel it first")
