"""``fedspan deploy aws|gcp``"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedspan.cli.session import session

if TYPE_CHECKING:
    from rich.console import Console


class Where(StrEnum):
    AWS = "aws"
    GCP = "gcp"


def deploy(
    ctx: typer.Context,
    cloud: Annotated[Where, typer.Argument(metavar="aws|gcp")],
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Say what would be made and what it costs; change nothing"),
    ] = False,
    destroy: Annotated[bool, typer.Option("--destroy", help="Remove all of it")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing")] = False,
    package: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="What `make package` made; default: build/aws or build/gcp"
        ),
    ] = None,
    var: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A variable of infra/; may be given again"),
    ] = None,
) -> None:
    """Put the control plane on AWS, or the functions on Google Cloud, with Terraform."""
    from fedspan.cli import deploying, render_deploy
    from fedspan.errors import InvalidRequest

    here = session(ctx)
    if plan and destroy:
        raise InvalidRequest("--plan: goes without --destroy")
    at = deploying.target(cloud.value, here.home.path, package, var or ())
    deploying.check(at, changing=not plan)
    if plan:
        with _telling(here.err) as say:
            shown = deploying.plan(at, say)
        here.show(shown, *render_deploy.plan(shown))
        return
    what = f"{'Remove' if destroy else 'Deploy'} {cloud.value}, kept in {at.folder}"
    if not yes and not typer.confirm(f"{what}: go on?", err=True):
        raise InvalidRequest("not confirmed; nothing was done")
    here.home.prepare()
    if destroy:
        deploying.destroy(at, 2, here.err.print)
        here.show({"cloud": cloud.value, "destroyed": True}, f"{cloud.value} is gone")
        return
    outputs = deploying.apply(at, 2, here.err.print)
    here.show({"cloud": cloud.value, "outputs": outputs}, *render_deploy.outputs(outputs))


@contextmanager
def _telling(console: Console) -> Iterator[Callable[[str], None]]:
    """What is said is a status on a terminal, and a line elsewhere."""
    if not console.is_terminal:
        yield console.print
        return
    with console.status("terraform") as status:
        yield status.update
