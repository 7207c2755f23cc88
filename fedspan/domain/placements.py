"""The question where an aggregator goes, and its answer."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Annotated, Final, Self

from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Tag,
    model_validator,
)

from fedspan.domain.countries import Country
from fedspan.domain.sites import Site
from fedspan.domain.spec import (
    AggregatorSpec,
    CpuArch,
    DataSpec,
    Limits,
    ModelSpec,
    PlacementSpec,
    Positive,
    Purchase,
    SelectionSpec,
    StrategySpec,
    TrainingSpec,
    Webhook,
)
from fedspan.domain.values import Name, Value

MOST_PARTICIPANTS: Final = 10_000
STALE_DAYS: Final = 90
"""A price that is older is marked in every answer."""


class Participant(Value):
    """Who takes part, as far as placement cares. Without a position it needs measured RTTs, or
    the public-cloud region it sits in."""

    name: Name
    latitude: float | None = Field(default=None, ge=-90, le=90, allow_inf_nan=False)
    longitude: float | None = Field(default=None, ge=-180, le=180, allow_inf_nan=False)
    country: Country = ""
    cloud: str | None = Field(default=None, description="such as ``aws:eu-west-1``")
    up_mbps: Positive | None = None
    down_mbps: Positive | None = None
    compute_s: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    rtt_ms: dict[str, Positive] = Field(default_factory=dict)

    @model_validator(mode="after")
    def is_somewhere(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError(f"participant {self.name} has half a position; give both or none")
        if self.latitude is None and not self.rtt_ms and self.cloud is None:
            raise ValueError(
                f"participant {self.name} has no position and no measured RTT; give latitude and "
                "longitude, or rtt_ms by region"
            )
        return self

    @classmethod
    def of(cls, site: Site) -> Self:
        """Raises `ValueError` when the site does not say where it is."""
        return cls.model_validate(site.model_dump(include=set(cls.model_fields)))


def _kind(value: object) -> str:
    return "(name)" if isinstance(value, str) else "(inline)"


Taking = Annotated[
    Annotated[Name, Tag("(name)")] | Annotated[Participant, Tag("(inline)")],
    Discriminator(_kind),
]
"""A registered site by its name, or a participant told inline."""


class PlacementQuestion(Value):
    """A job spec as placement reads it: participants may be told inline, and what only training
    needs may be missing."""

    name: Name = "unnamed"
    rounds: PositiveInt
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
            raise ValueError(f"participants: {', '.join(twice)} is named twice")
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
    """The participant that decides how long a round takes."""

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
    price_date: date
    price_basis: str = Field(description="list, derived or estimate")
    price_source: str = ""
    stale: bool = False

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
    """`candidates` are the best places, in order: of a region, purchase option and network tier
    its best machine. `front` holds the indices of those that are on the Pareto front, and
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
    book: str = Field(description="which book of prices: its date and hash")
