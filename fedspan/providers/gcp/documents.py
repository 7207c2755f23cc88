"""What is sent to Compute Engine: an instance and its firewall rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fedspan.domain.machines import MachineSpec, Offer
from fedspan.domain.spec import CpuArch
from fedspan.providers.gcp.identity import SCOPE
from fedspan.providers.gcp.marks import OPEN, SHUT, Marks

Document = dict[str, Any]

NETWORK: Final = "global/networks/default"
IMAGES: Final = {
    CpuArch.X86: "projects/cos-cloud/global/images/family/cos-stable",
    CpuArch.ARM: "projects/cos-cloud/global/images/family/cos-arm64-stable",
}
DISK_GB: Final = 30
HYPERDISK_ONLY: Final = frozenset({"c4", "c4a", "c4d", "n4", "n4a", "n4d"})
"""Families that take no persistent disk."""
ACCELERATORS: Final = {
    "P100": "nvidia-tesla-p100",
    "P4": "nvidia-tesla-p4",
    "T4": "nvidia-tesla-t4",
    "V100": "nvidia-tesla-v100",
}
"""Of n1, which gets its GPUs attached; other families have them built in."""
ADDRESS: Final = (
    "curl --silent --fail --retry 5 --header 'Metadata-Flavor: Google' "
    "http://metadata.google.internal/computeMetadata/v1/instance/network-interfaces/0/"
    "access-configs/0/external-ip"
)
"""Prints the public address of the machine it runs on."""


def instance(
    name: str,
    zone: str,
    marks: Marks,
    user_data: str,
    *,
    ssh_key: str = "",
    service_account: str = "",
) -> Document:
    offer = marks.offer
    document = {
        "name": name,
        "description": marks.written(),
        "machineType": f"zones/{zone}/machineTypes/{offer.machine_type}",
        "labels": marks.labels(),
        "tags": {"items": [name]},
        "metadata": {"items": _metadata(user_data, ssh_key)},
        "disks": [_disk(zone, offer)],
        "networkInterfaces": [
            {
                "network": NETWORK,
                "accessConfigs": [
                    {
                        "type": "ONE_TO_ONE_NAT",
                        "name": "External NAT",
                        "networkTier": (offer.network_tier or "premium").upper(),
                    }
                ],
            }
        ],
        "scheduling": _scheduling(offer),
    }
    if offer.arch is CpuArch.X86:
        document["shieldedInstanceConfig"] = {
            "enableSecureBoot": True,
            "enableVtpm": True,
            "enableIntegrityMonitoring": True,
        }
    if offer.gpus and offer.machine_type.startswith("n1-"):
        kind = ACCELERATORS.get(offer.gpu, offer.gpu)
        url = f"zones/{zone}/acceleratorTypes/{kind}"
        document["guestAccelerators"] = [{"acceleratorType": url, "acceleratorCount": offer.gpus}]
    if service_account:
        document["serviceAccounts"] = [{"email": service_account, "scopes": [SCOPE]}]
    return document


def rules(name: str, marks: Marks, spec: MachineSpec) -> Sequence[Document]:
    """First the one that shuts everything; then the one above it, if there is a port to open and
    somebody to open it to. A machine has an IPv4 address only, and a rule takes one family."""
    sources = [one for one in spec.sources if ":" not in one]
    common = {
        "network": NETWORK,
        "direction": "INGRESS",
        "description": marks.written(),
        "targetTags": [name],
    }
    shut = {
        **common,
        "name": name + SHUT,
        "priority": 1001,
        "denied": [{"IPProtocol": "all"}],
        "sourceRanges": ["0.0.0.0/0"],
    }
    if not spec.port or not sources:
        return [shut]
    opened = {
        **common,
        "name": name + OPEN,
        "priority": 1000,
        "allowed": [{"IPProtocol": "tcp", "ports": [str(spec.port)]}],
        "sourceRanges": sources,
    }
    return [shut, opened]


def _metadata(user_data: str, ssh_key: str) -> list[Document]:
    items = [
        {"key": "user-data", "value": user_data},
        {"key": "block-project-ssh-keys", "value": "TRUE"},
    ]
    if ssh_key:
        items.append({"key": "ssh-keys", "value": f"fedspan:{ssh_key}"})
    return items


def _disk(zone: str, offer: Offer) -> Document:
    family = offer.machine_type.partition("-")[0]
    kind = "hyperdisk-balanced" if family in HYPERDISK_ONLY else "pd-balanced"
    return {
        "boot": True,
        "autoDelete": True,
        "initializeParams": {
            "sourceImage": IMAGES[offer.arch],
            "diskSizeGb": str(DISK_GB),
            "diskType": f"zones/{zone}/diskTypes/{kind}",
        },
    }


def _scheduling(offer: Offer) -> Document:
    if offer.spot:
        return {
            "provisioningModel": "SPOT",
            # Not STOP, by which its disk would be paid for until somebody looks. Its firewall rules
            # stay, and show that it was there.
            "instanceTerminationAction": "DELETE",
            "onHostMaintenance": "TERMINATE",
            "automaticRestart": False,
        }
    moves = "TERMINATE" if offer.gpus else "MIGRATE"
    # A machine that started anew would be another incarnation with the token of the first.
    return {"onHostMaintenance": moves, "automaticRestart": False}
