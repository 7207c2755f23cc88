"""Compute v1: the calls we make, done on a `Project`. Each takes the project, the parts of its
path, its query and its body, and is called with the project's lock held."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.clouds.gcp.boot import Boots
from tests.clouds.gcp.checks import MACHINE_TYPE, check_firewall, check_instance, invalid
from tests.clouds.gcp.operations import Operations, failure, stamp
from tests.clouds.gcp.projects import REGIONS, ZONES, ApiError, Project, number
from tests.clouds.gcp.queries import matching, paged, term

Query = Mapping[str, str]
Answer = dict[str, Any]
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass
class Compute:
    operations: Operations
    boots: Boots
    url: Callable[[], str]

    def regions_list(self, project: Project, query: Query) -> Answer:
        project.demand("compute.regions.list")
        used = len(project.instances)
        quotas = [{"metric": "CPUS", "limit": 24.0, "usage": float(used)}]
        items = [{"name": name, "status": "UP", "quotas": quotas} for name in REGIONS]
        found, more = paged(items, query, project.page)
        return {"kind": "compute#regionList", "items": found, **more}

    def machine_types(self, project: Project, query: Query) -> Answer:
        """Only with a filter of one name: Google has thousands."""
        project.demand("compute.machineTypes.list")
        _, name = term(query.get("filter", ""))
        zones = [
            {"zone": zone, "name": name}
            for zone in ZONES
            if MACHINE_TYPE.fullmatch(name) and (zone, name) not in project.lacking
        ]
        return self._aggregated("machineTypes", zones, query, project.page)

    def instances_aggregated(self, project: Project, query: Query) -> Answer:
        project.demand("compute.instances.list")
        self._look_at_machines(project)
        return self._aggregated(
            "instances", self._filtered(project, query, None), query, project.page
        )

    def instances_list(self, project: Project, zone: str, query: Query) -> Answer:
        project.demand("compute.instances.list")
        self._look_at_machines(project)
        found, more = paged(self._filtered(project, query, zone), query, project.page)
        return {"kind": "compute#instanceList", "items": found, **more}

    def instances_insert(self, project: Project, zone: str, query: Query, body: Answer) -> Answer:
        project.demand(
            "compute.instances.create",
            "compute.disks.create",
            "compute.subnetworks.use",
            "compute.subnetworks.useExternalIp",
            "compute.instances.setMetadata",
            "compute.instances.setTags",
            "compute.instances.setLabels",
        )
        if body.get("serviceAccounts"):
            project.demand("compute.instances.setServiceAccount", "iam.serviceAccounts.actAs")
        check_zone(project, zone)
        known = _asked_before(project, query)
        if known is not None:
            return known
        check_instance(project, zone, body)
        name = body["name"]
        _not_there(project, (zone, name) in project.instances, f"zones/{zone}/instances/{name}")
        machine = self._machine(project, zone, body)
        effects = (
            lambda: self._provisioned(project, machine),
            lambda: self._running(project, machine),
        )
        operation = self.operations.start(project, "insert", machine, zone, effects)
        return _remembered(project, query, operation)

    def instances_delete(self, project: Project, zone: str, name: str, query: Query) -> Answer:
        project.demand("compute.instances.delete")
        machine = project.instances.get((zone, name))
        if machine is None:
            raise _missing(project, f"zones/{zone}/instances/{name}")
        machine["status"] = "STOPPING"

        def last() -> None:
            self.boots.stop(machine["id"])
            project.instances.pop((zone, name), None)

        return self.operations.start(project, "delete", machine, zone, (lambda: None, last))

    def networks_get(self, project: Project, name: str) -> Answer:
        project.demand("compute.networks.get")
        if name not in project.networks:
            raise _missing(project, f"global/networks/{name}")
        return {"name": name, "autoCreateSubnetworks": name not in project.custom_networks}

    def firewalls_insert(self, project: Project, query: Query, body: Answer) -> Answer:
        project.demand("compute.firewalls.create", "compute.networks.updatePolicy")
        known = _asked_before(project, query)
        if known is not None:
            return known
        check_firewall(project, body)
        name = body["name"]
        _not_there(project, name in project.firewalls, f"global/firewalls/{name}")
        link = f"{self.url()}/compute/v1/projects/{project.id}/global/firewalls/{name}"
        rule = {"id": number(), "selfLink": link, "creationTimestamp": stamp(), **body}
        if len(project.firewalls) >= project.most_firewalls:
            said = f"Quota 'FIREWALLS' exceeded.  Limit: {project.most_firewalls}.0 globally."
            over = failure("QUOTA_EXCEEDED", said)
            effects = (lambda: over, lambda: None)
        else:
            project.firewalls[name] = rule
            effects = (lambda: None, lambda: None)
        operation = self.operations.start(project, "insert", rule, None, effects)
        return _remembered(project, query, operation)

    def firewalls_get(self, project: Project, name: str) -> Answer:
        project.demand("compute.firewalls.get")
        if name not in project.firewalls:
            raise _missing(project, f"global/firewalls/{name}")
        return project.firewalls[name]

    def firewalls_list(self, project: Project, query: Query) -> Answer:
        project.demand("compute.firewalls.list")
        rules = matching(list(project.firewalls.values()), query.get("filter", ""))
        found, more = paged(rules, query, project.page)
        return {"kind": "compute#firewallList", "items": found, **more}

    def firewalls_delete(self, project: Project, name: str, query: Query) -> Answer:
        project.demand("compute.firewalls.delete", "compute.networks.updatePolicy")
        rule = project.firewalls.get(name)
        if rule is None:
            raise _missing(project, f"global/firewalls/{name}")

        def last() -> None:
            project.firewalls.pop(name, None)

        return self.operations.start(project, "delete", rule, None, (lambda: None, last))

    def preempt(self, project: Project, name: str) -> None:
        """Google takes a spot machine back: STOPPING, then TERMINATED or gone, as it was told to
        be. Anybody else's power button stops a machine on demand."""
        self._end(project, name, lambda how: how.get("provisioningModel") == "SPOT")

    def time_is_up(self, project: Project, name: str) -> None:
        """The run time of a machine reaches its limit. One that does not run has no such time:
        it was cleared when it stopped."""
        self._look_at_machines(project)
        (machine,) = [one for (_, its), one in project.instances.items() if its == name]
        if machine["status"] == "RUNNING" and "maxRunDuration" in machine["scheduling"]:
            self._end(project, name, lambda how: True)

    def _end(self, project: Project, name: str, acts: Callable[[Answer], bool]) -> None:
        with project.changed:
            (key,) = [one for one in project.instances if one[1] == name]
            machine = project.instances[key]
            machine["status"] = "STOPPING"
            project.changed.notify_all()

        def end() -> None:
            with project.changed:
                self.boots.stop(machine["id"])
                machine["status"] = "TERMINATED"
                how = machine["scheduling"]
                if acts(how) and how.get("instanceTerminationAction") == "DELETE":
                    project.instances.pop(key, None)
                project.changed.notify_all()

        self.operations.later.do(project.operation_s, end)

    def _machine(self, project: Project, zone: str, body: Answer) -> Answer:
        machine: Answer = json.loads(json.dumps(body))
        home = f"{self.url()}/compute/v1/projects/{project.id}/zones/{zone}"
        machine.update(
            id=number(),
            zone=home,
            selfLink=f"{home}/instances/{body['name']}",
            creationTimestamp=stamp(),
            status="PROVISIONING",
        )
        machine.setdefault("scheduling", {"provisioningModel": "STANDARD"})
        for interface in machine["networkInterfaces"]:
            for config in interface.get("accessConfigs", []):
                config["natIP"] = "127.0.0.1"
        return machine

    def _provisioned(self, project: Project, machine: Answer) -> Answer | None:
        """It is seen only now. Stock and quota are looked at now too, not when it is asked for."""
        zone = machine["zone"].rpartition("/")[2]
        if zone in project.sold_out:
            said = (
                f"The zone 'projects/{project.id}/zones/{zone}' does not have enough resources "
                "available to fulfill the request.  Try a different zone, or try again later."
            )
            return failure(project.insert_error, said)
        if len(project.instances) >= project.most_instances:
            said = f"Quota 'CPUS' exceeded.  Limit: {project.most_instances}.0 in {ZONES[zone]}."
            return failure("QUOTA_EXCEEDED", said)
        if (zone, machine["name"]) in project.instances:
            return failure("RESOURCE_ALREADY_EXISTS", f"The resource {machine['name']} exists.")
        project.instances[zone, machine["name"]] = machine
        return None

    def _running(self, project: Project, machine: Answer) -> None:
        if machine["status"] != "PROVISIONING":
            return
        machine["status"] = "RUNNING"
        items = machine.get("metadata", {}).get("items", [])
        data = {one["key"]: one.get("value", "") for one in items}
        self.boots.start(machine["id"], data.get("user-data", ""))

    def _look_at_machines(self, project: Project) -> None:
        for machine in project.instances.values():
            if machine["status"] == "RUNNING" and self.boots.ended(machine["id"]):
                machine["status"] = "TERMINATED"

    def _filtered(self, project: Project, query: Query, zone: str | None) -> list[Answer]:
        here = [one for (its, _), one in project.instances.items() if zone in (None, its)]
        return matching(here, query.get("filter", ""))

    def _aggregated(self, kind: str, items: list[Answer], query: Query, most: int) -> Answer:
        found, more = paged(items, query, most)
        scopes: Answer = {f"zones/{zone}": {} for zone in ZONES}
        for one in found:
            zone = one["zone"].rpartition("/")[2]
            scopes[f"zones/{zone}"].setdefault(kind, []).append(one)
        for zone in ZONES:
            if kind not in scopes[f"zones/{zone}"]:
                said = f"There are no results for scope 'zones/{zone}' on this page."
                warning = {"code": "NO_RESULTS_ON_PAGE", "message": said}
                scopes[f"zones/{zone}"]["warning"] = warning
        return {"kind": f"compute#{kind}AggregatedList", "items": scopes, **more}


def check_zone(project: Project, zone: str) -> None:
    if zone not in ZONES:
        raise invalid("zone", zone, f"Unknown zone of 'projects/{project.id}'.")


def _asked_before(project: Project, query: Query) -> Answer | None:
    """The operation that the same `requestId` began."""
    given = query.get("requestId")
    if given is None:
        return None
    if not _UUID.fullmatch(given):
        raise invalid("requestId", given, "Must be a valid UUID.")
    return project.operations.get(project.requests.get(given, ""))


def _remembered(project: Project, query: Query, operation: Answer) -> Answer:
    if "requestId" in query:
        project.requests[query["requestId"]] = operation["name"]
    return operation


def _missing(project: Project, what: str) -> ApiError:
    said = f"The resource 'projects/{project.id}/{what}' was not found"
    return ApiError(404, "notFound", said)


def _not_there(project: Project, there: bool, what: str) -> None:
    if there:
        said = f"The resource 'projects/{project.id}/{what}' already exists"
        raise ApiError(409, "alreadyExists", said)
