"""What everything of a machine carries: tags that say whose it is and what it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from fedspan.domain.machines import Machine, MachineSpec, MachineState, Offer
from fedspan.errors import ProviderError

OWNER: Final = "fedspan:owner"
JOB: Final = "fedspan:job"
KEY: Final = "fedspan:key"
ROLE: Final = "fedspan:role"
EPOCH: Final = "fedspan:epoch"
OFFER: Final = "fedspan:offer"
MADE: Final = "fedspan:made"
"""When. Not on instances, which know it themselves: a repeat must ask for the very same instance,
or EC2 does not take it for a repeat."""
ZONE: Final = "fedspan:zone"
"""Of a security group: the zone that its instance was asked for in, where one was named."""

Tags = list[dict[str, str]]


def marks(owner: str, job: str, spec: MachineSpec) -> dict[str, str]:
    """A tag holds 256 characters: of the offer, provider and region are where it is."""
    return {
        "Name": f"fedspan {spec.key}",  # what the console shows
        OWNER: owner,
        JOB: job,
        KEY: spec.key,
        ROLE: spec.role.value,
        EPOCH: str(spec.epoch),
        OFFER: spec.offer.model_dump_json(exclude={"provider", "region"}, exclude_defaults=True),
    }


def tags(values: Mapping[str, str]) -> Tags:
    return [{"Key": key, "Value": value} for key, value in values.items()]


def tagged(kinds: Iterable[str], values: Mapping[str, str]) -> list[dict[str, Any]]:
    """TagSpecifications for what a call makes."""
    return [{"ResourceType": kind, "Tags": tags(values)} for kind in kinds]


def filters(owner: str, *, job: str | None = None, key: str | None = None) -> list[dict[str, Any]]:
    wanted = {OWNER: owner, JOB: job, KEY: key}
    return [{"Name": f"tag:{tag}", "Values": [one]} for tag, one in wanted.items() if one]


def read(described: Mapping[str, Any]) -> dict[str, str]:
    return {one["Key"]: one["Value"] for one in described.get("Tags", ())}


def machine(
    provider: str,
    region: str,
    identity: str,
    values: Mapping[str, str],
    state: MachineState,
    launched: datetime | None,
    zone: str = "",
) -> Machine:
    """`launched` is as the tags have it, where EC2 itself does not say.

    Raises:
        ProviderError: somebody changed the tags: better told than not seen.
    """
    try:
        launched = launched or datetime.fromisoformat(values[MADE])
        offer = json.loads(values[OFFER]) | {"provider": provider, "region": region}
        return Machine.model_validate(
            {
                "id": identity,
                "job": values[JOB],
                "key": values[KEY],
                "role": values[ROLE],
                "epoch": int(values[EPOCH]),
                "offer": Offer.model_validate(offer),
                "state": state,
                "launched": launched.astimezone(UTC),
                "zone": zone,
            }
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise ProviderError(
            f"aws {region}: {identity} is marked as ours, but its tags were changed; end it there"
        ) from exc
