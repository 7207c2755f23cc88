"""Whether an aggregator is given back while its participants train. Pure rules.

What is left of the round is what the slowest participant took before, less what it has trained.
The next aggregator is launched so early that it is back by then. Given back a machine costs
nothing until that launch, save for what clouds bill of a machine at least, and for sending the
model once more to those who were training; it is done where it costs no more than staying.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from fedspan.domain.rates import hourly


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """A round in which all who were asked train, or have replied.

    `left_s` until the slowest is expected to be done, `back_s` from a launch until the next
    aggregator works, `ran_s` since this one was launched. `price` is in micro-dollars an hour,
    `restart` in micro-dollars: what asking again sends. Clouds bill `billed_s` at least.
    """

    left_s: float
    back_s: float
    ran_s: float
    price: int
    restart: int = 0
    billed_s: float = 60.0

    @property
    def saved_s(self) -> float:
        """Of the machine's time, what is not billed: this one's first seconds and the next one's
        are, however short they run."""
        unused = max(0.0, self.billed_s - self.ran_s)
        return self.left_s - max(self.back_s, self.billed_s) - unused


def away_s(now: Situation) -> float | None:
    """For how long to give the machine back; None to keep it."""
    if now.saved_s <= 0:
        return None
    saved = hourly(now.price, timedelta(seconds=now.saved_s))
    return now.left_s - now.back_s if saved >= now.restart else None


def left_s(taken: float, trained: float, ago: float) -> float:
    """What is left to a participant that took so long before, has `trained` for some of it, and
    said so some time `ago`."""
    return max(0.0, taken - trained - ago)
