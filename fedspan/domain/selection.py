"""Which round's model is kept."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from fedspan.domain.rounds import Round
from fedspan.domain.spec import SelectionSpec
from fedspan.domain.values import Value


class Selection(Value):
    """The best round, and whether it reached the threshold. `value` is its `metric`, which is
    empty for the last round of an app that tells none."""

    round: int
    metric: str
    value: float
    threshold: float

    @property
    def qualifies(self) -> bool:
        return self.value >= self.threshold

    @property
    def shown(self) -> str:
        """``f1 0.9310``, for people."""
        return f"{self.metric} {self.value:.4f}" if self.metric else "the last round"


def select(rounds: Iterable[Round], spec: SelectionSpec) -> Selection | None:
    """The best evaluated round by the metric; None when none was evaluated. Of an app that does
    not tell the metric the last round counts, with a value of 0.

    Ties go to the lower loss, then to the earlier round.
    """
    done = list(rounds)
    found = [(one.value(spec.metric.value), one.value("loss"), one.number) for one in done]
    scored = [
        (-value, inf if loss is None else loss, number)
        for value, loss, number in found
        if value is not None
    ]
    if not scored:
        last = max((one.number for one in done if one.app is not None), default=0)
        untold = Selection(round=last, metric="", value=0.0, threshold=spec.at_least)
        return untold if last else None
    value, _, number = min(scored)
    return Selection(round=number, metric=spec.metric.value, value=-value, threshold=spec.at_least)
