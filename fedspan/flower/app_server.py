"""The rounds of a Flower app, unchanged, such that its job survives the loss of its aggregator.

Flower's ``Strategy.start`` counts from 1 and keeps nothing. While an app runs here, ours stands
in its place: the same calls of the strategy in the same order, beginning after the last whole
checkpoint, and a checkpoint when a round is over. Beside the model it holds what the strategy, its
two configurations and its results have become (`fedspan.flower.app_state`). Random choices are
seeded anew for each round, so that a round done again is the same round.

What is not exact is told, once a run: see `Run.notes`. What nobody can see from here (a variable of
the module, say) is the app's affair.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import structlog
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from fedspan.domain.reports import Fault, Phase
from fedspan.domain.rounds import Checkpoint, Round
from fedspan.domain.seeds import derive
from fedspan.domain.spec import ROUNDS_KEY
from fedspan.errors import AggregatorLost, FedspanError, TrainingFailed
from fedspan.flower import app_state, checkpoints, partials, rounds
from fedspan.flower.app_grid import AppGrid
from fedspan.flower.app_replies import Replies
from fedspan.flower.app_rounds import RESULTS, Evaluate, Held, Step
from fedspan.flower.board import Board
from fedspan.flower.files import Desire, WorkFolder
from fedspan.flower.server import GRACE_SECONDS, LEAVES, patient
from fedspan.objects.base import Objects


def serve(
    app: Callable[[Grid], object],
    grid: Grid,
    folder: WorkFolder,
    objects: Objects,
    grace: float = GRACE_SECONDS,
) -> None:
    """Run `app`, whatever it is, to its end. A failure ends up in the status, never in an
    exception."""
    board = Board(folder)
    try:
        board.write()
        watch = Desire(folder)
        setting = rounds.Setting(grid, folder, watch, board, watch())
        run = Run(setting, patient(objects, board, watch), grace)
        run.resume()
        with _standing_in(run):
            app(run.grid)
        run.check_end()
        board.end(Phase.DONE)
    except LEAVES:
        board.end(Phase.LEAVING)
    except FedspanError as exc:
        board.end(Phase.FAILED, Fault(code=type(exc).__name__, message=str(exc)))
    except Exception as exc:
        structlog.get_logger().exception("app.crashed", folder=str(folder.path))
        text = f"the app: {type(exc).__name__}: {exc}"
        board.end(Phase.FAILED, Fault(code=TrainingFailed.__name__, message=text))


class Run:
    """One run of an app. `done` counts its whole rounds, in all calls of ``Strategy.start``."""

    def __init__(self, setting: rounds.Setting, objects: Objects, grace: float) -> None:
        self.setting, self.objects, self.grace = setting, objects, grace
        self.grid = AppGrid(setting, Replies(setting.manifest, objects))
        self.done = self._before = self._starts = self._began = 0
        self._parent = ""
        self._found: tuple[checkpoints.Named, dict[str, Any]] | None = None
        self._told: set[str] = set()

    def resume(self) -> None:
        """Find the last whole round, and tell of rounds that were not acknowledged."""
        manifest = self.setting.manifest
        job, acknowledged = manifest.job, manifest.acknowledged
        found = checkpoints.latest(self.objects, job, acknowledged)
        if found is not None:
            record, tensors, state = found
            record.fence(manifest.epoch)
            self._found = dict(tensors), app_state.load(dict(state))
            self.done, self._parent = record.round.number, record.identity
        checkpoints.forget(self.objects, job, max(self.done, acknowledged), manifest.epoch)
        for one in checkpoints.records(self.objects, job, acknowledged):
            self.setting.board.close_round(one.round, acknowledged)
        self._began = self.done
        self.grid.kept.resume(self.done)
        self._seed("start")

    def start(
        self, strategy: Strategy, held: Held, count: int, timeout: float, evaluate: Evaluate | None
    ) -> Result:
        """What ``Strategy.start`` does, from where it was.

        Raises:
            ParticipantsMissing, TrainingFailed, JobCancelled
        """
        self._starts += 1
        first, last = self._before, self._before + count
        self._check_count(last)
        kept = app_state.Kept(strategy)
        strategy.summary()
        if self.done > first:
            self._go_on(kept, held)
        elif evaluate is not None and (said := evaluate(0, held.arrays)) is not None:
            held.result.evaluate_metrics_serverapp[0] = said
        if self.done < last:
            self.setting.connected(self.grace)
        while self.done < last:
            step = Step(self, strategy, kept, held, self.done + 1 - first)
            record = step.run(timeout, evaluate)
            self.setting.board.close_round(record, self.setting.watch().acknowledged)
        self._before = last
        return held.result

    def check_end(self) -> None:
        """Raises `TrainingFailed` when the app is done and its job is not."""
        wanted = self.setting.manifest.spec.rounds
        if self.done < wanted:
            raise TrainingFailed(
                f"the app ended after {self.done} of {wanted} rounds; rounds are those of "
                "Strategy.start (flwr.serverapp), and the job's `rounds` says how many"
            )

    def notes(self, kept: app_state.Kept) -> tuple[str, ...]:
        """What a checkpoint does not hold, as far as it can be seen and was not told yet."""
        found = [*kept.hidden()]
        if self._starts > 1:
            found.append("Strategy.start is called more than once")
        if self.grid.used:
            found.append("messages are sent outside of Strategy.start")
        fresh = tuple(one for one in found if one not in self._told)
        self._told |= {*fresh}
        return fresh

    def save(self, held: Held, kept: app_state.Kept, describe: Callable[..., Round]) -> Round:
        """Commit the round that `describe` makes of its checkpoint.

        Raises:
            AggregatorLost: an earlier incarnation, late, has committed it with other bytes; the
                next one goes on from these, which an app under way cannot.
        """
        state = {
            "start": self._starts,
            "names": list(held.arrays),
            "strategy": kept.changed(),
            "train": held.train,
            "evaluate": held.evaluate,
            "results": [getattr(held.result, one) for one in RESULTS],
        }
        tensors = {name: one.numpy() for name, one in held.arrays.items()}
        weights = tensors, app_state.dump(state)
        number, job = self.done + 1, self.setting.manifest.job
        made: list[Round] = []

        def noted(checkpoint: Checkpoint) -> Round:
            made.append(describe(checkpoint))
            return made[-1]

        record, _, _ = checkpoints.save(self.objects, job, number, weights, noted, self._parent)
        if record.round.checkpoint.sha256 != made[0].checkpoint.sha256:
            raise AggregatorLost(
                f"round {number} was committed by incarnation {record.round.epoch}"
            )
        self.done, self._parent = number, record.identity
        if number == self._began + 1:
            partials.discard(self.objects, job, number)
        return record.round

    def seed(self, number: int) -> None:
        self._seed("round", number)

    def _seed(self, *path: str | int) -> None:
        seed_all(derive(self.setting.manifest.spec.seed, "app", *path))

    def _check_count(self, last: int) -> None:
        wanted = self.setting.manifest.spec.rounds
        if last > wanted:
            raise TrainingFailed(
                f"the app asks for {last} rounds and the job for {wanted}: set `rounds: {last}`, "
                f"or have the app take {ROUNDS_KEY!r} from its configuration"
            )

    def _go_on(self, kept: app_state.Kept, held: Held) -> None:
        """As the checkpoint says; one of a later call of ``Strategy.start`` has the model alone
        in common with this one."""
        assert self._found is not None
        tensors, state = self._found
        held.arrays = ArrayRecord({name: Array(tensors[name]) for name in state["names"]})
        held.result.arrays = held.arrays
        if state["start"] == self._starts:
            kept.restore(state["strategy"])
            held.train, held.evaluate = state["train"], state["evaluate"]
            for name, values in zip(RESULTS, state["results"], strict=True):
                setattr(held.result, name, values)


def seed_all(seed: int) -> None:
    """Seed what an app draws from without saying so: Python's, NumPy's and PyTorch's own."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)


@contextlib.contextmanager
def _standing_in(run: Run) -> Iterator[None]:
    """Every strategy that does not bring a ``start`` of its own starts `run`."""

    def start(
        self: Strategy,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Evaluate | None = None,
    ) -> Result:
        train = ConfigRecord() if train_config is None else train_config
        evaluate = ConfigRecord() if evaluate_config is None else evaluate_config
        held = Held(initial_arrays, train, evaluate)
        return run.start(self, held, num_rounds, timeout, evaluate_fn)

    stock = Strategy.start
    Strategy.start = start  # type: ignore[method-assign]  # there is no other way in
    try:
        yield
    finally:
        Strategy.start = stock  # type: ignore[method-assign]
