"""What is sent to Compute Engine: an instance and its firewall rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fedspan.domain.machines import MachineSpec, Offer
from fedspan.domain.spec import CpuArch
from fedspan.providers.gcp.identity import SCOPE
from fedspan.providers.gcp.marks import OPEN, SHUT, Marks

Document = dict[str, Any]

NETWORK_NAME: Final = "default"
NETWORK: Final = f"global/networks/{NETWORK_NAME}"
IMAGES: Final = {
    CpuArch.X86: "projects/cos-cloud/global/images/family/cos-stable",
    CpuArch.ARM: "projects/cos-cloud/global/images/family/cos-arm64-stable",
}
DISK_GB: Final = 30
HYPERDISK_ONLY: Final = frozenset({"c4", "c4a", "c4d", "n4", "n4a", "n4d"})
"""Families that take no persistent disk."""
LIFE_S: Final = 8 * 24 * 3600
"""How long Google lets one run, and then deletes it: as long as its token is good."""
ADDRESS: Final = (
    "curl --silent --fail --retry 5 --header 'Metadata-Flavor: Google' "
    "http://metadata.google.internal/computeMetadata/v1/instance/network-interfaces/0/"
    "access-configs/0/external-ip"
)
"""Prints the public address of the machine it runs on."""


def opening(port: int) -> str:
    """What opens `port` in the firewall that Container-Optimized OS has of its own, which lets in
    nothing but SSH. IPv4 only, as the machine's address is; who may come, its rules say.
    https://cloud.google.com/container-optimized-os/docs/how-to/firewall"""
    return f"iptables -w -I INPUT -p tcp --dport {port} -j ACCEPT" if port else ""


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
    common = {
        # Not longer, even if nobody is left to end it. The clock stops for a machine that has
        # powered itself off: that one is only `terminate`'s.
        # https://cloud.google.com/compute/docs/instances/limit-vm-runtime
        "maxRunDuration": {"seconds": str(LIFE_S)},
        # Not STOP, by which its disk would be paid for until somebody looks. Its firewall rules
        # stay, and show that it was there.
        "instanceTerminationAction": "DELETE",
        # A machine that started anew would be another incarnation with the token of the first.
        "automaticRestart": False,
    }
    if offer.spot:
        return {**common, "provisioningModel": "SPOT", "onHostMaintenance": "TERMINATE"}
    return {**common, "provisioningModel": "STANDARD", "onHostMaintenance": "MIGRATE"}
