"""A candidate place in words."""

from __future__ import annotations

from fedspan.domain.placements import Candidate
from fedspan.domain.spec import Purchase


def where(candidate: Candidate) -> str:
    """A place and its machine, in words."""
    how = "spot" if candidate.purchase is Purchase.SPOT else "on demand"
    words = (candidate.machine_type, how, candidate.network_tier)
    return f"{candidate.provider} {candidate.region} ({', '.join(filter(None, words))})"


def costing(candidate: Candidate) -> str:
    """What a place is expected to take, in words."""
    hours = candidate.hours.expected
    took = f"{hours:.1f} h" if hours >= 2 else f"{max(1, round(hours * 60))} min"
    hourly, total = candidate.price_usd_hour, candidate.cost_usd.total
    return f"${hourly:.4f} an hour, about {took} and ${total:.2f} in all"
