"""What is written on a server and on its security group, so that no store is needed to know it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from fedspan.domain.machines import Machine, MachineState, Offer

MOST: Final = 255
"""Characters of a metadata value, and of a security group's description."""
PREFIX: Final = "fedspan-"
GROUP: Final = "fedspan "


def name(owner: str, key: str) -> str:
    """Of all that is a machine's. Neither owners nor keys have an underscore."""
    return f"{owner}_{key}"


def metadata(machine: Machine, owner: str) -> dict[str, str]:
    """For a server: one entry a fact; the offer as JSON, cut into as many as it needs."""
    offer = json.dumps(machine.offer.model_dump(mode="json", exclude_defaults=True))
    parts = [offer[at : at + MOST] for at in range(0, len(offer), MOST)]
    said = {
        "owner": owner,
        "job": machine.job,
        "key": machine.key,
        "role": machine.role.value,
        "epoch": str(machine.epoch),
        "launched": machine.launched.isoformat(),
        **{f"offer-{number}": part for number, part in enumerate(parts)},
    }
    return {PREFIX + name: value for name, value in said.items()}


def machine(
    said: Mapping[str, str], its_name: str, owner: str, provider: str, state: MachineState
) -> Machine | None:
    """The machine a server is; None if it is none of this owner's and provider's."""
    facts = {k.removeprefix(PREFIX): v for k, v in said.items() if k.startswith(PREFIX)}
    if facts.get("owner") != owner or its_name != name(owner, facts.get("key", "")):
        return None
    parts = sorted((int(k[6:]), v) for k, v in facts.items() if k[6:].isdecimal())
    try:
        offer = Offer.model_validate_json("".join(part for _, part in parts))
        found = Machine.model_validate(
            {
                **{one: facts.get(one) for one in ("job", "key", "role", "epoch", "launched")},
                "id": its_name,
                "offer": offer,
                "state": state,
            }
        )
    except ValidationError:
        return None
    return found if offer.provider == provider else None


def description(machine: Machine, owner: str) -> str:
    """For a security group, whose only room for it this is. A flavor's name is cut if need be:
    nobody launches from it."""
    offer = machine.offer
    said: list[str | int] = [owner, offer.provider, machine.job, machine.role.value]
    said += [machine.epoch, machine.launched.isoformat()]
    said += [offer.vcpus, offer.memory_mib, offer.machine_type]
    text = _compact(said)
    while len(text) > MOST and said[-1]:
        said[-1] = str(said[-1])[:-1]
        text = _compact(said)
    return text


def leftover(said: str, its_name: str, owner: str, provider: str, region: str) -> Machine | None:
    """The machine of which only a security group is left; None if it is none of this owner's and
    provider's."""
    try:
        its, whose, job, role, epoch, launched, vcpus, memory, kind = json.loads(
            said.removeprefix(GROUP)
        )
        if not said.startswith(GROUP) or (its, whose) != (owner, provider):
            return None
        offer = Offer(
            provider=provider,
            region=region,
            machine_type=kind,
            vcpus=vcpus,
            memory_mib=memory,
            price=0,
        )
        return Machine(
            id=its_name,
            job=job,
            key=its_name.removeprefix(name(owner, "")),
            role=role,
            epoch=epoch,
            offer=offer,
            state=MachineState.STOPPED,
            launched=launched,
        )
    except (ValueError, TypeError):  # somebody else's words
        return None


def _compact(said: list[str | int]) -> str:
    return GROUP + json.dumps(said, separators=(",", ":"))
