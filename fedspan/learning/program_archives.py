"""The archive of a torch.export program: a ZIP file whose every entry is known and checked.

``torch.export.load`` unpickles: sample inputs with ``weights_only=False`` once the safe way
fails (``torch/_export/serde/serialize.py``, ``deserialize_torch_artifact``), weights and
constants marked ``use_pickle``, custom and opaque objects, the legacy ``.pt`` files
(``torch/export/pt2_archive/_package.py``); it also loads shared libraries under
``data/aotinductor``. An honest ``torch.export.save`` writes one pickle, the sample inputs. So
whatever else could be unpickled is refused here, that one may name nothing but torch's own
tensors, and torch is handed a copy without it. The copy is written by us, so that two readers
of ZIP files cannot see two different archives. Needs no torch.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from fedspan.errors import InvalidModel
from fedspan.learning.program_graphs import cleaned_graph

MAX_BYTES: Final = 8 * 2**30
MAX_ENTRIES: Final = 100_000
MAX_JSON_BYTES: Final = 64 * 2**20
MAX_SAMPLE_BYTES: Final = 256 * 2**20

GRAPH: Final = "models/model.json"
SAMPLE: Final = "data/sample_inputs/model.pt"
CONFIGS: Final[Mapping[str, str]] = {
    "data/weights/": "data/weights/model_weights_config.json",
    "data/constants/": "data/constants/model_constants_config.json",
}
STAMPS: Final[Mapping[str, bytes]] = {
    "archive_format": b"pt2",
    "archive_version": b"0",
    "byteorder": b"little",
}
"""Entries that hold one word: of another format or version it would be another file."""

ENTRY: Final = re.compile(
    r"data/weights/weight_\d{1,9}|data/constants/tensor_\d{1,9}|\.data/(version|serialization_id)"
)
FOREIGN: Final[Mapping[str, str]] = {
    "data.pkl": "a torch.save file, which is a pickle",
    "constants.pkl": "a TorchScript file, which holds pickles",
    "serialized_exported_program.json": "a program of an older torch",
    "serialized_state_dict.pt": "a program of an older torch, which holds pickles",
}
ITEM_BYTES: Final[Mapping[int, int]] = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 12: 1}
"""Bytes of one value by ``ScalarType`` of the schema: whole numbers, floats, booleans."""

HARMLESS: Final = frozenset(
    {
        "collections OrderedDict",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
    }
    | {f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "Long", "Int", "Bool")}
    | {f"torch {kind}Storage" for kind in ("Short", "Char", "Byte", "BFloat16")}
)
"""What the pickle of sample inputs may name."""

_NAMING: Final = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"})


def check_archive(path: Path) -> None:
    """Raise `InvalidModel` unless `path` is a whole and harmless torch.export program."""
    with _opened(path) as (archive, root):
        cleaned_graph(archive.read(root + GRAPH))
        _check_sample(archive, root)
        for folder, config in CONFIGS.items():
            _check_payloads(archive, root, folder, config)
        damaged = archive.testzip()
        if damaged:
            raise InvalidModel(f"its entry {damaged!r} is damaged")


def copy_cleaned(path: Path, to: Path) -> None:
    """Write what torch shall read of the checked program `path`: no pickle, no metadata."""
    with _opened(path) as (archive, root), zipfile.ZipFile(to, "w") as copy:
        for info in archive.infolist():
            name = info.filename.removeprefix(root)
            if name == SAMPLE:
                copy.writestr(f"program/{name}", b"")
            elif name == GRAPH:
                copy.writestr(f"program/{name}", cleaned_graph(archive.read(info)))
            else:
                with archive.open(info) as source, copy.open(f"program/{name}", "w") as target:
                    shutil.copyfileobj(source, target, 2**20)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, str]]:
    """The archive at `path`, its entries checked by name and size, and their common root."""
    with path.open("rb") as file:
        start = file.read(4)
    if start != b"PK\x03\x04":
        what = (
            "is a pickle, which is never accepted" if start[:1] == b"\x80" else "is no ZIP archive"
        )
        raise InvalidModel(f"{what}; save it with torch.export.save")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive, _root(archive, path.stat().st_size)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, UnicodeDecodeError) as exc:
        raise InvalidModel(f"is damaged or cut short: {exc}") from None


def _root(archive: zipfile.ZipFile, size: int) -> str:
    entries = archive.infolist()
    if not 0 < len(entries) <= MAX_ENTRIES or size > MAX_BYTES:
        raise InvalidModel(f"has {len(entries)} entries and {size} bytes, more than a model needs")
    root = entries[0].filename.split("/")[0] + "/"
    names = [info.filename.removeprefix(root) for info in entries]
    for name in names:
        if name in FOREIGN or name.startswith("data/aotinductor/"):
            raise InvalidModel(f"is {FOREIGN.get(name, 'compiled code')}; use torch.export.save")
    known = {GRAPH, SAMPLE, *CONFIGS.values(), *STAMPS}
    for info, name in zip(entries, names, strict=True):
        if not info.filename.startswith(root) or not (name in known or ENTRY.fullmatch(name)):
            raise InvalidModel(f"has an entry {info.filename[:80]!r} that no such program has")
        _check_entry(info, name)
    lacking = sorted(known - set(names))
    if lacking or len(set(names)) < len(names):
        raise InvalidModel(f"lacks {lacking}" if lacking else "has two entries of one name")
    if sum(info.file_size for info in entries) > size:
        raise InvalidModel("says it holds more bytes than it has")
    for name, word in STAMPS.items():
        if archive.read(root + name) != word:
            raise InvalidModel(f"its {name} is not {word.decode()!r}; export it with torch 2.13")
    return root


def _check_entry(info: zipfile.ZipInfo, name: str) -> None:
    """Stored as it is, as torch does, so that no entry unfolds to more than it takes up."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise InvalidModel(f"its entry {name!r} is compressed, which torch never does")
    if info.flag_bits & 0x1:
        raise InvalidModel(f"its entry {name!r} is encrypted")
    limit = MAX_JSON_BYTES if name.endswith(".json") else MAX_BYTES
    limit = MAX_SAMPLE_BYTES if name == SAMPLE else 64 if name in STAMPS else limit
    if info.file_size > limit:
        raise InvalidModel(f"its entry {name!r} has {info.file_size} bytes, the limit is {limit}")


