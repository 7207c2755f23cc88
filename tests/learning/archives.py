"""Programs to try `programs` on: honest ones by torch, and others made from their entries."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fedspan.errors import InvalidModel
from fedspan.learning.programs import check_program, load_program

Entries = dict[str, bytes]
"""An archive's entries by name below its root."""

GRAPH = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
SAMPLE = "data/sample_inputs/model.pt"


class Evil:
    """Unpickled, it makes the folder `marker`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


class Net(nn.Module):
    """A bit of everything: convolution, batch norm, dropout, shared and free tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding="same")
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4 * 36, 3)
        self.shift = torch.arange(3.0)
        self.register_buffer("scale", torch.ones(3), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.drop(self.norm(self.conv(x)))).flatten(1)
        return self.head(x).view(x.shape[0], 3) * self.scale + self.shift


def tabular() -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def export(module: nn.Module, path: Path, *features: int, dynamic: bool = True) -> Path:
    torch.manual_seed(1)
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    program = torch.export.export(module, (torch.randn(3, *features),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


def entries(path: Path) -> Entries:
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def archived(held: Entries, path: Path, root: str = "m/", **how: Any) -> Path:
    with zipfile.ZipFile(path, "w", **how) as archive:
        for name, data in held.items():
            archive.writestr(root + name, data)
    return path


def edited(held: Entries, name: str, change: Callable[[Any], Any]) -> Entries:
    """`held` with its JSON entry `name` passed through `change`, which edits in place."""
    data = json.loads(held[name])
    change(data)
    return {**held, name: json.dumps(data).encode()}


def saved(value: object) -> bytes:
    """`value` as torch.save writes it."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def refused(path: Path, *, says: str = "") -> None:
    """Neither check nor load takes `path`; the check says why, in a sentence with its name."""
    with pytest.raises(InvalidModel) as found:
        check_program(path)
    assert str(found.value).startswith(f"{path.name}: ")
    assert says in str(found.value)
    with pytest.raises(InvalidModel):
        load_program(path)


def evil_sample(held: Entries, marker: Path) -> Entries:
    return {**held, SAMPLE: saved(((Evil(marker),), {}))}


def evil_plain_sample(held: Entries, marker: Path) -> Entries:
    return {**held, SAMPLE: pickle.dumps(((Evil(marker),), {}), protocol=2)}


def evil_weight(held: Entries, marker: Path) -> Entries:
    def change(config: Any) -> None:
        next(iter(config["config"].values()))["use_pickle"] = True

    return {**edited(held, WEIGHTS, change), "data/weights/weight_0": saved(Evil(marker))}


def evil_constant(held: Entries, marker: Path) -> Entries:
    def change(config: Any) -> None:
        config["config"]["c"] = {
            "path_name": "opaque_obj_0",
            "is_param": False,
            "use_pickle": True,
            "tensor_meta": None,
        }

    evil = {"data/constants/opaque_obj_0": pickle.dumps(Evil(marker))}
    return {**edited(held, CONSTANTS, change), **evil}


def evil_legacy_weights(held: Entries, marker: Path) -> Entries:
    return {**held, "data/weights/model.pt": saved({"a": Evil(marker)})}


def evil_expression(held: Entries, marker: Path) -> Entries:
    def change(graph: Any) -> None:
        meta = graph["graph_module"]["graph"]["tensor_values"]
        size = next(one["sizes"][0] for one in meta.values() if "as_expr" in str(one["sizes"]))
        size["as_expr"]["expr_str"] = f"__import__('os').mkdir({str(marker)!r})"

    return edited(held, GRAPH, change)


def evil_guard(held: Entries, marker: Path) -> Entries:
    def change(graph: Any) -> None:
        graph["guards_code"] = [f"__import__('os').mkdir({str(marker)!r}) is None"]

    return edited(held, GRAPH, change)


def evil_parameter(held: Entries, marker: Path) -> Entries:
    """A parameter called so that the line of source that reads it does something else too."""
    evil = f"""training"),exec("getattr(__import__('os'),'mkdir')('{marker}')"""

    def rename(graph: Any) -> None:
        graph["graph_module"]["signature"]["input_specs"][0]["parameter"]["parameter_name"] = evil

    def move(config: Any) -> None:
        config["config"][evil] = config["config"].pop("0.weight")

    return edited(edited(held, GRAPH, rename), WEIGHTS, move)


EVIL = [
    evil_sample,
    evil_plain_sample,
    evil_weight,
    evil_constant,
    evil_legacy_weights,
    evil_expression,
    evil_guard,
    evil_parameter,
]
