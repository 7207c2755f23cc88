"""``fedspan place``"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import click
import typer

from fedspan.cli.session import session

if TYPE_CHECKING:
    from fedspan.domain.placements import PlacementQuestion
    from fedspan.domain.spec import Purchase

MOST_BYTES: Final = 4 * 2**20
"""Thousands of participants told inline need more room than a job spec that names them."""


def place(
    ctx: typer.Context,
    spec: Annotated[
        str,
        typer.Option("--spec", metavar="FILE", help="A job spec: YAML or JSON, or - for stdin"),
    ],
    spot_only: Annotated[bool, typer.Option("--spot-only", help="No on-demand machines")] = False,
    on_demand_only: Annotated[
        bool, typer.Option("--on-demand-only", help="No spot machines")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many places")] = 10,
    compare: Annotated[
        str | None,
        typer.Option("--compare", metavar="REGION", help="Price this region beside the best"),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.svg", help="Draw cost and time as a picture"),
    ] = None,
) -> None:
    """Where the aggregator of a job would go, what that costs, and why. Changes nothing.

    Participants are registered sites by name, or told inline: {name, latitude, longitude}.
    """
    from fedspan.cli import picture, plots, render_place
    from fedspan.cli.exits import code_of
    from fedspan.errors import NoCapacity

    if spot_only and on_demand_only:
        raise click.UsageError("--spot-only and --on-demand-only exclude each other", ctx)
    here, question = session(ctx), _question(ctx, spec, _purchase(spot_only, on_demand_only))
    if plot is not None:
        _can_be_drawn(plot)
    with here.api() as api, _helping(compare):
        answer = api.placements(
            question.model_dump(mode="json", exclude_unset=True), limit, compare
        )
    here.show(answer.model_dump(mode="json"), *render_place.answer(answer))
    if not answer.candidates:
        if plot is not None:
            here.say(f"nothing is drawn to {plot}: no place fits")
        raise typer.Exit(code_of(NoCapacity))
    if plot is not None:
        title = f"{question.name}: cost and time of the aggregator's places"
        plot.write_text(picture.svg(plots.points(answer), title), encoding="utf-8")
        here.say(f"{plot} is drawn")


def _purchase(spot_only: bool, on_demand_only: bool) -> Purchase | None:
    from fedspan.domain.spec import Purchase

    if spot_only:
        return Purchase.SPOT
    return Purchase.ON_DEMAND if on_demand_only else None


@contextlib.contextmanager
def _helping(compare: str | None) -> Iterator[None]:
    """Where no known region is like the one to compare, say where they are listed."""
    from fedspan.errors import InvalidRequest

    try:
        yield
    except InvalidRequest as exc:
        if compare is None or not all(
            one.startswith("compare: ") and "did you mean" not in one for one in exc.problems
        ):
            raise
        listed = "`fedspan book show --machine m5.large` (or another type) lists regions"
        raise InvalidRequest(*(f"{one}; {listed}" for one in exc.problems)) from None


def _question(ctx: click.Context, path: str, purchase: Purchase | None) -> PlacementQuestion:
    """What the file at `path` asks, of machines bought by `purchase`.

    Raises:
        InvalidRequest, TooLarge: it cannot be read, or asks nothing.
        UsageError: it asks for those bought otherwise.
    """
    from fedspan.cli.spec_file import read_spec
    from fedspan.domain.parsing import parsed
    from fedspan.domain.placements import PlacementQuestion
    from fedspan.domain.spec import Purchase

    question = parsed(PlacementQuestion, read_spec(path, MOST_BYTES))
    if question.placement.model_bytes is None:
        size = _size_of_model(question, path)
        placement = question.placement.model_copy(update={"model_bytes": size})
        question = question.model_copy(update={"placement": placement})
    if purchase is not None:
        wanted = question.aggregator.purchase
        if wanted not in (purchase, Purchase.ANY, Purchase.DEADLINE):
            option = f"--{purchase.replace('_', '-')}-only"
            raise click.UsageError(
                f"{option} contradicts the spec, which has aggregator.purchase: {wanted}", ctx
            )
        aggregator = question.aggregator.model_copy(update={"purchase": purchase})
        question = question.model_copy(update={"aggregator": aggregator})
    return question


def _size_of_model(question: PlacementQuestion, path: str) -> int | None:
    """Bytes of the model's file, which lies beside the spec at `path`; None if it names none, or
    one that was uploaded before.

    Raises:
        InvalidRequest: there is no such file, or nothing in it.
    """
    from fedspan.cli.spec_file import STDIN
    from fedspan.errors import InvalidRequest

    if question.model is None or question.model.file is None:
        return None
    folder = Path() if path == STDIN else Path(path).parent
    file = folder / Path(question.model.file).expanduser()
    if file.is_file() and (size := file.stat().st_size):
        return size
    if question.model.sha256 is not None:
        return None
    what = "is empty" if file.is_file() else "is no file"
    raise InvalidRequest(f"model.file: {file} {what}; placement.model_bytes would do without it")


def _can_be_drawn(plot: Path) -> None:
    """Raises `InvalidRequest` before anything is asked."""
    from fedspan.errors import InvalidRequest

    if plot.suffix != ".svg":
        raise InvalidRequest(f"--plot: {plot} does not end in .svg")
    if not plot.absolute().parent.is_dir():
        raise InvalidRequest(f"--plot: there is no folder {plot.absolute().parent}")
    if plot.is_dir():
        raise InvalidRequest(f"--plot: {plot} is a folder")
