"""``fedspan model ...``"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fedspan.cli.session import Command, Session, group, session

if TYPE_CHECKING:
    from fedspan.domain.models import Card

app = group("model", "Models that jobs kept: look at them, take them elsewhere.")

Id = Annotated[str, typer.Argument(metavar="MODEL")]
"""A model has the id of the job that kept it."""

FORMATS: Final = (".pt2", ".onnx", ".safetensors")


@app.command("list", cls=Command)
def list_(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many")] = 50,
) -> None:
    """The newest models first."""
    here = session(ctx)
    with here.api() as api:
        found = api.models(limit)
    from fedspan.cli import render

    here.show({"models": [card.model_dump(mode="json") for card in found]}, render.models(found))


@app.command(cls=Command)
def show(ctx: typer.Context, id: Id) -> None:
    """A model's card: what it is, how good, made from what and by whom."""
    here = session(ctx)
    with here.api() as api:
        card = api.model(id)
    from fedspan.cli import render

    here.show(card.model_dump(mode="json"), *render.model(card))


@app.command(cls=Command)
def export(
    ctx: typer.Context,
    id: Id,
    to: Annotated[
        Path, typer.Option("--to", help="The file to write: .pt2, .onnx or .safetensors")
    ],
) -> None:
    """Write a model as a file others can load; it is read back and compared."""
    from fedspan.errors import InvalidRequest

    if to.suffix not in FORMATS:
        raise InvalidRequest(f"--to: {to} ends in none of {', '.join(FORMATS)}")
    if not to.absolute().parent.is_dir():
        raise InvalidRequest(f"--to: there is no folder {to.absolute().parent}")
    here = session(ctx)
    with here.api() as api:
        card = api.model(id)
    if card.architecture.app is not None and to.suffix != ".safetensors":
        raise InvalidRequest(
            f"--to: model {id} is an app's, and only the app knows how to build it; its parameters "
            "can be written as .safetensors"
        )
    with _fetched(here, card) as (weights, program):
        document = _written(card, weights, program, to)
    here.show(
        document,
        f"{document['path']}: {document['bytes']:,} bytes, SHA-256 {document['sha256']}, "
        f"largest difference {document['largest_difference']:.1e}",
    )


@app.command(cls=Command)
def delete(ctx: typer.Context, id: Id) -> None:
    """Forget a model: its weights and its card. The job that made it stays."""
    here = session(ctx)
    with here.api() as api:
        api.delete_model(id)
    here.show({"deleted": id}, f"model {id} is deleted")


@contextlib.contextmanager
def _fetched(here: Session, card: Card) -> Iterator[tuple[Path, Path | None]]:
    """The model's weights, and its program if it was one, as files for a while.

    Raises:
        Corrupt: the weights are not those the card tells of.
    """
    from fedspan.errors import Corrupt
    from fedspan.learning.weights import sha256_of
    from fedspan.objects.opening import open_objects
    from fedspan.services.examine import program_key

    objects = open_objects(here.home.objects_url)
    with tempfile.TemporaryDirectory(prefix="fedspan-") as folder:
        weights, program = Path(folder) / "weights.safetensors", None
        objects.download(card.weights, weights)
        if sha256_of(weights) != card.sha256:
            raise Corrupt(f"model {card.id}: the weights at {card.uri} do not match their hash")
        if card.architecture.file is not None and card.architecture.sha256 is not None:
            program = Path(folder) / "program.pt2"
            objects.download(program_key(card.architecture.sha256), program)
        yield weights, program


def _written(card: Card, weights: Path, program: Path | None, to: Path) -> dict[str, Any]:
    """Written beside `to` first, so that a failed export leaves what was there."""
    import shutil

    part = to.with_name(f".{to.stem}.part{to.suffix}")
    try:
        if to.suffix == ".safetensors":
            shutil.copyfile(weights, part)
            made = {"bytes": part.stat().st_size, "sha256": card.sha256, "largest_difference": 0.0}
        else:
            from fedspan.learning.export import export_onnx, export_pt2

            write = export_onnx if to.suffix == ".onnx" else export_pt2
            done = write(card, weights, part, program)
            made = {
                "bytes": done.bytes,
                "sha256": done.sha256,
                "largest_difference": done.max_difference,
            }
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)
    return {"model": card.id, "path": str(to), **made}
