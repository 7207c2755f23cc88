"""What is to be done, and where one goes when a machine is lost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedspan.errors import InvalidRequest
from fedspan.placement.replay.traces import Trace


@dataclass(frozen=True)
class Work:
    """What is to be done: `rounds` of `round_seconds`, after each `checkpoint_every` of them and
    after the last a checkpoint that takes `checkpoint_seconds`.

    Raises:
        InvalidRequest: a figure that no work can have.
    """

    rounds: int
    round_seconds: float
    checkpoint_every: int = 1
    checkpoint_seconds: float = 0.0
    setup_seconds: float = 0.0
    recovery_seconds: float = 0.0

    def __post_init__(self) -> None:
        for field in ("rounds", "checkpoint_every"):
            if getattr(self, field) < 1:
                raise InvalidRequest(f"{field}: {getattr(self, field)!r} is less than 1")
        for field in ("round_seconds", "checkpoint_seconds", "setup_seconds", "recovery_seconds"):
            if not 0 <= getattr(self, field) < math.inf:
                raise InvalidRequest(f"{field}: {getattr(self, field)!r} is no time; give seconds")
        if not self.round_seconds:
            raise InvalidRequest("round_seconds: 0 is no time; give seconds above 0")

    @property
    def stretch_rounds(self) -> int:
        return min(self.checkpoint_every, self.rounds)

    @property
    def stretch_seconds(self) -> float:
        return self.stretch_rounds * self.round_seconds + self.checkpoint_seconds

    @property
    def seconds(self) -> float:
        """Undisturbed, without setup."""
        checkpoints = -(-self.rounds // self.stretch_rounds)
        return self.rounds * self.round_seconds + checkpoints * self.checkpoint_seconds


@dataclass(frozen=True)
class Place:
    """A spot place and its price, micro-dollars an hour."""

    trace: Trace
    price: int


@dataclass(frozen=True)
class Standby:
    """An on-demand machine for when no spot place is up. With `back`, it does at least one stretch
    and leaves for spot at the first checkpoint at which a place is up, which costs a recovery;
    without, it stays until the end."""

    price: int
    back: bool = True


@dataclass(frozen=True)
class Policy:
    """`places` in order of preference: a job starts, and after a loss goes on at once, in the
    first that is up. When none is, it waits for the first to come up, or takes the `standby`. One
    place is waiting in the same zone; several are fail-over to other zones, regions or clouds.
    Their traces share their time 0, and each starts again after its own end."""

    places: tuple[Place, ...]
    standby: Standby | None = None

    def __post_init__(self) -> None:
        if not self.places:
            raise InvalidRequest("places: must not be empty; name a spot place")
