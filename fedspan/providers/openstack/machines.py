"""Machines of an OpenStack project.

A machine is a server, and beside it a security group and maybe a key pair, all three of one name:
the owner's and the key's. The group is made first and removed last, so that whatever else is left
of a machine is found by it.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from fedspan.domain.credentials import OpenStackSecret
from fedspan.domain.machines import Machine, MachineSpec, MachineState, Offer, Role
from fedspan.domain.spec import Need
from fedspan.errors import (
    CloudUnavailable,
    InvalidRequest,
    NoCapacity,
    NotOffered,
    ProviderError,
)
from fedspan.providers.base import Capabilities, Surroundings
from fedspan.providers.openstack import choosing, facts
from fedspan.providers.openstack.connection import Cloud
from fedspan.providers.openstack.errors import Hidden, contained, despite, translated
from fedspan.providers.user_data import cloud_config

USER_DATA_BYTES: Final = 49_149
"""Nova takes 65,535 characters of base64."""
STATES: Final = {
    "BUILD": MachineState.PENDING,
    "REBUILD": MachineState.PENDING,
    "REBOOT": MachineState.PENDING,
    "HARD_REBOOT": MachineState.PENDING,
    "ACTIVE": MachineState.RUNNING,
    "PASSWORD": MachineState.RUNNING,
    "MIGRATING": MachineState.RUNNING,
    "RESIZE": MachineState.RUNNING,
    "VERIFY_RESIZE": MachineState.RUNNING,
    "UNKNOWN": MachineState.RUNNING,  # its host is silent; its own heartbeats tell
}
"""By status; all others are of servers that do not run."""
TASKS: Final = {
    "deleting": MachineState.STOPPED,
    "soft-deleting": MachineState.STOPPED,
    "powering-off": MachineState.STOPPED,
    "powering-on": MachineState.PENDING,
}
"""By task_state, which says where a server is going; it comes before the status."""

NO_HOST: Final = r"no valid host|exceeded maximum number of retries"
"""Nova's words for a server that no host took."""


