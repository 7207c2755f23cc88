"""A participant's data: described once, then loaded and split the same way every round.

Whoever describes a file owns it, and is told what stands in it. What `load` says travels to the
aggregator: numbers of rows and columns, never a cell, a class, a header or a path.
"""

from __future__ import annotations

import csv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedspan.domain.parsing import nearest
from fedspan.domain.seeds import derive
from fedspan.domain.sites import Dataset
from fedspan.domain.spec import DataSpec
from fedspan.errors import InvalidDataset

Floats = NDArray[np.float32]
Classes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to train on and rows held out. `x` has shape ``(n, *features)``, `y` ``(n,)`` holds
    the position of each row's class in the dataset's `classes`."""

    train_x: Floats
    train_y: Classes
    held_x: Floats
    held_y: Classes


@dataclass(frozen=True, slots=True)
class _Table:
    x: Floats
    labels: list[str]


class _Unreadable(Exception):
    """What is wrong with a file: `shared` with everyone, the exception's own text with its
    owner."""

    def __init__(self, shared: str, full: str = "") -> None:
        super().__init__(full or shared)
        self.shared = shared


def describe(name: str, path: Path, target: str) -> Dataset:
    """What the file at `path` offers; its classes sorted by name, or by value if all are
    whole numbers.

    A ``.csv`` has a header, numeric features and a column `target` of classes; an ``.npz`` has
    the arrays ``x`` of shape ``(n, *features)`` and ``y`` of shape ``(n,)``.

    Raises:
        InvalidDataset: naming the file, and the row and column if it comes to that.
    """
    try:
        table = _read(path, target)
    except _Unreadable as exc:
        raise InvalidDataset(f"{path.name}: {exc}") from exc
    classes = _in_order(set(table.labels))
    if len(classes) < 2:
        raise InvalidDataset(f"{path.name}: {target} is always {classes[0]!r}; want two classes")
    return Dataset(
        name=name,
        path=str(path),
        target=target,
        features=table.x.shape[1:],
        classes=classes,
        examples=len(table.labels),
    )


def load(dataset: Dataset, data: DataSpec, seed: int, participant: str) -> Split:
    """The rows of `dataset`, split by a permutation drawn from (job seed, participant).

    Of each class the first `data.holdout` of the permuted rows, rounded half up, are held out,
    but never all of them: a class with one row stays in training. The same job therefore holds
    out the same rows in every round, and after every interruption.

    Raises:
        InvalidDataset: unreadable, or no longer as it was described. Its text has no value of
            the file; that of its cause has.
    """
    try:
        table = _read(Path(dataset.path), data.target)
        y = _numbered(table, dataset)
    except _Unreadable as exc:
        raise InvalidDataset(f"dataset {dataset.name!r}: {exc.shared}") from exc
    random = np.random.Generator(np.random.PCG64(derive(seed, "holdout", participant)))
    held = _held_out(y, data.holdout, random.permutation(len(y)))
    return Split(table.x[~held], y[~held], table.x[held], y[held])


def _held_out(y: Classes, share: float, permutation: NDArray[np.int64]) -> NDArray[np.bool_]:
    held = np.zeros(len(y), np.bool_)
    for one in np.unique(y):
        rows = permutation[y[permutation] == one]
        held[rows[: min(int(share * len(rows) + 0.5), len(rows) - 1)]] = True
    return held


def _numbered(table: _Table, dataset: Dataset) -> Classes:
    """The position of each row's class, if the table is as `dataset` describes it."""
    shape = table.x.shape[1:]
    if shape != dataset.features:
        raise _Unreadable(f"features of shape {shape}, described as {dataset.features}")
    position = {one: index for index, one in enumerate(dataset.classes)}
    for row, label in enumerate(table.labels, 1):
        if label not in position:
            raise _Unreadable(
                f"example {row} is of a class it was not described with",
                f"example {row} is of class {label!r}, which is none of {dataset.classes}",
            )
    return np.array([position[label] for label in table.labels], np.int64)


