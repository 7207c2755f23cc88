"""The book of prices an installation uses: the one it refreshed, else the one shipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Final

from fedspan.domain.parsing import nearest
from fedspan.errors import Corrupt, InvalidRequest, NotFound
from fedspan.objects.base import Objects

if TYPE_CHECKING:  # NumPy loads with the use cases that need it
    from fedspan.app import App
    from fedspan.placement.book import Book

KEPT = "books/book.json"
"""Where a refreshed book lies among the objects."""

FOLDER: Final = "books/"
SHIPPED: Final = "shipped"
CURRENT: Final = "current"
DAMAGED: Final = "damaged"
"""Begins the name of a file that was no book when a refresh replaced it."""


@dataclass(frozen=True)
class Held:
    """A book, the bytes of its file, and whether it was `refreshed` or shipped."""

    book: Book
    content: bytes
    refreshed: bool


@cache
def shipped() -> Book:
    """The book inside the package."""
    from fedspan.placement.book_file import read

    return read(_shipped_content())


def current(app: App) -> Book:
    """The book `app` places by. A newer one is seen at once; one already read is not read again.

    Raises:
        Corrupt: the refreshed book is none; the shipped one does not silently take its place.
    """
    return held(app.objects).book


def held(objects: Objects) -> Held:
    """As `current`, with the bytes."""
    content = refreshed_content(objects)
    if content is None:
        return Held(shipped(), _shipped_content(), refreshed=False)
    try:
        return Held(parsed_book(content), content, refreshed=True)
    except Corrupt as exc:
        raise Corrupt(
            f"the refreshed book {KEPT}: {exc}; make a new one: fedspan book refresh"
        ) from exc


def refreshed_content(objects: Objects) -> bytes | None:
    try:
        return objects.get(KEPT)
    except NotFound:
        return None


@lru_cache(maxsize=4)
def parsed_book(content: bytes) -> Book:
    """Raises `Corrupt`."""
    from fedspan.placement.book_file import read

    return read(content)


def key_of(book: Book) -> str:
    """Where `book` is kept when another takes its place."""
    return f"{FOLDER}{book.made.isoformat()}-{book.sha256[:12]}.json"


def kept(objects: Objects) -> Sequence[str]:
    """The books that were replaced, by name (``2026-11-20-4f1c9a0b7d2e``), the oldest first."""
    names = [
        one.key.removeprefix(FOLDER).removesuffix(".json")
        for one in objects.list(FOLDER)
        if one.key != KEPT
    ]
    return sorted(name for name in names if not name.startswith(DAMAGED))


def find(objects: Objects, word: str) -> Book:
    """The book called `word`: ``shipped``, ``current``, or the date or hash (or their beginning)
    of one that was kept.

    Raises:
        InvalidRequest: none, or several, are called so; says which there are.
    """
    if word == SHIPPED:
        return shipped()
    if word == CURRENT:
        return held(objects).book
    names = {key_of(one).removeprefix(FOLDER).removesuffix(".json"): one for one in _known(objects)}
    known = [*names, *(name for name in kept(objects) if name not in names)]
    wanted = word.replace(" ", "-")
    fitting = [name for name in known if wanted and _fits(name, wanted)]
    if len(fitting) != 1:
        what = f"{len(fitting)} books are called {word!r}" if fitting else f"no book {word!r}"
        raise InvalidRequest(f"book: {what}{nearest(word, [SHIPPED, CURRENT, *known])}")
    [name] = fitting
    return names.get(name) or parsed_book(objects.get(f"{FOLDER}{name}.json"))


def place_in(book: Book, region: str, providers: Sequence[str] = ()) -> tuple[str, str]:
    """Provider and name of `region`, which may lack the provider.

    Raises:
        InvalidRequest: no region of `providers` (or of any) is called so; says the nearest.
    """
    regions = book.regions
    wanted = set(providers or regions.provider)
    found = [row for row in regions.called.get(region, ()) if regions.provider[row] in wanted]
    if not found:
        names = regions.index if ":" in region else regions.name
        pairs = zip(names, regions.provider, strict=True)
        known = [name for name, provider in pairs if provider in wanted]
        of = f" of {', '.join(providers)}" if providers else ""
        raise InvalidRequest(f"region: {region!r} is no region{of}{nearest(region, known)}")
    return regions.provider[found[0]], regions.name[found[0]]


def _fits(name: str, wanted: str) -> bool:
    return name.startswith(wanted) or name.rpartition("-")[2].startswith(wanted)


def _known(objects: Objects) -> Sequence[Book]:
    return shipped(), held(objects).book


@cache
def _shipped_content() -> bytes:
    return resources.files("fedspan.placement").joinpath("book.json").read_bytes()
