"""What makes a machine ours: its name, its labels, and what stands in its description."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from pydantic import ValidationError

from fedspan.domain.machines import Machine, MachineState, Offer, Role
from fedspan.domain.values import Instant, Message

OWNER: Final = "fedspan-owner"
OPEN: Final = "-open"
SHUT: Final = "-shut"
NAME: Final = re.compile(r"fs-[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?-[0-9a-f]{12}")
"""As `name_of` makes them, whoever the owner is."""


class Marks(Message):
    """All that a `Machine` is made of but its id and state. As JSON it is the description of the
    instance and of its firewall rules, which Google keeps up to 2,048 characters and never
    changes."""

    owner: str
    job: str
    key: str
    role: Role
    epoch: int
    offer: Offer
    launched: Instant

    def written(self) -> str:
        return self.model_dump_json(exclude_defaults=True)

    def machine(self, name: str, state: MachineState, zone: str = "") -> Machine:
        return Machine(id=name, state=state, zone=zone, **{f: getattr(self, f) for f in _SHARED})

    def labels(self) -> dict[str, str]:
        """For people and bills; `OWNER` is what machines are found by."""
        said = {"job": self.job, "role": self.role.value, "epoch": str(self.epoch)}
        return {OWNER: self.owner, **{f"fedspan-{name}": _label(said[name]) for name in said}}


_SHARED: Final = ("job", "key", "role", "epoch", "offer", "launched")


def read(name: str, description: str | None, owner: str) -> Marks | None:
    """Of the instance `name`, or of its rules. None: made by somebody else."""
    if not NAME.fullmatch(name):
        return None
    try:
        marks = Marks.model_validate_json(description or "")
    except ValidationError:
        return None
    return marks if marks.owner == owner else None


def name_of(owner: str, key: str) -> str:
    """Of a key's instance, within the 63 characters Google allows less `OPEN`. The hash keeps keys
    apart that are cut, and installations that share a project."""
    digest = sha256(f"{owner}/{key}".encode()).hexdigest()[:12]
    return f"fs-{key[:40].strip('-')}-{digest}"


def of_rule(name: str) -> str:
    """The name of the instance that a firewall rule is for."""
    return name.removesuffix(OPEN).removesuffix(SHUT)


def _label(value: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "-", value.lower())[:63]
