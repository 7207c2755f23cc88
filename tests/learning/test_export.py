"""Exports: read back by those who would use them, and equal to the model."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime

import numpy as np
import onnxruntime
import pytest
import torch

from fedspan.domain.models import Card
from fedspan.domain.parsing import parsed
from fedspan.domain.spec import ModelSpec
from fedspan.errors import Corrupt, InvalidModel, Unsupported
from fedspan.learning import export
from fedspan.learning.export import Exported, export_onnx, export_pt2
from fedspan.learning.initial import initial_tensors
from fedspan.learning.modules import build, load_tensors
from fedspan.learning.programs import inspect_program
from fedspan.learning.weights import sha256_of, write_weights
from tests.learning import archives

TABLE = {"num_embeddings": 10, "embedding_dim": 4}
MODELS = {
    "tabular": (
        (4,),
        2,
        [{"batch_norm": {}}, {"linear": 8}, "relu", {"dropout": 0.5}, {"linear": 2}],
    ),
    "image": (
        (1, 12, 12),
        3,
        [
            {"conv2d": {"filters": 4, "kernel": 3}},
            {"batch_norm": {}},
            "gelu",
            {"max_pool2d": 2},
            {"group_norm": 2},
            {"adaptive_avg_pool2d": 1},
            "flatten",
            {"layer_norm": {}},
            {"linear": 3},
        ],
    ),
    "words": ((5,), 3, [{"embedding": TABLE}, "flatten", {"linear": 3}]),
}


@pytest.fixture(params=[*MODELS, "program"])
def kept(request, tmp_path):
    """A card, the file of its weights and that of its program."""
    if request.param == "program":
        path = archives.export(archives.Net(), tmp_path / "net.pt2", 1, 6, 6)
        return keep(tmp_path, {"file": "net.pt2"}, (1, 6, 6), 3, path)
    features, classes, layers = MODELS[request.param]
    return keep(tmp_path, {"layers": layers}, features, classes, None)


def keep(folder, model, features, classes, program):
    architecture = parsed(ModelSpec, model)
    tensors = initial_tensors(architecture, features, classes, 7, program)
    tensors = {name: one + np.ones((), one.dtype) for name, one in tensors.items()}
    weights = folder / "w.safetensors"
    sha256, size = write_weights(tensors, weights)
    card = parsed(
        Card,
        {
            "id": "m1",
            "job": "j1",
            "name": "model",
            "created": datetime(2026, 11, 20, tzinfo=UTC),
            "architecture": architecture,
            "features": features,
            "classes": tuple("abc"[:classes]),
            "parameters": 1,
            "weights": "jobs/j1/model.safetensors",
            "uri": "file:///m1",
            "sha256": sha256,
            "bytes": size,
            "selected": {"round": 1, "metric": "f1", "value": 1.0, "threshold": 0.9},
            "rounds": {},
            "participants": {},
            "data": {"dataset": "d"},
            "training": {},
            "strategy": {},
            "seed": 7,
            "versions": {},
        },
    )
    module = build(architecture, features, classes, program)
    load_tensors(module, tensors)
    return card, weights, program, module.eval()


def examples(card, rows):
    return np.random.default_rng(rows).integers(0, 9, (rows, *card.features)).astype(np.float32)


def answers(module, x):
    with torch.no_grad():
        return module(torch.from_numpy(x)).numpy()


def is_true_of(done: Exported, path):
    assert done.path == path
    assert done.bytes == path.stat().st_size
    assert done.sha256 == sha256_of(path)
    assert 0 <= done.max_difference <= export.TOLERANCE


def test_a_program_is_written_that_anyone_can_load(kept, tmp_path):
    card, weights, program, module = kept
    path = tmp_path / "out.pt2"

    done = export_pt2(card, weights, path, program)

    is_true_of(done, path)
    again = torch.export.load(path).module()
    for rows in (1, 4, 9):
        x = examples(card, rows)
        np.testing.assert_allclose(answers(again, x), answers(module, x), rtol=1e-4, atol=1e-5)


def test_what_is_exported_can_start_another_job(kept, tmp_path):
    card, weights, program, _ = kept
    export_pt2(card, weights, tmp_path / "out.pt2", program)

    again = inspect_program(tmp_path / "out.pt2", card.features, len(card.classes))

    names = {name for name, _ in again.named_parameters()}
    assert names == {name for name, _ in kept[3].named_parameters()}


def test_onnx_is_written_that_its_runtime_can_load(kept, tmp_path):
    card, weights, program, module = kept
    path = tmp_path / "out.onnx"

    done = export_onnx(card, weights, path, program)

    is_true_of(done, path)
    assert [one.name for one in path.parent.glob("out.onnx*")] == ["out.onnx"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [into], [out] = session.get_inputs(), session.get_outputs()
    assert (into.name, into.shape) == ("input", ["batch", *card.features])
    assert (out.name, out.shape) == ("logits", ["batch", len(card.classes)])
    for rows in (1, 4, 9):
        x = examples(card, rows)
        [given] = session.run(None, {"input": x})
        np.testing.assert_allclose(given, answers(module, x), rtol=1e-3, atol=1e-4)


@pytest.fixture
def tabular(tmp_path):
    features, classes, layers = MODELS["tabular"]
    return keep(tmp_path, {"layers": layers}, features, classes, None)


@pytest.mark.parametrize("write", [export_pt2, export_onnx])
def test_an_export_that_differs_is_refused(tabular, tmp_path, monkeypatch, write):
    card, weights, *_ = tabular
    monkeypatch.setattr(export, "TOLERANCE", -1.0)

    with pytest.raises(InvalidModel, match="model model: out differs from it by"):
        write(card, weights, tmp_path / "out")


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_a_library_that_is_missing_is_named_with_its_extra(tabular, tmp_path, monkeypatch, library):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == library else find(name)
    )
    card, weights, *_ = tabular

    with pytest.raises(Unsupported, match=rf"{library} is not installed; .*fedspan\[export\]"):
        export_onnx(card, weights, tmp_path / "out.onnx")


def test_weights_of_another_model_are_refused(tabular, tmp_path):
    card, weights, *_ = tabular
    write_weights({"a": np.ones(1, np.float32)}, weights)

    with pytest.raises(InvalidModel, match="tensors differ from the model's"):
        export_pt2(card, weights, tmp_path / "out.pt2")


def test_weights_that_are_none_are_corrupt(tabular, tmp_path):
    card, weights, *_ = tabular
    weights.write_bytes(b"none")

    with pytest.raises(Corrupt):
        export_pt2(card, weights, tmp_path / "out.pt2")
