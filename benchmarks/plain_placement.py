"""The placement decision as one would first write it: loops over candidates and participants,
plain floats. What `benchmarks/placement.py` compares the arrays with."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fedspan.domain.placements import Participant, PlacementQuestion
from fedspan.placement import duration, evaluation, federation, latency
from fedspan.placement.book import Book


def decide(
    book: Book, question: PlacementQuestion, participants: Sequence[Participant], model_bytes: int
) -> tuple[float, int, str]:
    """Micro-dollars, price row and network tier of the cheapest candidate that has the machine
    asked for. Every participant is taken to be on the internet and to have a position."""
    firsts = [
        max(_participant_s(_rtt_ms(book, one, region), one, model_bytes) for one in participants)
        for region in range(len(book.regions))
    ]
    best = (math.inf, -1, "")
    need = question.aggregator.need
    for row in range(len(book.prices)):
        machine, region = int(book.prices.machine[row]), int(book.prices.region[row])
        fits = book.machines.vcpus[machine] >= need.vcpus
        if not fits or book.machines.memory_mib[machine] < need.memory_mib:
            continue
        seconds, sent = _job(book, question, participants, row, firsts[region], model_bytes)
        provider = book.regions.provider[region]
        for tier in book.egress.tiers.get(provider, ("",)):
            if (region, tier, "world") not in book.egress.internet:
                continue
            hourly = int(book.prices.price[row]) + book.egress.address.get(provider, 0)
            cost = hourly * seconds / 3600 + _egress(book, region, tier, sent)
            best = min(best, (cost, row, tier))
    return best


def _job(
    book: Book,
    question: PlacementQuestion,
    participants: Sequence[Participant],
    row: int,
    first: float,
    model_bytes: int,
) -> tuple[float, float]:
    """Expected seconds, and bytes sent to all."""
    machine, count = int(book.prices.machine[row]), len(participants)
    compute = max(_or(one.compute_s, federation.COMPUTE_S) for one in participants)
    nic = float(book.machines.nic_mbps[machine]) * 1e6 / 8
    a_round = max(first, compute + count * 3 * model_bytes / nic)
    a_round += count * model_bytes / duration.AGGREGATION_BYTES_S + duration.OVERHEAD_S
    stretch = a_round + evaluation.CHECKPOINT_S + model_bytes / evaluation.CHECKPOINT_BYTES_S
    hazard = float(book.prices.interruptions[row]) / 3600
    if hazard:
        stretch = math.expm1(hazard * stretch) * (1 / hazard + evaluation.RECOVERY_S)
    seconds = evaluation.SETUP_S + question.rounds * stretch
    return seconds, 2 * count * model_bytes * question.rounds * (1 + hazard * a_round)


def _participant_s(rtt_ms: float, one: Participant, model_bytes: int) -> float:
    rtt = rtt_ms / 1e3
    down = min(_or(one.down_mbps, federation.DOWN_MBPS) * 1e6 / 8, duration.WINDOW_BYTES / rtt)
    up = min(_or(one.up_mbps, federation.UP_MBPS) * 1e6 / 8, duration.WINDOW_BYTES / rtt)
    waiting = _or(one.compute_s, federation.COMPUTE_S) + duration.ROUND_TRIPS * rtt
    return waiting + 2 * model_bytes / down + model_bytes / up


def _rtt_ms(book: Book, one: Participant, region: int) -> float:
    regions, anchors = book.regions, book.anchors
    assert one.latitude is not None and one.longitude is not None
    here = (one.latitude, one.longitude)
    there = (float(regions.latitude[region]), float(regions.longitude[region]))
    places = list(zip(anchors.latitude.tolist(), anchors.longitude.tolist(), strict=True))
    mine = [math.exp(-_km(here, place) / latency.NEAR_KM) for place in places]
    its = [math.exp(-_km(there, place) / latency.NEAR_KM) for place in places]
    spots = zip(regions.latitude.tolist(), regions.longitude.tolist(), strict=True)
    near = min((_km(here, spot), row) for row, spot in enumerate(spots))[1]
    pair = "-".join(sorted((regions.continent[near], regions.continent[region])))
    total = latency.SHRINK * anchors.slopes.get(pair, anchors.slopes["*"]) / 1000
    weight = latency.SHRINK
    for a, weight_a in enumerate(mine):
        for b, weight_b in enumerate(its):
            apart, rtt = _km(places[a], places[b]), float(anchors.rtt_ms[a, b])
            if a != b and apart >= latency.LEAST_PAIR_KM and not math.isnan(rtt):
                total += weight_a * weight_b * (rtt - latency.INTERCEPT_MS) / apart
                weight += weight_a * weight_b
    return latency.INTERCEPT_MS + total / weight * _km(here, there)


def _km(one: tuple[float, float], other: tuple[float, float]) -> float:
    lat, lon, lat2, lon2 = (math.radians(degrees) for degrees in (*one, *other))
    half = math.sin((lat2 - lat) / 2) ** 2
    half += math.cos(lat) * math.cos(lat2) * math.sin((lon2 - lon) / 2) ** 2
    return 2 * latency.EARTH_KM * math.asin(math.sqrt(min(1.0, half)))


def _egress(book: Book, region: int, tier: str, sent: float) -> float:
    tariff = book.egress.tariffs[book.egress.internet[region, tier, "world"]]
    units, total = sent / tariff.unit, 0.0
    for start, end, price in zip(
        tariff.starts, (*tariff.starts[1:], math.inf), tariff.price, strict=True
    ):
        total += max(0.0, min(units, end) - start) * price
    return total


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
