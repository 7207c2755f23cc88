"""A site as a person reads it: its data, where it is, how fast, how far from the clouds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import RenderableType

from fedspan.cli.render import facts, machines, sites, table
from fedspan.domain.measurements import Measurement
from fedspan.domain.sites import Agent, Dataset, Site, SiteKind
from fedspan.domain.spec import Need
from fedspan.domain.texts import plain

UNKNOWN: Final = "not known"


def site(found: Site, reported: Sequence[Agent], known: Measurement) -> list[RenderableType]:
    shown: list[RenderableType] = [sites([found]), "", facts(_facts(found))]
    if found.rtt_ms:
        shown += ["", _times(found, known)]
    else:
        shown += ["", f"no RTT is known; `fedspan site measure {found.name}` measures some"]
    return [*shown, "", machines(reported)] if reported else shown


def kept(found: Site, given: Iterable[str]) -> list[str]:
    """What a site has beside the fields that were `given`."""
    named = set(given)
    rest = found.model_copy(update=dict.fromkeys(named))
    need = "" if "need" in named or found.need == Need() else _need(found.need)
    told = [
        ("data", ", ".join(one.name for one in rest.datasets)),
        ("city", rest.city),
        ("country", rest.country),
        ("position", _position(rest)),
        ("cloud", rest.cloud),
        ("link", _link(rest)),
        ("compute", _compute(rest)),
        ("machine of", need),
        ("consent to apps", " " if rest.allow_apps else ""),
        ("RTTs", f"to {len(rest.rtt_ms)} regions" if rest.rtt_ms else ""),
    ]
    return [plain(f"{name} {what}") for name, what in told if what]


def _facts(found: Site) -> Iterable[tuple[str, RenderableType]]:
    if found.datasets:
        yield "Data", "\n".join(plain(_data(one)) for one in found.datasets)
    yield "Machine", plain(_machine(found))
    if found.kind is not SiteKind.AGENT:
        yield "It needs", plain(_need(found.need))
    yield "Apps", "may run here" if found.allow_apps else "not allowed"
    yield "Position", _position(found) or UNKNOWN
    yield "Cloud", plain(found.cloud or "none")
    yield "Link", _link(found) or UNKNOWN
    yield "Compute", _compute(found) or UNKNOWN


def _machine(found: Site) -> str:
    match found.kind:
        case SiteKind.LOCAL:
            return "this computer, for the length of a job"
        case SiteKind.OPENSTACK:
            return f"in the cloud of credential {found.credential}, for the length of a job"
        case SiteKind.AGENT:
            return "its own, by an agent"


def _data(one: Dataset) -> str:
    return f"{one.name}: {one.path or 'where its machine knows'}, classes in {one.target}"


def _need(need: Need) -> str:
    """At least."""
    arch = [need.arch.value] if need.arch else []
    gpu = [f"{need.gpu.count} GPU {need.gpu.model or ''}".strip()] if need.gpu else []
    return ", ".join([f"{need.vcpus:,} vCPU", f"{need.memory_mib:,} MiB", *arch, *gpu])


def _position(found: Site) -> str:
    if found.latitude is None or found.longitude is None:
        return ""
    return f"latitude {found.latitude:g}, longitude {found.longitude:g}"


def _link(found: Site) -> str:
    known = [("up", found.up_mbps), ("down", found.down_mbps)]
    return ", ".join(f"{way} {speed:,g} Mbit/s" for way, speed in known if speed is not None)


def _compute(found: Site) -> str:
    return "" if found.compute_s is None else f"{found.compute_s:,g} s a round"


def _times(found: Site, known: Measurement) -> RenderableType:
    """The nearest first, each with the day it was measured; what was told has none."""
    made = table("Region", "RTT ms", "Measured", right=("RTT ms",), whole=("Region",))
    for region, ms in sorted(found.rtt_ms.items(), key=lambda one: (one[1], one[0])):
        reached = known.reached.get(region)
        measured = reached is not None and abs(reached.median_ms - ms) < 1e-9
        at = f"{reached.at.astimezone():%Y-%m-%d %H:%M}" if reached and measured else "-"
        made.add_row(plain(region), f"{ms:,.1f}", at)
    return made
