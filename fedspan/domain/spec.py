"""The job spec: what a person asks for, in YAML or JSON (`fedspan job init` writes one).

Everything that can be known without looking at a cloud or a site is checked here, once.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, model_validator

from fedspan.domain.layers import Layers
from fedspan.domain.strategies import check_strategy
from fedspan.domain.texts import listed
from fedspan.domain.values import Name, Sha256, Value

MAX_SPEC_BYTES: Final = 256 * 1024
"""A spec is a page of text; a model of any size travels as an object beside it."""

MOST_PARTICIPANTS: Final = 10_000

LONGEST_SECONDS: Final = 7 * 86_400
"""Machines get tokens for a day more, and cannot renew them."""

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*(s|m|h|d)$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_STEPS = {"s": 1.0, "m": 6.0, "h": 36.0, "d": 864.0}
"""What is told of a duration, in seconds: a second, a tenth or a hundredth of its unit."""


def seconds(value: object) -> object:
    """``"90s"``, ``"10m"``, ``"2h"``, ``"1d"`` or a number of seconds, as seconds."""
    if isinstance(value, str):
        found = _DURATION.match(value.strip())
        if not found:
            raise ValueError(f"{value!r} is no duration; write 90s, 10m, 2h or 1d")
        return float(Decimal(found[1]) * _SECONDS[found[2]])
    return value


def written(value: float, unit: str) -> str:
    """`value` seconds as `seconds` reads them: ``1.5h``."""
    return f"{value / _SECONDS[unit]:.2f}".rstrip("0").rstrip(".") + unit


def unit_of(value: float) -> str:
    """The largest unit in which `value` seconds are whole: that in which they were written."""
    return next((one for one in reversed(_SECONDS) if value % _SECONDS[one] == 0), "s")


def step_of(unit: str) -> float:
    """To how many seconds `unit` is told exactly enough."""
    return _STEPS[unit]


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[Positive, BeforeValidator(seconds)]
Rounds = Annotated[PositiveInt, Field(le=1_000_000)]

# Wide enough for all there is, and so narrow that no sum of them is more than a float holds.
Mbps = Annotated[float, Field(ge=0.001, le=1e9, allow_inf_nan=False)]
Milliseconds = Annotated[Positive, Field(le=60_000)]
TrainingSeconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class Metric(StrEnum):
    ACCURACY = "accuracy"
    RECALL = "recall"
    PRECISION = "precision"
    F1 = "f1"


AppValue = bool | int | float | str
"""What Flower takes as a value of an app's configuration."""

ROUNDS_KEY: Final = "num-server-rounds"
"""What Flower's own templates call the number of rounds in an app's configuration."""


class ModelSpec(Value):
    """One of: declared `layers`, the `file` of a torch.export program, or the folder of a Flower
    `app`, whose configuration `config` overrides."""

    layers: Layers | None = None
    file: str | None = None
    app: str | None = None
    config: dict[str, AppValue] = Field(default_factory=dict, max_length=200)
    sha256: Sha256 | None = Field(
        default=None, description="of `file`, or of the bundle of `app`; set on upload"
    )

    @model_validator(mode="after")
    def one_of_them(self) -> Self:
        if sum(one is not None for one in (self.layers, self.file, self.app)) != 1:
            raise ValueError("needs exactly one of `layers`, `file` and `app`")
        if self.layers is not None and not self.layers:
            raise ValueError("`layers` is empty")
        if self.config and self.app is None:
            raise ValueError("`config` is that of an `app`, and there is none")
        if ROUNDS_KEY in self.config:
            raise ValueError(f"config.{ROUNDS_KEY} is the job's `rounds`; set that")
        return self


class DataSpec(Value):
    """`holdout` is the share of each participant's rows kept for evaluation."""

    dataset: Name
    target: str = Field(default="target", min_length=1)
    positive: str | None = Field(
        default=None, description="the class precision and recall speak of, when there are two"
    )
    holdout: float = Field(default=0.2, gt=0, lt=1)


