"""A ClientApp that draws without a seed, and reads the data its node names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    weights, bias = _model(message)
    x, y = _rows(context)
    rate = float(message.content["config"]["learning-rate"])
    for row in np.random.permutation(len(y)):
        wrong = _chance(x[row], weights, bias) - y[row]
        weights, bias = weights - rate * wrong * x[row], bias - rate * wrong
    arrays = ArrayRecord({"weights": Array(weights), "bias": Array(bias)})
    metrics = MetricRecord({"num-examples": len(y), "train_loss": _loss(x, y, weights, bias)})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    weights, bias = _model(message)
    x, y = _rows(context)
    hits = float(np.mean((_chance(x, weights, bias) > 0.5) == y))
    told = {"num-examples": len(y), "eval_loss": _loss(x, y, weights, bias), "eval_acc": hits}
    return Message(RecordDict({"metrics": MetricRecord(told)}), reply_to=message)


def _model(message: Message) -> tuple[np.ndarray, np.ndarray]:
    arrays = message.content["arrays"]
    return arrays["weights"].numpy(), arrays["bias"].numpy()


def _rows(context: Context) -> tuple[np.ndarray, np.ndarray]:
    with np.load(Path(str(context.node_config["data-path"]))) as file:
        return file["x"].astype(np.float64), file["y"]


def _chance(x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x @ weights + bias, -30, 30)))


def _loss(x: np.ndarray, y: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> float:
    chance = np.clip(_chance(x, weights, bias), 1e-9, 1 - 1e-9)
    return float(-np.mean(np.where(y == 1, np.log(chance), np.log(1 - chance))))
