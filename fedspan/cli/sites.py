"""``fedspan site ...``"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedspan.cli.session import Command, group, session

if TYPE_CHECKING:
    from fedspan.domain.sites import Dataset, Site

app = group("site", "Sites: who takes part, and with what data.")

Name = Annotated[str, typer.Argument(metavar="SITE")]


@app.command(cls=Command)
def add(
    ctx: typer.Context,
    name: Name,
    dataset: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=FILE[:TARGET]",
            help="A .csv or .npz file on this computer (with --credential: on the site's "
            "machine), and the column of its classes (default: target); may be given several times",
        ),
    ],
    credential: Annotated[
        str | None,
        typer.Option(help="Its machine runs in the OpenStack project of this credential"),
    ] = None,
    features: Annotated[
        str, typer.Option(metavar="N[xN...]", help="With --credential: the shape of an example")
    ] = "",
    classes: Annotated[
        str, typer.Option(metavar="NAME,NAME...", help="With --credential: of the target")
    ] = "",
    examples: Annotated[
        int, typer.Option(min=0, help="With --credential: how many rows there are")
    ] = 0,
    vcpus: Annotated[
        int | None, typer.Option(min=1, help="That its machine must have; default: 1")
    ] = None,
    memory_mib: Annotated[
        int | None, typer.Option(min=1, help="That its machine must have; default: 2048")
    ] = None,
    allow_apps: Annotated[
        bool | None,
        typer.Option(
            "--allow-apps/--no-apps",
            help="Let jobs bring their own code, a Flower app, to run beside the data; default: no",
        ),
    ] = None,
    city: Annotated[str, typer.Option()] = "",
    country: Annotated[str, typer.Option(help="Two letters: KR, DE ...")] = "",
    latitude: Annotated[float | None, typer.Option("--lat", help="Degrees north")] = None,
    longitude: Annotated[float | None, typer.Option("--lon", help="Degrees east")] = None,
    cloud: Annotated[
        str | None,
        typer.Option(metavar="REGION", help="The public-cloud region it sits in: aws:eu-west-1"),
    ] = None,
    up_mbps: Annotated[float | None, typer.Option(help="Of its link, Mbit/s")] = None,
    down_mbps: Annotated[float | None, typer.Option(help="Of its link, Mbit/s")] = None,
    compute_s: Annotated[
        float | None, typer.Option(help="Seconds one round of training takes there")
    ] = None,
) -> None:
    """Register a site on this computer or in a private cloud, or change it. Its data stays where
    it is.

    A site that is there already keeps what is not given again.
    """
    from fedspan.cli import site_data
    from fedspan.domain.parsing import parsed
    from fedspan.domain.sites import Site, SiteKind

    here = session(ctx)
    said: dict[str, object] = {
        "allow_apps": allow_apps,
        "city": city or None,
        "country": country or None,
        "latitude": latitude,
        "longitude": longitude,
        "cloud": cloud,
        "up_mbps": up_mbps,
        "down_mbps": down_mbps,
        "compute_s": compute_s,
    }
    given = {field: value for field, value in said.items() if value is not None}
    needed = {"vcpus": vcpus, "memory_mib": memory_mib}
    if need := {field: value for field, value in needed.items() if value is not None}:
        given["need"] = need
    if credential is None:
        site_data.only_with_credential(features, classes, examples)
        data = [site_data.described(one) for one in dataset]
    else:
        given |= {"kind": SiteKind.OPENSTACK, "credential": credential}
        data = [site_data.told(one, features, classes, examples) for one in dataset]
    site = parsed(Site, {"name": name, "datasets": data, **given})
    with here.api() as api:
        before = next((one for one in api.sites() if one.name == name), None)
        made = api.put_site(_changed(before, site, given) if before else site)
    from fedspan.cli import render, render_site

    here.show(made.model_dump(mode="json"), render.sites([made]))
    if before is not None:
        told = made.model_copy(update={"datasets": _left(before, site)})
        stays = "; ".join(render_site.kept(told, given)) or "nothing else"
        here.say(f"site {name} was there already, and keeps: {stays}")
        if before.rtt_ms and not made.rtt_ms:
            here.say(f"it is elsewhere now, so its RTTs are forgotten: fedspan site measure {name}")


@app.command("list", cls=Command)
def list_(ctx: typer.Context) -> None:
    """All sites and what they offer."""
    here = session(ctx)
    with here.api() as api:
        found = api.sites()
    from fedspan.cli import render

    here.show({"sites": [site.model_dump(mode="json") for site in found]}, render.sites(found))


@app.command(cls=Command)
def show(ctx: typer.Context, name: Name) -> None:
    """A site: its data, position, link and RTTs, and the machines of it that have reported."""
    here = session(ctx)
    with here.api() as api:
        site, machines = api.site(name)
        known = api.measurement(name)
    from fedspan.cli import render_site

    document = {
        **site.model_dump(mode="json"),
        "measured": known.model_dump(mode="json")["reached"],
        "machines": [one.model_dump(mode="json") for one in machines],
    }
    here.show(document, *render_site.site(site, machines, known))


@app.command(cls=Command)
def measure(
    ctx: typer.Context,
    name: Name,
    region: Annotated[
        list[str] | None,
        typer.Option(help="A region to measure: aws:eu-west-1; may be given several times"),
    ] = None,
    nearest: Annotated[
        int, typer.Option(min=1, max=200, help="Without --region: so many, the nearest on the map")
    ] = 12,
    wait: Annotated[
        int, typer.Option(min=0, max=3600, help="Seconds to wait for the site's agent")
    ] = 60,
) -> None:
    """How far a site is from the clouds' regions: TCP connect times, used by `fedspan place`.

    A local site is measured from this computer, another by its own agent. Changes no job.
    """
    from fedspan.cli import measuring
    from fedspan.domain.sites import SiteKind

    here = session(ctx)
    runs = here.home.running() is not None
    with here.api() as api:
        plan = api.measure(name, region or [], nearest)
        if plan.kind is SiteKind.LOCAL:
            known = measuring.measured_here(api, name, plan, here.screen)
        else:  # nobody hears an agent where no control plane runs
            known = measuring.awaited(api, name, plan, wait if runs else 0, here.screen)
    here.show(measuring.document(plan, known), *measuring.shown(plan, known))
    if known.answered != plan.asked.id:
        where = f"for {wait} s" if runs else "yet: no control plane runs that it could tell"
        here.say(f"the agent of {name} has not answered {where}; it stays asked")
        raise typer.Exit(1)
    if not known.fresh(plan.asked.regions):
        here.say("no region was reached")
        raise typer.Exit(1)


@app.command(cls=Command)
def delete(ctx: typer.Context, name: Name) -> None:
    """Forget a site. Its data is not touched."""
    here = session(ctx)
    with here.api() as api:
        api.delete_site(name)
    here.show({"deleted": name}, f"site {name} is deleted")


def _changed(before: Site, site: Site, given: Mapping[str, Any]) -> Site:
    """`before` with what was `given` of `site`. Its RTTs are not repeated: whether they hold is
    for the control plane to say.

    Raises:
        Conflict: its data is on another computer.
    """
    from fedspan.domain.sites import SiteKind
    from fedspan.errors import Conflict
    from fedspan.services.sites import with_datasets

    if before.kind is not site.kind:
        runs = {
            SiteKind.LOCAL: "runs on this computer",
            SiteKind.AGENT: "runs its own machine, which has its data",
            SiteKind.OPENSTACK: f"runs in the cloud of credential {before.credential}",
        }
        raise Conflict(
            f"site {before.name} {runs[before.kind]}; "
            f"`fedspan site delete {before.name}` first, or take another name"
        )
    said = {field: getattr(site, field) for field in given}
    if "need" in given:
        said["need"] = before.need.model_copy(update=given["need"])
    return with_datasets(before.model_copy(update={**said, "rtt_ms": {}}), site.datasets)


def _left(before: Site, site: Site) -> tuple[Dataset, ...]:
    new = {one.name for one in site.datasets}
    return tuple(one for one in before.datasets if one.name not in new)
