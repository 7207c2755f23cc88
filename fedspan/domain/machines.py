"""Machines a provider can offer, and those it runs for us."""

from __future__ import annotations

from collections.abc import Container, Iterable
from enum import StrEnum
from hashlib import sha256

from pydantic import Field, NonNegativeInt, PositiveInt

from fedspan.domain.spec import CpuArch, Need
from fedspan.domain.values import Instant, MicroUsd, Name, Value
from fedspan.errors import NoCapacity


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
    arch: CpuArch = CpuArch.X86
    gpu: str = Field(default="", description="its model, as `GpuNeed` names it")
    gpus: NonNegativeInt = 0
    network_tier: str = Field(default="", description="where a provider has several")

    def fits(self, need: Need) -> bool:
        wanted = need.gpu
        return (
            self.vcpus >= need.vcpus
            and self.memory_mib >= need.memory_mib
            and need.arch in (None, self.arch)
            and (wanted is None or self.gpus >= wanted.count)
            and (wanted is None or wanted.model in (None, self.gpu))
        )


def zones_in_order(zones: Iterable[str], key: str, avoid: Container[str]) -> list[str]:
    """In which order `zones` are asked for the machine of `key`: those to `avoid` last. Each key
    has an order of its own, always the same."""

    def order(zone: str) -> tuple[bool, str]:
        return zone in avoid, sha256(f"{key}/{zone}".encode()).hexdigest()

    return sorted(zones, key=order)


def cheapest(offers: Iterable[Offer], need: Need) -> Offer:
    """The cheapest offer that fits; of one price the smallest, which leaves more to others. Ties
    break by name, so a rerun chooses the same.

    Raises:
        NoCapacity: none fits; says what was needed.
    """
    fitting = [offer for offer in offers if offer.fits(need)]
    if not fitting:
        raise NoCapacity(
            f"no offer has {need.vcpus} vCPU and {need.memory_mib} MiB; lower the need"
        )
    return min(fitting, key=_order)


def _order(offer: Offer) -> tuple[object, ...]:
    size = (offer.vcpus, offer.memory_mib, offer.gpus)
    return (offer.price, *size, offer.provider, offer.region, offer.machine_type, offer.spot)


class MachineSpec(Value):
    """What to start. `key` derives from job, epoch and role, never from chance, so that a
    launch that is repeated makes no second machine. `environment` reaches the entry point of
    the image of `role`; it may hold tokens, so it is kept out of every repr. `port` (TCP) is open
    to `sources`, and nothing else is; 0 opens none. `avoid_zones` are tried last, where a provider
    chooses among a region's zones."""

    key: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,120}$")
    role: Role
    epoch: PositiveInt
    offer: Offer
    environment: dict[str, str] = Field(default_factory=dict, repr=False)
    port: int = Field(default=0, ge=0, le=65_535)
    sources: tuple[str, ...] = Field(default=("0.0.0.0/0",), description="CIDRs")
    avoid_zones: tuple[str, ...] = ()


class MachineState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    STOPPED = "stopped"
    """Ended by itself or by the cloud, and still to be removed."""


class Machine(Value):
    """A machine of ours that is not yet gone. Its `zone` is told by providers that choose one and
    heed `avoid_zones`."""

    id: str
    job: str
    key: str
    role: Role
    epoch: PositiveInt
    offer: Offer
    state: MachineState
    launched: Instant
    zone: str = ""
