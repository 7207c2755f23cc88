"""A newer book of prices, from the clouds' public interfaces."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from fedspan.app import App
from fedspan.domain.parsing import nearest
from fedspan.domain.quotes import Reading, Wanted
from fedspan.errors import Conflict, Corrupt, FedspanError, InvalidRequest, ProviderError
from fedspan.prices.base import PriceSource
from fedspan.services import books

if TYPE_CHECKING:
    from fedspan.placement.book import Book
    from fedspan.placement.revision import Difference, Refused, Tally

log = structlog.get_logger()

MOST_NAMED: Final = 20
"""So many absurd prices are named, the others counted."""

Told = Callable[[str, str, float], None]
"""Called with the provider, what is read of it, and the share that is done."""


@dataclass(frozen=True)
class Refreshed:
    """What a refresh made of the book `old`. `kept_at` is the object where that lies now, empty
    if nothing was written. `failed` says why, by provider; its prices are as they were. `left_out`
    are quotes that not even force lets in."""

    old: Book
    new: Book
    kept_at: str
    tallies: Mapping[str, Tally]
    failed: Mapping[str, str]
    notes: tuple[str, ...]
    left_out: tuple[Refused, ...]
    differences: tuple[Difference, ...]


def refresh(
    app: App,
    sources: Mapping[str, PriceSource],
    *,
    providers: Sequence[str] = (),
    regions: Sequence[str] = (),
    force: bool = False,
    dry_run: bool = False,
    told: Told = lambda *_: None,
) -> Refreshed:
    """Read `sources` (or those of `providers`) for what the book knows (or `regions` of it), and
    place by the result from now on; the old book is kept beside it. `force` takes prices ten times
    the old, or a tenth; `dry_run` writes nothing.

    Raises:
        InvalidRequest: an unknown provider or region; absurd prices: nothing was changed.
        ProviderError: no source said anything. Conflict: somebody else refreshed meanwhile.
    """
    from fedspan.placement.book_file import read, write
    from fedspan.placement.revision import compare, revise

    base, damaged = _base(app)
    asked = _asked(base.book, sources, providers, regions)
    readings, failed = _readings(app, sources, asked, told)
    if not readings:
        raise _nothing(failed)
    quotes = {name: (asked[name], reading.quotes) for name, reading in readings.items()}
    interfaces = [one for name in readings for one in sources[name].interfaces]
    revision = revise(base.book, quotes, interfaces, app.now().date(), force=force)
    if revision.refused and not force:
        raise _absurd(revision.refused)
    content = write(revision.book)
    new = read(content)  # what is written can be read, or is not written
    same = dry_run or content == base.content
    kept_at = "" if same else _replace(app, base, content, damaged)
    if kept_at:
        log.info("BookRefreshed", book=new.id, old=kept_at, providers=list(readings), failed=failed)
    notes = [note for reading in readings.values() for note in reading.notes]
    if damaged is not None:
        notes.append("the refreshed book was damaged, so this one builds on the shipped one")
    return Refreshed(
        old=base.book,
        new=new,
        kept_at=kept_at,
        tallies=revision.tallies,
        failed=failed,
        notes=tuple(notes),
        left_out=revision.refused,
        differences=compare(base.book, new),
    )


def _base(app: App) -> tuple[books.Held, bytes | None]:
    """The book to build on; and what lies in its place, if that is no book."""
    try:
        return books.held(app.objects), None
    except Corrupt:
        content = books.refreshed_content(app.objects)
        base = books.Held(books.shipped(), b"", refreshed=False)
        return base, content


def _asked(
    book: Book,
    sources: Mapping[str, PriceSource],
    providers: Sequence[str],
    regions: Sequence[str],
) -> dict[str, Wanted]:
    from fedspan.placement.revision import wanted

    for name in providers:
        if name not in sources:
            raise InvalidRequest(f"provider: {name!r} publishes no prices{nearest(name, sources)}")
    chosen = [name for name in sources if not providers or name in providers]
    places = [books.place_in(book, region, chosen) for region in regions]
    asked = {}
    for name in chosen:
        own = [region for its, region in places if its == name]
        found = wanted(book, name, own)
        if found.regions and found.machines and (own or not regions):
            asked[name] = found
    return asked


def _readings(
    app: App, sources: Mapping[str, PriceSource], asked: Mapping[str, Wanted], told: Told
) -> tuple[dict[str, Reading], dict[str, str]]:
    """What each source said, and why the others said nothing."""
    readings: dict[str, Reading] = {}
    failed: dict[str, str] = {}
    for name, wanted in asked.items():

        def part(what: str, share: float, name: str = name) -> None:
            told(name, what, share)

        try:
            reading = sources[name].read(wanted, app.now(), part)
        except (ProviderError, InvalidRequest) as exc:
            failed[name] = str(exc)
            continue
        if reading.quotes:
            readings[name] = reading
        else:
            failed[name] = "; ".join((f"{name}: quotes nothing that was asked", *reading.notes))
    return readings, failed


def _nothing(failed: Mapping[str, str]) -> FedspanError:
    said = "; ".join(f"{name}: {why.removeprefix(f'{name}: ')}" for name, why in failed.items())
    return ProviderError(f"nothing could be refreshed; {said}")


def _absurd(refused: Sequence[Refused]) -> InvalidRequest:
    shown = [str(one) for one in refused[:MOST_NAMED]]
    more = len(refused) - len(shown)
    hopeless = sum(one.final for one in refused)
    advice = "nothing was changed; --force takes what is plausible"
    if hopeless:
        advice += f" and leaves {hopeless} as they were"
    return InvalidRequest(*shown, *([f"and {more:,} more"] if more else []), advice)


def _replace(app: App, base: books.Held, content: bytes, damaged: bytes | None) -> str:
    """Keep what lies there, then put `content` in its place, whole or not at all. Objects know
    no compare-and-swap, so what another wrote is looked for just before."""
    before = damaged if damaged is not None else base.content
    at = books.key_of(base.book)
    if damaged is not None:
        at = f"{books.FOLDER}{books.DAMAGED}-{hashlib.sha256(damaged).hexdigest()[:12]}.json"
    with suppress(Conflict):  # it is kept already
        app.objects.put(at, before, new=True)
    present = books.refreshed_content(app.objects)
    expected = before if damaged is not None or base.refreshed else None
    if present != expected:
        raise Conflict("the book was refreshed by somebody else meanwhile; refresh again")
    app.objects.put(books.KEPT, content)
    return at
