"""What a refresh may do to the book, and what two books differ in. Small books, made here."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pytest

from fedspan.domain.quotes import Interface, Quote, Shape, Wanted
from fedspan.placement.book import EPOCH, UNRANKED, Machines, Prices, Regions
from fedspan.placement.book_file import read, write
from fedspan.placement.contents import ages, chosen, listed, shares
from fedspan.placement.revision import Offer, compare, revise, wanted
from fedspan.services.books import shipped

TODAY = date(2026, 11, 20)
API = Interface("aws-api", "AWS", "https://aws", "published")
ASKED = Wanted(("near", "far"), (Shape("small", 2, 4096), Shape("large", 8, 16384)))


def prices(*rows, dated=date(2026, 1, 1)):
    """Rows of region, machine, spot, micro-dollars, interruptions."""
    region, machine, spot, price, risk = zip(*rows, strict=True)
    count = len(rows)
    return Prices(
        region=np.array(region),
        machine=np.array(machine),
        spot=np.array(spot, np.bool_),
        price=np.array(price),
        basis=np.ones(count, np.int64),
        dated=np.full(count, (dated - EPOCH).days),
        interruptions=np.array(risk, np.float64),
        source=("aws-list",) * count,
    )


@pytest.fixture
def book():
    """Two regions of AWS and one of Azure; all else is of the shipped book."""
    whole = shipped()
    regions = Regions(
        provider=("aws", "aws", "azure"),
        name=("near", "far", "west"),
        city=("A", "B", "C"),
        country=("DE", "JP", "NL"),
        continent=("EU", "AS", "EU"),
        eu=np.array([True, False, True]),
        eea=np.array([True, False, True]),
        latitude=np.zeros(3),
        longitude=np.zeros(3),
        gco2=np.full(3, np.nan),
        gco2_source=("", "", ""),
    )
    machines = Machines(
        provider=("aws", "aws", "azure"),
        name=("small", "large", "D2"),
        arch=("x86", "x86", "arm"),
        vcpus=np.array([2, 8, 2]),
        memory_mib=np.array([4096, 16384, 8192]),
        gpu=("", "", ""),
        gpus=np.zeros(3, np.int64),
        nic_mbps=np.full(3, 1000.0),
        nic_assumed=np.array([True] * 3),
    )
    known = prices(
        (0, 0, False, 100_000, 0.0),
        (0, 0, True, 30_000, 0.4),
        (1, 0, False, 140_000, 0.0),
        (0, 1, False, 400_000, 0.0),
        (2, 2, False, 96_000, 0.0),
    )
    between = np.array([[0, 20_000, -1], [20_000, 0, -1], [-1, -1, 0]])
    made = replace(whole, regions=regions, machines=machines, prices=known, sha256="")
    return replace(
        made,
        egress=replace(made.egress, internet={}, between=between),
    )


def quote(price, region="near", machine="small", *, spot=False, **more):
    return Quote(region, machine, spot, Decimal(str(price)), "aws-api", **more)


def revised(book, *quotes, provider="aws", force=False):
    return revise(book, {provider: (ASKED, quotes)}, [API], TODAY, force=force)


def found(book, *, spot=False, region="near", machine="small"):
    rows = chosen(book, region=region, machine=machine)
    [one] = [one for one in listed(book, rows, TODAY) if one.spot == spot]
    return one


def test_a_quote_becomes_the_price_of_today(book):
    made = revised(book, quote("0.1234567"))

    one = found(made.book)
    assert (one.price, one.basis, one.dated, one.source) == (123_457, "list", TODAY, "aws-api")
    assert made.book.made == TODAY
    assert made.book.sources["aws-api"].dated == TODAY
    assert made.refused == ()


def test_what_is_not_quoted_stays_with_its_old_date(book):
    made = revised(book, quote("0.11"))

    assert found(made.book, machine="large") == found(book, machine="large")
    assert made.tallies["aws"].kept == 3
    assert len(made.book.prices) == len(book.prices)


def test_the_book_asked_is_not_changed(book):
    before = write(book)
    revised(book, quote("0.11"), quote("0.2", "far", spot=True))

    assert write(book) == before


def test_what_a_revision_did_is_counted(book):
    made = revised(
        book,
        quote("0.1"),
        quote("0.15", "far"),
        quote("0.05", "far", spot=True),
        quote("0.05", "mars"),
        quote("0.05", machine="huge"),
        quote("0.05", machine="D2"),
    )
    tally = made.tallies["aws"]

    assert (tally.changed, tally.unchanged, tally.added) == (1, 1, 1)
    assert (tally.kept, tally.strange) == (2, 3)


def test_a_new_spot_price_has_the_risk_of_what_nobody_ranks(book):
    made = revised(book, quote("0.02", spot=True), quote("0.05", "far", spot=True))

    assert found(made.book, region="far", spot=True).interruptions == UNRANKED["aws"]
    assert found(made.book, spot=True).interruptions == 0.4
    assert found(revised(book, quote("0.3", "far", "large")).book, region="far").interruptions == 0


@pytest.mark.parametrize("provider", ["azure", "gcp"])
def test_the_first_spot_prices_of_a_provider_have_its_own_risk(provider):
    whole = shipped()
    asked = wanted(whole, provider)
    known = {(one, place) for one, place, spot in offered(whole) if spot}
    machine, region = next(
        (one.name, place)
        for one in asked.machines
        for place in asked.regions
        if (one.name, place) not in known and one.gpu == ""
    )
    quotes = [Quote(region, machine, True, Decimal("0.02"), "aws-api")]
    made = revise(whole, {provider: (asked, quotes)}, [API], TODAY, force=True)

    assert (
        found(made.book, region=region, machine=machine, spot=True).interruptions
        == (UNRANKED[provider])
    )


def offered(book):
    return zip(
        np.array(book.machines.name)[book.prices.machine].tolist(),
        np.array(book.regions.name)[book.prices.region].tolist(),
        book.prices.spot.tolist(),
        strict=True,
    )


@pytest.mark.parametrize(
    "odd, why",
    [
        (quote("0"), "want more than nothing"),
        (quote("-0.1"), "want more than nothing"),
        (quote("0.0000001"), "want more than nothing"),
        (quote("NaN"), "NaN is no price"),
        (quote("Infinity"), "Infinity is no price"),
        (quote("1e30"), "more than any machine costs"),
        (quote("-1e999999"), "want more than nothing"),
        (quote("0.1", currency="EUR"), "is quoted in EUR, not USD"),
        (quote("0.1", unit="month"), "is quoted by 'month', not by the hour"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_price_is_never_taken(book, odd, why, force):
    made = revised(book, odd, quote("0.15", "far"), force=force)

    [refused] = made.refused
    assert refused.final
    assert str(refused).startswith("aws:near small on demand: ")
    assert why in refused.why
    assert found(made.book) == found(book)
    assert found(made.book, region="far").price == 150_000


@pytest.mark.parametrize("price", ["1.0", "1.7", "0.01", "0.001"])
def test_ten_times_the_old_or_a_tenth_is_taken_only_when_a_person_insists(book, price):
    asked, forced = revised(book, quote(price)), revised(book, quote(price), force=True)

    [refused] = asked.refused
    assert not refused.final
    assert "but it was $0.1" in refused.why
    assert found(asked.book) == found(book)
    assert forced.refused == ()
    assert found(forced.book).price == Decimal(price) * 1_000_000


@pytest.mark.parametrize("price", ["0.999999", "0.010001"])
def test_less_than_that_is_taken(book, price):
    assert revised(book, quote(price)).refused == ()


def test_a_price_that_is_new_is_measured_by_other_regions(book):
    made = revised(book, quote("5", "far", "large"))

    [refused] = made.refused
    assert "in the median region it is $0.4" in refused.why
    assert Offer("aws", "far", "large", False) == refused.offer


def test_a_revised_book_is_written_and_read(book):
    made = revised(book, quote("0.11"), quote("0.05", "far", spot=True)).book
    again = read(write(made))

    assert compare(made, again)[0].changed == 0
    assert found(again, region="far", spot=True).price == 50_000


def test_the_whole_shipped_book_can_be_revised():
    whole = shipped()
    asked = wanted(whole, "gcp", ["europe-west4"])
    quotes = [
        Quote("europe-west4", one.name, False, Decimal("1.5"), "aws-api") for one in asked.machines
    ]
    made = revise(whole, {"gcp": (asked, quotes)}, [API], TODAY, force=True)
    again = read(write(made.book))
    by_provider = {one.provider: one for one in compare(whole, again)}
    gcp = by_provider["gcp"]

    assert by_provider["aws"].changed == by_provider["azure"].changed == 0
    assert gcp.changed + len(gcp.appeared) == len(asked.machines)
    assert gcp.vanished == ()


def test_what_is_wanted_is_what_the_book_knows(book):
    assert wanted(book, "aws") == ASKED
    assert wanted(book, "aws", ["far"]).regions == ("far",)
    assert wanted(book, "gcp") == Wanted((), ())


def test_two_books_are_compared(book):
    later = replace(
        book,
        prices=prices(
            (0, 0, False, 110_000, 0.0),
            (0, 0, True, 15_000, 0.4),
            (1, 0, False, 140_000, 0.0),
            (1, 1, False, 440_000, 0.0),
            (2, 2, False, 96_000, 0.0),
        ),
    )
    [aws, azure] = compare(book, later)

    assert (aws.old, aws.new, aws.changed, aws.median) == (4, 4, 2, 0.0)
    assert [(one.offer.spot, round(one.relative, 6)) for one in aws.rises] == [(False, 0.1)]
    assert [(one.offer.spot, round(one.relative, 6)) for one in aws.falls] == [(True, -0.5)]
    assert aws.appeared == (Offer("aws", "far", "large", False),)
    assert aws.vanished == (Offer("aws", "near", "large", False),)
    assert (azure.changed, azure.appeared, azure.vanished) == (0, (), ())


def test_of_many_changes_the_largest_are_told_first():
    whole = shipped()
    factor = np.where(np.arange(len(whole.prices)) % 2, 1.5, 0.5)
    factor[:3] = [3.0, 0.1, 4.0]
    changed = np.round(whole.prices.price * factor).astype(np.int64)
    later = replace(whole, prices=replace(whole.prices, price=changed))
    [aws, *_] = compare(whole, later, most=2)

    assert [round(one.relative, 3) for one in aws.rises] == [3.0, 2.0]
    assert round(aws.falls[0].relative, 2) == -0.9
    assert len(aws.falls) == 2


def test_a_book_is_counted_by_provider_and_by_age(book):
    made = revised(book, quote("0.11")).book
    everything = chosen(made)
    [aws, azure] = shares(made, everything, date(2026, 8, 22))
    by_source = {source.id: age for source, age in ages(made, everything, date(2026, 8, 22))}

    assert (aws.regions, aws.machines, aws.on_demand, aws.spot) == (2, 2, 3, 1)
    assert (aws.age.prices, aws.age.stale, aws.age.newest) == (4, 3, TODAY)
    assert (azure.age.prices, azure.age.stale) == (1, 1)
    assert (by_source["aws-api"].prices, by_source["aws-api"].stale) == (1, 0)
    assert (by_source["aws-list"].prices, by_source["aws-list"].stale) == (4, 4)
    assert by_source["skyplane"].prices == 0


def test_prices_are_listed_the_cheapest_first(book):
    listing = [one.price for one in listed(book, chosen(book, provider="aws"), TODAY)]

    assert listing == sorted(listing)
    assert len(listing) == 4
