"""A kept model for others to use: a torch.export program or an ONNX file, compared before it is
given away."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fedspan.domain.layer_kinds import Embedding
from fedspan.domain.models import Card
from fedspan.domain.seeds import derive
from fedspan.errors import InvalidModel, Unsupported
from fedspan.learning.modules import build, load_tensors
from fedspan.learning.weights import read_weights, sha256_of

Floats = NDArray[np.float32]

TOLERANCE: Final = 1e-4
"""Of the largest difference to the largest output, or to 1 if all outputs are smaller."""

CHECKED_BATCHES: Final = (1, 2, 7)
"""Rows of the inputs an export is compared on; several, so that a fixed batch shows."""

EXPORTED_BATCH: Final = 3
"""Rows of the example torch traces; neither 0 nor 1, which it would take for special."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file written and read back; `max_difference` is relative, as in `TOLERANCE`."""

    path: Path
    bytes: int
    sha256: str
    max_difference: float


def export_pt2(card: Card, weights: Path, to: Path, program: Path | None = None) -> Exported:
    """Write the model of `card` with `weights` (safetensors) as a torch.export program.

    Its input is ``(n, *features)`` float32, its output ``(n, classes)`` logits. `program` is
    the file of a model that was one.

    Raises:
        InvalidModel: the weights do not fit, or the export gives other results than the model.
        Corrupt: `weights` cannot be read.
    """
    module = _model(card, weights, program)
    torch.export.save(_traced(module, card), to)
    again = torch.export.load(to).module()
    return _compared(card, module, to, lambda x: again(torch.from_numpy(x)).detach().numpy())


def export_onnx(card: Card, weights: Path, to: Path, program: Path | None = None) -> Exported:
    """Write the model of `card` with `weights` as one ONNX file, with input ``input`` and
    output ``logits``, both of a free first dimension ``batch``.

    Raises:
        Unsupported: onnx, onnxscript or onnxruntime is not installed, or ONNX has no such layer.
        InvalidModel: the weights do not fit, or the export gives other results than the model.
        Corrupt: `weights` cannot be read.
    """
    for library in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(library) is None:
            raise Unsupported(f"{library} is not installed; pip install 'fedspan[export]'")
    import onnxruntime

    module = _model(card, weights, program)
    traced = _traced(module, card)
    try:
        with _quiet("torch.onnx", "onnxscript", "onnx_ir"):
            torch.onnx.export(
                traced,
                f=to,
                dynamo=True,
                input_names=["input"],
                output_names=["logits"],
                dynamic_shapes=({0: "batch"},),
                external_data=False,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as exc:
        reason = _first_line(exc.__cause__ or exc)
        raise Unsupported(f"model {card.name}: ONNX cannot hold it: {reason}") from exc
    session = onnxruntime.InferenceSession(str(to), providers=["CPUExecutionProvider"])
    return _compared(card, module, to, lambda x: session.run(None, {"input": x})[0])


def _model(card: Card, weights: Path, program: Path | None) -> torch.nn.Module:
    module = build(card.architecture, card.features, len(card.classes), program)
    load_tensors(module, read_weights(weights))
    module.eval()
    return module


def _traced(module: torch.nn.Module, card: Card) -> torch.export.ExportedProgram:
    """`module` as it is in use, with a free first dimension ``batch``."""
    example = (torch.from_numpy(_inputs(card, EXPORTED_BATCH)),)
    try:
        return torch.export.export(
            module, example, dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
    except (RuntimeError, ValueError) as exc:
        raise InvalidModel(f"model {card.name}: torch cannot trace it: {_first_line(exc)}") from exc


def _inputs(card: Card, rows: int) -> Floats:
    """Random examples: standard normal, or row numbers where the model starts with a table."""
    random = np.random.Generator(np.random.PCG64(derive(card.seed, "export", rows)))
    shape = (rows, *card.features)
    first = card.architecture.layers[0] if card.architecture.layers else None
    if isinstance(first, Embedding):
        return random.integers(first.num_embeddings, size=shape).astype(np.float32)
    return random.standard_normal(shape, np.float32)


def _compared(
    card: Card, module: torch.nn.Module, to: Path, run: Callable[[Floats], Any]
) -> Exported:
    """The file at `to`, if `run` on it gives what `module` gives."""
    largest = 0.0
    for rows in CHECKED_BATCHES:
        x = _inputs(card, rows)
        with torch.no_grad():
            wanted = module(torch.from_numpy(x)).numpy()
        given = np.asarray(run(x))
        if given.shape != wanted.shape:
            raise InvalidModel(f"{to.name} gives shape {given.shape}, want {wanted.shape}")
        scale = max(1.0, float(np.abs(wanted).max()))
        largest = max(largest, float(np.abs(given - wanted).max()) / scale)
    if not largest <= TOLERANCE:
        raise InvalidModel(
            f"model {card.name}: {to.name} differs from it by {largest:.1e}, more than {TOLERANCE}"
        )
    return Exported(to, to.stat().st_size, sha256_of(to), largest)


def _first_line(exc: BaseException) -> str:
    return next(iter(str(exc).splitlines()), type(exc).__name__)


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """The exporter logs its steps, and warns of what torch itself deprecated."""
    loggers = [(logging.getLogger(name), logging.getLogger(name).level) for name in names]
    for logger, _ in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in loggers:
            logger.setLevel(level)
