"""A candidate place in words."""

from __future__ import annotations

from typing import Final

from fedspan.domain.machines import Offer
from fedspan.domain.placements import Candidate
from fedspan.domain.spec import Purchase

HERE: Final = "local:local"
THIS_COMPUTER: Final = "this computer"


def named(candidate: Candidate) -> str:
    """A place as a table has it: ``aws:eu-west-1``, and what people call this computer."""
    return THIS_COMPUTER if candidate.place == HERE else candidate.place


def where(candidate: Candidate) -> str:
    """A place and its machine, in words."""
    how = "spot" if candidate.purchase is Purchase.SPOT else "on demand"
    words = (candidate.machine_type, how, candidate.network_tier)
    return _spoken(candidate.provider, candidate.region, words)


def offered(offer: Offer) -> str:
    """As `where`, of an offer."""
    words = (offer.machine_type, "spot" if offer.spot else "on demand", offer.network_tier)
    return _spoken(offer.provider, offer.region, words)


def _spoken(provider: str, region: str, words: tuple[str, ...]) -> str:
    place = THIS_COMPUTER if f"{provider}:{region}" == HERE else f"{provider} {region}"
    return f"{place} ({', '.join(filter(None, words))})"


def costing(candidate: Candidate) -> str:
    """What a place is expected to take, in words."""
    hours = candidate.hours.expected
    took = f"{hours:.1f} h" if hours >= 2 else f"{max(1, round(hours * 60))} min"
    hourly, total = candidate.price_usd_hour, candidate.cost_usd.total
    return f"${hourly:.4f} an hour, about {took} and ${total:.2f} in all"
