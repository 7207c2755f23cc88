"""What tests launch on the test cloud."""

from __future__ import annotations

from typing import Any

from fedspan.domain.machines import MachineSpec, Offer, Role

SSH_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3UqIHQ4i2o0h0o8u5rSDFsYYdR1xv6fC4C6yQYqsnz somebody"
)


def offer(machine_type: str = "fs.small", vcpus: int = 1, memory_mib: int = 1024) -> Offer:
    return Offer(
        provider="seoul",
        region="RegionOne",
        machine_type=machine_type,
        vcpus=vcpus,
        memory_mib=memory_mib,
        price=0,
    )


def spec(key: str = "job-1-client-1", **changes: Any) -> MachineSpec:
    usual = {"key": key, "role": Role.CLIENT, "epoch": 1, "offer": offer()}
    return MachineSpec.model_validate(usual | changes)
