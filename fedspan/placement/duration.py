"""How long a round takes.

A participant's round is its training, a few round trips, and the parameters both ways at the rate
of its link or of a TCP window over the RTT, whichever is less. The aggregator's network and its
arithmetic come on top. PLACEMENT's formulas; the constants below were measured or are stated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fedspan.placement.book import Floats, Ints
from fedspan.placement.federation import Federation
from fedspan.placement.latency import BLOCK

WINDOW_BYTES: Final = 4 * 2**20
"""What one TCP connection keeps under way: Linux's default limit for receiving, rounded."""
ROUND_TRIPS: Final = 4
"""A round's messages: the task asked for, fetched, the reply sent, acknowledged."""
AGGREGATION_BYTES_S: Final = 2e9
"""Half of what benchmarks/aggregation.py measured on two cores."""
OVERHEAD_S: Final = 1.0
"""A round of a tiny model between processes of one machine (benchmarks/rounds.py)."""


@dataclass(frozen=True, eq=False)
class Reach:
    """By region: `first`, the seconds until enough participants have replied; `deciding`, the
    participant that makes it so; its `rtt` in ms; the RTT of the `furthest` of all, which is
    `furthest_one`. `compute` is the seconds of the slowest training that a round waits for."""

    first: Floats
    deciding: Ints
    rtt: Floats
    furthest: Floats
    furthest_one: Ints
    compute: float


def reach(parties: Federation, model_bytes: int, needed: int) -> Reach:
    """What each region means for a round that `needed` participants must finish."""
    seconds = _seconds(parties, model_bytes)
    count = len(parties)
    if needed == count:
        deciding = np.argmax(seconds, axis=0)
    else:
        deciding = np.argpartition(seconds, needed - 1, axis=0)[needed - 1]
    columns = np.arange(seconds.shape[1])
    furthest = np.argmax(parties.rtt, axis=0)
    return Reach(
        first=seconds[deciding, columns],
        deciding=deciding,
        rtt=parties.rtt[deciding, columns],
        furthest=parties.rtt[furthest, columns],
        furthest_one=furthest,
        compute=float(np.partition(parties.compute, needed - 1)[needed - 1]),
    )


def _seconds(parties: Federation, model_bytes: int) -> Floats:
    """t(i, r), N x R."""
    total = np.empty_like(parties.rtt)
    for start in range(0, len(parties), BLOCK):
        block = slice(start, start + BLOCK)
        window = parties.rtt[block] * (1e-3 * model_bytes / WINDOW_BYTES)
        here = np.multiply(parties.rtt[block], 1e-3 * ROUND_TRIPS, out=total[block])
        here += parties.compute[block, None]
        here += np.maximum(window, (model_bytes / parties.down[block])[:, None])
        here += np.maximum(window, (model_bytes / parties.up[block])[:, None], out=window)
    return total


def participant_seconds(parties: Federation, row: Ints, rtt_ms: Floats, model_bytes: int) -> Floats:
    """t of single participants, were their RTT `rtt_ms`."""
    rtt_s = rtt_ms * 1e-3
    window = rtt_s * (model_bytes / WINDOW_BYTES)
    down = np.maximum(window, model_bytes / parties.down[row])
    up = np.maximum(window, model_bytes / parties.up[row])
    taken: Floats = parties.compute[row] + ROUND_TRIPS * rtt_s + down + up
    return taken


def wire_seconds(compute: float, count: int, model_bytes: int, nic: Floats) -> Floats:
    """Until all that is sent has gone through the aggregator's network."""
    taken: Floats = compute + count * 2 * model_bytes / nic
    return taken


def round_seconds(
    first: Floats, compute: float, count: int, model_bytes: int, nic: Floats
) -> Floats:
    """A round, where the aggregator's network sends and receives `nic` bytes a second."""
    wire = wire_seconds(compute, count, model_bytes, nic)
    folding = count * model_bytes / AGGREGATION_BYTES_S + OVERHEAD_S
    taken: Floats = np.maximum(first, wire) + folding
    return taken