def _check_sample(archive: zipfile.ZipFile, root: str) -> None:
    """Sample inputs are never unpickled by us; but someone may, so they must be harmless."""
    data = archive.read(root + SAMPLE)
    if not data:
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as inner:
            [name] = [one for one in inner.namelist() if one.endswith("data.pkl")]
            if inner.getinfo(name).file_size > len(data):
                raise InvalidModel("its sample inputs are compressed, which torch never does")
            opcodes = list(pickletools.genops(inner.read(name)))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError) as exc:
        raise InvalidModel(f"its sample inputs cannot be read: {exc}") from None
    for opcode, argument, _ in opcodes:
        if opcode.name in _NAMING and argument not in HARMLESS:
            raise InvalidModel(
                f"its sample inputs are a pickle that calls {str(argument)[:60]!r}; "
                "export it with tensors as its sample inputs"
            )


def _check_payloads(archive: zipfile.ZipFile, root: str, folder: str, config: str) -> None:
    """Every tensor of `config` lies in an entry under `folder`, raw, and within it."""
    try:
        entries = json.loads(archive.read(root + config))["config"]
        for name, one in entries.items():
            _check_payload(archive, root + folder, name, one)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise InvalidModel(f"its {config} cannot be read: {exc}") from None


def _check_payload(archive: zipfile.ZipFile, folder: str, name: str, one: dict[str, Any]) -> None:
    if one["use_pickle"] is not False or not re.fullmatch(r"\w+(\.\w+)*", name, re.ASCII):
        raise InvalidModel(f"its tensor {name[:60]!r} is no plain tensor; it would be a pickle")
    if not ENTRY.fullmatch(f"{folder.partition('/')[2]}{one['path_name']}"):
        raise InvalidModel(f"its tensor {name!r} lies in {str(one['path_name'])[:60]!r}")
    meta = one["tensor_meta"]
    if meta["dtype"] not in ITEM_BYTES:
        raise InvalidModel(f"its tensor {name!r} is of a dtype that cannot be trained; use float32")
    sizes = [int(size["as_int"]) for size in meta["sizes"]]
    strides = [int(stride["as_int"]) for stride in meta["strides"]]
    offset = int(meta["storage_offset"]["as_int"])
    if min([offset, *sizes, *strides]) < 0 or len(sizes) != len(strides):
        raise InvalidModel(f"its tensor {name!r} has sizes {sizes} and strides {strides}")
    steps = zip(sizes, strides, strict=True)
    empty = 0 in sizes
    values = 0 if empty else offset + 1 + sum((size - 1) * stride for size, stride in steps)
    held = archive.getinfo(folder + one["path_name"]).file_size
    if values * ITEM_BYTES[meta["dtype"]] > held or not (held or empty):
        raise InvalidModel(f"its tensor {name!r} reaches beyond its {held} bytes")
