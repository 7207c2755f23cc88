"""A ServerApp that knows nothing of what runs it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAdam, FedAvg

app = ServerApp()


class Drifting(FedAvg):
    """FedAvg with momentum of its own, a rate that halves, and a memory of the best round."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.velocity: dict[str, np.ndarray] = {}
        self.best = (0, float("inf"))
        self.last: ArrayRecord | None = None

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        if server_round % 2 == 0:
            config["learning-rate"] = float(config["learning-rate"]) / 2
        self.last = arrays
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        arrays, metrics = super().aggregate_train(server_round, replies)
        if arrays is None or self.last is None:
            return arrays, metrics
        moved = {}
        for name, array in arrays.items():
            step = array.numpy() - self.last[name].numpy()
            self.velocity[name] = 0.7 * self.velocity.get(name, 0.0 * step) + step
            noise = np.random.normal(scale=1e-3, size=step.shape)
            moved[name] = self.last[name].numpy() + self.velocity[name] + noise
        return ArrayRecord({name: Array(value) for name, value in moved.items()}), metrics

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        metrics = super().aggregate_evaluate(server_round, replies)
        if metrics is not None and float(metrics["eval_loss"]) < self.best[1]:
            self.best = (server_round, float(metrics["eval_loss"]))
        return metrics


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    kind = FedAdam if config["strategy"] == "fedadam" else Drifting
    strategy = kind(fraction_train=float(config["fraction-train"]))
    first = np.random.normal(size=9)
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord({"weights": Array(first[:8]), "bias": Array(first[8:])}),
        num_rounds=int(config["num-server-rounds"]),
        train_config=ConfigRecord({"learning-rate": float(config["learning-rate"])}),
    )
