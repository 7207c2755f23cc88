"""Models as files: programs of ``torch.export.save`` (.pt2), taken from people we need not trust.

`check_program` reads a file as data and needs no torch, so a Lambda can refuse an upload.
`load_program` makes a module that trains, from a copy without anything torch would unpickle,
evaluate or execute (see `program_archives` and `program_graphs`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any, Final

from fedspan.errors import InvalidModel
from fedspan.learning.program_archives import check_archive, copy_cleaned

if TYPE_CHECKING:
    from torch.fx import GraphModule
    from torch.nn import Module

HOW: Final = (
    "export it with torch.export.export(model, (x,), "
    'dynamic_shapes=({0: torch.export.Dim("batch")},))'
)

MODES: Final[Mapping[str, int]] = {
    "aten.batch_norm.default": 5,
    "aten.instance_norm.default": 5,
    "aten.dropout.default": 2,
    "aten.dropout_.default": 2,
    "aten.alpha_dropout.default": 2,
    "aten.feature_dropout.default": 2,
    "aten.feature_alpha_dropout.default": 2,
    "aten.rrelu.default": 3,
}
"""Operators that differ between training and use, and which of their arguments says so."""

COUNTER: Final = "aten.add_.Tensor"
"""How batch norm counts the batches it saw."""


def check_program(path: Path) -> None:
    """Raise `InvalidModel` unless `path` holds a torch.export program that is safe to load.

    By content, whatever its name; without torch, and without unpickling anything.
    """
    with _named(path):
        check_archive(path)


def load_program(path: Path) -> Module:
    """The program at `path` as a module on the CPU; ``train()`` and ``eval()`` switch its
    dropout and batch norm, whichever mode it was exported in.

    Raises:
        InvalidModel: not a safe torch.export program, or torch cannot read it.
    """
    check_program(path)
    import torch

    with tempfile.TemporaryDirectory(prefix="fedspan-") as folder, _named(path):
        copy = Path(folder) / "program.pt2"
        copy_cleaned(path, copy)
        try:
            module: Module = torch.export.load(copy).module()
        except Exception as exc:  # torch has no error of its own for a bad program
            raise InvalidModel(f"torch cannot read it: {str(exc).splitlines()[:1]}") from exc
    module.train = MethodType(_train, module)  # type: ignore[method-assign]  # as torch does
    module.eval = MethodType(_eval, module)  # type: ignore[method-assign]
    module.eval()
    return module


def inspect_program(path: Path, features: tuple[int, ...], classes: int) -> Module:
    """The program at `path`, seen to work: batches of 1, 2 and 3 rows of shape `features` give
    ``(n, classes)``, and there is something to train.

    Raises:
        InvalidModel: saying what it gave and how to export it right.
    """
    import torch

    module = load_program(path)
    with _named(path):
        if not any(one.requires_grad for one in module.parameters()):
            raise InvalidModel("has no parameters to train")
        for rows in (3, 2, 1):
            try:
                with torch.no_grad():
                    given = module(torch.zeros(rows, *features))
            except Exception as exc:  # whatever its operators throw at these shapes
                reason = str(exc).splitlines()[:1]
                raise InvalidModel(
                    f"refuses {rows} rows of shape {features}: {reason}; {HOW}"
                ) from exc
            shape = tuple(given.shape) if isinstance(given, torch.Tensor) else type(given).__name__
            if shape != (rows, classes):
                raise InvalidModel(f"gives {shape} for {rows} rows, want {(rows, classes)}; {HOW}")
    return module


def _train(self: GraphModule, mode: bool = True) -> GraphModule:
    """Switch the operators of a program, since torch does not (``ExportedProgram.module``)."""
    for node in self.graph.nodes:
        target = str(node.target)
        if target in MODES:
            node.update_arg(MODES[target], mode)
        elif target == COUNTER and str(node.args[0].target).endswith("num_batches_tracked"):
            node.update_arg(1, int(mode))
    self.recompile()
    self.training = mode
    return self


def _eval(self: GraphModule) -> GraphModule:
    return _train(self, False)


@contextmanager
def _named(path: Path) -> Iterator[Any]:
    """Every problem starts with the file it is about."""
    try:
        yield
    except InvalidModel as exc:
        prefix = f"{path.name}: "
        raise InvalidModel(*(prefix + one.removeprefix(prefix) for one in exc.problems)) from exc
    except OSError as exc:
        raise InvalidModel(f"{path.name}: cannot be read: {exc.strerror}") from exc
