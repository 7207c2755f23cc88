"""What a service account must be allowed, and what for."""

from __future__ import annotations

from typing import Final

from fedspan.domain.credentials import Policy

PERMISSIONS: Final = {
    "compute.regions.list": "know the regions and their quotas",
    "compute.machineTypes.list": "know which zones have a machine type",
    "compute.instances.create": "start a machine",
    "compute.disks.create": "start a machine: its disk",
    "compute.instances.setMetadata": "start a machine: what it does first",
    "compute.instances.setLabels": "start a machine: the labels it is found by",
    "compute.instances.setTags": "start a machine: the tag its firewall rules name",
    "compute.subnetworks.use": "start a machine: its network",
    "compute.subnetworks.useExternalIp": "start a machine: its public address",
    "compute.zoneOperations.get": "know whether it was started",
    "compute.instances.list": "find machines",
    "compute.instances.delete": "end a machine",
    "compute.firewalls.create": "open the port of a machine, and shut all others",
    "compute.networks.get": "know that there is a network for machines",
    "compute.networks.updatePolicy": "make and remove firewall rules",
    "compute.globalOperations.get": "know whether the firewall rules were made",
    "compute.firewalls.get": "recognise the firewall rules of a machine",
    "compute.firewalls.list": "find firewall rules that are left",
    "compute.firewalls.delete": "remove the firewall rules of a machine",
}

WITH_ACCOUNT: Final = {
    "compute.instances.setServiceAccount": "give machines a service account",
    "iam.serviceAccounts.actAs": "give machines a service account",
}
"""Only where machines have one. Better granted on that account than in the project."""


def policy(service_account: str = "") -> Policy:
    """A custom role, for ``gcloud iam roles create fedspan --project PROJECT --file FILE``."""
    permissions = [*PERMISSIONS, *(WITH_ACCOUNT if service_account else ())]
    return {
        "title": "Fedspan",
        "description": "Starts, finds and ends the machines of federated jobs",
        "stage": "GA",
        "includedPermissions": sorted(permissions),
    }
