"""Machines on Google Compute Engine: the four methods of a provider."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Self

import requests

from fedspan.domain.credentials import GcpSecret
from fedspan.domain.machines import Machine, MachineSpec, MachineState, Offer, Role, zones_in_order
from fedspan.domain.spec import Need
from fedspan.errors import InvalidRequest, NoCapacity, NotOffered, ProviderError
from fedspan.placement.offers import offers_in
from fedspan.providers.base import Capabilities, Surroundings
from fedspan.providers.gcp.documents import ADDRESS, instance, opening, rules
from fedspan.providers.gcp.errors import Refused, of_operation, translated
from fedspan.providers.gcp.identity import Identity, of_environment, of_key
from fedspan.providers.gcp.marks import NAME, OPEN, OWNER, SHUT, Marks, name_of, of_rule, read
from fedspan.providers.gcp.rest import Calls, equal
from fedspan.providers.user_data import cloud_config, noticed

STATES: Final[Mapping[str, MachineState]] = {
    "PROVISIONING": MachineState.PENDING,
    "STAGING": MachineState.PENDING,
    "RUNNING": MachineState.RUNNING,
    "REPAIRING": MachineState.RUNNING,
    "STOPPING": MachineState.STOPPED,
    "STOPPED": MachineState.STOPPED,
    "SUSPENDING": MachineState.STOPPED,
    "SUSPENDED": MachineState.STOPPED,
    "TERMINATED": MachineState.STOPPED,
}
"""What Google adds to these counts as running: it costs."""

LOOK_S: Final = 5.0
"""How long a launch looks at what becomes of an insert, a zone. Most that fail do so in it; of one
that fails later, its firewall rules show as a stopped machine."""

YOUNG: Final = timedelta(minutes=2)
"""So long rules without an instance are those of a launch, not a leftover."""

REMEMBERED: Final = timedelta(hours=1)
_SHOWN: Final = "name,status,description"


class GcpProvider:
    """Machines of one project. `service_account` is the email of what they act as; default: as
    nobody."""

    def __init__(
        self,
        name: str,
        secret: GcpSecret | Identity,
        around: Surroundings,
        service_account: str = "",
    ) -> None:
        identity = secret if isinstance(secret, Identity) else of_key(secret)
        self._name = name
        self._calls = Calls(identity, around.endpoint)
        self._given = identity.regions
        self._around = around
        self._service_account = service_account
        self._known: tuple[datetime, tuple[str, ...]] | None = None

    @classmethod
    def ambient(cls, name: str, around: Surroundings, service_account: str = "") -> Self:
        """As what the environment makes of us, in its project. Raises `CredentialRejected`."""
        return cls(name, of_environment(), around, service_account)

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(spot=True, user_data_bytes=262_144, roles=frozenset({Role.AGGREGATOR}))

    def close(self) -> None:
        self._calls.close()

    def offers(self, need: Need) -> Sequence[Offer]:
        """None with a GPU: on Container-Optimized OS a container has the use of one only after a
        driver was installed and mounted, which our start-up document does not do."""
        if need.gpu is not None:
            return []
        with translated("list regions"):
            return offers_in(self._around.book(), "gcp", self._regions(), need)

    def launch(self, job: str, spec: MachineSpec) -> Machine:
        if spec.offer.gpus:
            raise NotOffered(f"gcp: {spec.offer.machine_type} has a GPU that no machine could use")
        name = name_of(self._around.owner, spec.key)
        image, most = self._around.images[spec.role], self.capabilities.user_data_bytes
        boot = noticed(spec, "gcp"), image, most, ADDRESS, opening(spec.port)
        user_data = cloud_config(*boot)
        marks = Marks(
            owner=self._around.owner,
            job=job,
            key=spec.key,
            role=spec.role,
            epoch=spec.epoch,
            offer=spec.offer,
            launched=self._around.now(),
        )
        try:
            with translated(f"launch {spec.key}"):
                found = self._found(name)
                if found is not None:
                    return found[1]
                return self._launched(name, marks, spec, user_data)
        except ProviderError as exc:
            if not exc.retryable:
                self._give_up(name)
            raise

    def machines(self, job: str | None = None) -> Sequence[Machine]:
        with translated("list machines"):
            # Rules first: they are made before the instance, and go after it.
            left = self._ruled()
            mine = equal(f"labels.{OWNER}", self._around.owner)
            shown = self._calls.aggregated("instances", _SHOWN, filter=mine)
            seen = [one for zone, found in shown if (one := self._read(found, zone)) is not None]
        there = {one.id for one in seen}
        seen += [machine for name, machine in left.items() if name not in there]
        return sorted((one for one in seen if job in (None, one.job)), key=lambda one: one.key)

    def terminate(self, machine: Machine) -> None:
        if not NAME.fullmatch(machine.id):
            raise InvalidRequest("gcp terminate: that is no id of a machine of ours")
        with translated(f"terminate {machine.id}"):
            self._end(machine.id)

    def _launched(self, name: str, marks: Marks, spec: MachineSpec, user_data: str) -> Machine:
        zones = self._zones(marks, spec.avoid_zones)
        life, marks, begun = self._shielded(name, marks, spec)
        sold_out = []
        for zone in zones:
            document = instance(
                name,
                zone,
                marks,
                user_data,
                ssh_key=self._around.ssh_key,
                service_account=self._service_account,
            )
            refused = self._inserted(zone, document, f"{life}/{zone}")
            if refused is None:
                break
            if refused.kind is not NoCapacity:
                raise refused
            sold_out.append(zone)
        else:
            how = "spot " if marks.offer.spot else ""
            raise NoCapacity(
                f"gcp launch {marks.key}: no {how}{marks.offer.machine_type} is to be had in "
                f"{', '.join(sold_out)} just now"
            )
        for operation in begun:
            self._check("global", "operations", operation)
        return marks.machine(name, MachineState.PENDING, zone)

    def _zones(self, marks: Marks, avoid: Sequence[str]) -> list[str]:
        """Of the offer's region, those that have its machine type, those to `avoid` last."""
        offer = marks.offer
        wanted = equal("name", offer.machine_type)
        found = self._calls.aggregated("machineTypes", "name", filter=wanted)
        zones = {zone for zone, _ in found if zone.rpartition("-")[0] == offer.region}
        if not zones:
            raise NotOffered(f"gcp: {offer.region} has no {offer.machine_type}")
        return zones_in_order(zones, marks.key, avoid)

    def _shielded(
        self, name: str, marks: Marks, spec: MachineSpec
    ) -> tuple[str, Marks, Sequence[str]]:
        """Make the firewall rules. The id of this life of the key, what it was marked with when it
        began, and the operations that were begun now."""
        life, begun = "", []
        for rule in rules(name, marks, spec):
            try:
                operation = self._calls.post("global", "firewalls", body=rule)
            except Refused as exc:
                if exc.status != 409:
                    raise
                continue
            begun.append(operation["name"])
            life = life or (operation["targetId"] if rule["name"] == name + SHUT else "")
        if life:
            return life, marks, begun
        before = self._calls.get("global", "firewalls", name + SHUT, fields="id,description")
        return before["id"], read(name, before.get("description"), marks.owner) or marks, begun

    def _inserted(self, zone: str, document: Mapping[str, Any], request: str) -> Refused | None:
        """Why there will be no instance; None when there will be, as far as is known soon."""
        try:
            operation = self._calls.post(
                "zones",
                zone,
                "instances",
                body=dict(document),
                requestId=str(uuid.uuid5(uuid.NAMESPACE_URL, request)),
            )
        except Refused as exc:
            return exc
        if operation["status"] != "DONE":
            path = "zones", zone, "operations", operation["name"], "wait"
            with contextlib.suppress(requests.Timeout, requests.ConnectionError):
                # One that does not tell in time goes on.
                operation = self._calls.post(*path, seconds=LOOK_S)
        return of_operation(operation)

    def _check(self, *path: str) -> None:
        refused = of_operation(self._calls.get(*path))
        if refused is not None:
            raise refused

    def _found(self, name: str) -> tuple[str, Machine] | None:
        """The zone and the machine of an instance, whatever its state."""
        wanted = equal("name", name)
        for zone, shown in self._calls.aggregated("instances", _SHOWN, filter=wanted):
            machine = self._read(shown, zone)
            if machine is not None and machine.id == name:
                return zone, machine
        return None

    def _read(self, shown: Mapping[str, Any], zone: str) -> Machine | None:
        marks = read(shown["name"], shown.get("description"), self._around.owner)
        state = STATES.get(shown["status"], MachineState.RUNNING)
        return marks.machine(shown["name"], state, zone) if marks else None

    def _ruled(self) -> dict[str, Machine]:
        """A machine for each whose firewall rules there are, as it is if there is no more of it."""
        found = {}
        for rule in self._calls.listed("global", "firewalls", fields="name,description"):
            name = of_rule(rule["name"])
            marks = read(name, rule.get("description"), self._around.owner)
            if marks is not None:
                young = self._around.now() - marks.launched < YOUNG
                state = MachineState.PENDING if young else MachineState.STOPPED
                found[name] = marks.machine(name, state)
        return found

    def _end(self, name: str) -> None:
        """Delete the instance; when there is none, its rules. Only what is marked as ours."""
        found = self._found(name)
        if found is not None:
            zone, _ = found
            if self._deleted("zones", zone, "instances", name):
                return
        for rule in (OPEN, SHUT):
            if self._is_rule(name, rule):
                self._deleted("global", "firewalls", name + rule)

    def _is_rule(self, name: str, rule: str) -> bool:
        """Whether `name` has that rule, and it is marked as ours."""
        try:
            shown = self._calls.get("global", "firewalls", name + rule, fields="description")
        except Refused as exc:
            if exc.status == 404:
                return False
            raise
        return read(name, shown.get("description"), self._around.owner) is not None

    def _deleted(self, *path: str) -> bool:
        """Whether there was something to delete; it may be on its way already."""
        try:
            self._calls.delete(*path)
        except Refused as exc:
            if exc.status == 404:
                return False
            if "resourceNotReady" not in exc.codes:
                raise
        return True

    def _give_up(self, name: str) -> None:
        """Leave nothing of a launch that was refused; what cannot be removed now is still listed,
        and removed by whoever ends machines."""
        with contextlib.suppress(ProviderError), translated(f"clear {name}"):
            self._end(name)

    def _regions(self) -> tuple[str, ...]:
        """Where machines may be. What the project has is asked once, and remembered a while."""
        now = self._around.now()
        if self._given:
            return self._given
        if self._known is None or now - self._known[0] > REMEMBERED:
            found = self._calls.listed("regions", fields="name,status")
            up = tuple(one["name"] for one in found if one.get("status") == "UP")
            self._known = now, up
        return self._known[1]
