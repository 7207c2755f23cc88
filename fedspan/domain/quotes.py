"""What a cloud says its machines cost, before anybody believes it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

USD: Final = "USD"
HOUR: Final = "hour"


@dataclass(frozen=True, slots=True)
class Shape:
    """A machine type, as far as its price depends on it."""

    name: str
    vcpus: int
    memory_mib: int
    gpu: str = ""
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of one provider: these machine types in these regions."""

    regions: tuple[str, ...]
    machines: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Interface:
    """Where a provider publishes prices."""

    id: str
    title: str
    where: str
    licence: str


@dataclass(frozen=True, slots=True)
class Quote:
    """`price` of one machine for one `unit` in `currency`, as the interface said it: any of the
    three may be absurd. `interface` is the id of an `Interface`."""

    region: str
    machine: str
    spot: bool
    price: Decimal
    interface: str
    currency: str = USD
    unit: str = HOUR


@dataclass(frozen=True, slots=True)
class Reading:
    """What an interface said; `notes` tell what it did not say, and why, a sentence each."""

    quotes: tuple[Quote, ...]
    notes: tuple[str, ...] = ()
