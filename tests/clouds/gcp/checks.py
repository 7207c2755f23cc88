"""What Compute Engine demands of what it is sent: no unknown field, names and labels as it allows
them, limits of size, and references to what there is."""

from __future__ import annotations

import re
from typing import Any, Final

from tests.clouds.gcp.projects import ApiError, Project

NAME: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL: Final = re.compile(r"[a-z0-9_-]{0,63}")
MACHINE_TYPE: Final = re.compile(
    r"(e2|n1|n2|n2d|n4|c3|c4|c4a|t2a|t2d|g2|a2|a3)-"
    r"(micro|small|medium|(standard|highmem|highcpu|highgpu|ultragpu)-\d+g?)"
)
HYPERDISK_ONLY: Final = frozenset({"n4", "c4", "c4a"})
MOST_VALUE_BYTES: Final = 256 * 1024
MOST_METADATA_BYTES: Final = 512 * 1024
MOST_DESCRIPTION: Final = 2048
SHORTEST_RUN_S: Final = 30
LONGEST_RUN_S: Final = 120 * 24 * 3600

Schema = dict[str, Any]
_INTERFACE: Final[Schema] = {
    "network": str,
    "name": str,
    "accessConfigs": [{"type": str, "name": str, "networkTier": str}],
}
INSTANCE: Final[Schema] = {
    "name": str,
    "description": str,
    "machineType": str,
    "labels": {"*": str},
    "tags": {"items": [str]},
    "metadata": {"items": [{"key": str, "value": str}]},
    "disks": [
        {
            "boot": bool,
            "autoDelete": bool,
            "initializeParams": {"sourceImage": str, "diskSizeGb": (int, str), "diskType": str},
        }
    ],
    "networkInterfaces": [_INTERFACE],
    "scheduling": {
        "provisioningModel": str,
        "instanceTerminationAction": str,
        "onHostMaintenance": str,
        "automaticRestart": bool,
        "maxRunDuration": {"seconds": (int, str), "nanos": int},
    },
    "serviceAccounts": [{"email": str, "scopes": [str]}],
    "guestAccelerators": [{"acceleratorType": str, "acceleratorCount": int}],
    "shieldedInstanceConfig": {
        "enableSecureBoot": bool,
        "enableVtpm": bool,
        "enableIntegrityMonitoring": bool,
    },
}
_PROTOCOLS: Final = [{"IPProtocol": str, "ports": [str]}]
FIREWALL: Final[Schema] = {
    "name": str,
    "description": str,
    "network": str,
    "direction": str,
    "priority": int,
    "allowed": _PROTOCOLS,
    "denied": _PROTOCOLS,
    "sourceRanges": [str],
    "targetTags": [str],
}


def invalid(field: str, value: object, why: str) -> ApiError:
    return ApiError(400, "invalid", f"Invalid value for field '{field}': '{value}'. {why}")


def check_known(value: Any, schema: Any, path: str) -> None:
    """Google's JSON parser refuses what it does not know, and what is of another type."""
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            raise invalid(path, value, "Must be an object.")
        for key, inner in value.items():
            known = schema.get(key, schema.get("*"))
            if known is None:
                said = f"Invalid JSON payload received. Unknown name \"{key}\" at '{path}': "
                raise ApiError(400, "badRequest", said + "Cannot find field.")
            check_known(inner, known, f"{path}.{key}")
    elif isinstance(schema, list):
        if not isinstance(value, list):
            raise invalid(path, value, "Must be a list.")
        for number, inner in enumerate(value):
            check_known(inner, schema[0], f"{path}[{number}]")
    elif not isinstance(value, schema) or (schema is int and isinstance(value, bool)):
        raise invalid(path, value, "Is of another type.")


def check_name(name: object) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise invalid("resource.name", name, f"Must be a match of regex '{NAME.pattern}'")
    return name


def required(body: dict[str, Any], *fields: str) -> None:
    for field in fields:
        if not body.get(field):
            raise ApiError(400, "required", f"Required field '{field}' not specified")


def check_instance(project: Project, zone: str, body: dict[str, Any]) -> None:
    check_known(body, INSTANCE, "resource")
    required(body, "name", "machineType", "disks", "networkInterfaces")
    check_name(body["name"])
    _check_texts(body)
    kind = _check_machine_type(project, zone, body["machineType"])
    _check_disks(zone, kind, body["disks"])
    for interface in body["networkInterfaces"]:
        network = interface.get("network", "")
        _check_network(project, network)
        if network.rpartition("/")[2] in project.custom_networks:
            said = "Network interface must specify a subnet if the network resource is in custom "
            raise invalid("resource.networkInterfaces[0]", network, said + "subnet mode.")
        if interface.get("accessConfigs") and not project.external_addresses:
            said = (
                "Constraint constraints/compute.vmExternalIpAccess violated for project "
                f"{project.id}. Add instance projects/{project.id}/zones/{zone}/instances/"
                f"{body['name']} to the constraint to use external IP with it."
            )
            raise ApiError(412, "conditionNotMet", said)
    _check_scheduling(kind, body)


