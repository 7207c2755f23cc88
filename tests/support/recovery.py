"""The recovery protocol as a model: real services, state machine file, ServerApp and checkpoints,
and every order in which incarnations of an aggregator, their reports and the control plane may go
on, crash, be delayed, happen twice, or at the same time.

A walk begins in training, most of the time, and its rules replace aggregators often: what may go
wrong does so between two of them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from fedspan import wiring
from fedspan.domain.jobs import Job, JobState
from fedspan.domain.machines import Machine, MachineState, Role
from fedspan.domain.recovery import ATTEMPTS, fruitless
from fedspan.domain.reports import AggregatorReport, Notice
from fedspan.errors import (
    CloudUnavailable,
    Conflict,
    FedspanError,
    NoCapacity,
    StaleEpoch,
    StoreUnavailable,
)
from fedspan.flower import checkpoints
from fedspan.learning.initial import initial_tensors
from fedspan.learning.packing import Layout
from fedspan.local.functions import handlers
from fedspan.services.recover import recover
from fedspan.services.report_aggregator import report_aggregator
from fedspan.services.resume import resume
from fedspan.services.submit import submit
from fedspan.services.sweep import sweep
from fedspan.stores.base import Change
from fedspan.stores.memory import MemoryStore
from tests.support.incarnation import Incarnation, lineage
from tests.support.walker import STATES, Told, Walker
from tests.support.world import spec, with_sites, world

ROUNDS: Final = 5
HOW: Final = st.sampled_from(["silent", "silent", "noticed", "killed", "gone"])
"""An aggregator is lost; silent, it goes on."""
ON: Final = st.sampled_from(["Train", "Train", "Launch", "Recover"])
"""The state in which the state machine is then."""
LOST: Final = st.tuples(HOW, st.integers(0, 12), ON)
PAST: Final = st.one_of(st.just([]), *[st.lists(LOST, min_size=n, max_size=3) for n in (1, 2, 3)])
LONG_ENOUGH: Final = 400
"""Turns in which a job that nothing hurts any more must end."""

seen: Final = Counter[str]()
"""How many incarnations walks reached, and what came of their jobs."""


class Raced(MemoryStore):
    """Before its next write, `first` happens."""

    first: Callable[[], Any] | None = None

    def write(self, changes: Sequence[Change]) -> None:
        act, self.first = self.first, None
        if act is not None:
            act()
        super().write(changes)


class Recovery(RuleBasedStateMachine):
    """Rules are what may happen; invariants what may never."""

    mail = Bundle("mail")

    @initialize(past=PAST)
    def begin(self, past: list[tuple[str, int, str]]) -> None:
        """A job in training that has replaced aggregators; without a `past`, one just submitted."""
        self.folder = Path(tempfile.mkdtemp(prefix="fedspan-model-"))
        self.told, self.store = Told(handlers()), Raced()
        self.world = world(self.folder / "objects", executions=self.told, store=self.store)
        self.app = self.world.app
        wiring.install(self.app)
        names = ("seoul", "busan")
        with_sites(self.app, *names)
        self.job = submit(self.app, spec(rounds=ROUNDS, quorum=1, participants=names)).id
        self.born: dict[int, Incarnation] = {}
        self.epoch, self.rounds_done, self.hurt = 1, 0, 0
        self._start = self._flat(
            initial_tensors(self._job().spec.model, self._job().features, 2, self._job().spec.seed)
        )
        for how, calls, on in past:
            for _ in range(20):
                if self._newest().at != "Train":
                    self._turn(0)
            self.the_aggregator_is_replaced(how, calls, on)

    # What goes on

    @rule(turns=st.integers(1, 3), calls=st.integers(0, 6))
    def all_goes_well_for_a_while(self, turns: int, calls: int) -> None:
        for _ in range(turns):
            self._turn(calls)

    @rule(died=st.sampled_from(["", "before", "after"]))
    def the_state_machine_moves(self, died: str) -> None:
        walker = self._newest()
        often = sum(walker.tries.values()) >= 3  # a Lambda that always dies does end a job
        walker.step(self.world.clock.tick, "" if often else died)

    @precondition(lambda self: len(self.told.walkers) > 1)
    @rule(data=st.data(), steps=st.integers(1, 4))
    def an_execution_that_was_superseded_moves(self, data: st.DataObject, steps: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.told.walkers)[:-1]))
        for _ in range(steps):
            self.told.walkers[name].step(self.world.clock.tick)

    @precondition(lambda self: len(self.born) > 1)
    @rule(data=st.data(), calls=st.integers(1, 12))
    def an_aggregator_that_was_forgotten_goes_on(self, data: st.DataObject, calls: int) -> None:
        self._old(data).step(calls)

    @precondition(lambda self: len(self.born) > 1)
    @rule(data=st.data(), turns=st.lists(st.tuples(st.booleans(), st.integers(1, 6)), max_size=8))
    def two_aggregators_go_on_in_turns(
        self, data: st.DataObject, turns: list[tuple[bool, int]]
    ) -> None:
        old, new = self._old(data), self.born[max(self.born)]
        for first, calls in turns:
            (old if first else new).step(calls)

    @precondition(lambda self: len(self.born) > 1)
    @rule(target=mail, data=st.data())
    def it_still_reports(self, data: st.DataObject) -> Any:
        one = self._old(data)
        self._deliver(one, word := one.says())
        return one, word

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

    @precondition(lambda self: self._job().losses)
    @rule(data=st.data())
    def a_recovery_runs_once_more(self, data: st.DataObject) -> None:
        """A Lambda that ran twice, the second time late."""
        epoch = data.draw(st.sampled_from([one.epoch for one in self._job().losses]))
        self._tried(lambda: self._recovered(epoch))

    @rule(seconds=st.sampled_from([1, 400]))
    def the_sweep_runs(self, seconds: int) -> None:
        self.world.clock.tick(seconds)
        faultless = self.store.fail_next is None and self.world.cloud.fail_next is None
        self._tried(lambda: sweep(self.app))
        if faultless:
            self._check_machines()

    # What goes wrong

    @precondition(lambda self: self._present() is not None and fruitless(self._job()) < ATTEMPTS)
    @rule(
        how=HOW,
        calls=st.integers(0, 12),
        on=ON,
    )
    def the_aggregator_is_replaced(self, how: str, calls: int, on: str) -> None:
        """In the midst of its work, and the state machine goes on up to the state `on`."""
        one = self._present()
        assert one is not None
        one.step(calls)
        self.the_aggregator_is_lost(how)
        for _ in range(15):
            if self._job().epoch > one.epoch and self._newest().at == on:
                break
            if self._newest().waiting and self._job().epoch == one.epoch:
                self._deliver(one, one.says()) if how == "noticed" else self._miss()
            self._turn(0)

    @precondition(lambda self: self._present() is not None)
    @rule(how=HOW)
    def the_aggregator_is_lost(self, how: str) -> None:
        one = self._present()
        assert one is not None
        self.hurt += 1
        machines = self._machines(one.epoch)
        match how:
            case "silent":
                self._miss()
            case "noticed":
                one.notice(Notice(expires=self.world.clock() + timedelta(seconds=30)))
            case "killed":
                one.kill()
                for machine in machines:
                    self.world.cloud.stop(machine)
            case "gone":
                one.kill()
                for machine in machines:
                    self.world.cloud._machines.pop(machine.id)

    @rule(what=st.sampled_from(["store", "cloud", "launch", "control plane"]))
    def the_surroundings_fail(self, what: str) -> None:
        match what:
            case "store":
                self.store.fail_next = StoreUnavailable("away")
            case "cloud":
                self.world.cloud.fail_next = CloudUnavailable("away")
            case "launch":
                self.hurt += 1
                self.world.cloud.fail_launch = [NoCapacity("sold out")]
            case "control plane":
                self._tried(lambda: resume(self.app))

    @precondition(lambda self: self._present() is not None and self._newest().waiting)
    @rule(late=st.sampled_from(["report", "recovery"]))
    def a_loss_and_a_report_are_written_at_once(self, late: str) -> None:
        """Each has read the job before the other has written it."""
        one = self._present()
        assert one is not None
        word = one.says()
        self.hurt += 1
        self._miss()

        def report() -> None:
            self._deliver(one, word)

        def recovery() -> None:
            self._newest().step(self.world.clock.tick)

        first, second = (recovery, report) if late == "report" else (report, recovery)

        def meanwhile() -> None:
            self._quietly(first)
            self.nothing_goes_back()  # what is seen here may not be undone

        self.store.first = meanwhile
        second()
        self.store.first = None

    # What may never be

    @invariant()
    def nothing_goes_back(self) -> None:
        job = self._job()
        assert job.epoch >= self.epoch, "an epoch came again"
        assert job.rounds_done >= self.rounds_done, "a round that was told is not known any more"
        self.epoch, self.rounds_done = job.epoch, job.rounds_done

    @invariant()
    def every_aggregator_is_lost_once_and_for_a_reason(self) -> None:
        lost = [one.epoch for one in self._job().losses]
        assert len(lost) == len(set(lost)), f"lost twice: {lost}"
        assert len(lost) <= self.hurt, f"only {self.hurt} were hurt, but {lost} are lost"

    @invariant()
    def every_round_that_was_told_is_kept_and_follows_from_the_one_before(self) -> None:
        told = {one.number: one for one in self._quietly(lambda: self.app.rounds.list(self.job))}
        assert sorted(told) == [*range(1, self._job().rounds_done + 1)]
        kept = checkpoints.records(self.app.objects, self.job)
        assert len(kept) >= len(told), f"{len(told)} rounds were told, {len(kept)} are kept"
        flat, epoch = self._start, 1
        for number, record in enumerate(kept, 1):
            one = record.round
            assert one.number == number
            assert number not in told or one == told[number], f"round {number} was replaced"
            assert one.epoch >= epoch, f"round {number} is of {one.epoch}, an older incarnation"
            before, epoch = lineage(flat, number), one.epoch
            flat = self._flat(checkpoints.load(self.app.objects, record)[1])
            assert flat[0] == before, f"round {number} does not follow from the one before"

    @invariant()
    def who_leaves_is_given_its_time(self) -> None:
        job = self._job()
        if (
            job.leaving is None
            or job.outcome is not None
            or self.world.clock() >= job.leaving.until
        ):
            return
        one = self.born[job.leaving.epoch]
        assert one.killed or self._machines(one.epoch), f"aggregator {one.epoch} was cut off"

    def teardown(self) -> None:
        """Nothing goes wrong any more: the job must end, and nothing be left."""
        if not hasattr(self, "told"):
            return
        try:
            self._heal()
            self._check_end()
            seen.update([f"{min(self._job().epoch, 4)} epochs", self._job().state.value, "walks"])
        finally:
            for one in self.born.values():
                one.kill()
            wiring.uninstall()
            shutil.rmtree(self.folder)

    def _heal(self) -> None:
        self.store.fail_next = self.world.cloud.fail_next = None
        self.world.cloud.fail_launch = []
        for _ in range(LONG_ENOUGH):
            job = self._job()
            if job.ended and self._newest().ended:
                break
            self._turn(10)
            self.world.clock.tick(5)
            if self._present() is None:
                self._miss()
            sweep(self.app)
            self._check_machines()

    def _check_end(self) -> None:
        job = self._job()
        assert job.ended, f"still {job.state} at {self._newest().at}"
        for one in self.born.values():  # those that were forgotten wake up, and do their worst
            one.step(300)
        self.every_aggregator_is_lost_once_and_for_a_reason()
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

    def _check_machines(self) -> None:
        """After a sweep: none is without an owner."""
        job = self._job()
        for machine in self._machines():
            given = job.leaving if job.leaving and job.leaving.epoch == machine.epoch else None
            leaves = given is not None and self.world.clock() < given.until
            owned = not job.ended and (machine.epoch >= job.epoch or leaves)
            assert owned, f"{machine.id} is left at epoch {job.epoch}, {job.state}"

    def _turn(self, calls: int) -> None:
        """The state machine, the present aggregator and its report get on a little."""
        for _ in range(2):
            self._newest().step(self.world.clock.tick)
        self._boot()
        present = self._present()
        if present is not None:
            present.step(calls)
            self._deliver(present, present.says())

    def _present(self) -> Incarnation | None:
        epoch = self._job().epoch
        one = self.born.get(epoch)
        return one if one and not one.killed and self._machines(epoch) else None

    def _old(self, data: st.DataObject) -> Incarnation:
        return self.born[data.draw(st.sampled_from(sorted(self.born)[:-1]))]

    def _boot(self) -> None:
        for machine in self._machines():
            if machine.epoch not in self.born and machine.state is MachineState.RUNNING:
                work = self.folder / f"aggregator-{machine.epoch}"
                one = Incarnation(self.job, machine.epoch, work, self.app.objects)
                self.born[machine.epoch] = one

    def _machines(self, epoch: int | None = None) -> list[Machine]:
        known = self.world.cloud._machines.values()
        ours = [one for one in known if one.role is Role.AGGREGATOR]
        return [one for one in ours if epoch in (None, one.epoch)]

    def _deliver(self, one: Incarnation, report: AggregatorReport) -> None:
        try:
            answer = report_aggregator(self.app, report)
        except (StaleEpoch, StoreUnavailable, Conflict):
            return  # it tells again what was not acknowledged, or is told to end, and is late
        assert report.epoch == self._job().epoch, "a word of a replaced incarnation was taken"
        one.told(answer)

    def _recovered(self, epoch: int) -> None:
        recover(self.app, self.job, epoch, {"Error": "AggregatorLost", "Cause": ""})

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
        fault, self.store.fail_next = self.store.fail_next, None
        try:
            return ask()
        finally:
            self.store.fail_next = fault

    @staticmethod
    def _flat(tensors: Any) -> Any:
        return Layout.of(tensors).pack(tensors)

    @staticmethod
    def _tried(act: Callable[[], Any]) -> None:
        """A schedule that fails is run again with the next."""
        with suppress(FedspanError):
            act()
