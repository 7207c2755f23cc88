"""What the ServerApp shows its supervisor while it works: ``status.json``, always current."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from fedspan.domain.jobs import Progress
from fedspan.domain.reports import Fault, Phase
from fedspan.domain.rounds import Participation, Round, Status
from fedspan.errors import DiskFull
from fedspan.flower.files import ServerStatus, WorkFolder
from fedspan.flower.warm import NO_ROOM


@dataclass
class Board:
    """Every change is written at once; one that is not seen is overwritten by the next."""

    folder: WorkFolder
    phase: Phase = Phase.STARTING
    rounds: list[Round] = field(default_factory=list)
    number: int = 0
    people: dict[str, Participation] = field(default_factory=dict)
    waiting: str = ""

    def open_round(self, number: int, participants: Iterable[str]) -> None:
        """Round `number` begins; everyone waits."""
        waiting = Participation(status=Status.WAITING)
        self.number, self.people = number, dict.fromkeys(sorted(participants), waiting)
        self.phase = Phase.TRAINING
        self.write()

    def mark(self, participants: Iterable[str], participation: Participation) -> None:
        """Each of `participants` is now as `participation` says."""
        self.people |= dict.fromkeys(participants, participation)
        self.write()

    def evaluate(self, participants: Container[str]) -> None:
        """Of everybody, `participants` are sent the model once more."""
        for name, one in self.people.items():
            self.people[name] = one.model_copy(update={"evaluated": name in participants})
        self.write()

    def close_round(self, done: Round, acknowledged: int) -> None:
        """`done` is committed; rounds the control plane acknowledged need no more telling."""
        self.rounds = [one for one in (*self.rounds, done) if one.number > acknowledged]
        self.write()

    def wait(self, what: str) -> None:
        """The work stands still for `what`; "" when it goes on."""
        self.waiting = what
        self.write()

    def end(self, phase: Phase, fault: Fault | None = None) -> None:
        """The last word. Where there is no room for it, the process exits with that instead."""
        self.phase = phase
        try:
            self.write(fault)
        except DiskFull:
            raise SystemExit(NO_ROOM) from None

    def write(self, fault: Fault | None = None) -> None:
        progress = Progress(round=self.number, participants=dict(self.people))
        self.folder.write_status(
            ServerStatus(
                phase=self.phase,
                progress=progress,
                rounds=tuple(self.rounds),
                fault=fault,
                waiting=self.waiting,
            )
        )
