"""The recovery protocol as a model: real services, state machine file and checkpoints, and every
order in which incarnations of an aggregator, their reports and the control plane may go on, crash,
be delayed, or happen twice.

Each incarnation is a thread that stops before every call to the object store and goes on when the
test says so; killed, it never does. Its training is not repeatable (the weights depend on which
incarnation made them), so that rounds of two incarnations that got mixed are seen.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fedspan import wiring
from fedspan.domain.jobs import Job, JobState
from fedspan.domain.machines import Machine, MachineState, Role
from fedspan.domain.recovery import ATTEMPTS, fruitless
from fedspan.domain.reports import AggregatorReport, Notice, Phase
from fedspan.domain.rounds import Checkpoint, Metrics, Round
from fedspan.errors import (
    CloudUnavailable,
    Conflict,
    FedspanError,
    NoCapacity,
    StaleEpoch,
    StoreUnavailable,
)
from fedspan.flower import checkpoints
from fedspan.local.functions import handlers
from fedspan.services.recover import recover
from fedspan.services.report_aggregator import report_aggregator
from fedspan.services.resume import resume
from fedspan.services.submit import submit
from fedspan.services.sweep import sweep
from tests.support.walker import STATES, Told, Walker
from tests.support.world import CLASSES, aggregator_says, spec, with_sites, world

ROUNDS: Final = 4
METRICS: Final = Metrics.of([[45, 5], [5, 45]], 10.0, CLASSES)
LONG_ENOUGH: Final = 600
"""Turns in which a job that nothing hurts any more must end."""


def trained(weights: int, number: int, epoch: int) -> int:
    """Other weights for another past, another round, or another incarnation."""
    return (weights * 31 + number * 7 + epoch) % 1_000_003


class Killed(BaseException):
    """What ends the thread of an incarnation that was killed."""


class Gated:
    """The object store as an incarnation sees it: each call waits until the test lets it."""

    def __init__(self, objects: Any) -> None:
        self._objects = objects
        self.arrived, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.killed = False

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.arrived.release()
            self.go.acquire()
            if self.killed:
                raise Killed
            return getattr(self._objects, name)(*args, **kwargs)

        return call


@dataclass
class Incarnation:
    job: str
    epoch: int
    objects: Gated
    seq: int = 0
    acknowledged: int = 0
    done: list[Round] = field(default_factory=list)
    phase: Phase = Phase.READY
    notice: Notice | None = None
    dismissed: bool = False

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.objects.arrived.acquire()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self.objects.killed

    def step(self) -> None:
        """Up to its next call to the object store."""
        if self.alive:
            self.objects.go.release()
            self.objects.arrived.acquire()

    def kill(self) -> None:
        if self.alive:
            self.objects.killed = True
            self.objects.go.release()
            self._thread.join()

    def says(self) -> AggregatorReport:
        self.seq += 1
        told = tuple(one for one in self.done if one.number > self.acknowledged)
        return aggregator_says(
            self.job, self.seq, self.phase, epoch=self.epoch, rounds=told, notice=self.notice
        )

    def _run(self) -> None:
        try:
            self._train()
            self.phase = Phase.DONE
        except (StaleEpoch, Killed):
            pass
        finally:
            self.objects.arrived.release()

    def _train(self) -> None:
        """What `fedspan.flower.server` does around a round."""
        number, weights, parent = 0, 0, ""
        found = checkpoints.latest(self.objects, self.job, self.acknowledged)
        if found is not None:
            record, tensors, _ = found
            number, weights, parent = record.round.number, int(tensors["w"][0]), record.identity
        checkpoints.forget(self.objects, self.job, max(number, self.acknowledged), self.epoch)
        self.done = [
            one.round for one in checkpoints.records(self.objects, self.job, self.acknowledged)
        ]
        while number < ROUNDS:
            self.phase, number = Phase.TRAINING, number + 1
            made = {"w": np.array([trained(weights, number, self.epoch)], np.int64)}
            record, tensors, _ = checkpoints.save(
                self.objects, self.job, number, (made, {}), self._describe(number), parent
            )
            weights, parent = int(tensors["w"][0]), record.identity
            self.done = [*self.done, record.round]

    def _describe(self, number: int) -> Callable[[Checkpoint], Round]:
        return lambda checkpoint: Round(
            job=self.job,
            number=number,
            epoch=self.epoch,
            seconds=1.0,
            metrics=METRICS,
            participants={},
            parameters=1,
            checkpoint=checkpoint,
        )


class Recovery(RuleBasedStateMachine):
    """Rules are what may happen; invariants what may never."""

    mail = Bundle("mail")

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fedspan-model-"))
        self.told = Told(handlers())
        self.world = world(self.folder, executions=self.told)
        self.app = self.world.app
        wiring.install(self.app)
        with_sites(self.app)
        self.job = submit(self.app, spec(rounds=ROUNDS, quorum=1)).id
        self.born: dict[int, Incarnation] = {}
        self.epoch, self.rounds_done = 1, 0

    # What goes on

    @rule(turns=st.integers(1, 5), calls=st.integers(0, 6))
    def all_goes_well_for_a_while(self, turns: int, calls: int) -> None:
        for _ in range(turns):
            self._turn(calls)

    @rule(died=st.sampled_from(["", "before", "after"]))
    def the_state_machine_moves(self, died: str) -> None:
        walker = self._newest()
        often = sum(walker.tries.values()) >= 3  # a Lambda that always dies does end a job
        walker.step(self.world.clock.tick, "" if often else died)

    @precondition(lambda self: len(self.told.walkers) > 1)
    @rule(data=st.data())
    def an_execution_that_was_superseded_moves(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.told.walkers)[:-1]))
        self.told.walkers[name].step(self.world.clock.tick)

    @precondition(lambda self: len(self.born) > 1)
    @rule(data=st.data(), calls=st.integers(1, 12))
    def an_aggregator_that_was_forgotten_goes_on(self, data: st.DataObject, calls: int) -> None:
        for _ in range(calls):
            self._old(data).step()

    @precondition(lambda self: len(self.born) > 1)
    @rule(target=mail, data=st.data())
    def it_still_reports(self, data: st.DataObject) -> Any:
        one = self._old(data)
        return one, one.says()

    @precondition(lambda self: self._present() is not None)
    @rule(target=mail)
    def a_report_is_sent(self) -> Any:
        one = self._present()
        assert one is not None
        return one, one.says()

    @rule(letter=consumes(mail))
    def it_arrives(self, letter: tuple[Incarnation, AggregatorReport]) -> None:
        self._deliver(*letter)

    @rule(letter=mail)
    def it_arrives_and_will_again(self, letter: tuple[Incarnation, AggregatorReport]) -> None:
        self._deliver(*letter)

    @rule(data=st.data())
    def a_recovery_runs_once_more(self, data: st.DataObject) -> None:
        """A Lambda that ran twice, the second time late."""
        epoch = data.draw(st.integers(1, self._job().epoch))
        if epoch < self._job().epoch:
            caught = {"Error": "MachineGone", "Cause": ""}
            self._tried(lambda: recover(self.app, self.job, epoch, caught))

    @rule(seconds=st.sampled_from([1, 400]))
    def the_sweep_runs(self, seconds: int) -> None:
        self.world.clock.tick(seconds)
        self._tried(lambda: sweep(self.app))

    # What goes wrong

    @precondition(lambda self: self._present() is not None)
    @rule(how=st.sampled_from(["killed", "gone", "noticed", "silent"]))
    def the_aggregator_is_lost(self, how: str) -> None:
        one = self._present()
        assert one is not None
        machines = self._machines(one.epoch)
        match how:
            case "killed":
                one.kill()
                for machine in machines:
                    self.world.cloud.stop(machine)
            case "gone":
                one.kill()
                for machine in machines:
                    self.world.cloud._machines.pop(machine.id)
            case "noticed":
                one.notice = Notice(expires=self.world.clock() + timedelta(seconds=30))
            case "silent":
                self._miss()

    @rule(what=st.sampled_from(["store", "cloud", "launch", "control plane"]))
    def the_surroundings_fail(self, what: str) -> None:
        match what:
            case "store":
                self.world.store.fail_next = StoreUnavailable("away")
            case "cloud":
                self.world.cloud.fail_next = CloudUnavailable("away")
            case "launch":
                self.world.cloud.fail_launch = [NoCapacity("sold out")]
            case "control plane":
                self._tried(lambda: resume(self.app))

    # What may never be

    @invariant()
    def nothing_goes_back(self) -> None:
        job = self._job()
        assert job.epoch >= self.epoch
        assert job.rounds_done >= self.rounds_done
        self.epoch, self.rounds_done = job.epoch, job.rounds_done

    @invariant()
    def every_round_that_was_told_is_kept_and_follows_from_the_one_before(self) -> None:
        weights = 0
        for one in self._quietly(lambda: self.app.rounds.list(self.job)):
            record = next(
                found
                for found in checkpoints.records(self.app.objects, self.job, one.number - 1)
                if found.round.number == one.number
            )
            _, tensors, _ = checkpoints.load(self.app.objects, record)
            weights = trained(weights, one.number, record.round.epoch)
            assert record.round.checkpoint == one.checkpoint, f"round {one.number} was replaced"
            assert int(tensors["w"][0]) == weights, f"round {one.number} mixes two pasts"

    def teardown(self) -> None:
        """Nothing goes wrong any more: the job must end, and nothing be left."""
        if not hasattr(self, "told"):
            return
        try:
            self._heal()
            self._check_end()
        finally:
            for one in self.born.values():
                one.kill()
            wiring.uninstall()
            shutil.rmtree(self.folder)

    def _heal(self) -> None:
        self.world.store.fail_next = self.world.cloud.fail_next = None
        self.world.cloud.fail_launch = []
        for _ in range(LONG_ENOUGH):
            job = self._job()
            if job.ended and self._newest().ended:
                break
            self._turn(10)
            if self._present() is None:
                self._miss()
            sweep(self.app)

    def _check_end(self) -> None:
        job = self._job()
        assert job.ended, f"still {job.state} at {self._newest().at}"
        for one in self.born.values():  # those that were forgotten wake up, and do their worst
            for _ in range(200):
                one.step()
        self.every_round_that_was_told_is_kept_and_follows_from_the_one_before()
        sweep(self.app)
        assert self.world.cloud.machines() == []
        if job.state is JobState.SUCCEEDED:
            assert job.rounds_done == ROUNDS
            assert job.selected is not None
        else:
            assert job.outcome is not None
            hopeless = fruitless(job) >= 2 * ATTEMPTS
            assert hopeless, f"{job.outcome.code}: {job.outcome.message}"

    def _turn(self, calls: int) -> None:
        """The state machine, the present aggregator and its report get on a little."""
        for _ in range(2):
            self._newest().step(self.world.clock.tick)
        self._boot()
        present = self._present()
        if present is not None:
            for _ in range(calls):
                present.step()
            self._deliver(present, present.says())

    def _present(self) -> Incarnation | None:
        one = self.born.get(self._job().epoch)
        return one if one and (one.alive or one.phase is Phase.DONE) else None

    def _old(self, data: st.DataObject) -> Incarnation:
        return self.born[data.draw(st.sampled_from(sorted(self.born)[:-1]))]

    def _boot(self) -> None:
        for machine in self._machines():
            if machine.epoch not in self.born and machine.state is MachineState.RUNNING:
                acknowledged = self._job().rounds_done if machine.epoch == self._job().epoch else 0
                self.born[machine.epoch] = Incarnation(
                    self.job, machine.epoch, Gated(self.app.objects), acknowledged=acknowledged
                )

    def _machines(self, epoch: int | None = None) -> list[Machine]:
        known = self.world.cloud._machines.values()
        ours = [one for one in known if one.role is Role.AGGREGATOR]
        return [one for one in ours if epoch in (None, one.epoch)]

    def _deliver(self, one: Incarnation, report: AggregatorReport) -> None:
        present = self._job().epoch
        try:
            answer = report_aggregator(self.app, report)
        except StaleEpoch:
            one.dismissed = True
        except (StoreUnavailable, Conflict):
            pass  # it tells again what was not acknowledged
        else:
            assert report.epoch == present, "a word of a replaced incarnation was taken"
            one.acknowledged = max(one.acknowledged, answer.acknowledged)

    def _miss(self) -> None:
        walker = self._newest()
        if walker.waiting and STATES[walker.at].get("HeartbeatSecondsPath"):
            walker.caught("States.HeartbeatTimeout", "")

    def _newest(self) -> Walker:
        return self.told.walkers[max(self.told.walkers, key=lambda name: int(name.split("-")[-1]))]

    def _job(self) -> Job:
        return self._quietly(lambda: self.app.jobs.get(self.job).value)  # type: ignore[no-any-return]

    def _quietly(self, ask: Callable[[], Any]) -> Any:
        """What the test itself asks meets no fault."""
        fault, self.world.store.fail_next = self.world.store.fail_next, None
        try:
            return ask()
        finally:
            self.world.store.fail_next = fault

    @staticmethod
    def _tried(act: Callable[[], Any]) -> None:
        """A schedule that fails is run again with the next."""
        with contextlib.suppress(FedspanError):
            act()


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Thousands of events are told here."""
    with structlog.testing.capture_logs():
        logging.disable(logging.CRITICAL)
        yield
        logging.disable(logging.NOTSET)


def test_no_order_of_events_loses_a_round_mixes_two_pasts_or_leaves_a_machine() -> None:
    """`MODEL_EXAMPLES` says how many orders are tried; by default always the same ones."""
    many = int(os.environ.get("MODEL_EXAMPLES", "0"))
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Recovery,
        settings=settings(
            max_examples=many or 15,
            derandomize=not many,
            stateful_step_count=60,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