class OpenStackProvider:
    """Logs in at the first call. `name` is the credential's."""

    capabilities = Capabilities(user_data_bytes=USER_DATA_BYTES, roles=frozenset({Role.CLIENT}))

    def __init__(self, name: str, secret: OpenStackSecret, around: Surroundings) -> None:
        self.name = name
        self._secret = secret
        self._around = around
        self._hidden = Hidden(secret)
        self._opened: Cloud | None = None
        self._lock = threading.Lock()

    def offers(self, need: Need) -> Sequence[Offer]:
        """The flavors, at no price, the smallest first; those with GPUs where they are needed."""
        with self._cloud("offer") as cloud:
            image = choosing.image(cloud.sdk, self._secret.image)
            found = [
                choosing.offer(one, image, self.name, cloud.region)
                for one in choosing.flavors(cloud.sdk)
                if choosing.holds(one, image)
            ]
        return [one for one in found if one.fits(need) and bool(one.gpus) == bool(need.gpu)]

    def launch(self, job: str, spec: MachineSpec) -> Machine:
        text = cloud_config(spec, self._around.images[spec.role], USER_DATA_BYTES)
        with self._cloud(f"launch {spec.key}") as cloud:
            name = facts.name(self._around.owner, spec.key)
            there = self._there(cloud, name)
            return there or self._launched(cloud, job, spec, text)

    def _there(self, cloud: Cloud, name: str) -> Machine | None:
        """What an earlier launch of the key made, if it may be had.

        Raises:
            CloudUnavailable: it is going away.
            NoCapacity: no host took it.
        """
        servers = self._servers(cloud, name)
        staying = [(one, machine) for one, machine in servers if not is_going(one)]
        if servers and not staying:
            raise CloudUnavailable(f"openstack: the old machine {name} is still going; try again")
        if not staying:
            return None
        server, machine = staying[0]
        why = str((server.fault or {}).get("message", ""))
        if server.status == "ERROR" and re.search(NO_HOST, why, re.IGNORECASE):
            with translated(f"remove {name}"):
                cloud.sdk.compute.delete_server(server.id, ignore_missing=True)
            raise NoCapacity(f"openstack: {name}: {why}")
        return machine

    def _launched(self, cloud: Cloud, job: str, spec: MachineSpec, text: str) -> Machine:
        name = facts.name(self._around.owner, spec.key)
        machine = Machine(
            id=name,
            job=job,
            key=spec.key,
            role=spec.role,
            epoch=spec.epoch,
            offer=spec.offer,
            state=MachineState.PENDING,
            launched=self._around.now(),
        )
        wanted = self._wanted(cloud, machine, spec, text)
        try:
            wanted["security_groups"] = [{"name": self._group(cloud, machine, spec)}]
            wanted |= self._key_pair(cloud, name)
            with translated(f"launch {spec.key}"):
                cloud.sdk.compute.create_server(**wanted)
        except ProviderError as exc:
            if not exc.retryable:  # else a repeat goes on from here
                with contextlib.suppress(ProviderError):
                    if not self._servers(cloud, name):  # another launch of the key's, it may be
                        self._remove_rest(cloud, name)
            raise
        return self._one_of(cloud, name) or machine

    def machines(self, job: str | None = None) -> Sequence[Machine]:
        with self._cloud("list machines") as cloud:
            found = {machine.id: machine for _, machine in reversed(self._servers(cloud))}
            for _, left in self._groups(cloud):
                found.setdefault(left.id, left)
        return [one for _, one in sorted(found.items()) if job in (None, one.job)]

    def terminate(self, machine: Machine) -> None:
        with self._cloud(f"terminate {machine.key}") as cloud:
            servers = self._servers(cloud, machine.id)
            for server, _ in servers:
                cloud.sdk.compute.delete_server(server.id, ignore_missing=True)
            if not servers:  # until then its port holds on to the group
                self._remove_rest(cloud, machine.id)

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.close()
            self._opened = None

    @contextmanager
    def _cloud(self, action: str) -> Iterator[Cloud]:
        """The cloud, open. Whatever it says, only a `ProviderError` comes of it: who asks several
        clouds goes on with the others."""
        try:
            with contained(action, self._hidden):
                with self._lock:
                    if self._opened is None:
                        self._opened = Cloud(self._secret, self._around, self._hidden)
                    opened = self._opened
                yield opened
        except InvalidRequest as exc:  # for a person who registers; this credential is registered
            raise ProviderError(f"openstack {action}: {exc}") from exc

    def _servers(self, cloud: Cloud, name: str | None = None) -> list[tuple[Any, Machine]]:
        """Ours, the oldest first; with `name`, those of one key, which more than one may have
        for a moment."""
        owner = self._around.owner
        pattern = (
            f"^{name}$" if name else f"^{facts.name(owner, '')}"
        )  # Nova takes names as expressions
        with translated("list servers"):
            servers = sorted(
                cloud.sdk.compute.servers(name=pattern), key=lambda one: (one.created_at, one.id)
            )
        found = []
        for one in servers:
            machine = facts.machine(one.metadata, one.name, owner, self.name, state_of(one))
            if machine is not None:
                found.append((one, machine))
        return found

    def _groups(self, cloud: Cloud, name: str | None = None) -> list[tuple[Any, Machine]]:
        wanted = {"project_id": cloud.project_id} | ({"name": name} if name else {})
        with translated("list security groups"):
            groups = sorted(cloud.sdk.network.security_groups(**wanted), key=lambda one: one.id)
        found = []
        for one in groups:
            said = (one.description or "", one.name, self._around.owner, self.name, cloud.region)
            if (left := facts.leftover(*said)) is not None:
                found.append((one, left))
        return found

    def _wanted(
        self, cloud: Cloud, machine: Machine, spec: MachineSpec, text: str
    ) -> dict[str, Any]:
        """The body of the request for a server, but for what it is to have beside it."""
        flavors = {one.name: one for one in choosing.flavors(cloud.sdk)}
        flavor = flavors.get(spec.offer.machine_type)
        if flavor is None:
            raise NotOffered(
                f"openstack: no flavor {spec.offer.machine_type}; there are: {', '.join(flavors)}"
            )
        network = choosing.network(cloud.sdk, self._secret.network)
        return {
            "name": machine.id,
            "flavor_id": flavor.id,
            "image_id": choosing.image(cloud.sdk, self._secret.image).id,
            "networks": [{"uuid": network.id}],
            "metadata": facts.metadata(machine, self._around.owner),
            "user_data": base64.b64encode(text.encode()).decode(),
            "config_drive": True,  # needs no metadata service, and only root reads it
        }

    def _group(self, cloud: Cloud, machine: Machine, spec: MachineSpec) -> str:
        """The id of the security group: all may go out, and in only what `spec` says. What groups
        begin with is up to the cloud's operator."""
        network, there = cloud.sdk.network, self._groups(cloud, machine.id)
        described = facts.description(machine, self._around.owner)
        with translated(f"make the security group of {machine.key}"):
            group = (
                there[0][0]
                if there
                else network.create_security_group(name=machine.id, description=described)
            )
            has = {rule_of(one): one["id"] for one in group.security_group_rules}
            wanted = rules(spec)
            for one in has.keys() - wanted:
                network.delete_security_group_rule(has[one], ignore_missing=True)
            for one in sorted(wanted - has.keys()):
                with despite("already exists"):
                    network.create_security_group_rule(
                        security_group_id=group.id,
                        **{name: value for name, value in one._asdict().items() if value},
                    )
        return str(group.id)

    def _key_pair(self, cloud: Cloud, name: str) -> dict[str, str]:
        if not self._around.ssh_key:
            return {}
        with translated(f"make the key pair {name}"), despite("already exists"):
            cloud.sdk.compute.create_keypair(name=name, public_key=self._around.ssh_key)
        return {"key_name": name}

    def _remove_rest(self, cloud: Cloud, name: str) -> None:
        with translated(f"remove the key pair {name}"):
            cloud.sdk.compute.delete_keypair(name, ignore_missing=True)
        for group, _ in self._groups(cloud, name):
            with translated(f"remove the security group {name}"), despite("in use"):
                cloud.sdk.network.delete_security_group(group.id, ignore_missing=True)

    def _one_of(self, cloud: Cloud, name: str) -> Machine | None:
        """Two launches of one key at one moment both make a server: the older one stays."""
        servers = [one for one in self._servers(cloud, name) if not is_going(one[0])]
        with translated(f"launch {name}"):
            for server, _ in servers[1:]:
                cloud.sdk.compute.delete_server(server.id, ignore_missing=True)
        return servers[0][1] if servers else None


class Rule(NamedTuple):
    """A rule of a security group, as Neutron names its parts; "" and 0 are any."""

    direction: str
    ethertype: str
    protocol: str = ""
    port_range_min: int = 0
    port_range_max: int = 0
    remote_ip_prefix: str = ""
    remote_group_id: str = ""


def rules(spec: MachineSpec) -> set[Rule]:
    out = {Rule("egress", "IPv4"), Rule("egress", "IPv6")}
    sources = [ipaddress.ip_network(one, strict=False) for one in spec.sources if spec.port]
    return out | {
        Rule("ingress", f"IPv{one.version}", "tcp", spec.port, spec.port, str(one))
        for one in sources
    }


def rule_of(said: Mapping[str, Any]) -> Rule:
    blank = Rule("", "")
    return Rule(*(said.get(name) or nothing for name, nothing in blank._asdict().items()))


def is_going(server: Any) -> bool:
    task = server.task_state or ""
    return task in ("deleting", "soft-deleting") or server.status in ("DELETED", "SOFT_DELETED")


def state_of(server: Any) -> MachineState:
    known = STATES.get(server.status, MachineState.STOPPED)
    return TASKS.get(server.task_state or "", known)
