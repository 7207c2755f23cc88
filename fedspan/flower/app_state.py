"""What an app's strategy carries from round to round, as arrays that a checkpoint holds.

Never a pickle: numbers, words, NumPy arrays, Flower's records and what is built of these in
dictionaries, lists, tuples and sets are written as arrays and one JSON document, which is an
array of bytes among them. What else a strategy holds is named, so that people are told: it is as
its app makes it when it starts again. Of a strategy only what has changed since it was made is
kept, for the rest (a folder, an address) may rightly differ where it goes on.
"""

from __future__ import annotations

import enum
import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import PurePath
from types import ModuleType
from typing import Any, Final

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp.strategy import FedAvgM, Strategy
from flwr.serverapp.strategy.fedopt import FedOpt
from numpy.typing import NDArray

from fedspan.errors import Corrupt
from fedspan.flower.folding import view
from fedspan.learning.weights import DTYPES

Named = dict[str, NDArray[Any]]

DOCUMENT: Final = "state.json"
DEEPEST: Final = 20

CONSTANT: Final = (type, ModuleType, PurePath, enum.Enum, logging.Logger, re.Pattern, date)
"""What an app makes again as it was, or what holds no result of a round."""

RECORDS: Final[Mapping[str, type[MetricRecord] | type[ConfigRecord]]] = {
    "MetricRecord": MetricRecord,
    "ConfigRecord": ConfigRecord,
}


class NotKept(Exception):
    """Of a type that is not written."""


class Kept:
    """The attributes of `strategy`, and of those it wraps, since it was made."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._at_first = {name: _digest(value) for name, value in attributes(strategy).items()}

    def changed(self) -> dict[str, Any]:
        """Those that are no longer what they were, and can be written."""
        now = attributes(self._strategy)
        digests = {name: _digest(value) for name, value in now.items()}
        return {
            name: now[name]
            for name, digest in digests.items()
            if digest is not None and digest != self._at_first.get(name)
        }

    def hidden(self) -> tuple[str, ...]:
        """Those that a checkpoint does not hold, each with its type."""
        return tuple(
            f"strategy.{name} ({type(value).__name__})"
            for name, value in attributes(self._strategy).items()
            if _digest(value) is None
        )

    def restore(self, changed: Mapping[str, Any]) -> None:
        """Give a strategy that was just made what `changed` took from the one before it."""
        for name, value in changed.items():
            *owners, last = name.split(".")
            owner: Any = self._strategy
            for step in owners:
                owner = getattr(owner, step)
            setattr(owner, last, value)


def attributes(strategy: Strategy, prefix: str = "") -> dict[str, Any]:
    """Its own by name, and those of strategies it wraps as ``strategy.name``; without functions
    and other constants, and without Flower's copy of the model, which it is given again."""
    found: dict[str, Any] = {}
    for name, value in sorted(vars(strategy).items()):
        copied = isinstance(strategy, FedOpt | FedAvgM) and name == "current_arrays"
        if isinstance(value, Strategy):
            found |= attributes(value, f"{prefix}{name}.")
        elif not copied and not callable(value) and not isinstance(value, CONSTANT):
            found[f"{prefix}{name}"] = value
    return found


def as_kept(record: ArrayRecord) -> ArrayRecord:
    """With the byte order and layout that a checkpoint's arrays have: what is made of `record` in
    the next round is then the same bytes, whoever goes on. Raises `ValueError`."""
    return ArrayRecord({name: _as_kept(one) for name, one in record.items()})


def dump(value: Any) -> Named:
    """`value` as arrays. Raises `NotKept`."""
    arrays: Named = {}
    document = json.dumps(_written(value, arrays, 0), separators=(",", ":"))
    arrays[DOCUMENT] = np.frombuffer(document.encode(), np.uint8)
    return arrays


def load(arrays: Named) -> Any:
    """What `dump` was given.

    Raises:
        Corrupt: these are not arrays of `dump`.
    """
    try:
        return _read(json.loads(arrays[DOCUMENT].tobytes()), arrays)
    except (LookupError, ValueError, TypeError) as exc:
        raise Corrupt(f"the state of a strategy cannot be read: {type(exc).__name__}") from exc


def _as_kept(array: Array) -> Array:
    values = view(array)
    if values.flags.c_contiguous and values.dtype.isnative:
        return array
    return Array(np.require(values, values.dtype.newbyteorder("="), "C"))


def _digest(value: Any) -> str | None:
    """None for what cannot be written."""
    try:
        arrays = dump(value)
    except NotKept:
        return None
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}/{array.dtype}/{array.shape}/".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _written(value: Any, arrays: Named, depth: int) -> list[Any]:
    """A tag and what it stands for. Types are compared exactly: a class of an app's own that is
    built on one of these holds more than its values."""
    if depth > DEEPEST:
        raise NotKept("nested too deeply")

    def inner(one: Any) -> list[Any]:
        return _written(one, arrays, depth + 1)

    def array(one: NDArray[Any]) -> str:
        if one.dtype.name not in DTYPES:
            raise NotKept(f"an array of {one.dtype}")
        arrays[name := f"{len(arrays):06d}"] = one
        return name

    def pairs(one: Mapping[Any, Any]) -> list[Any]:
        return [[inner(key), inner(item)] for key, item in one.items()]

    writers: dict[type, Callable[[Any], Any]] = {
        type(None): lambda one: None,
        bool: lambda one: one,
        int: lambda one: one,
        str: lambda one: one,
        float: lambda one: one.hex(),
        bytes: lambda one: array(np.frombuffer(one, np.uint8)),
        np.ndarray: array,
        Array: lambda one: array(one.numpy()),
        ArrayRecord: lambda one: [[name, array(item.numpy())] for name, item in one.items()],
        dict: pairs,
        list: lambda one: [inner(item) for item in one],
        tuple: lambda one: [inner(item) for item in one],
        set: lambda one: [inner(item) for item in sorted(one, key=repr)],
        MetricRecord: lambda one: pairs(dict(one)),
        ConfigRecord: lambda one: pairs(dict(one)),
    }
    if isinstance(value, np.generic):
        return ["scalar", array(np.asarray(value))]
    writer = writers.get(type(value))
    if writer is None:
        raise NotKept(type(value).__name__)
    return [type(value).__name__, writer(value)]


def _read(node: list[Any], arrays: Named) -> Any:
    tag, held = node
    match tag:
        case "NoneType" | "bool" | "int" | "str":
            return held
        case "float":
            return float.fromhex(held)
        case "bytes":
            return arrays[held].tobytes()
        case "ndarray":
            return arrays[held]
        case "scalar":
            return arrays[held][()]
        case "Array":
            return Array(arrays[held])
        case "ArrayRecord":
            return ArrayRecord({name: Array(arrays[one]) for name, one in held})
        case "dict" | "MetricRecord" | "ConfigRecord":
            found = {_read(key, arrays): _read(item, arrays) for key, item in held}
            return RECORDS[tag](found) if tag in RECORDS else found
        case "list" | "tuple" | "set":
            kinds: dict[str, Callable[[Any], Any]] = {"list": list, "tuple": tuple, "set": set}
            return kinds[tag](_read(one, arrays) for one in held)
        case _:
            raise ValueError(f"{tag!r} is no tag")
