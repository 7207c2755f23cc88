"""Declared layers and programs as torch modules, and tensors in and out of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedspan.domain import layer_kinds as kinds
from fedspan.domain import layer_windows as windows
from fedspan.domain.layers import Layer, Shape, architecture
from fedspan.domain.spec import ModelSpec
from fedspan.errors import InvalidModel
from fedspan.learning.programs import load_program


class Embedding(nn.Embedding):
    """Takes whole numbers that arrive as floats, as all inputs do."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.long())


class EmbeddingBag(nn.EmbeddingBag):
    """Takes whole numbers that arrive as floats, as all inputs do."""

    def forward(self, input: Tensor) -> Tensor:  # type: ignore[override]  # no offsets, no weights
        return super().forward(input.long())


SAME_WORDS: Final[Mapping[type[Layer], Callable[..., nn.Module]]] = {
    kinds.Flatten: nn.Flatten,
    kinds.Embedding: Embedding,
    kinds.EmbeddingBag: EmbeddingBag,
    kinds.Dropout: nn.Dropout,
    kinds.Dropout2d: nn.Dropout2d,
    kinds.Relu: nn.ReLU,
    kinds.LeakyRelu: nn.LeakyReLU,
    kinds.Elu: nn.ELU,
    kinds.Selu: nn.SELU,
    kinds.Gelu: nn.GELU,
    kinds.Silu: nn.SiLU,
    kinds.Softplus: nn.Softplus,
    kinds.Tanh: nn.Tanh,
    kinds.Sigmoid: nn.Sigmoid,
    windows.AdaptiveAvgPool1d: nn.AdaptiveAvgPool1d,
    windows.AdaptiveAvgPool2d: nn.AdaptiveAvgPool2d,
    windows.AdaptiveMaxPool1d: nn.AdaptiveMaxPool1d,
    windows.AdaptiveMaxPool2d: nn.AdaptiveMaxPool2d,
}
"""Kinds whose keys are the arguments of torch's class."""

CONVS: Final[Mapping[type[Layer], Callable[..., nn.Module]]] = {
    windows.Conv1d: nn.Conv1d,
    windows.Conv2d: nn.Conv2d,
}

POOLS: Final[Mapping[type[Layer], Callable[..., nn.Module]]] = {
    windows.MaxPool1d: nn.MaxPool1d,
    windows.MaxPool2d: nn.MaxPool2d,
    windows.AvgPool1d: nn.AvgPool1d,
    windows.AvgPool2d: nn.AvgPool2d,
}


def build(
    model: ModelSpec, features: tuple[int, ...], classes: int, file: Path | None = None
) -> nn.Module:
    """`model` as a module from ``(n, *features)`` to ``(n, classes)``, on the CPU.

    For declared layers the names and shapes of its state dict are those of `architecture`.

    Raises:
        InvalidModel: layers that do not fit the data, or no readable program.
    """
    if model.layers is None:
        if file is None:
            raise InvalidModel(f"model.file: {model.file} is not at hand")
        return load_program(file)
    shapes = (features, *architecture(model.layers, features, classes).shapes)
    return nn.Sequential(*map(_module, model.layers, shapes[:-1]))


def _module(layer: Layer, shape: Shape) -> nn.Module:
    """`layer` for examples of `shape`."""
    kind = type(layer)
    if kind in SAME_WORDS:
        return SAME_WORDS[kind](**layer.model_dump())
    match layer:
        case kinds.Linear():
            return nn.Linear(shape[0], layer.units, layer.bias)
        case kinds.Unflatten():
            return nn.Unflatten(1, (layer.sizes,) if isinstance(layer.sizes, int) else layer.sizes)
        case kinds.BatchNorm():
            norm = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
            return norm(shape[0], layer.eps, layer.momentum, layer.affine)
        case kinds.LayerNorm():
            return nn.LayerNorm(shape, layer.eps, layer.elementwise_affine)
        case kinds.GroupNorm():
            return nn.GroupNorm(layer.num_groups, shape[0], layer.eps, layer.affine)
        case windows.Conv():
            given = layer.model_dump(exclude={"kernel", "filters"})
            return CONVS[kind](shape[0], layer.filters, layer.kernel, **given)
        case windows.Pool():
            return POOLS[kind](layer.kernel, layer.stride, layer.padding)
        case _:
            raise InvalidModel(f"{layer.kind}: this version of Fedspan cannot build it")


def dump_tensors(module: nn.Module) -> dict[str, NDArray[Any]]:
    """The state of `module` by name, in its order.

    On the CPU the arrays share memory with the module: pack, write or copy them before it
    trains on.
    """
    return {name: one.detach().cpu().numpy() for name, one in module.state_dict().items()}


def load_tensors(module: nn.Module, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Copy `tensors` into `module`. Raises `InvalidModel` if names or shapes differ."""
    state = module.state_dict()
    missing, strange = sorted(state.keys() - tensors.keys()), sorted(tensors.keys() - state.keys())
    if missing or strange:
        raise InvalidModel(
            f"tensors differ from the model's: missing {missing[:3]}, unknown {strange[:3]}"
        )
    for name, one in state.items():
        given = tensors[name]
        if tuple(one.shape) != given.shape:
            raise InvalidModel(f"tensor {name}: shape {given.shape}, want {tuple(one.shape)}")
        # torch warns of memory it may not write, though it only reads it here.
        one.copy_(torch.from_numpy(np.require(given, requirements="W")))
