"""What a running job leaves for others to find: its waits, its sites, the key it came under."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import Field, NonNegativeInt, PositiveInt

from fedspan.domain.values import Instant, Name, Value


class Until(StrEnum):
    APPROVED = "approved"
    """A person confirms the job's place, or picks another."""
    READY = "ready"
    """The aggregator speaks and lets participants in."""
    TRAINED = "trained"
    """The last round is complete."""
    RESTED = "rested"
    """Nobody trains any more, so the aggregator is needed."""


class Wait(Value):
    """A task of the job's state machine that waits to be told. The token is a credential."""

    job: str
    epoch: PositiveInt
    until: Until
    token: str = Field(repr=False)


class Submission(Value):
    """A job that was asked for under an idempotency key."""

    key: str
    job: str


class OpenJob(Value):
    """A job that has not ended: what a sweep looks through, however many have."""

    job: str


class Assignment(Value):
    """A site takes part in a job that runs, since then: its machines are linked to the aggregator.
    A machine that Fedspan starts was `restarts` times started again, the last time at `restarted`
    with `rounds_done`, or is `given_up`."""

    site: Name
    job: str
    since: Instant | None = None
    restarts: NonNegativeInt = Field(default=0, description="without a round done in between")
    restarted: Instant | None = None
    rounds_done: NonNegativeInt = 0
    given_up: bool = False

    def fruitless(self, rounds_done: int) -> int:
        """How often in a row it was started again without a round completed since."""
        return self.restarts if rounds_done == self.rounds_done else 0

    def started_again(self, now: datetime, rounds_done: int) -> Self:
        times = self.fruitless(rounds_done) + 1
        told = {"restarts": times, "restarted": now, "rounds_done": rounds_done}
        return self.model_copy(update=told)
