"""What all declared layers share: a layer's own words, its shape and its tensors.

A shape is that of one example: ``(30,)`` flat, ``(3, 28, 28)`` channels, height, width. Names
and defaults are those of ``torch.nn``; `units`, `filters` and `kernel` also answer to torch's
`out_features`, `out_channels` and `kernel_size`. How tensors start is torch's default too
(``torch/nn/modules/{linear,conv,batchnorm,sparse}.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from fedspan.domain.values import Value

Shape = tuple[int, ...]

MAX_SIZE: Final = 2**24
"""The largest number a size in a layer may be."""


class Misfit(ValueError):
    """A layer cannot follow what comes before it."""


class Initial(Value):
    """How a tensor starts: `bound` is the half width of ``uniform``, ``normal`` is N(0, 1)."""

    rule: Literal["zeros", "ones", "uniform", "normal"]
    bound: float = 0.0


class Tensor(Value):
    """A tensor of a model, named as in torch's state dict."""

    name: str
    shape: Shape
    kind: Literal["parameter", "buffer"] = "parameter"
    dtype: Literal["float32", "int64"] = "float32"
    initial: Initial

    @property
    def size(self) -> int:
        return prod(self.shape)


def shown(shape: Sequence[int]) -> str:
    """``8x13x13``."""
    return "x".join(str(length) for length in shape)


def _sizes(least: int) -> BeforeValidator:
    def check(value: Any) -> int | Shape:
        parts = list(value) if isinstance(value, list | tuple) else [value]
        whole = all(isinstance(one, int) and not isinstance(one, bool) for one in parts)
        if not (parts and whole and all(least <= one <= MAX_SIZE for one in parts)):
            raise ValueError(f"wants whole numbers from {least} to {MAX_SIZE}, got {value!r}")
        return tuple(parts) if isinstance(value, list | tuple) else int(value)

    return BeforeValidator(check)


Count = Annotated[int, Field(ge=1, le=MAX_SIZE)]
Sizes = Annotated[int | Shape, _sizes(1)]
Margins = Annotated[int | Shape, _sizes(0)]


class Layer(Value):
    """Keeps the shape and has no tensors, unless its kind says otherwise.

    `short` is the field that stands alone in ``{linear: 32}``.
    """

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    kind: ClassVar[str] = ""
    short: ClassVar[str] = ""

    def out(self, shape: Shape) -> Shape:
        """The shape after this layer. Raises `Misfit`."""
        return shape

    def tensors(self, shape: Shape) -> tuple[Tensor, ...]:
        """Its tensors on an input of `shape`, which `out` accepts, in torch's order."""
        return ()


def weight_and_bias(shape: Shape, bias: bool) -> tuple[Tensor, ...]:
    """Kaiming-uniform with a = sqrt(5) is U(-1/sqrt(fan_in), 1/sqrt(fan_in)), as is the bias."""
    rule = Initial(rule="uniform", bound=1 / sqrt(prod(shape[1:])))
    weight = Tensor(name="weight", shape=shape, initial=rule)
    return (weight, Tensor(name="bias", shape=shape[:1], initial=rule)) if bias else (weight,)


def scale_and_shift(shape: Shape) -> tuple[Tensor, ...]:
    return (
        Tensor(name="weight", shape=shape, initial=Initial(rule="ones")),
        Tensor(name="bias", shape=shape, initial=Initial(rule="zeros")),
    )


def channelled(shape: Shape, dims: int) -> Shape:
    """The last `dims` dimensions of a `shape` that has channels before them."""
    if len(shape) == dims + 1:
        return shape[1:]
    wanted = "channels x length" if dims == 1 else "channels x height x width"
    if len(shape) == dims:
        add = f"; put {{unflatten: [1, {shape[0]}]}} before it"
    else:
        add = f"; put {{unflatten: [...]}} before it, {wanted}" if len(shape) == 1 else ""
    raise Misfit(f"wants {wanted}, got {shown(shape)}{add}")
