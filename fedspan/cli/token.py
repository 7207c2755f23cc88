"""``fedspan token``: a way into the REST API for a person's own scripts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

from fedspan.cli.session import session

LONGEST_SECONDS: Final = 365 * 86_400


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


def token(
    ctx: typer.Context,
    role: Annotated[Role, typer.Option(help="What it allows")] = Role.VIEWER,
    lifetime: Annotated[str, typer.Option("--for", help="How long: 90s, 10m, 2h or 30d")] = "1h",
) -> None:
    """Print a token for the REST API of this computer's control plane. Keep it secret."""
    from datetime import timedelta

    from fedspan import wiring
    from fedspan.access import CallerRole
    from fedspan.domain.spec import seconds
    from fedspan.errors import InvalidRequest
    from fedspan.local import tokens

    try:
        length = float(str(seconds(lifetime)))
    except ValueError as exc:
        raise InvalidRequest(f"--for: {exc}") from None
    if not 0 < length <= LONGEST_SECONDS:
        raise InvalidRequest(f"--for: {lifetime!r} is not within a year; write 1h or 30d")
    here, lasts = session(ctx), timedelta(seconds=length)
    here.home.prepare()
    made = tokens.token(here.home, CallerRole(role.value), lasts)
    document = {"token": made, "role": role.value, "expires": (wiring.now() + lasts).isoformat()}
    if here.json:
        here.show(document)
    else:
        typer.echo(made)
