"""Answers of placement, made by hand."""

from __future__ import annotations

from datetime import date
from typing import Any

from fedspan.domain.placements import (
    Candidate,
    Cost,
    Hours,
    PlacementAnswer,
    PriceAge,
    Slowest,
    Stability,
)
from fedspan.domain.spec import CpuArch, Purchase


def a_candidate(
    place: str = "aws:eu-central-1",
    *,
    cost: float = 79.0,
    hours: float = 6.2,
    **changes: Any,
) -> Candidate:
    provider, region = place.split(":")
    made = Candidate(
        provider=provider,
        region=region,
        city="Frankfurt",
        country="DE",
        machine_type="c7g.large",
        vcpus=2,
        memory_mib=4096,
        arch=CpuArch.ARM,
        purchase=Purchase.SPOT,
        hours=Hours(expected=hours, p50=hours, p95=round(1.2 * hours, 4)),
        round_s=111.6,
        cost_usd=Cost(vm=0.31, egress=round(cost - 0.341, 6), address=0.031, total=cost),
        worst=Slowest(participant="seoul", rtt_ms=231.4, band_ms=34.0, measured=False),
        p_interruption=0.031,
        gco2=61.0,
        score=0.123,
        price_usd_hour=0.0434,
        price_date=date(2026, 11, 20),
        price_basis="list",
    )
    return made.model_copy(update=changes)


def an_answer(
    *candidates: Candidate, front: tuple[int, ...] = (0,), **changes: Any
) -> PlacementAnswer:
    made = PlacementAnswer(
        candidates=candidates or (a_candidate(),),
        front=front,
        stability=Stability(best=93, draws=100, rivals=("gcp:europe-west4",)),
        explanation="It is best.",
        assumptions=("up_mbps of seoul: 100, not given",),
        prices=PriceAge(oldest=date(2025, 6, 28), newest=date(2026, 11, 20), stale=1),
        considered=14_160,
        feasible=1_230,
        model_bytes=1_000_000_000,
        book="2026-11-20 0123456789ab",
    )
    return made.model_copy(update=changes)


def many() -> PlacementAnswer:
    """Names as long as clouds have them, prices of every kind, a front of four."""
    x = Purchase.ON_DEMAND
    return an_answer(
        a_candidate(cost=79.2, hours=6.2),
        a_candidate(
            "gcp:northamerica-northeast1",
            cost=120.31,
            hours=4.1,
            city="Montréal",
            machine_type="n2d-standard-2",
            purchase=x,
            network_tier="premium",
            p_interruption=0.0,
        ),
        a_candidate(
            "azure:germanywestcentral",
            cost=61.02,
            hours=9.9,
            machine_type="Standard_D2pls_v6",
            price_basis="estimate",
            price_date=date(2025, 6, 28),
            stale=True,
        ),
        a_candidate("aws:ap-northeast-2", cost=131.0, hours=3.9, city="Seoul", purchase=x),
        a_candidate("aws:eu-west-1", cost=85.0, hours=6.6, city="Dublin", gco2=None),
        a_candidate(
            "gcp:europe-west4",
            cost=90.0,
            hours=6.25,
            city="Eemshaven",
            machine_type="t2d-standard-2",
            network_tier="standard",
            worst=Slowest(participant="a" * 63, rtt_ms=12.3, band_ms=0.0, measured=True),
        ),
        a_candidate("aws:eu-west-3", cost=79.9, hours=6.3, city="Paris"),
        a_candidate("aws:eu-north-1", cost=80.4, hours=6.9, city="Stockholm"),
        a_candidate("aws:eu-central-1", cost=80.1, hours=6.2, machine_type="m7i-flex.large"),
        a_candidate("gcp:asia-northeast3", cost=128.0, hours=4.05, city="Seoul", purchase=x),
        front=(0, 1, 2, 3),
        compared=a_candidate("aws:us-east-1", cost=101.5, hours=5.9, city="Ashburn"),
        cheapest_hour=a_candidate("aws:ap-south-1", cost=161.5, hours=11.9, city="Mumbai"),
        explanation="aws:eu-central-1 comes first since egress is 99 % of the bill, and it is "
        "cheap there. gcp:northamerica-northeast1 would be done 2.1 hours sooner for $41.11 "
        "more.\n\nThe machine that is cheapest by the hour would cost $82.30 more, all of it "
        "egress.",
        assumptions=(
            "compute_s of all: 30 s a round, not given",
            "up_mbps and down_mbps of seoul, busan and daejeon: 100, not given",
        ),
    )
