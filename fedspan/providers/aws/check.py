"""What a credential is and may do, proved by calls that make and change nothing.

EC2 answers a dry run with DryRunOperation where the call would do, and with UnauthorizedOperation
where a permission lacks. Whether it looks for the thing that is asked for before or after it
judges is not documented: where it says that a probe is not there, nothing is proved either way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from botocore import xform_name
from botocore.exceptions import ClientError

from fedspan.domain.credentials import AwsSecret, Examination, Identity, Permission
from fedspan.domain.machines import MachineSpec, Offer, Role
from fedspan.errors import NotOffered, ProviderError
from fedspan.providers.aws import marks
from fedspan.providers.aws.clients import HOME, Clients
from fedspan.providers.aws.errors import LACKING, code_of, kind_of, said_by, translated
from fedspan.providers.aws.launching import IMAGES, image_of, request
from fedspan.providers.aws.policy import (
    PASS_ROLE,
    PASS_ROLE_PURPOSE,
    PROBE_GROUP,
    PROBE_INSTANCE,
    PROBE_KEY_PAIR,
    PURPOSES,
)
from fedspan.providers.aws.regions import usable
from fedspan.providers.base import Surroundings

# Its private half is thrown away.
_PUBLIC_KEY: Final = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII9OY6JlctNDUEg8aHg8qhVMZqemmd/2OyDfZkeebtix fedspan-probe"
)
_NOT_THERE: Final = frozenset(
    {"InvalidInstanceID.NotFound", "InvalidGroup.NotFound", "InvalidKeyPair.NotFound"}
)
_UNTOLD: Final = frozenset({ProviderError, NotOffered})
"""Refusals that say nothing of permissions; any other ends the check."""

_NAMED: Final = re.compile(r"not authorized to perform: (\w+:\w+)")
_ROOT: Final = (
    "this key is of the account's root user, who may do everything and cannot be limited: use an "
    "IAM user with the policy of `fedspan credential policy aws` instead"
)
_SESSION: Final = (
    "a session token ends within hours, and machines could not be ended after it: register an "
    "access key of an IAM user"
)


def examine(secret: AwsSecret, around: Surroundings, instance_profile: str = "") -> Examination:
    """Raises:
    CredentialRejected: AWS does not take the key.
    NotOffered: a region it names is unknown or not enabled for the account, or there is no
        default VPC in any.
    Denied: its account is blocked, or an organisation forbids all its regions.
    CloudUnavailable, Throttled, ProviderError
    """
    clients = Clients(secret, around.endpoint)
    try:
        return _Check(clients, secret, around, instance_profile).run()
    finally:
        clients.close()


@dataclass
class _Check:
    clients: Clients
    secret: AwsSecret
    around: Surroundings
    instance_profile: str
    allowed: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def run(self) -> Examination:
        identity = self._identity()
        regions = self._regions()
        open_ones = self._usable(regions or (HOME,))
        home = HOME if HOME in open_ones else open_ones[0]
        with translated(f"open {home}"):
            probes = list(self._probes(home))
        for action, call in probes:
            self._ask(action, call)
        if {"ec2:RunInstances", "ec2:CreateSecurityGroup"} <= self.allowed:
            self.allowed.add("ec2:CreateTags")  # both were asked with the tags
        return Examination(
            identity=identity,
            permissions=tuple(self._permissions()),
            regions=open_ones if regions else (),
            notes=tuple(self.notes),
        )

    def _identity(self) -> Identity:
        with translated("ask who the credential is"):
            answer = self.clients.of("sts").get_caller_identity()
            subject, account = answer["Arn"], answer["Account"]
        if subject.endswith(":root"):
            self.notes.append(_ROOT)
        if self.secret.session_token:
            self.notes.append(_SESSION)
        return Identity(subject=subject, account=account)

    def _regions(self) -> tuple[str, ...]:
        """The named ones, which must be there; else all that are enabled."""
        named = self.secret.regions
        states: dict[str, str] = {}

        def list_them() -> None:
            answer = self.clients.of("ec2").describe_regions(AllRegions=True)
            states.update((one["RegionName"], one["OptInStatus"]) for one in answer["Regions"])

        self._ask("ec2:DescribeRegions", list_them)
        if not states:
            return named
        unknown = sorted(set(named) - set(states))
        if unknown:
            raise NotOffered(f"aws: there is no region {', '.join(unknown)}")
        enabled = sorted(one for one, state in states.items() if state != "not-opted-in")
        closed = sorted(set(named) - set(enabled))
        if closed:
            raise NotOffered(
                f"aws: region {', '.join(closed)} is not enabled for the account; enable it in "
                "the console under Account, AWS Regions, or leave it out"
            )
        return tuple(sorted(named) or enabled)

    def _usable(self, regions: tuple[str, ...]) -> tuple[str, ...]:
        found = usable(
            regions,
            lambda region: self.clients.of("ec2", region),
            marks.filters(self.around.owner),
            self._firewall()["CreateSecurityGroup"],
        )
        self.notes += found.notes
        return found.regions

    def _probes(self, home: str) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Each action with a call that would do it."""
        ec2 = self.clients.of("ec2", home)
        arguments = {
            # Organisations also close the region where it was asked first.
            **({} if home == HOME else {"DescribeRegions": {}}),
            "DescribeAvailabilityZones": {},
            "DescribeInstances": {},
            "DescribeSecurityGroups": {},
            "DescribeKeyPairs": {},
            **self._firewall(),
            **self._key_pair(),
            "RunInstances": self._machine(home),
            "TerminateInstances": {"InstanceIds": [PROBE_INSTANCE]},
        }
        for action, given in arguments.items():
            call = getattr(ec2, xform_name(action))
            yield f"ec2:{action}", partial(call, **given, DryRun=True)
        yield "ssm:GetParameters", lambda: self._images(home)

    def _firewall(self) -> dict[str, dict[str, Any]]:
        made = {
            "GroupName": "fedspan-probe",
            "Description": "asked for in a dry run only",
            "TagSpecifications": self._tagged("security-group"),
        }
        rule = {
            "IpProtocol": "tcp",
            "FromPort": 8443,
            "ToPort": 8443,
            "IpRanges": [{"CidrIp": "192.0.2.0/24"}],
        }
        return {
            "CreateSecurityGroup": made,
            "AuthorizeSecurityGroupIngress": {"GroupId": PROBE_GROUP, "IpPermissions": [rule]},
            "DeleteSecurityGroup": {"GroupId": PROBE_GROUP},
        }

    def _key_pair(self) -> dict[str, dict[str, Any]]:
        made = {
            "KeyName": PROBE_KEY_PAIR,
            "PublicKeyMaterial": _PUBLIC_KEY.encode(),
            "TagSpecifications": self._tagged("key-pair"),
        }
        return {"ImportKeyPair": made, "DeleteKeyPair": {"KeyName": PROBE_KEY_PAIR}}

    def _tagged(self, kind: str) -> list[dict[str, Any]]:
        return marks.tagged([kind], {marks.OWNER: self.around.owner})

    def _machine(self, region: str) -> dict[str, Any]:
        offer = Offer(
            provider="aws",
            region=region,
            machine_type="t3.micro",
            vcpus=2,
            memory_mib=1024,
            price=0,
        )
        spec = MachineSpec(key="probe", role=Role.AGGREGATOR, epoch=1, offer=offer)
        ours = {marks.OWNER: self.around.owner}
        return request(spec, image_of(offer), ours, instance_profile=self.instance_profile)

    def _images(self, region: str) -> None:
        ssm = self.clients.of("ssm", region)
        missing = ssm.get_parameters(Names=sorted(IMAGES.values()))["InvalidParameters"]
        if missing:
            self.notes.append(f"{region} has no image {', '.join(missing)}")

    def _ask(self, action: str, call: Callable[[], Any]) -> None:
        with translated(f"check {action}"):
            try:
                call()
            except ClientError as exc:
                if not self._judge(action, exc):
                    raise
            else:
                self._may(action)

    def _may(self, action: str) -> None:
        self.allowed.add(action)
        self.refused.discard(action)

    def _judge(self, action: str, exc: ClientError) -> bool:
        """Note what a refusal tells of `action`; False if it is about something else."""
        code = code_of(exc)
        if code == "DryRunOperation":
            self._may(action)
        elif code in LACKING:
            named = _NAMED.search(said_by(exc))  # a launch may lack the right to tag
            self.refused.add(named[1] if named else action)
        elif code in _NOT_THERE:
            pass
        elif kind_of(exc) in _UNTOLD:
            self.notes.append(f"{action} could not be asked: {code}: {said_by(exc)}")
        else:
            return False
        return True

    def _permissions(self) -> Iterator[Permission]:
        purposes = dict(PURPOSES)
        if self.instance_profile:
            purposes[PASS_ROLE] = PASS_ROLE_PURPOSE
            if "ec2:RunInstances" in self.allowed:
                self.allowed.add(PASS_ROLE)
        for action, purpose in purposes.items():
            known = action in self.allowed | self.refused
            allowed = action not in self.refused if known else None
            yield Permission(action=action, purpose=purpose, allowed=allowed)
