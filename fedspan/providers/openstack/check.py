"""What an OpenStack credential is, and what it may do, found out by reading only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from fedspan.domain.credentials import Examination, Identity, OpenStackSecret, Permission
from fedspan.errors import Denied
from fedspan.providers.addresses import check_address
from fedspan.providers.base import Surroundings
from fedspan.providers.openstack import choosing
from fedspan.providers.openstack.connection import Cloud
from fedspan.providers.openstack.errors import Hidden, contained, translated
from fedspan.providers.openstack.policy import CALLS, ROLE, Call, allowed

NAMED: Final = 12
"""So many flavors are named in a note."""


def examine(secret: OpenStackSecret, around: Surroundings) -> Examination:
    """Log in, read the catalogue, and do every reading call machines need. Those that make or
    remove something are not tried: of them only access rules tell.

    Raises:
        NotOffered: a service, the region, the image or the network is missing, or there are
            several and none is named; says which.
        and what `Clouds.examine` says.
    """
    check_address(secret.auth_url, allow_loopback=around.allow_loopback, field="auth_url")
    hidden = Hidden(secret)
    with contained("examine", hidden), closing(Cloud(secret, around, hidden)) as cloud:
        asked = _Asked(cloud, secret)
        expires = asked.expiry()
        for action in (asked.limits, asked.servers, asked.groups, asked.made_from):
            action()
        access = cloud.access
        return Examination(
            identity=Identity(
                subject=hidden.out_of(f"user {access.username} in project {access.project_name}"),
                account=cloud.project_id,
                expires=expires,
            ),
            permissions=tuple(asked.permission(one) for one in CALLS if _concerns(one, secret)),
            regions=(cloud.region,),
            notes=tuple(map(hidden.out_of, asked.notes)),
        )


@dataclass
class _Asked:
    """Goes on where a single call is denied: the answer lists them all."""

    cloud: Cloud
    secret: OpenStackSecret
    known: dict[tuple[str, str], bool] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def limits(self) -> None:
        found = self._ask("/limits", lambda: self.cloud.sdk.compute.get_limits().absolute)
        if found is not None:
            self.notes.append(
                f"quota: {found.total_instances_used} of {_most(found.instances)} servers, "
                f"{found.total_cores_used} of {_most(found.total_cores)} vCPUs, "
                f"{found.total_ram_used} of {_most(found.total_ram)} MiB in use"
            )

    def servers(self) -> None:
        sdk = self.cloud.sdk
        self._ask("/servers/detail", lambda: next(sdk.compute.servers(limit=1), None))

    def groups(self) -> None:
        sdk, project = self.cloud.sdk, self.cloud.project_id
        self._ask("/security-groups", lambda: list(sdk.network.security_groups(project_id=project)))

    def made_from(self) -> None:
        sdk = self.cloud.sdk
        flavors = self._ask("/flavors/detail", lambda: choosing.flavors(sdk))
        image = self._ask("/images", lambda: choosing.image(sdk, self.secret.image))
        network = self._ask("/networks", lambda: choosing.network(sdk, self.secret.network))
        if flavors is not None:
            self.notes.append(_of_flavors(flavors, choosing.least_disk(image)))
        if image is not None and network is not None:
            self.notes.append(f"machines are made from image {image.name} on {network.name}")
        if ROLE not in self.cloud.access.role_names and "admin" not in self.cloud.access.role_names:
            roles = ", ".join(self.cloud.access.role_names)
            self.notes.append(f"its roles are {roles}; clouds usually ask for the role {ROLE}")

    def expiry(self) -> datetime | None:
        """Of an application credential is known only to Keystone, not to its tokens."""
        identifier, user = self.secret.application_credential_id, self.cloud.access.user_id
        if identifier is None:
            return None
        found = self._ask(
            "/users/{id}/application_credentials/{id}",
            lambda: self.cloud.identity(f"/users/{user}/application_credentials/{identifier}"),
        )
        if found is None:
            self.notes.append("when the application credential ends could not be asked")
            return None
        ends = found["application_credential"]["expires_at"]
        if ends is None:
            return None
        expires = datetime.fromisoformat(ends).replace(tzinfo=UTC)
        self.notes.append(f"the application credential ends at {expires:%Y-%m-%d %H:%M} UTC")
        return expires

    def permission(self, call: Call) -> Permission:
        told = self.known.get((call.method, call.path))
        rules = self.cloud.access.application_credential_access_rules
        if told is None and rules is not None:
            told = allowed(rules, call, self.cloud.path(call.service))
        return Permission(action=call.action, purpose=call.purpose, allowed=told)

    def _ask(self, path: str, question: Callable[[], Any]) -> Any:
        """What is answered; None if the call is denied."""
        try:
            with translated(f"read {path}"):
                answer = question()
        except Denied:
            self.known["GET", path] = False
            return None
        self.known["GET", path] = True
        return answer


def _of_flavors(flavors: Sequence[Any], least_disk: int) -> str:
    used = [one for one in flavors if one.disk >= least_disk]
    shown = [f"{one.name} ({one.vcpus} vCPU, {one.ram} MiB)" for one in used[:NAMED]]
    more = f" and {len(used) - NAMED} more" if len(used) > NAMED else ""
    left_out = f"; flavors with less than {least_disk} GB of disk are not used"
    return (
        f"flavors: {', '.join(shown) or 'none'}{more}{left_out if len(used) < len(flavors) else ''}"
    )


def _concerns(call: Call, secret: OpenStackSecret) -> bool:
    return call.service != "identity" or secret.application_credential_id is not None


def _most(quota: int) -> str:
    return "any number of" if quota < 0 else str(quota)
