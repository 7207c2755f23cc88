"""What a running job leaves for others to find: its waits, its sites, the key it came under."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, PositiveInt

from fedspan.domain.values import Name, Value


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
    """A site takes part in a job that runs: its machines are linked to the aggregator."""

    site: Name
    job: str
