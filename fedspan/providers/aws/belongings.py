"""What a machine on EC2 has beside its instance: a security group, and maybe a key pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from fedspan.domain.machines import MachineSpec
from fedspan.errors import CloudUnavailable
from fedspan.providers.aws import marks
from fedspan.providers.aws.errors import LACKING, code_of, removing, tolerating
from fedspan.providers.aws.launching import label, rules
from fedspan.providers.base import Surroundings


@dataclass(frozen=True, slots=True)
class Belongings:
    """Those of our machines in the region of the client `ec2`."""

    ec2: Any
    around: Surroundings

    def groups(self, **which: str | None) -> list[dict[str, Any]]:
        pages = self.ec2.get_paginator("describe_security_groups").paginate(
            Filters=marks.filters(self.around.owner, **which)
        )
        return [one for page in pages for one in page["SecurityGroups"]]

    def _key_pairs(self, key: str) -> list[dict[str, Any]]:
        found = self.ec2.describe_key_pairs(Filters=marks.filters(self.around.owner, key=key))
        return list(found["KeyPairs"])

    def firewall(
        self,
        job: str,
        spec: MachineSpec,
        zone: str,
        found: Sequence[Mapping[str, Any]],
    ) -> str:
        """The id of the machine's group, made where none was `found`, with its rules."""
        if found:
            group = str(found[0]["GroupId"])
        else:
            values = marks.marks(self.around.owner, job, spec)
            values[marks.MADE] = self.around.now().isoformat()
            if zone:
                values[marks.ZONE] = zone
            made = self.ec2.create_security_group(
                GroupName=label(self.around.owner, spec.key),
                Description=f"Fedspan machine {spec.key}",
                TagSpecifications=marks.tagged(["security-group"], values),
            )
            group = str(made["GroupId"])
        self._open(group, spec)
        return group

    def _open(self, group: str, spec: MachineSpec) -> None:
        allowed = rules(spec)
        if not allowed:
            return
        try:
            with tolerating("InvalidPermission.Duplicate"):
                self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=allowed)
        except ClientError as exc:
            if code_of(exc) not in LACKING or self.groups(key=spec.key):
                raise
            raise CloudUnavailable(
                f"aws launch {spec.key}: its firewall {group} is not shown yet; try again"
            ) from exc

    def key_pair(self, job: str, spec: MachineSpec) -> str:
        if not self.around.ssh_key:
            return ""
        name = label(self.around.owner, spec.key)
        values = marks.marks(self.around.owner, job, spec)
        with tolerating("InvalidKeyPair.Duplicate"):
            self.ec2.import_key_pair(
                KeyName=name,
                PublicKeyMaterial=self.around.ssh_key.encode(),
                TagSpecifications=marks.tagged(["key-pair"], values),
            )
        return name

    def remove(self, key: str) -> None:
        """The group goes last, since it is what shows that something is left."""
        for pair in self._key_pairs(key):
            with removing(lambda: self._key_pairs(key), "InvalidKeyPair.NotFound"):
                self.ec2.delete_key_pair(KeyName=pair["KeyName"])
        # An interface holds the group a moment longer than EC2 shows its instance, and an instance
        # holds it already while it is not shown yet: the next call removes it.
        held = ("InvalidGroup.NotFound", "DependencyViolation")
        for group in self.groups(key=key):
            with removing(lambda: self.groups(key=key), *held):
                self.ec2.delete_security_group(GroupId=group["GroupId"])
