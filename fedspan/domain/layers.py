"""A model declared as layers: read from YAML, written back, and its shapes and tensors inferred.

Pure Python, so that a Lambda without torch refuses a model that does not fit its data before
anything costs money.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Annotated, Any, Final

from pydantic import Field, PlainSerializer, PlainValidator

from fedspan.domain import layer_kinds, layer_windows
from fedspan.domain.layer_values import Initial, Layer, Misfit, Shape, Tensor, shown
from fedspan.domain.parsing import nearest, parsed
from fedspan.domain.values import Value
from fedspan.errors import InvalidModel, InvalidRequest

__all__ = ["KINDS", "Architecture", "Initial", "Layer", "Layers", "Shape", "Tensor", "architecture"]

KINDS: Final[Mapping[str, type[Layer]]] = {
    found.kind: found
    for found in [*vars(layer_kinds).values(), *vars(layer_windows).values()]
    if isinstance(found, type) and issubclass(found, Layer) and found.kind
}

TORCH_NAMES: Final[Mapping[str, str]] = {
    "out_features": "units",
    "out_channels": "filters",
    "kernel_size": "kernel",
}
"""Torch's words for three of our keys."""

IN_THE_LOSS: Final = frozenset({"softmax", "log_softmax"})

MAX_LAYERS: Final = 1_000
MAX_PARAMETERS: Final = 10**9
MAX_VALUES: Final = 2**26
"""Values a layer may give for one example: 256 MiB as float32."""


def _parse(value: object) -> Layer:
    if isinstance(value, Layer):
        return value
    kind, given = _named(value)
    if kind in IN_THE_LOSS:
        raise ValueError(f"{kind}: the cross_entropy loss applies it already; leave it out")
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no layer we know{nearest(kind, KINDS)}")
    cls = KINDS[kind]
    try:
        return parsed(cls, _keys(cls, given))
    except InvalidRequest as exc:
        problems = (one.removeprefix(f"{cls.__name__}: ") for one in exc.problems)
        raise ValueError("; ".join(f"{kind}: {one}" for one in problems)) from None


def _named(value: object) -> tuple[str, object]:
    """``relu`` and ``{relu: {}}`` alike."""
    if isinstance(value, str):
        return value, None
    if isinstance(value, Mapping) and len(value) == 1:
        [(kind, given)] = value.items()
        return str(kind), given
    raise ValueError(f"wants one layer, such as {{linear: 32}} or {{relu: {{}}}}, got {value!r}")


def _keys(cls: type[Layer], given: object) -> object:
    """What was given for a layer, under our keys; a lone value belongs to its `short` key."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        if not cls.short:
            raise ValueError(f"{cls.kind}: wants {{{', '.join(cls.model_fields)}}}, got {given!r}")
        return {cls.short: given}
    ours = {TORCH_NAMES.get(str(key), str(key)): one for key, one in given.items()}
    if len(ours) < len(given):
        raise ValueError(f"{cls.kind}: a key is given under two names: {', '.join(given)}")
    return ours


def _plain(layer: Layer) -> dict[str, Any]:
    """As a person writes it: defaults left out, ``{linear: 32}`` for a lone short key."""
    told = layer.model_dump(mode="json", exclude_defaults=True)
    return {layer.kind: told[layer.short] if set(told) == {layer.short} else told}


Layers = Annotated[
    tuple[Annotated[Layer, PlainValidator(_parse), PlainSerializer(_plain)], ...],
    Field(max_length=MAX_LAYERS),
]
"""The field type of declared layers: read from YAML's form and written back in it."""


class Architecture(Value):
    """What declared layers come to on given data.

    `tensors` are in the order of torch's state dict; `parameters` counts trainable scalars;
    `shapes` holds the output shape of one example after each layer.
    """

    tensors: tuple[Tensor, ...]
    parameters: int
    shapes: tuple[Shape, ...]


def architecture(layers: Sequence[Layer], features: Shape, classes: int) -> Architecture:
    """The shapes and tensors of `layers` for examples of shape `features` and `classes` classes.

    Raises:
        InvalidModel: one sentence naming the layer, what it got and what it wants.
    """
    shapes: list[Shape] = []
    tensors: list[Tensor] = []
    before = features
    for index, layer in enumerate(layers):
        where = f"model.layers.{index} {layer.kind}"
        after = _after(where, layer, before, first=index == 0)
        own = layer.tensors(before)
        tensors += [one.model_copy(update={"name": f"{index}.{one.name}"}) for one in own]
        shapes.append(after)
        before = after
    _check_output(before, classes)
    trainable = sum(one.size for one in tensors if one.kind == "parameter")
    if not 0 < trainable <= MAX_PARAMETERS:
        raise InvalidModel(
            f"model.layers: {trainable} parameters to train, want 1 to {MAX_PARAMETERS}"
        )
    return Architecture(tensors=tuple(tensors), parameters=trainable, shapes=tuple(shapes))


def _after(where: str, layer: Layer, before: Shape, first: bool) -> Shape:
    if isinstance(layer, layer_kinds.Embedding) and not first:
        raise InvalidModel(f"{where}: reads whole numbers, so it can only be the first layer")
    try:
        after = layer.out(before)
    except Misfit as exc:
        raise InvalidModel(f"{where}: {exc}") from None
    if prod(after) > MAX_VALUES:
        raise InvalidModel(f"{where}: gives {shown(after)} values an example, the limit is 2^26")
    return after


def _check_output(shape: Shape, classes: int) -> None:
    if shape == (classes,):
        return
    if len(shape) == 1:
        raise InvalidModel(
            f"model.layers: the last layer gives {shape[0]} values, "
            f"the dataset has {classes} classes; end with {{linear: {classes}}}"
        )
    raise InvalidModel(
        f"model.layers: the last layer gives {shown(shape)}, "
        f"the dataset has {classes} classes; end with {{flatten: {{}}}}, {{linear: {classes}}}"
    )
