"""Local training and evaluation, the same bits for the same seed on the same machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW, Optimizer

from fedspan.domain.spec import TrainingSpec
from fedspan.errors import TrainingFailed
from fedspan.learning.datasets import Split

EVALUATION_BATCH: Final = 512
"""Rows a forward pass takes when nothing is learned from them."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """`loss` is the mean cross-entropy an example had in the last epoch, as it was trained on;
    `examples` counts the rows; `seconds` is wall time."""

    loss: float
    examples: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Counts that add up over participants. `confusion`: rows true, columns predicted."""

    confusion: tuple[tuple[int, ...], ...]
    loss_sum: float
    examples: int


@dataclass(frozen=True, slots=True)
class _Task:
    """What stays the same from batch to batch. `anchor`: the weights received, for FedProx."""

    module: nn.Module
    optimizer: Optimizer
    anchor: list[tuple[nn.Parameter, Tensor]]
    proximal_mu: float


def train(
    module: nn.Module, split: Split, training: TrainingSpec, seed: int, proximal_mu: float = 0.0
) -> TrainResult:
    """Train `module` in place on the training rows of `split`; it ends on the CPU.

    Epochs visit the rows in an order drawn from `seed`, which also seeds dropout; a trailing
    batch of one joins the batch before it, since batch norm cannot train on one example. With
    `proximal_mu` the loss gains FedProx's ``mu / 2 * |w - w_received|^2``
    (arXiv:1812.06127, equation 2).

    Raises:
        TrainingFailed: no rows, a loss or weights that are no numbers, or torch refused.
    """
    started = time.perf_counter()
    if not len(split.train_y):
        raise TrainingFailed("no rows to train on; lower data.holdout or add data")
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    module.to(_device()).train()
    task = _task(module, training, proximal_mu)
    loss = 0.0
    with _deterministic():
        for epoch in range(1, training.local_epochs + 1):
            loss = _epoch(
                task, split, _batches(len(split.train_y), training.batch_size, order), epoch
            )
    module.cpu()
    if not all(bool(one.isfinite().all()) for one in module.parameters()):
        raise TrainingFailed("weights became infinite; a lower training.learning_rate would help")
    return TrainResult(loss, len(split.train_y), time.perf_counter() - started)


def evaluate(
    module: nn.Module, x: NDArray[np.float32], y: NDArray[np.int64], classes: int
) -> Evaluation:
    """Count what `module` makes of rows `x` of shape ``(n, *features)`` with classes `y`.

    Raises:
        TrainingFailed: torch refused the rows, or the loss is no number.
    """
    device = _device()
    module.to(device).eval()
    confusion = np.zeros((classes, classes), np.int64)
    loss_sum = 0.0
    with torch.no_grad(), _deterministic(), _refusals("evaluation"):
        for start in range(0, len(y), EVALUATION_BATCH):
            rows = slice(start, start + EVALUATION_BATCH)
            wanted = torch.from_numpy(y[rows])
            given = module(torch.from_numpy(x[rows]).to(device)).float().cpu()
            loss_sum += float(cross_entropy(given, wanted, reduction="sum"))
            np.add.at(confusion, (y[rows], given.argmax(dim=1).numpy()), 1)
    module.cpu()
    if not np.isfinite(loss_sum):
        raise TrainingFailed(f"evaluation: the loss is {loss_sum}; the weights are of no use")
    return Evaluation(tuple(tuple(map(int, row)) for row in confusion), loss_sum, len(y))


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _task(module: nn.Module, training: TrainingSpec, proximal_mu: float) -> _Task:
    trainable = [one for one in module.parameters() if one.requires_grad]
    anchor = [(one, one.detach().clone()) for one in trainable] if proximal_mu else []
    return _Task(module, _optimizer(trainable, training), anchor, proximal_mu)


def _optimizer(parameters: list[nn.Parameter], training: TrainingSpec) -> Optimizer:
    rate, decay = training.learning_rate, training.weight_decay
    match training.optimizer:
        case "sgd":
            return SGD(parameters, rate, momentum=training.momentum, weight_decay=decay)
        case "adam":
            return Adam(parameters, rate, weight_decay=decay)
        case "adamw":
            return AdamW(parameters, rate, weight_decay=decay)


def _batches(rows: int, size: int, order: torch.Generator) -> list[Tensor]:
    """Row numbers of each batch of one epoch."""
    batches = list(torch.split(torch.randperm(rows, generator=order), size))
    if len(batches) > 1 and len(batches[-1]) == 1 < size:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _epoch(task: _Task, split: Split, batches: list[Tensor], epoch: int) -> float:
    """The mean loss of an example."""
    x, y = torch.from_numpy(split.train_x), torch.from_numpy(split.train_y)
    device = _device()
    total = 0.0
    for number, rows in enumerate(batches, 1):
        where = f"epoch {epoch}, batch {number} of {len(batches)}"
        with _refusals(where):
            loss = _step(task, x[rows].to(device), y[rows].to(device))
        if not np.isfinite(loss):
            raise TrainingFailed(
                f"{where}: the loss is {loss}; a lower training.learning_rate would help, or "
                "{batch_norm: {}} as the first layer if the features are large"
            )
        total += loss * len(rows)
    return total / len(y)


def _step(task: _Task, x: Tensor, y: Tensor) -> float:
    task.optimizer.zero_grad()
    loss = cross_entropy(task.module(x), y)
    shown = loss.item()
    if task.anchor:
        drift = torch.stack([(one - start).square().sum() for one, start in task.anchor]).sum()
        loss = loss + task.proximal_mu / 2 * drift
    loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
    task.optimizer.step()
    return shown


@contextmanager
def _refusals(where: str) -> Iterator[None]:
    """What torch throws at a batch it cannot take, as ours; its own words, which may quote the
    batch, stay with the cause."""
    try:
        yield
    except torch.OutOfMemoryError as exc:
        raise TrainingFailed(f"{where}: out of GPU memory; lower training.batch_size") from exc
    except (RuntimeError, ValueError, IndexError) as exc:
        raise TrainingFailed(f"{where}: torch refused it ({type(exc).__name__})") from exc


@contextmanager
def _deterministic() -> Iterator[None]:
    """Deterministic kernels where torch has them; where not, it goes on with what there is."""
    before: Any = torch.are_deterministic_algorithms_enabled()
    lenient = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=lenient)