def _check_texts(body: dict[str, Any]) -> None:
    for key, value in body.get("labels", {}).items():
        if not LABEL.fullmatch(value) or not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key):
            raise invalid("resource.labels", f"{key}={value}", "Has letters that are not allowed.")
    if len(body.get("description", "")) > MOST_DESCRIPTION:
        raise invalid("resource.description", "...", f"Must be at most {MOST_DESCRIPTION} long.")
    for tag in body.get("tags", {}).get("items", []):
        check_name(tag)
    items = body.get("metadata", {}).get("items", [])
    sizes = [len(one.get("value", "").encode()) for one in items]
    if max(sizes, default=0) > MOST_VALUE_BYTES or sum(sizes) > MOST_METADATA_BYTES:
        said = "Value for metadata is too large: maximum size: 262144 character(s)"
        raise invalid("resource.metadata", max(sizes), said)


def _check_machine_type(project: Project, zone: str, url: str) -> str:
    where, _, kind = url.rpartition("/")
    exists = MACHINE_TYPE.fullmatch(kind) and (zone, kind) not in project.lacking
    if not where.endswith(f"zones/{zone}/machineTypes") or not exists:
        raise invalid("resource.machineType", url, "The referenced resource does not exist.")
    return kind


def _check_disks(zone: str, kind: str, disks: list[dict[str, Any]]) -> None:
    if not disks[0].get("boot"):
        raise invalid("resource.disks[0].boot", False, "The first disk must be a boot disk.")
    made = disks[0].get("initializeParams", {})
    arm = "-arm64" if kind.startswith(("t2a", "c4a")) else ""
    wanted = f"projects/cos-cloud/global/images/family/cos{arm}-stable"
    if not made.get("sourceImage", "").endswith(wanted):
        said = "The referenced image resource cannot be found, or is of another architecture."
        raise invalid("resource.disks[0].initializeParams.sourceImage", made, said)
    where, _, disk = made.get("diskType", f"zones/{zone}/diskTypes/pd-standard").rpartition("/")
    hyperdisk = disk.startswith("hyperdisk-")
    if not where.endswith(f"zones/{zone}/diskTypes") or (
        kind.partition("-")[0] in HYPERDISK_ONLY and not hyperdisk
    ):
        raise ApiError(
            400, "badRequest", f"{disk} disk type cannot be used by {kind} machine type."
        )


def _check_network(project: Project, url: str) -> None:
    name = url.rpartition("/")[2]
    if name not in project.networks:
        said = f"The resource 'projects/{project.id}/global/networks/{name}' was not found"
        raise ApiError(404, "notFound", said)


def _check_scheduling(kind: str, body: dict[str, Any]) -> None:
    how = body.get("scheduling", {})
    spot = how.get("provisioningModel") == "SPOT"
    moves = how.get("onHostMaintenance", "TERMINATE" if spot else "MIGRATE") == "MIGRATE"
    if spot and (moves or how.get("automaticRestart", False)):
        said = "Spot VMs must have onHostMaintenance TERMINATE and automaticRestart false."
        raise invalid("resource.scheduling", how, said)
    _check_run(how, spot=spot)
    if moves and (kind.startswith(("a2", "a3", "g2")) or body.get("guestAccelerators")):
        said = "Instances with guest accelerators do not support live migration."
        raise ApiError(400, "badRequest", said)
    if body.get("guestAccelerators") and not kind.startswith("n1-"):
        said = f"The machine type {kind} does not take accelerators."
        raise invalid("resource.guestAccelerators", body["guestAccelerators"], said)


def _check_run(how: dict[str, Any], *, spot: bool) -> None:
    """A limit of the run time says what is done at its end, whatever the provisioning model."""
    run, action = how.get("maxRunDuration"), how.get("instanceTerminationAction")
    if action not in (None, "STOP", "DELETE") or (action and run is None and not spot):
        said = "instanceTerminationAction is for spot VMs and those with a limit of their run time."
        raise invalid("resource.scheduling.instanceTerminationAction", action, said)
    if run is None:
        return
    if action is None:
        said = "A limit of the run time needs an instanceTerminationAction."
        raise invalid("resource.scheduling.instanceTerminationAction", action, said)
    if not SHORTEST_RUN_S <= int(run.get("seconds", 0)) <= LONGEST_RUN_S:
        said = f"Must be between {SHORTEST_RUN_S} and {LONGEST_RUN_S} seconds."
        raise invalid("resource.scheduling.maxRunDuration", run, said)


def check_firewall(project: Project, body: dict[str, Any]) -> None:
    check_known(body, FIREWALL, "resource")
    required(body, "name")
    check_name(body["name"])
    _check_network(project, body.get("network", "default"))
    if len(body.get("description", "")) > MOST_DESCRIPTION:
        raise invalid("resource.description", "...", f"Must be at most {MOST_DESCRIPTION} long.")
    for tag in body.get("targetTags", []):
        check_name(tag)
    if bool(body.get("allowed")) == bool(body.get("denied")):
        said = "Exactly one of allowed and denied must be specified."
        raise invalid("resource.allowed", body.get("allowed"), said)
    if not 0 <= body.get("priority", 1000) <= 65535:
        raise invalid("resource.priority", body["priority"], "Must be in [0, 65535]")
    for range_ in body.get("sourceRanges", []):
        if not re.fullmatch(r"[0-9.]+(/\d{1,2})?|[0-9a-f:]+(/\d{1,3})?", range_):
            raise invalid("resource.sourceRanges[0]", range_, "Must be a valid CIDR range.")
