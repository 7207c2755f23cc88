"""A job replayed where machines come and go: what `makespan` expects, with its spread.

A `Trace` says when a spot place had capacity. `replay` runs a job over recorded or made-up traces
under a `Policy`; `sampled` draws the outages instead, for the interval that is quoted of a
candidate. Both follow one rule: a machine first boots (`setup_seconds` until that succeeded once,
`recovery_seconds` after), then does stretches of rounds that each end with a checkpoint; a loss
costs what came after the last checkpoint, and may also fall into a boot.
"""

from fedspan.placement.replay.runs import GIVE_UP_HOURS, Quantile, Replays, quantile, replay
from fedspan.placement.replay.samples import sampled
from fedspan.placement.replay.traces import Trace, synthetic, trace
from fedspan.placement.replay.work import Place, Policy, Standby, Work

__all__ = [
    "GIVE_UP_HOURS",
    "Place",
    "Policy",
    "Quantile",
    "Replays",
    "Standby",
    "Trace",
    "Work",
    "quantile",
    "replay",
    "sampled",
    "synthetic",
    "trace",
]
