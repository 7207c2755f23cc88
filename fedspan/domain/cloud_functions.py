"""What callers and the Cloud Functions say to each other, where no other value says it already."""

from __future__ import annotations

from fedspan.domain.credentials import Confidential, Secret
from fedspan.domain.machines import Machine, MachineSpec, Offer
from fedspan.domain.values import Message, Name


class Proof(Confidential):
    """A credential to be proved. `name` may be there, so that a `Registration` can be sent as it
    is."""

    secret: Secret
    name: Name | None = None


class Launch(Confidential):
    """Of `job`, the machine of `spec`, whose environment holds tokens."""

    job: str
    spec: MachineSpec


class Offers(Message):
    offers: tuple[Offer, ...]


class Machines(Message):
    machines: tuple[Machine, ...]
