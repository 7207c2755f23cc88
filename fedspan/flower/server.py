"""The body of the ServerApp: the rounds of one job, from its last whole checkpoint to its end.

The loop is ours, for what Flower's has not: rounds that go on counting after a restart, a quorum,
a deadline, and a checkpoint. What a round computes is Flower's: its strategies configure and
aggregate. A round is committed after its evaluation, so that a round that exists has its
metrics; a crash between the two costs that round's training again, to the same bits.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Final

import structlog
from flwr.app import Context
from flwr.serverapp import Grid

import fedspan
from fedspan.domain.layers import architecture
from fedspan.domain.reports import AggregatorManifest, Desired, Fault, Phase
from fedspan.domain.rounds import Checkpoint, Round
from fedspan.errors import (
    BetweenRounds,
    Corrupt,
    FedspanError,
    JobCancelled,
    NotFound,
    SpotNotice,
    TrainingFailed,
)
from fedspan.flower import checkpoints, partials, rounds, strategies
from fedspan.flower.board import Board
from fedspan.flower.checkpoints import Named, Tensors, Whole
from fedspan.flower.files import OBJECTS, WORK, Desire, WorkFolder, scratch
from fedspan.flower.folding import Flat
from fedspan.flower.partials import Partial, Start
from fedspan.flower.patience import Patient
from fedspan.flower.wire import FLAT
from fedspan.learning.initial import initial_tensors
from fedspan.learning.packing import Layout
from fedspan.objects.base import Objects
from fedspan.objects.opening import open_objects
from fedspan.services.examine import program_key

LEAVES: Final = (SpotNotice, BetweenRounds)
"""Why an incarnation ends in the middle of a round, which it keeps as far as it is."""
GRACE_SECONDS: Final = 10.0
"""How long a job that has its quorum waits for the rest before its first round."""


def main(grid: Grid, context: Context) -> None:
    """Run the job described in the work folder; how it ends is in ``status.json``."""
    serve(grid, WorkFolder(Path(os.environ[WORK])), open_objects(os.environ[OBJECTS]))


def serve(grid: Grid, folder: WorkFolder, objects: Objects, grace: float = GRACE_SECONDS) -> None:
    """Run the job to its end. A failure ends up in the status, never in an exception."""
    board = Board(folder)
    try:
        board.write()
        _run(grid, folder, objects, board, grace)
        board.end(Phase.DONE)
    except LEAVES:
        board.end(Phase.LEAVING)
    except FedspanError as exc:
        board.end(Phase.FAILED, Fault(code=type(exc).__name__, message=str(exc)))
    except Exception as exc:
        structlog.get_logger().exception("serverapp.crashed", folder=str(folder.path))
        text = f"{type(exc).__name__}: {exc}"
        board.end(Phase.FAILED, Fault(code=TrainingFailed.__name__, message=text))


def _run(grid: Grid, folder: WorkFolder, objects: Objects, board: Board, grace: float) -> None:
    watch = Desire(folder)
    manifest = watch.manifest()
    objects = patient(objects, board, watch)
    program = _program(manifest, objects)
    setting = rounds.Setting(grid, folder, watch, board, manifest, program)
    job = _Job(setting, objects)
    job.resume()
    if job.done < manifest.spec.rounds:
        setting.connected(grace)
    while job.done < manifest.spec.rounds:
        board.close_round(job.round(), watch.manifest().acknowledged)


def patient(objects: Objects, board: Board, watch: Desire) -> Objects:
    """`objects`, waited for while they are away, unless the job is to stop."""

    def waiting(what: str) -> None:
        board.wait(what)
        manifest = watch.manifest()
        if manifest.desired is Desired.STOP:
            raise JobCancelled(f"job {manifest.job}: stopped while {what}")

    return Patient(objects, waiting)


class _Job:
    """A job under way: `flat` is its model after round `done`, packed as `layout` says."""

    def __init__(self, setting: rounds.Setting, objects: Objects) -> None:
        self.setting, self.objects = setting, objects
        spec = setting.manifest.spec
        self.strategy = strategies.build(spec.strategy, spec.needed)
        tensors, self.parameters = _initial(setting.manifest, setting.program)
        self.layout = Layout.of(tensors)
        self.flat: Flat = self.layout.pack(tensors)
        self.done, self.parent = 0, ""
        self.began = 0
        self.held: Partial | None = None

    def resume(self) -> None:
        """Go on after the last whole round, and tell of rounds that were not acknowledged.
        Rounds after that one, if there are, count for nothing and would be in the way."""
        manifest = self.setting.manifest
        job, acknowledged = manifest.job, manifest.acknowledged
        found = checkpoints.latest(self.objects, job, acknowledged)
        if found is not None:
            found[0].fence(manifest.epoch)
            self._adopt(found)
        after = max(self.done, acknowledged)
        checkpoints.forget(self.objects, job, after, manifest.epoch)
        for one in checkpoints.records(self.objects, job, acknowledged):
            self.setting.board.close_round(one.round, acknowledged)
        self.began = self.done
        partials.discard(self.objects, job, self.done)
        self.held = partials.find(self.objects, self._start(), manifest.epoch)

    def _adopt(self, whole: Whole) -> None:
        """Be where the committed round `whole` is."""
        record, tensors, state = whole
        self.flat = self.layout.pack(tensors)
        strategies.restore(self.strategy, state)
        self.done, self.parent = record.round.number, record.identity

    def round(self) -> Round:
        """The next round, committed."""
        started = time.monotonic()
        number, manifest, board = self.done + 1, self.setting.manifest, self.setting.board
        board.open_round(number, manifest.spec.participants)
        flat = self._trained(number)
        # Counts and half floats are rounded as in a checkpoint, or a resumed job would differ.
        tensors = self.layout.unpack(flat)
        flat = self.layout.pack(tensors)
        state = strategies.state(self.strategy)
        try:
            metrics = rounds.evaluate(self.setting, self.strategy, number, flat)
        except LEAVES:
            self._keep(None, [(partials.MODEL, {FLAT: flat}), (partials.STATE, state)])
            raise

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

        weights = tensors, state
        whole = checkpoints.save(self.objects, manifest.job, number, weights, describe, self.parent)
        self.held = None
        if number == self.began + 1:
            partials.discard(self.objects, manifest.job, number)
        if whole[1] is tensors:
            self.flat, self.done, self.parent = flat, number, whole[0].identity
        else:
            self._adopt(whole)
        return whole[0].round

    def _start(self) -> Start:
        manifest = self.setting.manifest
        return Start(
            job=manifest.job,
            round=self.done + 1,
            strategy=manifest.spec.strategy.name,
            model=hashlib.sha256(self.flat.data).hexdigest(),
        )

    def _trained(self, number: int) -> Flat:
        """The model after everyone's training, or what an earlier incarnation kept of that."""
        held = self.held
        asked = None
        if held is not None:
            try:
                if held.kept is None:
                    return self._trained_before(held)
                asked = rounds.reopened(self.setting, self.flat, held, self._part)
            except (Corrupt, NotFound) as exc:
                partials.ignored(held.start, exc)
                self.held = None
                self.setting.board.open_round(number, self.setting.manifest.spec.participants)
        if asked is None:
            asked = rounds.opened(self.setting, number, self.flat)
        try:
            return rounds.train(self.setting, self.strategy, number, self.flat, asked)
        except LEAVES:
            parts = ((name, {FLAT: flat}) for name, flat in asked.gathered.parts())
            self._keep(asked, parts)
            raise

    def _trained_before(self, held: Partial) -> Flat:
        flat = self._part(partials.MODEL)
        if partials.STATE in held.files:
            strategies.restore(self.strategy, held.part(self.objects, partials.STATE))
        board = self.setting.board
        board.people |= held.people
        board.write()
        return flat

    def _part(self, name: str) -> Flat:
        """A part of what was kept, like the model. Raises `Corrupt`, `NotFound`."""
        assert self.held is not None
        flat = self.held.part(self.objects, name).get(FLAT)
        if flat is None or (flat.shape, flat.dtype) != (self.flat.shape, self.flat.dtype):
            raise Corrupt(f"partial round {self.done + 1}: {name} is not like the model")
        return flat

    def _keep(self, asked: rounds.Asked | None, parts: Iterable[tuple[str, Tensors]]) -> None:
        """Keep what there is of the round, if that is more than was kept of it before."""
        partial = Partial(
            start=self._start(),
            epoch=self.setting.manifest.epoch,
            order=asked.order if asked else (),
            people=self.setting.board.people,
            kept=asked.gathered.kept() if asked else None,
        )
        if partial.done and not (self.held and partial.worth <= self.held.worth):
            partials.keep(self.objects, partial, parts)


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

    with scratch() as folder:
        file = folder / "program.pt2"
        file.write_bytes(program or b"")
        module = build(spec.model, features, classes, file)
    trained = sum(one.numel() for one in module.parameters() if one.requires_grad)
    return dump_tensors(module), trained
