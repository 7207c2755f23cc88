"""In which of a region's zones to launch, where there are some to avoid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import structlog
from botocore.exceptions import ClientError

from fedspan.domain.machines import MachineSpec, zones_in_order
from fedspan.errors import NoCapacity, ProviderError
from fedspan.providers.aws.errors import LACKING, code_of, of_zone

log = structlog.get_logger()

LONGEST: Final = timedelta(seconds=30)
"""Later than this no further zone is asked: the Lambda that launches has 60 s."""


def in_order(ec2: Any, job: str, spec: MachineSpec) -> list[str]:
    """Those of the region that machines can be in, the ones to avoid last. None where there is
    nothing to avoid, or zones may not be known: EC2 is to choose."""
    if not spec.avoid_zones:
        return []
    try:
        zones = _usable(ec2)
    except ClientError as exc:
        if code_of(exc) not in LACKING:
            raise
        log.warning(
            "zones not avoided",
            job=job,
            key=spec.key,
            region=spec.offer.region,
            zones=list(spec.avoid_zones),
            why="the credential lacks ec2:DescribeAvailabilityZones, so EC2 chooses the zone",
        )
        return []
    return zones_in_order(zones, spec.key, spec.avoid_zones)


def _usable(ec2: Any) -> list[str]:
    """Not the zones of carriers and single cities, and none that is closed or not opted into."""
    return [
        one["ZoneName"]
        for one in ec2.describe_availability_zones()["AvailabilityZones"]
        if one["State"] == "available"
        and one.get("ZoneType", "availability-zone") == "availability-zone"
        and one.get("OptInStatus") != "not-opted-in"
    ]


def none_left(
    spec: MachineSpec, refused: Mapping[str, ClientError], unasked: Sequence[str]
) -> ProviderError:
    """What it means that all zones have `refused`, but for those there was no time for."""
    kinds = {of_zone(exc) for exc in refused.values()}
    kind = kinds.pop() if len(kinds) == 1 and not unasked else NoCapacity
    said = ", ".join(f"{zone} ({code_of(exc)})" for zone, exc in refused.items())
    late = f"; no time was left to ask in {', '.join(unasked)}" if unasked else ""
    how = "spot " if spec.offer.spot else ""
    return (kind or NoCapacity)(
        f"aws launch {spec.key}: no {how}{spec.offer.machine_type} is to be had in {said} just "
        f"now{late}"
    )
