"""A cloud in memory: an honest fake that passes the contract suite, with faults on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from fedspan.domain.machines import Machine, MachineSpec, MachineState, Offer
from fedspan.domain.spec import Need
from fedspan.errors import FedspanError
from fedspan.providers.base import Capabilities


@dataclass
class MemoryProvider:
    """`fail_next` is raised, once, by the next call, each of `fail_launch` and `fail_terminate` by
    one call of theirs; `launched` counts machines ever made. Of `zones`, if there are any, the
    first is taken that is not to be avoided."""

    now: Callable[[], datetime]
    name: str = "memory"
    capabilities: Capabilities = field(default_factory=lambda: Capabilities(spot=True, here=True))
    fail_next: FedspanError | None = None
    fail_launch: list[FedspanError] = field(default_factory=list)
    fail_terminate: list[FedspanError] = field(default_factory=list)
    launched: int = 0
    zones: tuple[str, ...] = ()
    _machines: dict[str, Machine] = field(default_factory=dict)

    def offers(self, need: Need) -> Sequence[Offer]:
        self._fail()
        offer = Offer(
            provider=self.name,
            region="nowhere-1",
            machine_type="m1",
            vcpus=8,
            memory_mib=16_384,
            price=100_000,
        )
        spot = offer.model_copy(update={"spot": True, "price": 30_000})
        return [one for one in (offer, spot) if one.fits(need)]

    def launch(self, job: str, spec: MachineSpec) -> Machine:
        self._fail()
        if self.fail_launch:
            raise self.fail_launch.pop()
        if spec.key not in self._machines:
            self.launched += 1
            self._machines[spec.key] = Machine(
                id=spec.key,
                job=job,
                key=spec.key,
                role=spec.role,
                epoch=spec.epoch,
                offer=spec.offer,
                state=MachineState.RUNNING,
                launched=self.now(),
                zone=next(iter(sorted(self.zones, key=lambda one: one in spec.avoid_zones)), ""),
            )
        return self._machines[spec.key]

    def machines(self, job: str | None = None) -> Sequence[Machine]:
        self._fail()
        return [m for m in self._machines.values() if job in (None, m.job)]

    def terminate(self, machine: Machine) -> None:
        self._fail()
        if self.fail_terminate:
            raise self.fail_terminate.pop()
        self._machines.pop(machine.id, None)

    def stop(self, machine: Machine) -> None:
        """The cloud ends it behind our back."""
        stopped = machine.model_copy(update={"state": MachineState.STOPPED})
        self._machines[machine.id] = stopped

    def _fail(self) -> None:
        if self.fail_next is not None:
            fault, self.fail_next = self.fail_next, None
            raise fault
