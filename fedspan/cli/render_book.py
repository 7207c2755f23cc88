"""The book of prices for people, from its documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from fedspan.cli.book_documents import Document
from fedspan.cli.render import table
from fedspan.domain.texts import plain


def book(shown: Document) -> Iterable[RenderableType]:
    yield f"Book {shown['book']['id']}, {shown['book']['origin']}"
    if "prices" in shown:
        yield ""
        yield _prices(shown["prices"]) if shown["prices"] else Text("no prices of that")
    yield ""
    yield _shares(shown["providers"])
    yield ""
    yield _sources(shown["sources"])
    stale, all_ = (sum(one[key] for one in shown["providers"]) for key in ("stale", "prices"))
    if stale:
        yield ""
        told = f"{stale:,} of {all_:,} prices are older than {shown['stale_days']} days"
        yield Text(f"{told}; `fedspan book refresh` reads today's", "yellow")


def refresh(shown: Document) -> Iterable[RenderableType]:
    if shown["written"]:
        yield f"Book {shown['new']['id']} is in use; {shown['old']['id']} is at {shown['kept_at']}"
    elif shown["dry_run"]:
        yield f"Nothing was written; book {shown['old']['id']} stays in use"
    else:
        yield f"Book {shown['old']['id']} is as the clouds say"
    yield ""
    made = table(
        *("Provider", "Changed", "Same", "New", "Not quoted"),
        right=("Changed", "Same", "New", "Not quoted"),
    )
    for name, one in shown["refreshed"].items():
        counts = (one[key] for key in ("changed", "unchanged", "added", "kept"))
        made.add_row(name, *(f"{count:,}" for count in counts))
    yield made
    for name, why in shown["failed"].items():
        yield Text(plain(f"{name} was not refreshed: {why.removeprefix(f'{name}: ')}"), "yellow")
    for note in shown["notes"]:
        yield Text(plain(note), "yellow")
    for one in shown["left_out"]:
        yield Text(plain(f"left as it was: {one}"), "yellow")
    yield from _largest(shown["providers"])


def diff(shown: Document) -> Iterable[RenderableType]:
    yield f"From {shown['old']['id']} to {shown['new']['id']}"
    if shown["old"]["sha256"] == shown["new"]["sha256"]:
        yield "the same book"
        return
    yield ""
    right = ("Prices", "Changed", "Median", "New", "Vanished")
    made = table("Provider", *right, right=right)
    for one in shown["providers"]:
        made.add_row(
            one["provider"],
            f"{one['new_prices']:,}",
            f"{one['changed']:,}",
            f"{one['median_change']:+.1%}",
            f"{len(one['appeared']):,}",
            f"{len(one['vanished']):,}",
        )
    yield made
    yield from _largest(shown["providers"])


def _largest(providers: Sequence[Document]) -> Iterable[RenderableType]:
    for title, key in (("Largest rises", "rises"), ("Largest falls", "falls")):
        found = [change for one in providers for change in one[key]]
        if not found:
            continue
        made = table(title, "Machine", "Purchase", "Before", "Now", "Change", right=("Change",))
        for one in sorted(found, key=lambda one: -abs(one["change"])):
            made.add_row(
                plain(f"{one['provider']}:{one['region']}"),
                plain(one["machine_type"]),
                one["purchase"],
                _dollars(one["old_usd_hour"]),
                _dollars(one["new_usd_hour"]),
                f"{one['change']:+.1%}",
            )
        yield ""
        yield made


def _prices(found: Sequence[Document]) -> Table:
    made = table("Region", "Machine", "Purchase", "USD/hour", "Of", right=("USD/hour",))
    for column in made.columns[:4]:
        column.no_wrap = True
    for one in found:
        made.add_row(
            plain(f"{one['provider']}:{one['region']}"),
            plain(one["machine_type"]),
            one["purchase"],
            _dollars(one["price_usd_hour"]),
            f"{one['price_date']} {one['price_basis']}",
            style="yellow" if one["stale"] else "",
        )
    return made


def _shares(found: Sequence[Document]) -> Table:
    right = ("Regions", "Machines", "On demand", "Spot", "Old")
    made = table("Provider", *right, "Of", right=right)
    for one in found:
        made.add_row(
            one["provider"],
            *(f"{one[key]:,}" for key in ("regions", "machines", "on_demand", "spot", "stale")),
            _span(one),
        )
    return made


def _sources(found: Sequence[Document]) -> Table:
    columns = ("Source", "Prices", "Of", "Licence", "What")
    made = table(*columns, right=("Prices",), whole=("Source", "Of"))
    for one in found:
        made.add_row(
            plain(one["id"]),
            f"{one['prices']:,}" if one["prices"] else "",
            _span(one) if one["prices"] else one["dated"],
            plain(one["licence"]),
            plain(one["title"]),
            style="yellow" if one["stale"] else "",
        )
    return made


def _span(one: Document) -> str:
    same = one["oldest"] == one["newest"]
    return str(one["oldest"]) if same else f"{one['oldest']} to {one['newest']}"


def _dollars(usd: float) -> str:
    return f"{usd:.6f}".rstrip("0").ljust(6, "0")
