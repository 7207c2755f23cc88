"""Which round's model is kept."""

from __future__ import annotations

from collections.abc import Iterable

from fedspan.domain.rounds import Round
from fedspan.domain.spec import SelectionSpec
from fedspan.domain.values import Value


class Selection(Value):
    """The best round, and whether it reached the threshold. `value` is its `metric`."""

    round: int
    metric: str
    value: float
    threshold: float

    @property
    def qualifies(self) -> bool:
        return self.value >= self.threshold


def select(rounds: Iterable[Round], spec: SelectionSpec) -> Selection | None:
    """The best evaluated round by the metric; None when none was evaluated.

    Ties go to the lower loss, then to the earlier round.
    """
    scored = [
        (-float(getattr(one.metrics, spec.metric.value)), one.metrics.loss, one.number)
        for one in rounds
        if one.metrics is not None
    ]
    if not scored:
        return None
    value, _, number = min(scored)
    return Selection(round=number, metric=spec.metric.value, value=-value, threshold=spec.at_least)
