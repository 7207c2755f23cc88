"""Weights as safetensors files: the same tensors give the same bytes, whoever writes them.

The format is eight bytes of header length, a JSON header, the raw tensors
(https://github.com/huggingface/safetensors#format). It is written here, not by the library, so
that the bytes do not depend on its version and the hash costs neither a second read nor a
copy of the model; reading is the library's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from fedspan.errors import Corrupt, InvalidModel

Array = NDArray[Any]

DTYPES: Final[Mapping[str, str]] = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
_BLOCK: Final = 4 * 1024 * 1024


def write_weights(tensors: Mapping[str, Array], path: Path) -> tuple[str, int]:
    """Write `tensors` to `path`, which appears whole; its SHA-256 and size in bytes.

    Raises:
        InvalidModel: a tensor of a dtype that safetensors files of ours do not hold.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header = _header(tensors, names)
    digest = hashlib.sha256()
    written = 0
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        for block in (len(header).to_bytes(8, "little"), header, *map(tensors.get, names)):
            data = block if isinstance(block, bytes) else _raw(block)
            digest.update(data)
            written += file.write(data)
    part.replace(path)
    return digest.hexdigest(), written


def read_weights(path: Path) -> dict[str, Array]:
    """The tensors of the safetensors file at `path`. Raises `Corrupt` if it is none."""
    try:
        return load_file(path)
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError, MemoryError) as exc:
        raise Corrupt(f"{path.name} is no safetensors file that can be read: {exc}") from exc


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file of any size, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _header(tensors: Mapping[str, Array], names: list[str]) -> bytes:
    """Largest items first, as the library does, so that every tensor is aligned."""
    entries: dict[str, object] = {}
    start = 0
    for name in names:
        one = tensors[name]
        if one.dtype.name not in DTYPES:
            raise InvalidModel(f"tensor {name}: dtype {one.dtype} cannot be stored")
        end = start + one.nbytes
        entries[name] = {
            "dtype": DTYPES[one.dtype.name],
            "shape": list(one.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8)


def _raw(tensor: Array | None) -> memoryview:
    assert tensor is not None
    plain = np.require(tensor, tensor.dtype.newbyteorder("<"), "C")
    return plain.reshape(-1).view(np.uint8).data
