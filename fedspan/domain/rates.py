"""What a cloud takes for an hour and for a byte, in whole micro-dollars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from fedspan.domain.rounds import Participation, Status
from fedspan.domain.values import MicroUsd, Name, Value

HOUR: Final = timedelta(hours=1)
MICROSECOND: Final = timedelta(microseconds=1)


def rounded(over: int, under: int) -> int:
    """The quotient as a whole number, the half up: exact where floats are not."""
    return (2 * over + under) // (2 * under)


def hourly(price: int, lasted: timedelta) -> int:
    """Micro-dollars for what costs `price` an hour. A clock that went back costs nothing."""
    return rounded(price * max(0, lasted // MICROSECOND), HOUR // MICROSECOND)


class Tariff(Value):
    """Marginal: what is sent from ``starts[k]`` bytes on costs ``prices[k]`` micro-dollars for
    every `unit` bytes."""

    starts: tuple[NonNegativeInt, ...]
    prices: tuple[MicroUsd, ...]
    unit: PositiveInt

    @model_validator(mode="after")
    def ascending(self) -> Self:
        if self.starts[:1] != (0,) or list(self.starts) != sorted(set(self.starts)):
            raise ValueError(f"starts: {self.starts} must ascend from 0")
        if len(self.starts) != len(self.prices):
            raise ValueError(f"prices: {len(self.prices)} for {len(self.starts)} steps")
        return self

    def charge(self, sent: int) -> int:
        """For the first `sent` bytes of a month."""
        ends = (*self.starts[1:], max(sent, self.starts[-1]))
        steps = zip(self.starts, ends, self.prices, strict=True)
        return rounded(
            sum(max(0, min(sent, end) - start) * price for start, end, price in steps), self.unit
        )


class Flow(Value):
    """What `cloud` bills to one account by one tariff. `before` are the bytes that count in it
    already: a month's steps are climbed once."""

    cloud: str
    tariff: Tariff
    before: NonNegativeInt = 0

    def charge(self, sent: int) -> int:
        """For `sent` bytes more."""
        return self.tariff.charge(self.before + sent) - self.tariff.charge(self.before)


@dataclass(frozen=True, slots=True)
class Messages:
    """What a round sent: a model of `size` bytes, and `program` bytes with it, to all who were
    `asked`, as often as they are named; a model from all who `replied`."""

    asked: Sequence[str] = ()
    replied: Sequence[str] = ()
    size: int = 0
    program: int = 0

    @classmethod
    def of(cls, people: Mapping[str, Participation], size: int, program: int) -> Messages:
        """To train and to evaluate."""
        trained = [name for name, part in people.items() if part.asked]
        evaluated = [name for name, part in people.items() if part.evaluated]
        replied = [name for name, part in people.items() if part.status is Status.DONE]
        return cls((*trained, *evaluated), replied, size, program)


NO_MESSAGES: Final = Messages()


class Rates(Value):
    """How the traffic of one incarnation of an aggregator is billed. `down` and `up` name the
    flow (an index) by which a participant is sent the model, and sends it; whoever is missing
    costs nothing to reach. The way up is billed to the participant."""

    flows: tuple[Flow, ...] = ()
    down: dict[Name, NonNegativeInt] = Field(default_factory=dict)
    up: dict[Name, NonNegativeInt] = Field(default_factory=dict)

    def counted(self, sent: Iterable[int] = (), told: Messages = NO_MESSAGES) -> tuple[int, ...]:
        """Bytes by flow: those in `sent`, and those of `told`."""
        known = tuple(sent)
        total = [*known, *[0] * (len(self.flows) - len(known))]
        for flow in (self.down[one] for one in told.asked if one in self.down):
            total[flow] += told.size + told.program
        for flow in (self.up[one] for one in told.replied if one in self.up):
            total[flow] += told.size
        return tuple(total)

    def charge(self, sent: Iterable[int]) -> int:
        """For so many bytes by flow."""
        return sum(flow.charge(one) for flow, one in zip(self.flows, sent, strict=True))
