"""One round of a Flower app: the strategy's calls as Flower makes them, and the commit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp.strategy import Result, Strategy

from fedspan.domain.rounds import AppRound, Checkpoint, Number, Round
from fedspan.flower import app_state
from fedspan.flower.server import LEAVES, versions

if TYPE_CHECKING:
    from fedspan.flower.app_server import Run

Evaluate = Callable[[int, ArrayRecord], MetricRecord | None]

MOST_METRICS: Final = 100
WEIGHT: Final = "num-examples"
"""By which Flower's strategies weigh replies, unless told otherwise."""

RESULTS: Final = (
    "train_metrics_clientapp",
    "evaluate_metrics_clientapp",
    "evaluate_metrics_serverapp",
)
"""Of a `Result`: what clients trained and evaluated with, and the server's own evaluation."""


@dataclass
class Held:
    """What ``Strategy.start`` carries from round to round."""

    arrays: ArrayRecord
    train: ConfigRecord
    evaluate: ConfigRecord
    result: Result = field(default_factory=Result)


class Step:
    """Round `number` of one call of ``Strategy.start``."""

    def __init__(
        self, run: Run, strategy: Strategy, kept: app_state.Kept, held: Held, number: int
    ) -> None:
        self.job, self.strategy, self.kept, self.held = run, strategy, kept, held
        self.number = number

    def run(self, timeout: float, evaluate: Evaluate | None) -> Round:
        """The strategy's calls as Flower makes them, and the commit."""
        started, number = time.monotonic(), self.job.done + 1
        manifest, board = self.job.setting.manifest, self.job.setting.board
        board.open_round(number, manifest.spec.participants)
        self.job.seed(number)
        try:
            trained = self._train(number, timeout)
            evaluated = self._evaluate(number, timeout)
        except LEAVES:
            self.job.grid.kept.keep()
            raise
        served = evaluate(self.number, self.held.arrays) if evaluate is not None else None
        self.job.grid.open_phase(0, "")
        for name, said in zip(RESULTS, (trained, evaluated, served), strict=True):
            if said is not None:
                getattr(self.held.result, name)[self.number] = said
        metrics = AppRound(
            train=_numbers(trained),
            evaluate=_numbers(evaluated),
            server=_numbers(served),
            not_exact=self.job.notes(self.kept),
        )

        def describe(checkpoint: Checkpoint) -> Round:
            return Round(
                job=manifest.job,
                number=number,
                epoch=manifest.epoch,
                seconds=round(time.monotonic() - started, 3),
                app=metrics,
                participants=board.people,
                parameters=sum(math.prod(one.shape) for one in self.held.arrays.values()),
                versions=versions(),
                checkpoint=checkpoint,
            )

        return self.job.save(self.held, self.kept, describe)

    def _train(self, number: int, timeout: float) -> MetricRecord | None:
        held, grid = self.held, self.job.grid
        grid.open_phase(number, str(getattr(self.strategy, "weighted_by_key", WEIGHT)))
        messages = self.strategy.configure_train(self.number, held.arrays, held.train, grid)
        replies = grid.send_and_receive(messages, timeout=timeout)
        arrays, metrics = self.strategy.aggregate_train(self.number, replies)
        if arrays is not None:
            held.result.arrays = held.arrays = app_state.as_kept(arrays)
        return metrics

    def _evaluate(self, number: int, timeout: float) -> MetricRecord | None:
        held, grid = self.held, self.job.grid
        grid.open_phase(number, grid.weighted_by)
        messages = self.strategy.configure_evaluate(self.number, held.arrays, held.evaluate, grid)
        replies = grid.send_and_receive(messages, timeout=timeout)
        return self.strategy.aggregate_evaluate(self.number, replies)


def _numbers(record: MetricRecord | None) -> dict[str, Number]:
    """What people can be shown of it."""
    found = {
        str(name): value
        for name, value in (record or {}).items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
    return dict(list(found.items())[:MOST_METRICS])
