"""Layers that slide a window, or pool, over the last dimensions of what they get."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import model_validator

from fedspan.domain.layer_values import (
    Count,
    Layer,
    Margins,
    Misfit,
    Shape,
    Sizes,
    Tensor,
    channelled,
    shown,
    weight_and_bias,
)


class Windowed(Layer):
    """Slides a window over the last `dims` dimensions; the one before counts channels."""

    dims: ClassVar[int] = 2
    kernel: Sizes
    padding: Margins = 0

    @model_validator(mode="after")
    def one_size_a_dimension(self) -> Self:
        for name, value in self:
            if isinstance(value, tuple) and len(value) != self.dims:
                raise ValueError(f"{name}: wants one number or {self.dims}, got {list(value)}")
        return self

    def each(self, value: int | Shape) -> Shape:
        return value if isinstance(value, tuple) else (value,) * self.dims

    def window(self, shape: Shape, stride: int | Shape, dilation: int | Shape = 1) -> Shape:
        """The dimensions after the window slid over those of `shape`."""
        inner = channelled(shape, self.dims)
        kernel, padding = self.each(self.kernel), self.each(self.padding)
        sides = zip(inner, kernel, padding, self.each(stride), self.each(dilation), strict=True)
        after = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, p, s, d in sides)
        if min(after) < 1:
            raise Misfit(f"its kernel {shown(kernel)} is larger than the input {shown(inner)}")
        return after


class Conv(Windowed):
    filters: Count
    stride: Sizes = 1
    dilation: Sizes = 1
    groups: Count = 1
    bias: bool = True

    def out(self, shape: Shape) -> Shape:
        inner = self.window(shape, self.stride, self.dilation)
        if shape[0] % self.groups or self.filters % self.groups:
            raise Misfit(
                f"groups: {self.groups} divides not both "
                f"the {shape[0]} channels it gets and its {self.filters} filters"
            )
        return (self.filters, *inner)

    def tensors(self, shape: Shape) -> tuple[Tensor, ...]:
        kernel = self.each(self.kernel)
        return weight_and_bias((self.filters, shape[0] // self.groups, *kernel), self.bias)


class Conv2d(Conv):
    kind = "conv2d"


class Conv1d(Conv):
    kind = "conv1d"
    dims = 1


class Pool(Windowed):
    """`stride` is the kernel unless given."""

    short = "kernel"
    stride: Sizes | None = None

    def out(self, shape: Shape) -> Shape:
        inner = self.window(shape, self.kernel if self.stride is None else self.stride)
        halves = zip(self.each(self.padding), self.each(self.kernel), strict=True)
        if any(2 * padding > kernel for padding, kernel in halves):
            raise Misfit("its padding is more than half its kernel")
        return (shape[0], *inner)


class MaxPool2d(Pool):
    kind = "max_pool2d"


class MaxPool1d(Pool):
    kind = "max_pool1d"
    dims = 1


class AvgPool2d(Pool):
    kind = "avg_pool2d"


class AvgPool1d(Pool):
    kind = "avg_pool1d"
    dims = 1


class AdaptivePool(Layer):
    """Pools to `output_size`, whatever the size of the input."""

    short = "output_size"
    dims: ClassVar[int] = 2
    output_size: Sizes

    def out(self, shape: Shape) -> Shape:
        channelled(shape, self.dims)
        size = self.output_size
        each = size if isinstance(size, tuple) else (size,) * self.dims
        if len(each) != self.dims:
            raise Misfit(f"output_size wants one number or {self.dims}, got {list(each)}")
        return (shape[0], *each)


class AdaptiveAvgPool2d(AdaptivePool):
    kind = "adaptive_avg_pool2d"


class AdaptiveAvgPool1d(AdaptivePool):
    kind = "adaptive_avg_pool1d"
    dims = 1


class AdaptiveMaxPool2d(AdaptivePool):
    kind = "adaptive_max_pool2d"


class AdaptiveMaxPool1d(AdaptivePool):
    kind = "adaptive_max_pool1d"
    dims = 1