def _in_order(labels: set[str]) -> tuple[str, ...]:
    try:
        return tuple(sorted(labels, key=lambda one: (int(one), one)))
    except ValueError:
        return tuple(sorted(labels))


def _read(path: Path, target: str) -> _Table:
    readers = {".csv": _read_csv, ".npz": _read_npz}
    if path.suffix not in readers:
        raise _Unreadable("want a .csv or .npz file")
    if not path.is_file():
        missing = "there is no such file on this machine"
        raise _Unreadable(missing, f"{missing}: {path}")
    table = readers[path.suffix](path, target)
    if not table.labels or not table.x[0].size:
        raise _Unreadable("has no examples, or examples without features")
    flat = table.x.reshape(len(table.x), -1)
    bad = np.argwhere(~np.isfinite(flat))
    if len(bad):
        row, column = bad[0]
        raise _Unreadable(f"example {row + 1}, feature {column + 1} is no number")
    return table


def _read_csv(path: Path, target: str) -> _Table:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            index = _target_column(header, target)
            labels: list[str] = []
            rows: list[Floats] = []
            for cells in reader:
                if not cells:
                    continue
                rows.append(_numbers(f"row {reader.line_num}", header, cells, index))
                labels.append(_label(f"row {reader.line_num}", header, cells, index))
    except (UnicodeDecodeError, csv.Error) as exc:
        raise _Unreadable("no CSV text in UTF-8", f"no CSV text in UTF-8: {exc}") from exc
    empty = np.empty((0, max(0, len(header) - 1)), np.float32)
    return _Table(np.stack(rows) if rows else empty, labels)


def _target_column(header: list[str], target: str) -> int:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise _Unreadable(
            f"row 1 names column {header.index(twice[0]) + 1} twice",
            f"row 1 names column {twice[0]!r} twice",
        )
    if target not in header:
        lacking = f"row 1 has no column {target!r}"
        raise _Unreadable(lacking, f"{lacking}{nearest(target, header[:20])}")
    return header.index(target)


def _numbers(where: str, header: list[str], cells: list[str], target: int) -> Floats:
    if len(cells) != len(header):
        raise _Unreadable(f"{where} has {len(cells)} columns, the header {len(header)}")
    try:
        with np.errstate(over="ignore"):  # too large for float32 is infinite, and refused later
            return np.array([*cells[:target], *cells[target + 1 :]], np.float32)
    except ValueError:
        bad = next(at for at, cell in enumerate(cells) if at != target and _no_number(cell))
        raise _Unreadable(
            f"{where}, column {bad + 1} is no number",
            f"{where}, column {header[bad]!r}: {cells[bad]!r} is no number",
        ) from None


def _no_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return True
    return False


def _label(where: str, header: list[str], cells: list[str], target: int) -> str:
    label = cells[target].strip()
    if not label:
        raise _Unreadable(
            f"{where}, column {target + 1} is empty",
            f"{where}, column {header[target]!r}: is empty",
        )
    return label


def _read_npz(path: Path, target: str) -> _Table:
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = {"x", "y"} - set(file.files)
            if missing:
                raise _Unreadable(f"lacks the array {sorted(missing)[0]!r}")
            x, y = file["x"], file["y"]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as exc:
        broken = "no .npz file of plain arrays"
        raise _Unreadable(broken, f"{broken}: {exc}") from exc
    if x.dtype.kind not in "fiub" or x.ndim < 2 or y.ndim != 1 or len(x) != len(y):
        wanted = "want numbers x of shape (n, ...) and y of shape (n,)"
        got = f"got x {x.dtype}{x.shape} and y {y.dtype}{y.shape}"
        raise _Unreadable(wanted, f"{wanted}, {got}")
    with np.errstate(over="ignore"):
        return _Table(np.ascontiguousarray(x, np.float32), [_named(one) for one in y.tolist()])


def _named(value: Any) -> str:
    """``1``, ``1.0`` and ``"1"`` are one class."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)
