"""What every provider of machines does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fedspan.domain.machines import Machine, MachineSpec, Offer
from fedspan.domain.spec import Need


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an adapter can do, as data: placement filters on it, the contract suite reads it."""

    spot: bool = False
    user_data_bytes: int = 16_384


class Provider(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    def offers(self, need: Need) -> Sequence[Offer]:
        """What could run `need` now, priced. Changes nothing."""

    def launch(self, job: str, spec: MachineSpec) -> Machine:
        """Return when accepted, not when booted. One key never makes two machines: while the
        first is not gone, a repeat returns it.

        Raises:
            NoCapacity, Throttled, Denied, ProviderError
        """

    def machines(self, job: str | None = None) -> Sequence[Machine]:
        """Our machines not yet gone, of `job` or of all. The cloud, not our store, is the truth."""

    def terminate(self, machine: Machine) -> None:
        """Ask for its end. Idempotent: an unknown machine counts as terminated. It is gone when
        `machines` no longer shows it."""
