"""The question where an aggregator goes, and its answer."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Tag,
    model_validator,
)

from fedspan.domain.countries import Country
from fedspan.domain.spec import (
    MOST_PARTICIPANTS,
    AggregatorSpec,
    CpuArch,
    DataSpec,
    Limits,
    Mbps,
    Milliseconds,
    ModelSpec,
    PlacementSpec,
    Purchase,
    Rounds,
    SelectionSpec,
    StrategySpec,
    TrainingSeconds,
    TrainingSpec,
    Webhook,
)
from fedspan.domain.texts import listed
from fedspan.domain.values import Name, Value

STALE_DAYS: Final = 90
"""A price that is older is marked in every answer."""


NOWHERE: Final = (
    "{} has no position and no measured RTT; give latitude and longitude, or rtt_ms by region"
)


class Participant(Value):
    """Who takes part, as far as placement cares. Without a position it needs measured RTTs, or
    the public-cloud region it sits in."""

    name: Name
    latitude: float | None = Field(default=None, ge=-90, le=90, allow_inf_nan=False)
    longitude: float | None = Field(default=None, ge=-180, le=180, allow_inf_nan=False)
    country: Country = ""
    cloud: str | None = Field(default=None, description="such as ``aws:eu-west-1``")
    up_mbps: Mbps | None = None
    down_mbps: Mbps | None = None
    compute_s: TrainingSeconds | None = None
    rtt_ms: dict[str, Milliseconds] = Field(default_factory=dict)

    @model_validator(mode="after")
    def whole_position(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError(f"participant {self.name} has half a position; give both or none")
        return self

    @property
    def nowhere(self) -> bool:
        """Nothing tells how far it is from anything."""
        return self.latitude is None and not self.rtt_ms and self.cloud is None


def _kind(value: object) -> str:
    return "(name)" if isinstance(value, str) else "(inline)"


def _somewhere(participant: Participant) -> Participant:
    if participant.nowhere:
        raise ValueError(NOWHERE.format(f"participant {participant.name}"))
    return participant


Taking = Annotated[
    Annotated[Name, Tag("(name)")]
    | Annotated[Participant, AfterValidator(_somewhere), Tag("(inline)")],
    Discriminator(_kind),
]
"""A registered site by its name, or a participant told inline."""


class PlacementQuestion(Value):
    """A job spec as placement reads it: participants may be told inline, and what only training
    needs may be missing."""

    name: Name = "unnamed"
    rounds: Rounds
    seed: int = Field(default=0, ge=0, lt=2**63)
    participants: tuple[Taking, ...] = Field(min_length=1, max_length=MOST_PARTICIPANTS)
    quorum: PositiveInt | None = None
    model: ModelSpec | None = None
    data: DataSpec | None = None
    training: TrainingSpec | None = None
    strategy: StrategySpec | None = None
    selection: SelectionSpec | None = None
    aggregator: AggregatorSpec = AggregatorSpec()
    limits: Limits = Limits()
    placement: PlacementSpec = PlacementSpec()
    notify: tuple[Webhook, ...] = ()

    @model_validator(mode="after")
    def participants_once(self) -> Self:
        names = [one if isinstance(one, str) else one.name for one in self.participants]
        twice = sorted(name for name, times in Counter(names).items() if times > 1)
        if twice:
            raise ValueError(f"participants: {listed(twice)} is named twice")
        if self.quorum is not None and self.quorum > len(names):
            raise ValueError(f"quorum: {self.quorum} is more than the {len(names)} participants")
        return self


class Hours(Value):
    """Hours until the job is done. `expected` ranks; the others are quoted from replays."""

    expected: NonNegativeFloat
    p50: NonNegativeFloat
    p95: NonNegativeFloat


class Cost(Value):
    """Expected US dollars, exact to the micro-dollar. `participants` is what those that sit in
    public clouds pay to send; `total` is the sum."""

    vm: NonNegativeFloat
    egress: NonNegativeFloat
    address: NonNegativeFloat
    participants: NonNegativeFloat = 0.0
    total: NonNegativeFloat


class Slowest(Value):
    """The participant that a round waits for last: with a quorum, the last that makes it up."""

    participant: Name
    rtt_ms: NonNegativeFloat
    band_ms: NonNegativeFloat = Field(description="the RTT is within this in 9 of 10 cases")
    measured: bool


class Candidate(Value):
    """A place the aggregator could go, and what to expect there."""

    provider: Name
    region: str
    city: str
    country: str
    machine_type: str
    vcpus: PositiveInt
    memory_mib: PositiveInt
    arch: CpuArch
    gpu: str = ""
    gpus: NonNegativeInt = 0
    purchase: Purchase
    network_tier: str = ""
    hours: Hours
    round_s: NonNegativeFloat
    cost_usd: Cost
    worst: Slowest
    p_interruption: float = Field(ge=0, le=1)
    gco2: float | None = Field(description="grams for the machine; null: unknown")
    score: float
    price_usd_hour: NonNegativeFloat
    address_usd_hour: NonNegativeFloat = 0.0
    price_date: date
    price_basis: str = Field(description="list, derived or estimate")
    price_source: str = ""
    stale: bool = False
    egress_date: date | None = Field(default=None, description="null: egress is free")
    egress_source: str = ""
    breaks: tuple[str, ...] = Field(
        default=(), description="constraints it does not meet; only a place compared has some"
    )

    @property
    def place(self) -> str:
        return f"{self.provider}:{self.region}"


class Demand(Value):
    """One of the constraints that conflict. `becomes` is what it would have to be for a place to
    exist while all else stays; null when it alone cannot help."""

    constraint: str
    wanted: str
    becomes: str | None


class Stability(Value):
    """How often the first stays first when RTTs and prices are drawn within their error."""

    best: NonNegativeInt
    draws: PositiveInt
    rivals: tuple[str, ...] = Field(default=(), description="who was first otherwise")


class PriceAge(Value):
    oldest: date
    newest: date
    stale: NonNegativeInt = Field(description="how many of the shown rest on an old price")


Lines = tuple[Annotated[str, Field(min_length=1)], ...]


class PlacementAnswer(Value):
    """`candidates` are the best places, in order: of a region and purchase option its best
    machine and network tier. `front` holds the indices of those that are on the Pareto front, and
    `rest_of_front` what else is on it. Either there are candidates, or a `conflict`."""

    candidates: tuple[Candidate, ...]
    front: tuple[NonNegativeInt, ...]
    rest_of_front: tuple[Candidate, ...] = ()
    stability: Stability | None
    explanation: str
    conflict: tuple[Demand, ...] | None = None
    compared: Candidate | None = None
    cheapest_hour: Candidate | None = Field(
        default=None, description="the cheapest machine by the hour: what most tools would take"
    )
    assumptions: Lines = Field(default=(), description="what was not said, and what was taken")
    prices: PriceAge | None = None
    considered: NonNegativeInt = Field(description="places looked at")
    feasible: NonNegativeInt
    model_bytes: PositiveInt
    program_bytes: NonNegativeInt = Field(
        default=0, description="what travels beside each model down: the program that trains it"
    )
    book: str = Field(description="which book of prices: its date and hash")
