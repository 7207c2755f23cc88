"""Plans of an installation, for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from fedspan.cli.render import table
from fedspan.domain.texts import plain


def plan(shown: Mapping[str, Any]) -> Iterable[RenderableType]:
    yield plain(f"{shown['cloud']}: {_headline(shown)}")
    made = table("Kind", "There", right=("There",))
    for kind, count in shown["resources"].items():
        made.add_row(kind, f"{count:,}")
    yield made
    cost = shown["idle_usd_a_month"]
    yield ""
    least = "at least " if shown["unplanned"] else ""
    yield (
        f"Idle it costs {least}${cost['list_price']:.2f} a month at list prices, "
        f"${cost['free_tier']:.2f} within the always-free tiers"
    )
    lines = table("Kind", "There", "$ a month", "", right=("There", "$ a month"))
    for one in cost["lines"]:
        lines.add_row(one["kind"], f"{one['count']}", f"{one['usd']:.3f}", one["why"])
    yield lines
    for note in shown["notes"]:
        yield Text(plain(note), "yellow")


def _headline(shown: Mapping[str, Any]) -> str:
    if shown["unplanned"]:
        many = sum(shown["resources"].values())
        return (
            f"at least {many:,}, counted in the files: Terraform could not plan "
            f"({shown['unplanned']})"
        )
    changes = shown["changes"].items()
    said = ", ".join(f"{sum(kinds.values())} to {what}" for what, kinds in changes)
    return said or "nothing to change"


def outputs(known: Mapping[str, Any]) -> Iterable[RenderableType]:
    made = table("Output", "Value")
    for name, value in known.items():
        made.add_row(name, plain(str(value)))
    yield made
