"""No order of events breaks recovery; and where a guard is taken out, some order does."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import pytest
import structlog
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis.stateful import run_state_machine_as_test

from fedspan.errors import Corrupt
from fedspan.flower.files import LINK
from tests.support.recovery import Recovery, seen

pytestmark = pytest.mark.usefixtures("cheap_collections")

EXAMPLES: Final = int(os.environ.get("MODEL_EXAMPLES") or 0)
FEW: Final = 20
"""By default, and always the same ones."""


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Thousands of events are told here, and Flower makes messages only inside a task. A pull is
    waited for: an incarnation is stepped through one thread at a time."""
    monkeypatch.setenv(LINK, "")
    monkeypatch.setattr("fedspan.flower.pulls.SOON_SECONDS", threading.TIMEOUT_MAX)
    before = TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    with structlog.testing.capture_logs():
        logging.disable(logging.CRITICAL)
        yield
        logging.disable(logging.NOTSET)
    TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = before


def check(examples: int, **more: Any) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Recovery,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            **more,
        ),
    )


def test_no_order_of_events_loses_a_round_mixes_two_pasts_or_leaves_a_machine() -> None:
    """`MODEL_EXAMPLES` says how many orders are tried; by default always the same ones."""
    seen.clear()
    check(EXAMPLES or FEW, derandomize=not EXAMPLES)
    print(", ".join(f"{what}: {many}" for what, many in sorted(seen.items())))

    assert 2 * seen["1 epochs"] < seen["walks"] < 2 * (seen["3 epochs"] + seen["4 epochs"])


@dataclass(frozen=True, slots=True)
class Mutant:
    """`function` of `module` with `taken` in place of `guard`."""

    module: str
    function: str
    guard: str
    taken: str

    def __str__(self) -> str:
        return f"{self.function}: {self.taken or 'without'} {self.guard}"

    def live(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module: ModuleType = importlib.import_module(f"fedspan.{self.module}")
        owner: Any = module
        *classes, name = self.function.split(".")
        for one in classes:
            owner = getattr(owner, one)
        whole = getattr(owner, name)
        source = textwrap.dedent(inspect.getsource(whole))
        if source.count(self.guard) != 1:
            pytest.fail(f"{self.function} has no such guard any more")
        made: dict[str, Any] = {}
        code = compile(source.replace(self.guard, self.taken), module.__file__ or "", "exec")
        exec("from __future__ import annotations", made)
        exec(code, vars(module), made)
        places = [one for key, one in sys.modules.items() if key.startswith("fedspan.")]
        for one in (owner, *places):  # where it was imported by name, too
            if vars(one).get(name) is whole:
                monkeypatch.setattr(one, name, made[name])


MUTANTS: Final = (
    Mutant(
        "services.report_aggregator",
        "_taken",
        "before is None or report.epoch != before.epoch or report.epoch != job.epoch",
        "before is None",
    ),
    Mutant("stores.memory", "MemoryStore._check_version", "version != put.expected", "False"),
    Mutant("flower.checkpoints", "_commit", "new=True", "new=False"),
    Mutant("flower.checkpoints", "_written", "{stem}-{sha256}", "{stem}"),
    Mutant("services.recover", "replaced", "machine.epoch >= job.epoch", "True"),
    Mutant("services.recover", "replaced", "machine.epoch >= job.epoch", "False"),
    Mutant("services.recover", "_next", " or known or job.epoch != epoch", ""),
    Mutant("flower.server", "_Job.resume", "max(self.done, acknowledged)", "acknowledged"),
    Mutant("flower.server", "_Job.round", "self._adopt(whole)", "self.done = number"),
    Mutant("flower.records", "Record.fence", "one.epoch > epoch", "False"),
)
"""Walks found each of them. In `_next` the losses say all that the epoch says, so without the
epoch alone nothing happens."""
ALL: Final = bool(os.environ.get("MODEL_MUTANTS"))


@pytest.mark.parametrize("mutant", MUTANTS if ALL else MUTANTS[:4], ids=str)
def test_without_a_guard_some_order_of_events_does_harm(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`MODEL_MUTANTS` tries them all."""
    mutant.live(monkeypatch)

    with pytest.raises((AssertionError, Corrupt)):
        check(EXAMPLES or 2 * FEW, derandomize=True, phases=[Stage.generate])
