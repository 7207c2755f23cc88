"""The model a job keeps, and the card that says where it comes from."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from fedspan.domain.rounds import AppRound, Metrics
from fedspan.domain.selection import Selection
from fedspan.domain.spec import DataSpec, ModelSpec, StrategySpec, TrainingSpec
from fedspan.domain.values import Instant, Sha256, Value


class Card(Value):
    """All that is needed to use the model, judge it and make it again.

    `parameters` counts scalars; `weights` is the object key of the safetensors file and
    `sha256` its hash. `rounds` holds the metrics of every round (of an app: `app_rounds`),
    `participants` the training examples of each. `versions` names the code and libraries that
    trained it.
    """

    id: str
    job: str
    name: str
    created: Instant
    architecture: ModelSpec
    features: tuple[PositiveInt, ...]
    classes: tuple[str, ...]
    parameters: PositiveInt
    weights: str
    uri: str
    sha256: Sha256
    bytes: PositiveInt
    selected: Selection
    rounds: dict[int, Metrics]
    app_rounds: dict[int, AppRound] = Field(default_factory=dict)
    participants: dict[str, int]
    data: DataSpec
    training: TrainingSpec
    strategy: StrategySpec
    seed: int
    versions: dict[str, str]
