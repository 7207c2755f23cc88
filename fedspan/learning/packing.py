"""A model's tensors as one flat array, because that is how they cross a wide network fast.

Flower sends every tensor as objects of its own, two in flight: 400 tensors at 60 ms take a
minute a round, one array takes four seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from fedspan.errors import Corrupt, InvalidModel

Array = NDArray[Any]

KINDS: Final = "fiub"
"""numpy's kinds of dtypes that can be packed: floats, whole numbers, booleans."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor lies in the flat array: `size` values from `start`."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How named tensors lie in one flat array, sorted by name.

    The array is float32, or float64 if some tensor is. Whole numbers and booleans travel as
    floats and come back rounded, so float32 holds counts up to 2^24 exactly.
    """

    slots: tuple[Slot, ...]
    size: int
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> Self:
        """The layout of `tensors`. Raises `InvalidModel` for a dtype that cannot be packed."""
        slots: list[Slot] = []
        start = 0
        for name in sorted(tensors):
            one = tensors[name]
            if one.dtype.kind not in KINDS or one.dtype.itemsize > 8:
                raise InvalidModel(f"tensor {name}: dtype {one.dtype} cannot be trained together")
            slots.append(Slot(name, one.shape, one.dtype, start, one.size))
            start += one.size
        double = any(slot.dtype == np.float64 for slot in slots)
        return cls(tuple(slots), start, np.dtype(np.float64 if double else np.float32))

    def pack(self, tensors: Mapping[str, Array]) -> Array:
        """`tensors` copied once, into a new flat array of shape ``(size,)``.

        Raises:
            InvalidModel: other names or shapes than the layout's.
        """
        self._check_names(tensors)
        flat = np.empty(self.size, self.dtype)
        for slot in self.slots:
            one = tensors[slot.name]
            if one.shape != slot.shape:
                raise InvalidModel(f"tensor {slot.name}: shape {one.shape}, want {slot.shape}")
            flat[slot.start : slot.start + slot.size].reshape(slot.shape)[...] = one
        return flat

    def unpack(self, flat: Array) -> dict[str, Array]:
        """The tensors of `flat` by name, in their own shapes and dtypes.

        Tensors of the array's dtype are views into it: no copy is made of them.

        Raises:
            Corrupt: not a flat array of floats of this size, or a count that is no number.
        """
        if flat.ndim != 1 or flat.dtype.kind != "f" or flat.size != self.size:
            raise Corrupt(
                f"packed model: want {self.size} floats in one dimension, "
                f"got {flat.dtype} of shape {flat.shape}"
            )
        return {
            slot.name: _restored(flat[slot.start : slot.start + slot.size], slot)
            for slot in self.slots
        }

    def _check_names(self, tensors: Mapping[str, Array]) -> None:
        known = {slot.name for slot in self.slots}
        missing, strange = sorted(known - tensors.keys()), sorted(tensors.keys() - known)
        if missing or strange:
            raise InvalidModel(
                f"tensors differ from the model's: missing {missing[:3]}, unknown {strange[:3]}"
            )


def _restored(part: Array, slot: Slot) -> Array:
    if slot.dtype.kind in "iu" and part.size:
        part = np.rint(part)
        bounds = np.iinfo(slot.dtype)
        if not (np.isfinite(part).all() and bounds.min <= part.min() <= part.max() <= bounds.max):
            raise Corrupt(f"packed model: {slot.name} holds values that are no {slot.dtype}")
    elif slot.dtype.kind == "b":
        part = np.rint(part)
    # prod, not -1: numpy cannot infer a dimension of an empty tensor.
    assert part.size == prod(slot.shape)
    return part.astype(slot.dtype, copy=False).reshape(slot.shape)
