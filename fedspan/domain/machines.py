"""Machines a provider can offer, and those it runs for us."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, PositiveInt

from fedspan.domain.spec import Need
from fedspan.domain.values import Instant, MicroUsd, Name, Value


class Role(StrEnum):
    AGGREGATOR = "aggregator"
    CLIENT = "client"


class Offer(Value):
    """A machine that could be had now. `price` is per hour."""

    provider: Name
    region: str
    machine_type: str
    vcpus: PositiveInt
    memory_mib: PositiveInt
    price: MicroUsd
    spot: bool = False

    def fits(self, need: Need) -> bool:
        return self.vcpus >= need.vcpus and self.memory_mib >= need.memory_mib


class MachineSpec(Value):
    """What to start. `key` derives from job, epoch and role, never from chance, so that a
    launch that is repeated makes no second machine. `environment` reaches the entry point of
    the image of `role`; it may hold tokens, so it is kept out of every repr."""

    key: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,120}$")
    role: Role
    epoch: PositiveInt
    offer: Offer
    environment: dict[str, str] = Field(default_factory=dict, repr=False)


class MachineState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    STOPPED = "stopped"
    """Ended by itself or by the cloud, and still to be removed."""


class Machine(Value):
    """A machine of ours that is not yet gone."""

    id: str
    job: str
    key: str
    role: Role
    epoch: PositiveInt
    offer: Offer
    state: MachineState
    launched: Instant
