"""What a credential for machines needs: each action, and the policy that allows no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import JsonValue

from fedspan.domain.credentials import Policy
from fedspan.providers.aws.launching import IMAGES
from fedspan.providers.aws.marks import OWNER

PURPOSES: Final[Mapping[str, str]] = {
    "ec2:DescribeRegions": "know where machines may be",
    "ec2:DescribeAvailabilityZones": "leave out a zone that lost a machine",
    "ec2:DescribeInstances": "see machines",
    "ec2:DescribeSecurityGroups": "see their firewalls",
    "ec2:DescribeKeyPairs": "see SSH keys put on machines",
    "ec2:CreateSecurityGroup": "make a machine's firewall",
    "ec2:AuthorizeSecurityGroupIngress": "open a machine's port",
    "ec2:DeleteSecurityGroup": "remove a machine's firewall",
    "ec2:ImportKeyPair": "put an SSH key on machines",
    "ec2:DeleteKeyPair": "remove it again",
    "ec2:CreateTags": "mark as ours what is made, as it is made",
    "ec2:RunInstances": "launch machines",
    "ec2:TerminateInstances": "end machines",
    "ssm:GetParameters": "find Amazon's images; EC2 asks for it",
    "iam:CreateServiceLinkedRole": "let EC2 run the account's first spot machine",
}
"""`sts:GetCallerIdentity`, which is asked too, needs no permission."""

PASS_ROLE: Final = "iam:PassRole"
PASS_ROLE_PURPOSE: Final = "give machines their instance profile"

PROBE_INSTANCE: Final = "i-00000000000000000"
PROBE_GROUP: Final = "sg-00000000000000000"
PROBE_KEY_PAIR: Final = "fedspan-probe"
"""Things that are never there, which the check asks to change in a dry run. The policy allows it,
for a right that holds only for what carries our tag could not be proved before there is any."""

_SPOT_ROLE: Final = (
    "arn:aws:iam::*:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"
)
_MADE_BY_RUN: Final = ("instance", "volume", "network-interface", "spot-instances-request")


def policy(owner: str = "fedspan", role: str = "") -> Policy:
    """An IAM policy (managed: it has more than the 2,048 characters of an inline one). It changes
    only what carries the tag of `owner`. `role` is the ARN of the role in the instance profile of
    machines, where they get one."""
    statements = [
        *_looking(),
        *_making(owner),
        *_changing(owner),
        *_asked_by_ec2(role),
    ]
    return {"Version": "2012-10-17", "Statement": [dict(one) for one in statements]}


def _looking() -> Iterable[Policy]:
    # EC2 knows no resources for these: all or nothing.
    things = ["Regions", "AvailabilityZones", "Instances", "SecurityGroups", "KeyPairs"]
    yield _allow("See", [f"Describe{one}" for one in things], ["*"])


def _making(owner: str) -> Iterable[Policy]:
    ours: dict[str, JsonValue] = {"StringEquals": {f"aws:RequestTag/{OWNER}": owner}}
    yield _allow("MakeMachines", ["RunInstances"], _ec2(*_MADE_BY_RUN), ours)
    yield _allow(
        "FromAmazonsImages",
        ["RunInstances"],
        ["arn:aws:ec2:*::image/*"],
        {"StringEquals": {"ec2:Owner": "amazon"}},
    )
    yield _allow("Using", ["RunInstances"], _ec2("subnet", "security-group", "key-pair"))
    yield _allow("MakeFirewalls", ["CreateSecurityGroup"], _ec2("security-group"), ours)
    yield _allow("MakeFirewallsIn", ["CreateSecurityGroup"], _ec2("vpc"))
    yield _allow("MakeKeyPairs", ["ImportKeyPair"], _ec2("key-pair"), ours)
    makers: list[JsonValue] = ["RunInstances", "CreateSecurityGroup", "ImportKeyPair"]
    yield _allow(
        "MarkWhatIsMade",
        ["CreateTags"],
        _ec2(*_MADE_BY_RUN, "security-group", "key-pair"),
        {"StringEquals": {f"aws:RequestTag/{OWNER}": owner, "ec2:CreateAction": makers}},
    )


def _changing(owner: str) -> Iterable[Policy]:
    firewall = ["AuthorizeSecurityGroupIngress", "DeleteSecurityGroup"]
    ours: dict[str, JsonValue] = {"StringEquals": {f"aws:ResourceTag/{OWNER}": owner}}
    yield _allow("EndMachines", ["TerminateInstances"], _ec2("instance"), ours)
    yield _allow("ChangeFirewalls", firewall, _ec2("security-group"), ours)
    yield _allow("RemoveKeyPairs", ["DeleteKeyPair"], _ec2("key-pair"), ours)
    probes = (
        f"instance/{PROBE_INSTANCE}",
        f"security-group/{PROBE_GROUP}",
        f"key-pair/{PROBE_KEY_PAIR}",
    )
    yield _allow(
        "ProveOnWhatIsNotThere",
        ["TerminateInstances", *firewall, "DeleteKeyPair"],
        [f"arn:aws:ec2:*:*:{one}" for one in probes],
    )


def _asked_by_ec2(role: str) -> Iterable[Policy]:
    parameters = [f"arn:aws:ssm:*::parameter{one}" for one in IMAGES.values()]
    yield _allow("FindImages", ["ssm:GetParameters"], parameters)
    yield _allow(
        "FirstSpotMachine",
        ["iam:CreateServiceLinkedRole"],
        [_SPOT_ROLE],
        {"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}},
    )
    if role:
        yield _allow(
            "GiveMachinesTheirRole",
            [PASS_ROLE],
            [role],
            {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        )


def _allow(
    sid: str, actions: list[str], resources: list[str], condition: Policy | None = None
) -> Policy:
    named: list[JsonValue] = [one if ":" in one else f"ec2:{one}" for one in actions]
    statement: Policy = {
        "Sid": sid,
        "Effect": "Allow",
        "Action": named,
        "Resource": list[JsonValue](resources),
    }
    return statement | {"Condition": condition} if condition else statement


def _ec2(*kinds: str) -> list[str]:
    return [f"arn:aws:ec2:*:*:{kind}/*" for kind in kinds]
