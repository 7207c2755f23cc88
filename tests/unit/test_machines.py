"""Machines and the offers of them."""

from __future__ import annotations

import pytest

from fedspan.domain.machines import Offer, cheapest
from fedspan.domain.spec import Need
from fedspan.errors import NoCapacity


def offer(region: str, price: int) -> Offer:
    return Offer(
        provider="p", region=region, machine_type="m", vcpus=2, memory_mib=4096, price=price
    )


def test_offers_break_ties_by_name() -> None:
    need = Need(vcpus=2, memory_mib=4096)

    assert cheapest([offer("b", 1), offer("a", 1), offer("c", 2)], need).region == "a"
    with pytest.raises(NoCapacity, match="2 vCPU and 4096 MiB"):
        cheapest([], need)


def test_what_does_not_fit_is_not_cheapest() -> None:
    need = Need(vcpus=4, memory_mib=4096)
    large = offer("b", 9).model_copy(update={"vcpus": 4})

    assert cheapest([offer("a", 1), large], need) == large


def test_of_one_price_the_smallest_is_taken() -> None:
    """The flavors of a private cloud all cost nothing."""
    need = Need(vcpus=1, memory_mib=1024)
    small = offer("z", 0)
    large = offer("a", 0).model_copy(update={"vcpus": 8})

    assert cheapest([large, small], need) == small
