"""One round of a job: what came of it as a whole, and at each participant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from fedspan.domain.values import Name, Sha256, Value


class Status(StrEnum):
    WAITING = "waiting"
    TRAINING = "training"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


AWAY: Final = "not connected"
"""Why a participant failed that nothing was sent to."""


class Participation(Value):
    """What one participant did in one round. `seconds` is its training time; `evaluated`, that the
    model was sent to it once more to be evaluated."""

    status: Status
    examples: NonNegativeInt = 0
    seconds: NonNegativeFloat = 0.0
    loss: float | None = None
    message: str = ""
    evaluated: bool = False

    @property
    def asked(self) -> bool:
        """Whether the model was sent to it to be trained."""
        failed = self.status is Status.FAILED and self.message != AWAY
        return failed or self.status in (Status.TRAINING, Status.DONE)


class ClassMetrics(Value):
    name: str
    precision: float
    recall: float
    f1: float
    support: NonNegativeInt


class Metrics(Value):
    """Derived from one confusion matrix, summed over all participants' held-out rows.

    With two classes precision, recall and F1 are those of the positive class; with more they
    are macro averages. A ratio with an empty denominator counts as 0.
    """

    loss: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    examples: NonNegativeInt
    confusion: tuple[tuple[NonNegativeInt, ...], ...] = Field(
        description="rows: true class, columns: predicted class"
    )
    per_class: tuple[ClassMetrics, ...]

    @classmethod
    def of(
        cls,
        confusion: Sequence[Sequence[int]],
        loss_sum: float,
        classes: Sequence[str],
        positive: str | None = None,
    ) -> Self:
        """Metrics of summed counts; `loss_sum` is the sum of the rows' losses.

        `positive` is the class the two-class figures speak of (default: the last).
        """
        counts = range(len(classes))
        total = sum(sum(row) for row in confusion)
        rows = tuple(_one_class(confusion, index, classes[index]) for index in counts)
        if len(classes) == 2:
            shown = [rows[classes.index(positive) if positive in classes else 1]]
        else:
            shown = list(rows)
        return cls(
            loss=_ratio(loss_sum, total),
            accuracy=_ratio(sum(confusion[index][index] for index in counts), total),
            precision=_ratio(sum(one.precision for one in shown), len(shown)),
            recall=_ratio(sum(one.recall for one in shown), len(shown)),
            f1=_ratio(sum(one.f1 for one in shown), len(shown)),
            examples=total,
            confusion=tuple(tuple(row) for row in confusion),
            per_class=rows,
        )


def _one_class(confusion: Sequence[Sequence[int]], index: int, name: str) -> ClassMetrics:
    hits = confusion[index][index]
    support = sum(confusion[index])
    predicted = sum(row[index] for row in confusion)
    return ClassMetrics(
        name=name,
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, support + predicted),
        support=support,
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


Number = int | float


class AppRound(Value):
    """What a Flower app said of a round: the metrics its clients trained and evaluated with, as
    its strategy put them together, and those of its own evaluation at the server. `not_exact`
    names what this round showed that a checkpoint cannot hold."""

    train: dict[str, Number] = Field(default_factory=dict)
    evaluate: dict[str, Number] = Field(default_factory=dict)
    server: dict[str, Number] = Field(default_factory=dict)
    not_exact: tuple[str, ...] = ()

    def value(self, metric: str) -> float | None:
        """`metric` by one of the names that apps give it: of the sites' evaluation, else of the
        server's; None when the app does not tell it."""
        for told in (self.evaluate, self.server):
            for name in ALIASES.get(metric, (metric,)):
                if name in told:
                    return float(told[name])
        return None


ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "loss": ("loss", "eval_loss", "eval-loss"),
    "accuracy": ("accuracy", "eval_accuracy", "acc", "eval_acc", "eval-acc"),
    "precision": ("precision", "eval_precision"),
    "recall": ("recall", "eval_recall"),
    "f1": ("f1", "eval_f1", "f1_score"),
}
"""How Flower's templates and the apps made of them call what we select by."""


class Checkpoint(Value):
    """The model after a round: where its safetensors lie, and their hash."""

    key: str
    sha256: Sha256
    bytes: PositiveInt


class Round(Value):
    """A complete round. It exists when its checkpoint's commit record does."""

    job: str
    number: PositiveInt
    epoch: PositiveInt
    seconds: NonNegativeFloat
    metrics: Metrics | None = None
    app: AppRound | None = Field(default=None, description="of a job that runs a Flower app")
    participants: dict[Name, Participation]
    parameters: PositiveInt = Field(description="scalars the model learns")
    versions: dict[str, str] = Field(
        default_factory=dict, description="of the libraries that trained it"
    )
    checkpoint: Checkpoint

    def value(self, metric: str) -> float | None:
        """`metric` (``loss``, ``f1`` ...) of this round; None when nobody told it."""
        if self.metrics is not None:
            return float(getattr(self.metrics, metric))
        return self.app.value(metric) if self.app is not None else None
