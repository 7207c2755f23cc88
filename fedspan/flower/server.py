"""The body of the ServerApp: the rounds of one job, from its last whole checkpoint to its end.

The loop is ours, for what Flower's has not: rounds that go on counting after a restart, a quorum,
a deadline, and a checkpoint. What a round computes is Flower's: its strategies configure and
aggregate. A round is committed after its evaluation, so that a round that exists has its
metrics; a crash between the two costs that round's training again, to the same bits.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

import structlog
from flwr.app import Context
from flwr.serverapp import Grid

import fedspan
from fedspan.domain.layers import architecture
from fedspan.domain.reports import AggregatorManifest, Fault, Phase
from fedspan.domain.rounds import Checkpoint, Round
from fedspan.errors import FedspanError, TrainingFailed
from fedspan.flower import checkpoints, rounds, strategies
from fedspan.flower.board import Board
from fedspan.flower.checkpoints import Named
from fedspan.flower.files import OBJECTS, WORK, Desire, WorkFolder
from fedspan.flower.folding import Flat
from fedspan.learning.initial import initial_tensors
from fedspan.learning.packing import Layout
from fedspan.objects.base import Objects
from fedspan.objects.opening import open_objects
from fedspan.services.examine import program_key

GRACE_SECONDS: Final = 10.0
"""How long a job that has its quorum waits for the rest before its first round."""


def main(grid: Grid, context: Context) -> None:
    """Run the job described in the work folder; how it ends is in ``status.json``."""
    serve(grid, WorkFolder(Path(os.environ[WORK])), open_objects(os.environ[OBJECTS]))


def serve(grid: Grid, folder: WorkFolder, objects: Objects, grace: float = GRACE_SECONDS) -> None:
    """Run the job to its end. A failure ends up in the status, never in an exception."""
    board = Board(folder)
    board.write()
    try:
        _run(grid, folder, objects, board, grace)
        board.end(Phase.DONE)
    except FedspanError as exc:
        board.end(Phase.FAILED, Fault(code=type(exc).__name__, message=str(exc)))
    except Exception as exc:
        structlog.get_logger().exception("serverapp.crashed", folder=str(folder.path))
        text = f"{type(exc).__name__}: {exc}"
        board.end(Phase.FAILED, Fault(code=TrainingFailed.__name__, message=text))


def _run(grid: Grid, folder: WorkFolder, objects: Objects, board: Board, grace: float) -> None:
    watch = Desire(folder)
    manifest = watch()
    program = _program(manifest, objects)
    setting = rounds.Setting(grid, folder, watch, board, manifest, program)
    job = _Job(setting, objects)
    job.resume()
    if job.done < manifest.spec.rounds:
        setting.connected(grace)
    while job.done < manifest.spec.rounds:
        board.close_round(job.round(), watch().acknowledged)


class _Job:
    """A job under way: `flat` is its model after round `done`, packed as `layout` says."""

    def __init__(self, setting: rounds.Setting, objects: Objects) -> None:
        self.setting, self.objects = setting, objects
        spec = setting.manifest.spec
        self.strategy = strategies.build(spec.strategy, spec.needed)
        tensors, self.parameters = _initial(setting.manifest, setting.program)
        self.layout = Layout.of(tensors)
        self.flat: Flat = self.layout.pack(tensors)
        self.done = 0

    def resume(self) -> None:
        """Go on after the last whole round, and tell of rounds that were not acknowledged.
        Rounds after that one, if there are, count for nothing and would be in the way."""
        job, acknowledged = self.setting.manifest.job, self.setting.manifest.acknowledged
        found = checkpoints.latest(self.objects, job, acknowledged)
        if found is not None:
            record, tensors, state = found
            self.flat = self.layout.pack(tensors)
            strategies.restore(self.strategy, state)
            self.done = record.round.number
        checkpoints.forget(self.objects, job, max(self.done, acknowledged))
        for one in checkpoints.records(self.objects, job, acknowledged):
            self.setting.board.close_round(one.round, acknowledged)

    def round(self) -> Round:
        """The next round, committed."""
        started = time.monotonic()
        number, manifest, board = self.done + 1, self.setting.manifest, self.setting.board
        board.open_round(number, manifest.spec.participants)
        flat = rounds.train(self.setting, self.strategy, number, self.flat)
        # Counts and half floats are rounded as in a checkpoint, or a resumed job would differ.
        tensors = self.layout.unpack(flat)
        flat = self.layout.pack(tensors)
        metrics = rounds.evaluate(self.setting, self.strategy, number, flat)

        def describe(checkpoint: Checkpoint) -> Round:
            return Round(
                job=manifest.job,
                number=number,
                epoch=manifest.epoch,
                seconds=round(time.monotonic() - started, 3),
                metrics=metrics,
                participants=board.people,
                parameters=self.parameters,
                versions=versions(),
                checkpoint=checkpoint,
            )

        weights = tensors, strategies.state(self.strategy)
        record = checkpoints.save(self.objects, manifest.job, number, weights, describe)
        self.flat, self.done = flat, number
        return record.round


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("flwr", "numpy", "torch")} | {
        "fedspan": fedspan.__version__,
        "python": platform.python_version(),
    }


def _program(manifest: AggregatorManifest, objects: Objects) -> bytes | None:
    sha256 = manifest.spec.model.sha256
    return objects.get(program_key(sha256)) if sha256 else None


def _initial(manifest: AggregatorManifest, program: bytes | None) -> tuple[Named, int]:
    """The tensors a job starts from, and how many scalars of them it trains."""
    spec, features, classes = manifest.spec, manifest.features, len(manifest.classes)
    if spec.model.layers is not None:
        tensors = initial_tensors(spec.model, features, classes, spec.seed)
        return tensors, architecture(spec.model.layers, features, classes).parameters
    from fedspan.learning.modules import build, dump_tensors  # only a program needs torch here

    with tempfile.TemporaryDirectory(prefix="fedspan-") as folder:
        file = Path(folder, "program.pt2")
        file.write_bytes(program or b"")
        module = build(spec.model, features, classes, file)
    trained = sum(one.numel() for one in module.parameters() if one.requires_grad)
    return dump_tensors(module), trained
