"""Model, rows and training: the same code Fedspan's jobs run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from fedspan.domain.spec import ModelSpec, TrainingSpec
from fedspan.learning import training
from fedspan.learning.datasets import Split
from fedspan.learning.modules import build

FEATURES = 8


def model(config: Mapping[str, Any]) -> nn.Module:
    spec = ModelSpec.model_validate({"layers": json.loads(str(config["layers"]))})
    return build(spec, (FEATURES,), 2, None)


def rows(config: Mapping[str, Any], participant: str) -> Split:
    import numpy as np

    with np.load(Path(str(config["folder"]), f"{participant}.npz")) as file:
        x, y = file["x"], file["y"]
    cut = len(y) // 5
    return Split(x[cut:], y[cut:], x[:cut], y[:cut])


def train(module: nn.Module, split: Split) -> training.TrainResult:
    return training.train(module, split, TrainingSpec(), 7)