class TrainingSpec(Value):
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    learning_rate: Positive = 0.001
    momentum: float = Field(default=0.0, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(default=0.0, ge=0)
    batch_size: PositiveInt = 32
    local_epochs: PositiveInt = 1
    loss: Literal["cross_entropy"] = "cross_entropy"


class StrategySpec(Value):
    """A strategy and its options, as Flower names them: ``{name: fedprox, proximal_mu: 1}``."""

    name: str = "fedavg"
    options: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def gather_options(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "options" in data:
            return data
        return {
            **{k: v for k, v in data.items() if k == "name"},
            "options": {k: v for k, v in data.items() if k != "name"},
        }

    @model_validator(mode="after")
    def known(self) -> Self:
        check_strategy(self.name, self.options)
        return self


class SelectionSpec(Value):
    """The best round by `metric` among those that reach `at_least`."""

    metric: Metric = Metric.ACCURACY
    at_least: float = Field(default=0.0, ge=0, le=1)


class CpuArch(StrEnum):
    X86 = "x86"
    ARM = "arm"


class GpuNeed(Value):
    """`model` as the clouds name it: T4, L4, A10G, A100-40GB, A100-80GB, H100; default: any."""

    count: PositiveInt = Field(default=1, le=10**6)
    model: str | None = None


class Need(Value):
    """What a machine must have."""

    vcpus: PositiveInt = Field(default=1, le=10**9)
    memory_mib: PositiveInt = Field(default=2048, le=10**9)
    arch: CpuArch | None = Field(default=None, description="default: either")
    gpu: GpuNeed | None = None


class RegionsSpec(Value):
    """Where the aggregator may be: each entry a provider (``aws``), a region (``eu-west-1`` or
    ``aws:eu-west-1``), a country (``DE``), ``eu`` or ``eea``. Empty `allow` allows all; `deny`
    wins."""

    allow: tuple[str, ...] = Field(default=(), max_length=300)
    deny: tuple[str, ...] = Field(default=(), max_length=300)


class Purchase(StrEnum):
    SPOT = "spot"
    ON_DEMAND = "on_demand"
    ANY = "any"
    DEADLINE = "deadline"
    """Spot while the deadline leaves time for another interruption, then on demand."""


class Between(StrEnum):
    """What becomes of the aggregator's machine while nobody needs it."""

    KEEP = "keep"
    STOP = "stop"
    """Given back while all participants train for long, and made anew just in time."""


def _cidr(value: str) -> str:
    return str(ipaddress.ip_network(value))  # raises ValueError, which says what is wrong


class NetworkSpec(Value):
    """From where participants reach the aggregator: its firewall lets nobody else in."""

    allow_cidrs: tuple[Annotated[str, AfterValidator(_cidr)], ...] = Field(
        default=("0.0.0.0/0",), min_length=1, max_length=50
    )


class AggregatorSpec(Value):
    """`approve`: the job waits until a person confirms its place, or picks another;
    `between_rounds`: whether its machine is given back while all participants train for long."""

    need: Need = Need(vcpus=2, memory_mib=4096)
    regions: RegionsSpec = RegionsSpec()
    purchase: Purchase = Purchase.ANY
    approve: bool = False
    between_rounds: Between = Between.KEEP
    network: NetworkSpec = NetworkSpec()


class Score(StrEnum):
    BALANCED = "balanced"
    """Cost and time, each from 0 to 1 between the best and the worst on the Pareto front."""
    MONEY = "money"
    """The bill, and `hour_usd` for each hour until the job is done."""


Gigabytes = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class PlacementSpec(Value):
    """How places are compared (docs/decisions.md says why the defaults are what they are)."""

    score: Score = Score.BALANCED
    balance: float = Field(
        default=0.5, ge=0, le=1, description="of the balanced score: the weight of cost"
    )
    hour_usd: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        allow_inf_nan=False,
        description="of the money score: what an hour of everybody's waiting is worth",
    )
    model_bytes: PositiveInt | None = Field(
        default=None,
        le=10**13,
        description="of the parameters, twice down and once up each round; default: the model's",
    )
    checkpoint_every: Rounds = Field(default=1, description="rounds")
    egress_used_gb: dict[str, Gigabytes] = Field(
        default_factory=dict,
        description="by provider: what the account has sent this month, before this job",
    )
    interruptions_per_hour: float | None = Field(
        default=None, ge=0, le=10, description="of spot machines; default: what the book says"
    )
    estimates: bool = Field(default=True, description="use prices that are only estimated")
    price_days: PositiveInt | None = Field(
        default=None, description="use no price that is older; default: any, the old are marked"
    )


class Limits(Value):
    """When waiting stops. Flower has none of these."""

    budget_usd: Positive | None = None
    max_rtt_ms: Positive | None = Field(
        default=None, description="between any participant and the aggregator"
    )
    max_interruption: float | None = Field(
        default=None, ge=0, le=1, description="probability that a spot aggregator is interrupted"
    )
    deadline: Seconds = Field(
        default=86_400.0, le=LONGEST_SECONDS, description="for the whole job; at most 7 days"
    )
    round: Seconds = Field(default=3_600.0, description="for one round")
    node_wait: Seconds = Field(default=300.0, description="for the quorum to connect")


def _address(value: str) -> str:
    parts = urlsplit(value)  # raises ValueError by itself for what is no URL at all
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{value!r} is no address; write https://host/path")
    return value


class Webhook(Value):
    webhook: Annotated[str, AfterValidator(_address)]


class JobSpec(Value):
    name: Name
    rounds: Rounds
    seed: int = Field(default=0, ge=0, lt=2**63)
    participants: tuple[Name, ...] = Field(min_length=1, max_length=MOST_PARTICIPANTS)
    quorum: PositiveInt | None = Field(default=None, description="default: every participant")
    model: ModelSpec
    data: DataSpec
    training: TrainingSpec = TrainingSpec()
    strategy: StrategySpec = StrategySpec()
    selection: SelectionSpec = SelectionSpec()
    aggregator: AggregatorSpec = AggregatorSpec()
    limits: Limits = Limits()
    placement: PlacementSpec = PlacementSpec()
    notify: tuple[Webhook, ...] = Field(default=(), max_length=10)

    @model_validator(mode="after")
    def participants_once(self) -> Self:
        twice = sorted(name for name, times in Counter(self.participants).items() if times > 1)
        if twice:
            raise ValueError(f"participants: {listed(twice)} is named twice")
        if self.quorum is not None and self.quorum > len(self.participants):
            raise ValueError(
                f"quorum: {self.quorum} is more than the {len(self.participants)} participants"
            )
        return self

    @model_validator(mode="after")
    def an_app_has_its_own(self) -> Self:
        """What a spec says by default is in every spec that was kept, so values are compared."""
        own = {"training": TrainingSpec(), "strategy": StrategySpec()}
        given = [name for name, unset in own.items() if getattr(self, name) != unset]
        if self.model.app is not None and given:
            raise ValueError(f"{given[0]}: is the app's own; leave it out, or set model.config")
        return self

    @model_validator(mode="after")
    def an_app_keeps_its_aggregator(self) -> Self:
        """Only Fedspan's own ClientApp keeps its reply for the next aggregator."""
        if self.model.app is not None and self.aggregator.between_rounds is Between.STOP:
            raise ValueError(
                "aggregator.between_rounds: stop is for models of `layers` or a `file`: what an "
                "app trained would be lost with its aggregator; leave it out, or write keep"
            )
        return self

    @property
    def needed(self) -> int:
        """How many participants a round needs."""
        return self.quorum or len(self.participants)
