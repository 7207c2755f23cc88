"""A participant's data: described once, then loaded and split the same way every round."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
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


def describe(name: str, path: Path, target: str) -> Dataset:
    """What the file at `path` offers; its classes sorted by name, or by value if all are
    whole numbers.

    A ``.csv`` has a header, numeric features and a column `target` of classes; an ``.npz`` has
    the arrays ``x`` of shape ``(n, *features)`` and ``y`` of shape ``(n,)``.

    Raises:
        InvalidDataset: naming the file, and the row and column if it comes to that.
    """
    table = _read(path, target)
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
        InvalidDataset: unreadable, or no longer as it was described.
    """
    path = Path(dataset.path)
    table = _read(path, data.target)
    if table.x.shape[1:] != dataset.features:
        raise InvalidDataset(
            f"{path.name}: features of shape {table.x.shape[1:]}, described as {dataset.features}"
        )
    y = _numbered(path, table.labels, dataset.classes)
    random = np.random.Generator(np.random.PCG64(derive(seed, "holdout", participant)))
    held = _held_out(y, data.holdout, random.permutation(len(y)))
    return Split(table.x[~held], y[~held], table.x[held], y[held])


def _held_out(y: Classes, share: float, permutation: NDArray[np.int64]) -> NDArray[np.bool_]:
    held = np.zeros(len(y), np.bool_)
    for one in np.unique(y):
        rows = permutation[y[permutation] == one]
        held[rows[: min(int(share * len(rows) + 0.5), len(rows) - 1)]] = True
    return held


def _numbered(path: Path, labels: Sequence[str], classes: Sequence[str]) -> Classes:
    position = {one: index for index, one in enumerate(classes)}
    for row, label in enumerate(labels, 1):
        if label not in position:
            raise InvalidDataset(
                f"{path.name}: example {row} is of class {label!r}, which is none of {classes}"
            )
    return np.array([position[label] for label in labels], np.int64)


def _in_order(labels: set[str]) -> tuple[str, ...]:
    try:
        return tuple(sorted(labels, key=lambda one: (int(one), one)))
    except ValueError:
        return tuple(sorted(labels))


def _read(path: Path, target: str) -> _Table:
    readers = {".csv": _read_csv, ".npz": _read_npz}
    if path.suffix not in readers:
        raise InvalidDataset(f"{path.name}: want a .csv or .npz file")
    if not path.is_file():
        raise InvalidDataset(f"{path}: there is no such file on this machine")
    table = readers[path.suffix](path, target)
    if not table.labels or not table.x[0].size:
        raise InvalidDataset(f"{path.name}: has no examples, or examples without features")
    flat = table.x.reshape(len(table.x), -1)
    bad = np.argwhere(~np.isfinite(flat))
    if len(bad):
        row, column = bad[0]
        raise InvalidDataset(f"{path.name}: example {row + 1}, feature {column + 1} is no number")
    return table


def _read_csv(path: Path, target: str) -> _Table:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            index = _target_column(path, header, target)
            labels: list[str] = []
            rows: list[Floats] = []
            for cells in reader:
                if not cells:
                    continue
                rows.append(_numbers(f"{path.name}: row {reader.line_num}", header, cells, index))
                labels.append(_label(f"{path.name}: row {reader.line_num}", cells[index], target))
    except (UnicodeDecodeError, csv.Error) as exc:
        raise InvalidDataset(f"{path.name}: no CSV text in UTF-8: {exc}") from exc
    empty = np.empty((0, max(0, len(header) - 1)), np.float32)
    return _Table(np.stack(rows) if rows else empty, labels)


def _target_column(path: Path, header: list[str], target: str) -> int:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InvalidDataset(f"{path.name}: row 1 names column {twice[0]!r} twice")
    if target not in header:
        raise InvalidDataset(
            f"{path.name}: row 1 has no column {target!r}{nearest(target, header[:20])}"
        )
    return header.index(target)


def _numbers(where: str, header: list[str], cells: list[str], target: int) -> Floats:
    if len(cells) != len(header):
        raise InvalidDataset(f"{where} has {len(cells)} columns, the header {len(header)}")
    try:
        with np.errstate(over="ignore"):  # too large for float32 is infinite, and refused later
            return np.array([*cells[:target], *cells[target + 1 :]], np.float32)
    except ValueError:
        pairs = zip(header, cells, strict=True)
        name, cell = next(
            pair for at, pair in enumerate(pairs) if at != target and _no_number(pair[1])
        )
        raise InvalidDataset(f"{where}, column {name!r}: {cell!r} is no number") from None


def _no_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return True
    return False


def _label(where: str, cell: str, target: str) -> str:
    if not cell.strip():
        raise InvalidDataset(f"{where}, column {target!r}: is empty")
    return cell.strip()


def _read_npz(path: Path, target: str) -> _Table:
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = {"x", "y"} - set(file.files)
            if missing:
                raise InvalidDataset(f"{path.name}: lacks the array {sorted(missing)[0]!r}")
            x, y = file["x"], file["y"]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as exc:
        raise InvalidDataset(f"{path.name}: no .npz file of plain arrays: {exc}") from exc
    if x.dtype.kind not in "fiub" or x.ndim < 2 or y.ndim != 1 or len(x) != len(y):
        raise InvalidDataset(
            f"{path.name}: want numbers x of shape (n, ...) and y of shape (n,), "
            f"got x {x.dtype}{x.shape} and y {y.dtype}{y.shape}"
        )
    with np.errstate(over="ignore"):
        return _Table(np.ascontiguousarray(x, np.float32), [_named(one) for one in y.tolist()])


def _named(value: Any) -> str:
    """``1``, ``1.0`` and ``"1"`` are one class."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)
