"""How long a round takes.

A participant's round is its training, a few round trips, and the parameters, down to train and to
evaluate and up, at the rate of its link or of a TCP window over the RTT, whichever is less. The
aggregator's network and its arithmetic come on top. PLACEMENT's formulas; the constants below were
measured or are stated.
"""

from __future__ import annotations

from collections.abc import Mapping
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
NO_OPTIONS: Final[Mapping[str, float]] = {}
OVERHEAD_S: Final = 1.0
"""A round of a tiny model between processes of one machine (benchmarks/rounds.py)."""


@dataclass(frozen=True, slots=True)
class Volume:
    """Bytes of a round: `down` to a participant that trains and evaluates, and `up` from it;
    `mean_down` and `mean_up` of all participants, of whom a strategy may choose some."""

    down: float
    up: float
    mean_down: float
    mean_up: float


def volume(
    count: int,
    needed: int,
    model_bytes: int,
    program_bytes: int = 0,
    options: Mapping[str, float] = NO_OPTIONS,
) -> Volume:
    """Each message down holds the model and its program. `options` are the strategy's, by which
    an aggregator chooses among `count` participants."""
    message = float(model_bytes + program_bytes)
    trained, evaluated = (
        min(count, max(int(count * options.get(f"fraction_{what}", 1.0)), needed)) / count
        for what in ("train", "evaluate")
    )
    return Volume(
        down=2 * message,
        up=float(model_bytes),
        mean_down=(trained + evaluated) * message,
        mean_up=trained * model_bytes,
    )


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


def reach(parties: Federation, sent: Volume, needed: int) -> Reach:
    """What each region means for a round that `needed` participants must finish."""
    seconds = _seconds(parties, sent)
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


def _seconds(parties: Federation, sent: Volume) -> Floats:
    """t(i, r), N x R."""
    total = np.empty_like(parties.rtt)
    for start in range(0, len(parties), BLOCK):
        block = slice(start, start + BLOCK)
        here = np.multiply(parties.rtt[block], 1e-3 * ROUND_TRIPS, out=total[block])
        here += parties.compute[block, None]
        for size, rate in ((sent.down, parties.down[block]), (sent.up, parties.up[block])):
            window = parties.rtt[block] * (1e-3 * size / WINDOW_BYTES)
            here += np.maximum(window, (size / rate)[:, None], out=window)
    return total


def participant_seconds(parties: Federation, row: Ints, rtt_ms: Floats, sent: Volume) -> Floats:
    """t of single participants, were their RTT `rtt_ms`."""
    rtt_s = rtt_ms * 1e-3
    down = np.maximum(rtt_s * (sent.down / WINDOW_BYTES), sent.down / parties.down[row])
    up = np.maximum(rtt_s * (sent.up / WINDOW_BYTES), sent.up / parties.up[row])
    taken: Floats = parties.compute[row] + ROUND_TRIPS * rtt_s + down + up
    return taken


def wire_seconds(compute: float, count: int, sent: Volume, nic: Floats) -> Floats:
    """Until all that is sent has gone through the aggregator's network."""
    taken: Floats = compute + count * (sent.mean_down + sent.mean_up) / nic
    return taken


def round_seconds(first: Floats, compute: float, count: int, sent: Volume, nic: Floats) -> Floats:
    """A round, where the aggregator's network sends and receives `nic` bytes a second."""
    wire = wire_seconds(compute, count, sent, nic)
    folding = count * sent.mean_up / AGGREGATION_BYTES_S + OVERHEAD_S
    taken: Floats = np.maximum(first, wire) + folding
    return taken
