"""The book of prices as documents: what ``fedspan book ... --json`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from fedspan.domain.placements import STALE_DAYS
from fedspan.errors import InvalidRequest

if TYPE_CHECKING:
    from fedspan.placement.book import Book
    from fedspan.placement.contents import Age, Listed, Share
    from fedspan.placement.revision import Change, Difference, Offer, Tally
    from fedspan.services.books import Held
    from fedspan.services.refresh_book import Refreshed

Document = dict[str, Any]


def contents(held: Held, provider: str, region: str, machine: str, today: date) -> Document:
    """What is in the book; the prices themselves if a region or a machine type is given.

    Raises:
        InvalidRequest: an unknown name; says the nearest.
    """
    from fedspan.placement.contents import ages, chosen, listed, shares

    found = held.book
    provider, region = _checked(found, provider, region, machine)
    rows = chosen(found, provider=provider, region=region, machine=machine)
    since = today - timedelta(days=STALE_DAYS)
    narrowed = bool(provider or region or machine)
    sources = [(source, age) for source, age in ages(found, rows, since)]
    shown: Document = {
        "book": _named(found) | {"origin": "refreshed" if held.refreshed else "shipped"},
        "stale_days": STALE_DAYS,
        "providers": [_share(one) for one in shares(found, rows, since)],
        "sources": [
            {
                "id": source.id,
                "title": source.title,
                "where": source.where,
                "dated": source.dated.isoformat(),
                "licence": source.licence,
                **_age(age),
            }
            for source, age in sources
            if age.prices or not narrowed
        ],
    }
    if region or machine:
        shown["prices"] = [_price(one) for one in listed(found, rows, since)]
    return shown


def refreshed(done: Refreshed, *, dry_run: bool) -> Document:
    return {
        "old": _named(done.old),
        "new": _named(done.new),
        "written": bool(done.kept_at),
        "dry_run": dry_run,
        "kept_at": done.kept_at or None,
        "refreshed": {name: _tally(one) for name, one in done.tallies.items()},
        "failed": dict(done.failed),
        "notes": list(done.notes),
        "left_out": [str(one) for one in done.left_out],
        "providers": [_difference(one) for one in done.differences],
    }


def difference(old: Book, new: Book, found: Sequence[Difference]) -> Document:
    return {
        "old": _named(old),
        "new": _named(new),
        "providers": [_difference(one) for one in found],
    }


def _checked(book: Book, provider: str, region: str, machine: str) -> tuple[str, str]:
    from fedspan.domain.parsing import nearest
    from fedspan.services.books import place_in

    providers = list(dict.fromkeys(book.regions.provider))
    if provider and provider not in providers:
        raise InvalidRequest(f"provider: {provider!r} is unknown{nearest(provider, providers)}")
    if region:
        provider, region = place_in(book, region, [provider] if provider else ())
    types = [
        name
        for its, name in zip(book.machines.provider, book.machines.name, strict=True)
        if not provider or its == provider
    ]
    if machine and machine not in types:
        of = f" of {provider}" if provider else ""
        near = nearest(machine, types)
        raise InvalidRequest(f"machine: {machine!r} is no machine type{of}{near}")
    return provider, region


def _named(book: Book) -> Document:
    return {"id": book.id, "made": book.made.isoformat(), "sha256": book.sha256}


def _age(age: Age) -> Document:
    return {
        "prices": age.prices,
        "oldest": age.oldest.isoformat() if age.oldest else None,
        "newest": age.newest.isoformat() if age.newest else None,
        "stale": age.stale,
    }


def _share(share: Share) -> Document:
    return {
        "provider": share.provider,
        "regions": share.regions,
        "machines": share.machines,
        "on_demand": share.on_demand,
        "spot": share.spot,
        **_age(share.age),
    }


def _price(one: Listed) -> Document:
    return {
        "provider": one.provider,
        "region": one.region,
        "city": one.city,
        "country": one.country,
        "machine_type": one.machine,
        "arch": one.arch,
        "vcpus": one.vcpus,
        "memory_mib": one.memory_mib,
        "gpu": one.gpu,
        "gpus": one.gpus,
        "purchase": _purchase(one.spot),
        "price_usd_hour": one.price / 1_000_000,
        "price_date": one.dated.isoformat(),
        "price_basis": one.basis,
        "price_source": one.source,
        "interruptions_hour": one.interruptions,
        "stale": one.stale,
    }


def _purchase(spot: bool) -> str:
    return "spot" if spot else "on-demand"


def _offer(offer: Offer) -> Document:
    return {
        "provider": offer.provider,
        "region": offer.region,
        "machine_type": offer.machine,
        "purchase": _purchase(offer.spot),
    }


def _change(change: Change) -> Document:
    return _offer(change.offer) | {
        "old_usd_hour": change.old / 1_000_000,
        "new_usd_hour": change.new / 1_000_000,
        "change": round(change.relative, 6),
    }


def _difference(one: Difference) -> Document:
    return {
        "provider": one.provider,
        "old_prices": one.old,
        "new_prices": one.new,
        "changed": one.changed,
        "median_change": round(one.median, 6),
        "rises": [_change(change) for change in one.rises],
        "falls": [_change(change) for change in one.falls],
        "appeared": [_offer(offer) for offer in one.appeared],
        "vanished": [_offer(offer) for offer in one.vanished],
    }


def _tally(tally: Tally) -> Document:
    return {
        "changed": tally.changed,
        "unchanged": tally.unchanged,
        "added": tally.added,
        "kept": tally.kept,
        "unknown_to_the_book": tally.strange,
    }
