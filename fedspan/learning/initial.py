"""The weights a job starts from: the same bits for the same seed, whatever torch is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedspan.domain.layers import Tensor, architecture
from fedspan.domain.seeds import derive
from fedspan.domain.spec import ModelSpec
from fedspan.errors import InvalidModel


def initial_tensors(
    model: ModelSpec, features: tuple[int, ...], classes: int, seed: int, file: Path | None = None
) -> dict[str, NDArray[Any]]:
    """The first tensors of `model` by name, in the order of torch's state dict.

    Declared layers start as torch starts them, drawn by numpy's PCG64 from (job seed, name of
    the tensor); a program starts from the weights in its `file`, and only then is torch needed.

    Raises:
        InvalidModel: layers that do not fit the data, or no readable program.
    """
    if model.layers is not None:
        wanted = architecture(model.layers, features, classes).tensors
        return {tensor.name: _drawn(tensor, seed) for tensor in wanted}
    if file is None:
        raise InvalidModel(f"model.file: {model.file} is not at hand")
    from fedspan.learning.modules import dump_tensors
    from fedspan.learning.programs import load_program

    return dump_tensors(load_program(file))


def _drawn(tensor: Tensor, seed: int) -> NDArray[Any]:
    random = np.random.Generator(np.random.PCG64(derive(seed, "initial", tensor.name)))
    match tensor.initial.rule:
        case "zeros":
            return np.zeros(tensor.shape, tensor.dtype)
        case "ones":
            return np.ones(tensor.shape, tensor.dtype)
        case "normal":
            return random.standard_normal(tensor.shape, np.float32)
        case "uniform":
            values = random.random(tensor.shape, np.float32)
            values *= 2 * tensor.initial.bound
            values -= tensor.initial.bound
            return values
