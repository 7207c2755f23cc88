"""The kinds of layers that look at all of an example, or at each value of it alone."""

from __future__ import annotations

from math import prod
from typing import Literal

from pydantic import Field

from fedspan.domain.layer_values import (
    Count,
    Initial,
    Layer,
    Misfit,
    Shape,
    Sizes,
    Tensor,
    channelled,
    scale_and_shift,
    shown,
    weight_and_bias,
)


class Linear(Layer):
    kind, short = "linear", "units"
    units: Count
    bias: bool = True

    def out(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise Misfit(f"wants a flat input, got {shown(shape)}; put {{flatten: {{}}}} before it")
        return (self.units,)

    def tensors(self, shape: Shape) -> tuple[Tensor, ...]:
        return weight_and_bias((self.units, *shape), self.bias)


class Flatten(Layer):
    kind = "flatten"

    def out(self, shape: Shape) -> Shape:
        return (prod(shape),)


class Unflatten(Layer):
    """Splits the first dimension: 784 becomes 1x28x28, and 28x28 becomes 1x28x28 by [1, 28]."""

    kind, short = "unflatten", "sizes"
    sizes: Sizes

    def out(self, shape: Shape) -> Shape:
        sizes = self.sizes if isinstance(self.sizes, tuple) else (self.sizes,)
        if prod(sizes) != shape[0]:
            raise Misfit(f"cannot split {shape[0]} of {shown(shape)} into {shown(sizes)}")
        return (*sizes, *shape[1:])


class BatchNorm(Layer):
    """1d or 2d by the shape it gets. First in a model, it normalises the inputs."""

    kind = "batch_norm"
    eps: float = Field(default=1e-5, gt=0)
    momentum: float = Field(default=0.1, gt=0, le=1)
    affine: bool = True

    def out(self, shape: Shape) -> Shape:
        if len(shape) > 3:
            raise Misfit(f"wants at most channels x height x width, got {shown(shape)}")
        return shape

    def tensors(self, shape: Shape) -> tuple[Tensor, ...]:
        own, zeros = shape[:1], Initial(rule="zeros")
        return (
            *(scale_and_shift(own) if self.affine else ()),
            Tensor(name="running_mean", shape=own, kind="buffer", initial=zeros),
            Tensor(name="running_var", shape=own, kind="buffer", initial=Initial(rule="ones")),
            Tensor(
                name="num_batches_tracked", shape=(), kind="buffer", dtype="int64", initial=zeros
            ),
        )


class LayerNorm(Layer):
    """Over all values of one example."""

    kind = "layer_norm"
    eps: float = Field(default=1e-5, gt=0)
    elementwise_affine: bool = True

    def tensors(self, shape: Shape) -> tuple[Tensor, ...]:
        return scale_and_shift(shape) if self.elementwise_affine else ()


class GroupNorm(Layer):
    kind, short = "group_norm", "num_groups"
    num_groups: Count
    eps: float = Field(default=1e-5, gt=0)
    affine: bool = True

    def out(self, shape: Shape) -> Shape:
        if shape[0] % self.num_groups:
            raise Misfit(f"cannot put {shape[0]} channels into {self.num_groups} equal groups")
        if prod(shape) == self.num_groups:
            raise Misfit("each group has one value only, which it would turn into zero")
        return shape

    def tensors(self, shape: Shape) -> tuple[Tensor, ...]:
        return scale_and_shift(shape[:1]) if self.affine else ()


class Embedding(Layer):
    """Rows of a table by whole-number inputs from 0 to `num_embeddings` - 1; comes first."""

    kind = "embedding"
    num_embeddings: Count
    embedding_dim: Count

    def out(self, shape: Shape) -> Shape:
        return (*shape, self.embedding_dim)

    def tensors(self, shape: Shape) -> tuple[Tensor, ...]:
        table = (self.num_embeddings, self.embedding_dim)
        return (Tensor(name="weight", shape=table, initial=Initial(rule="normal")),)


class EmbeddingBag(Embedding):
    """The mean (or sum, max) of the rows: a whole text as one flat vector."""

    kind = "embedding_bag"
    mode: Literal["mean", "sum", "max"] = "mean"

    def out(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise Misfit(f"wants a flat input, got {shown(shape)}")
        return (self.embedding_dim,)


class Dropout(Layer):
    kind, short = "dropout", "p"
    p: float = Field(default=0.5, ge=0, lt=1)


class Dropout2d(Dropout):
    """Drops whole channels."""

    kind = "dropout2d"

    def out(self, shape: Shape) -> Shape:
        channelled(shape, 2)
        return shape


class Relu(Layer):
    kind = "relu"


class LeakyRelu(Layer):
    kind, short = "leaky_relu", "negative_slope"
    negative_slope: float = 0.01


class Elu(Layer):
    kind, short = "elu", "alpha"
    alpha: float = 1.0


class Selu(Layer):
    kind = "selu"


class Gelu(Layer):
    kind, short = "gelu", "approximate"
    approximate: Literal["none", "tanh"] = "none"


class Silu(Layer):
    kind = "silu"


class Softplus(Layer):
    kind = "softplus"


class Tanh(Layer):
    kind = "tanh"


class Sigmoid(Layer):
    kind = "sigmoid"
