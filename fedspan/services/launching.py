"""What the launch of any machine has in common."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from fedspan.domain.machines import Machine, MachineSpec, MachineState
from fedspan.errors import CloudUnavailable
from fedspan.providers.base import Provider

TOKEN_LIFETIME: Final = timedelta(days=8)
"""Longer than any deadline: a machine cannot renew its token."""


def launched(cloud: Provider, job_id: str, spec: MachineSpec) -> Machine:
    """Raises `CloudUnavailable` while what an earlier launch of the key made is still going, and
    what the cloud says."""
    made = cloud.launch(job_id, spec)
    if made.state is MachineState.STOPPED:
        cloud.terminate(made)
        raise CloudUnavailable(f"the old machine {made.id} is still going; try again")
    return made
