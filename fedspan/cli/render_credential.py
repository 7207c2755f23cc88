"""A credential as a person reads it: who it is, what it may, what there is to know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from fedspan.cli.render import facts, table
from fedspan.domain.credentials import Credential
from fedspan.domain.texts import listed, plain

ALLOWED: Final = {
    True: Text("✓", "bold green"),
    False: Text("✗", "bold red"),
    None: Text("?", "yellow"),
}
"""Of a permission; the last where the cloud does not tell."""


def credential(found: Credential, headline: str = "") -> list[RenderableType]:
    shown: list[RenderableType] = [headline, ""] if headline else []
    shown.append(facts(_facts(found)))
    if found.examination.permissions:
        shown += ["", _permissions(found)]
    notes = found.examination.notes
    return [*shown, "", *(f"note: {plain(one)}" for one in notes)] if notes else shown


def credentials(found: Sequence[Credential]) -> RenderableType:
    if not found:
        return Text("no credentials yet; `fedspan credential add` registers one")
    made = table(
        "Credential", "Cloud", "Who", "Account", "Regions", "Lacks", "Since", right=("Regions",)
    )
    for one in found:
        examination = one.examination
        made.add_row(
            one.name,
            one.provider.value,
            plain(examination.identity.subject),
            plain(examination.identity.account),
            str(len(examination.regions)),
            Text(listed(examination.missing, 2), "red") if examination.missing else "nothing",
            _day(one.rotated or one.registered),
        )
    return made


def lacks(found: Credential) -> str:
    """What it may not do that it must, and what would help; else empty."""
    missing = found.examination.missing
    if not missing:
        return ""
    return (
        f"it may not: {listed(missing)}; `fedspan credential policy {found.provider}` shows what "
        "it must be allowed"
    )


def _facts(found: Credential) -> Iterable[tuple[str, RenderableType]]:
    identity, regions = found.examination.identity, found.examination.regions
    yield "Credential", f"{found.name} ({found.provider})"
    yield "Who", plain(identity.subject)
    yield "Account", plain(identity.account)
    if identity.expires:
        yield "Expires", _minute(identity.expires)
    yield "Regions", f"{len(regions)}: {plain(listed(regions, 6))}" if regions else "none"
    yield "Registered", _minute(found.registered)
    if found.rotated:
        yield "Rotated", _minute(found.rotated)


def _permissions(found: Credential) -> RenderableType:
    made = table("", "Action", "For", whole=("",))
    for one in found.examination.permissions:
        made.add_row(ALLOWED[one.allowed], plain(one.action), plain(one.purpose))
    return made


def _minute(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M}"


def _day(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d}"
