"""A real job on a Fedspan of its own, watched from outside while it is hurt."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psutil

from fedspan.cli.api import Api, Wire
from fedspan.domain.events import Event
from fedspan.domain.jobs import Job
from fedspan.domain.models import Card
from fedspan.domain.rounds import Round
from fedspan.domain.waits import OpenJob
from fedspan.local.home import Home
from fedspan.local.hospitals import CITIES, demo_spec, write_hospitals
from fedspan.stores.records import Table
from fedspan.stores.sqlite import SqliteStore
from tests.chaos.relay import Between
from tests.support.installation import FEDSPAN, Installation, until

SEED: Final = 7
LOST_SECONDS: Final = 8
FAST: Final = {
    "FEDSPAN_HEARTBEAT_SECONDS": "0.5",
    "FEDSPAN_LOST_SECONDS": str(LOST_SECONDS),
    "FEDSPAN_BOOT_SECONDS": "60",
    "FEDSPAN_LEASE_SECONDS": "300",
    "OMP_NUM_THREADS": "1",
}
"""So that a kill costs seconds. The lease is what ends all, should the tests be killed."""
ROOT: Final = Path(__file__).resolve().parents[2]
LOOK_SECONDS: Final = 0.02
SITES: Final = tuple(CITIES)


class Records:
    """The store of a home, read beside the control plane: it answers while that is dead."""

    def __init__(self, home: Home) -> None:
        self._store = SqliteStore(home.database)

    def close(self) -> None:
        self._store.close()

    def job(self, id: str) -> Job:
        return Table(self._store, "job", Job).get(id).value

    def open_jobs(self) -> Sequence[str]:
        return Table(self._store, "open", OpenJob).ids()

    def rounds(self, job: str) -> Sequence[Round]:
        return Table(self._store, "round", Round).list(job)

    def events(self, job: str) -> Sequence[Event]:
        return Table(self._store, "event", Event).list(job)

    def model(self, job: str) -> Card:
        return Table(self._store, "model", Card).get(job).value


@dataclass
class Watched:
    """A job, and which rounds each incarnation of its aggregator has begun."""

    id: str
    records: Records
    begun: dict[int, int] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    def now(self) -> Job:
        return self.records.job(self.id)

    def watch(self) -> None:
        """Until `stop`: progress is told once and then overwritten."""
        while not self._over.wait(LOOK_SECONDS):
            job = self.now()
            if job.aggregator is not None and job.aggregator.seq:  # else it is the last one's word
                begun = max(job.progress.round, self.begun.get(job.epoch, 0))
                self.begun[job.epoch] = begun

    def stop(self) -> None:
        self._over.set()

    def again(self, first: int, last: int) -> int:
        """Rounds that were begun by incarnations `first` to `last`, `last` not counted, and that
        another had to do: what a job has lost by losing them."""
        done = self.records.rounds(self.id)
        lost = 0
        for epoch in range(first, last):
            kept = max((one.number for one in done if one.epoch <= epoch), default=0)
            lost += max(0, self.begun.get(epoch, 0) - kept)
        return lost

    def round_after(self, at: datetime, number: int) -> datetime | None:
        """When a round after `number` was first done, after `at`."""
        done = [e.at for e in self.records.events(self.id) if _is_round(e, number) and e.at > at]
        return min(done, default=None)


def _is_round(event: Event, after: int) -> bool:
    return event.code == "RoundDone" and event.round is not None and event.round > after


@dataclass
class Federation:
    """`fedspan up` on a home, its API and fronts reached by machines through relays."""

    installation: Installation
    relay: Between
    plane: subprocess.Popen[bytes] = field(init=False)

    @property
    def home(self) -> Home:
        return self.installation.home

    def up(self) -> None:
        """Start the control plane, or start it again; its log is ``up.log`` in the home."""
        port = str(self.installation.port)
        self._start(FEDSPAN, "--home", str(self.home.path), "up", "--port", port)
        until(lambda: self.home.running() is not None, "the control plane is up")

    def up_until(self, step: str, when: str) -> None:
        """As `up`, but it dies at that step of the state machine."""
        port = str(self.installation.port)
        module = (sys.executable, "-m", "tests.chaos.doomed")
        self._start(*module, str(self.home.path), port, step, when)
        until(lambda: self.home.running() or self.plane.poll() is not None, "it is up, or dead")

    def _start(self, *command: str) -> None:
        self.home.prepare()
        with (self.home.path / "up.log").open("ab") as log:
            self.plane = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **self.installation.variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def down(self) -> None:
        """SIGKILL to the control plane."""
        self.plane.kill()
        self.plane.wait()

    def submit(self, rounds: int, **changes: Any) -> str:
        spec = {**demo_spec(rounds, SEED), **changes}
        with Wire(self.home) as wire:
            api = Api(wire)
            for site in write_hospitals(self.home.sites):
                api.put_site(site)
            return api.submit(spec, f"chaos-{rounds}-{time.monotonic_ns()}").id

    def open_jobs(self) -> Sequence[str]:
        records = Records(self.home)
        try:
            return records.open_jobs()
        finally:
            records.close()

    def processes(self, machine: str) -> list[psutil.Process]:
        """Of the machines with this in their names, the living processes."""
        return [one for one, name in self.installation.machines() if machine in name]

    def part(self, machine: str, name: str) -> psutil.Process | None:
        """The process that bears this name there, as the kernel shortens it."""
        for one in self.processes(machine):
            with contextlib.suppress(psutil.Error):
                if one.name() == name[:15] and one.status() != psutil.STATUS_ZOMBIE:
                    return one
        return None

    def left(self) -> list[str]:
        """What a job should not leave behind."""
        alive = [f"{one.pid} of {name}" for one, name in self.installation.machines()]
        return alive + [str(one) for one in self.home.machines.iterdir()]


@contextlib.contextmanager
def federation(folder: Path) -> Iterator[Federation]:
    """A Fedspan in `folder`, with a control plane that runs; nothing is left of it afterwards."""
    made = Installation(Home(folder / "home"))
    with Between(made.port) as relay:
        made.variables = {**FAST, "FEDSPAN_API_URL": relay.url}
        here = Federation(made, relay)
        try:
            here.up()
            yield here
        finally:
            here.down()
            made.end()


@contextlib.contextmanager
def watched(here: Federation, job: str) -> Iterator[Watched]:
    records = Records(here.home)
    seen = Watched(job, records)
    thread = threading.Thread(target=seen.watch)
    thread.start()
    try:
        yield seen
    finally:
        seen.stop()
        thread.join()
        records.close()
