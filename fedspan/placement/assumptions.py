"""What a question did not say, and what was taken instead: told in every answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedspan.domain.assumed import COMPUTE_S, RECOVERY_S
from fedspan.domain.placements import Participant
from fedspan.domain.spec import Purchase
from fedspan.placement.evaluation import SETUP_S, Setting
from fedspan.placement.federation import DOWN_MBPS, UP_MBPS

NAMED = 3
"""Participants that are named one by one."""
MANY = 30
"""Participants from which on a machine's network may decide."""


def assumptions(on: Setting, participants: Sequence[Participant]) -> tuple[str, ...]:
    defaults = (
        ("up_mbps", f"{UP_MBPS:g} Mbit/s"),
        ("down_mbps", f"{DOWN_MBPS:g} Mbit/s"),
        ("compute_s", f"{COMPUTE_S:g} s of training a round"),
    )
    said = []
    for field, taken in defaults:
        silent = [one.name for one in participants if getattr(one, field) is None]
        if silent:
            said.append(f"{field}: {taken} for {_who(silent, len(participants))}")
    return (*said, *_latency(on), *_money(on))


def _latency(on: Setting) -> list[str]:
    regions, count = len(on.book.regions), len(on.parties)
    measured = len(on.parties.measured)
    if measured == count * regions:
        return []
    known = f"{measured:,} of {count * regions:,} were measured" if measured else "none measured"
    return [f"rtt_ms: estimated from distance and measured neighbours ({known})"]


def _money(on: Setting) -> list[str]:
    table, question = on.table, on.question
    said, told = [], question.placement.egress_used_gb
    silent = [name for name in _selling_egress(on) if name not in told]
    if silent:
        said.append(f"egress_used_gb: nothing sent yet this month from {', '.join(silent)}")
    if np.any(on.parties.cloud >= 0):
        said.append("participants in public clouds: nothing sent yet this month either")
    spot = question.aggregator.purchase is not Purchase.ON_DEMAND and bool(table.spot.any())
    if spot and question.placement.interruptions_per_hour is None:
        said.append("interruptions_per_hour: the book's, a cautious reading of public spot traces")
    if len(on.parties) >= MANY:
        said.append("network of machines: the rate their provider states, or from their vCPUs")
    if np.any(on.setup == SETUP_S):
        said.append(
            f"{SETUP_S:g} s from launch to the first round, {RECOVERY_S:g} s to go on after a loss"
        )
    return said


def _selling_egress(on: Setting) -> list[str]:
    """Providers of candidates whose egress has a price."""
    free = len(on.book.egress.tariffs)
    sold = np.unique(on.table.provider[on.table.internet[0] != free])
    return [on.table.providers[one] for one in sold.tolist()]


def _who(names: Sequence[str], count: int) -> str:
    if len(names) == count and count > NAMED:
        return f"all {count:,} participants"
    if len(names) <= NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:NAMED])} and {len(names) - NAMED:,} more"
