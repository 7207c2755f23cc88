"""A book of what providers offer now."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from fedspan.domain.machines import Offer
from fedspan.domain.spec import CpuArch, GpuNeed, Need
from fedspan.placement.book import LADDER, UNRANKED
from fedspan.placement.offers import book_of, known_offers, offers_in
from fedspan.services.books import shipped

TODAY = date(2026, 11, 20)


def offer(provider="local", region="here", machine_type="worker", **more):
    said = {"vcpus": 2, "memory_mib": 4096, "price": 1000, **more}
    return Offer(provider=provider, region=region, machine_type=machine_type, **said)


HERE = offer()
KNOWN = offer("aws", "eu-west-1", "m5.large")
NEW = offer("aws", "moon-central-1", "m5.large")


def test_where_a_provider_is_that_the_book_does_not_know_is_here():
    book = book_of(shipped(), [HERE], TODAY)
    row = book.prices.region[0]

    assert book.regions.name[row] == "here"
    assert np.isnan(book.regions.latitude[row])


def test_a_new_region_of_a_known_provider_is_left_out_and_is_not_here():
    book = shipped()
    made = book_of(book, [NEW, KNOWN, HERE], TODAY)

    assert known_offers(book, [NEW, KNOWN, HERE]) == [KNOWN, HERE]
    assert "aws:moon-central-1" not in made.regions.index
    assert [made.regions.name[row] for row in made.prices.region] == ["eu-west-1", "here"]


def test_without_a_known_place_there_is_nothing_to_choose_among():
    assert len(book_of(shipped(), [NEW], TODAY).prices) == 0


@pytest.mark.parametrize(
    "provider, region, risk",
    [
        ("gcp", "europe-west4", UNRANKED["gcp"]),
        ("azure", "westeurope", UNRANKED["azure"]),
        ("local", "here", LADDER[2]),
    ],
)
def test_a_spot_machine_the_book_does_not_know_has_the_risk_of_its_provider(provider, region, risk):
    offers = [offer(provider, region, "new", spot=True), offer(provider, region, "new")]
    book = book_of(shipped(), offers, TODAY)

    assert book.prices.interruptions.tolist() == [risk, 0.0]


def test_a_spot_machine_the_book_knows_has_its_risk():
    whole = shipped()
    prices = whole.prices
    row = next(row for row in np.flatnonzero(prices.spot) if prices.interruptions[row] == LADDER[4])
    region = whole.regions.name[prices.region[row]]
    machine = whole.machines.name[prices.machine[row]]
    book = book_of(whole, [offer("aws", region, machine, spot=True)], TODAY)

    assert book.prices.interruptions.tolist() == [LADDER[4]]


def test_a_machine_type_the_book_does_not_know_has_an_assumed_network():
    book = book_of(shipped(), [KNOWN, offer(vcpus=4), offer(machine_type="big", vcpus=96)], TODAY)

    assert book.machines.nic_mbps.tolist() == [750, 1560, 10_000]
    assert book.machines.nic_assumed.tolist() == [False, True, True]


def test_what_the_book_offers_in_some_regions_fits_and_is_the_books_price():
    book, need = shipped(), Need(vcpus=2, memory_mib=4096, arch=CpuArch.ARM)
    found = offers_in(book, "aws", {"eu-west-1", "us-east-1"}, need)

    assert {(one.provider, one.region) for one in found} == {
        ("aws", "eu-west-1"),
        ("aws", "us-east-1"),
    }
    assert all(one.fits(need) and one == Offer(**one.model_dump()) for one in found)
    assert {one.spot for one in found} == {True, False}
    assert known_offers(book, found) == found
    assert set(book_of(book, found, TODAY).prices.price) <= set(book.prices.price)


def test_gpu_machines_are_offered_only_where_one_is_needed():
    book = shipped()
    need = Need(vcpus=2, memory_mib=4096, gpu=GpuNeed(model="L4"))
    with_gpu = offers_in(book, "gcp", {"us-central1"}, need)
    without = offers_in(book, "gcp", {"us-central1"}, Need(vcpus=2, memory_mib=4096))

    assert {one.gpu for one in with_gpu} == {"L4"}
    assert without and not any(one.gpus for one in without)
