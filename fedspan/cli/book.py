"""``fedspan book ...``"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fedspan.cli.session import Command, Session, group, session

if TYPE_CHECKING:
    from fedspan.objects.base import Objects
    from fedspan.placement.book import Book

app = group("book", "The book of prices that placement reads: look at it, refresh it, compare.")

Which = Annotated[
    str | None,
    typer.Argument(
        metavar="BOOK",
        help="shipped, current, the date or hash of one that was kept, or a file",
    ),
]
MOST_BYTES: Final = 1 << 26


@app.command(cls=Command)
def show(
    ctx: typer.Context,
    provider: Annotated[str | None, typer.Option(help="Only this provider")] = None,
    region: Annotated[
        str | None, typer.Option(help="The prices of a region, such as aws:eu-west-1")
    ] = None,
    machine: Annotated[
        str | None, typer.Option(metavar="TYPE", help="The prices of a machine type")
    ] = None,
) -> None:
    """Which book is in use, what is in it, how old that is and where it is from."""
    from fedspan.cli import book_documents, render_book
    from fedspan.services.books import held
    from fedspan.wiring import now

    here = session(ctx)
    wanted = (provider or "", region or "", machine or "")
    shown = book_documents.contents(held(_objects(here)), *wanted, now().date())
    here.show(shown, *render_book.book(shown))


@app.command(cls=Command)
def refresh(
    ctx: typer.Context,
    provider: Annotated[
        list[str] | None, typer.Option(help="Only aws, gcp or azure; may be given again")
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(help="Only this region; may be given again. AWS lists much for each"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take prices ten times the old, or a tenth of it")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change")] = False,
) -> None:
    """Read today's prices from the clouds' public interfaces; the old book is kept.

    Google's needs an API key in FEDSPAN_GCP_API_KEY, AWS's spot prices the credentials that boto3
    finds. Without them those prices stay as they are.
    """
    from fedspan import wiring
    from fedspan.cli import book_documents, render_book
    from fedspan.cli.logs import LOG, logged
    from fedspan.local.offline import offline
    from fedspan.prices.opening import open_prices
    from fedspan.services.refresh_book import refresh

    here = session(ctx)
    here.home.prepare()
    with contextlib.ExitStack() as open_:
        open_.enter_context(logged(here.home.path / LOG))
        open_.enter_context(offline(here.home))
        done = refresh(
            wiring.app(),
            open_.enter_context(open_prices(os.environ)),
            providers=provider or (),
            regions=region or (),
            force=force,
            dry_run=dry_run,
            told=open_.enter_context(_progress(here)),
        )
    shown = book_documents.refreshed(done, dry_run=dry_run)
    here.show(shown, *render_book.refresh(shown))


@app.command(cls=Command)
def diff(ctx: typer.Context, old: Which = None, new: Which = None) -> None:
    """What changed between two books: without names, from the shipped to the current one."""
    from fedspan.cli import book_documents, render_book
    from fedspan.placement.revision import compare
    from fedspan.services.books import CURRENT, SHIPPED

    here = session(ctx)
    objects = _objects(here)
    before, after = _book(objects, old or SHIPPED), _book(objects, new or CURRENT)
    shown = book_documents.difference(before, after, compare(before, after))
    here.show(shown, *render_book.diff(shown))


def _objects(here: Session) -> Objects:
    """Those of the home, if it has any: looking makes none."""
    from fedspan.absent import NoObjects
    from fedspan.objects.opening import open_objects

    there = (here.home.path / "objects").is_dir()
    return open_objects(here.home.objects_url) if there else NoObjects()


def _book(objects: Objects, word: str) -> Book:
    """Raises `InvalidRequest`, and `Corrupt` for a file that is no book."""
    from fedspan.errors import Corrupt, InvalidRequest
    from fedspan.services import books

    path = Path(word)
    if not path.is_file():
        if os.sep in word or path.suffix == ".json":
            raise InvalidRequest(f"book: there is no file {word}")
        return books.find(objects, word)
    if path.stat().st_size > MOST_BYTES:
        raise InvalidRequest(f"book: {word} is larger than {MOST_BYTES:,} bytes")
    try:
        return books.parsed_book(path.read_bytes())
    except Corrupt as exc:
        raise Corrupt(f"{word}: {exc}") from exc


@contextlib.contextmanager
def _progress(here: Session) -> Iterator[Callable[[str, str, float], None]]:
    """On stderr: a bar a provider where somebody looks, a line a provider elsewhere."""
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    watched = here.err.is_terminal
    with Progress(*columns, console=here.err, transient=True, disable=not watched) as bars:
        tasks: dict[str, TaskID] = {}

        def told(provider: str, what: str, share: float) -> None:
            if provider not in tasks:
                tasks[provider] = bars.add_task(what, total=1.0)
                if not watched:
                    here.err.print(f"reading the prices of {provider}", soft_wrap=True)
            bars.update(tasks[provider], description=what, completed=share)

        yield told
