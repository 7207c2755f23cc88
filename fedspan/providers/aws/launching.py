"""What is asked of EC2 for a machine, from its spec: the same spec, the same request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fedspan.domain.machines import MachineSpec, Offer
from fedspan.domain.spec import CpuArch
from fedspan.errors import NotOffered
from fedspan.providers.aws.marks import tagged

DISK_GIB: Final = 40
"""The image has 30; PyTorch's container and a model want the rest."""

_IMAGES: Final = "/aws/service/ecs/optimized-ami/amazon-linux-2023/"
"""Amazon Linux with Docker, kept up to date by Amazon: public parameters of Systems Manager."""

IMAGES: Final[Mapping[tuple[CpuArch, bool], str]] = {
    (CpuArch.X86, False): f"{_IMAGES}recommended/image_id",
    (CpuArch.ARM, False): f"{_IMAGES}arm64/recommended/image_id",
    (CpuArch.X86, True): f"{_IMAGES}gpu/recommended/image_id",
}
"""By architecture, and whether it has a GPU."""

# The instance's own metadata service, version 2: a token first.
PUBLIC_ADDRESS: Final = (
    'curl -sf -m 10 -H "X-aws-ec2-metadata-token: $(curl -sf -m 10 -X PUT '
    "http://169.254.169.254/latest/api/token -H 'X-aws-ec2-metadata-token-ttl-seconds: 60')\" "
    "http://169.254.169.254/latest/meta-data/public-ipv4"
)


def image_of(offer: Offer) -> str:
    """The parameter with the image for an offer. Raises `NotOffered` where Amazon has none."""
    try:
        return IMAGES[offer.arch, offer.gpus > 0]
    except KeyError:
        raise NotOffered(
            f"aws: Amazon has no image with Docker for {offer.machine_type} ({offer.arch.value} "
            "with a GPU)"
        ) from None


def label(owner: str, key: str) -> str:
    """The name of a machine's security group and key pair."""
    return f"fedspan-{owner}-{key}"


def token(owner: str, key: str, ended: Iterable[str], zone: str = "") -> str:
    """By which EC2 knows a repeat: 64 characters, of the key, its instances that have `ended`, and
    the zone where one is named: what asks for something else has another token. With the key
    alone, EC2 would go on answering with an instance that ended, for a day."""
    words = json.dumps([owner, key, *sorted(ended), *([zone] if zone else [])])
    return hashlib.sha256(words.encode()).hexdigest()


def rules(spec: MachineSpec) -> list[dict[str, Any]]:
    """What may come in: TCP to the port of the spec from its sources."""
    if not spec.port or not spec.sources:
        return []
    rule: dict[str, Any] = {"IpProtocol": "tcp", "FromPort": spec.port, "ToPort": spec.port}
    for source in spec.sources:
        if ":" in source:
            rule.setdefault("Ipv6Ranges", []).append({"CidrIpv6": source})
        else:
            rule.setdefault("IpRanges", []).append({"CidrIp": source})
    return [rule]


def request(
    spec: MachineSpec,
    image: str,
    marks: Mapping[str, str],
    *,
    zone: str = "",
    group: str = "",
    key_pair: str = "",
    user_data: str = "",
    instance_profile: str = "",
) -> dict[str, Any]:
    """The arguments of RunInstances, all but its token. EC2 itself looks up the parameter `image`,
    so that a repeat is the same request even on the day of a new one. A `zone` has one subnet of
    the default VPC, which is taken."""
    interface: dict[str, Any] = {
        "DeviceIndex": 0,
        "AssociatePublicIpAddress": True,
        "DeleteOnTermination": True,
    }
    if group:
        interface["Groups"] = [group]
    kinds = ["instance", "volume", "network-interface"]
    wanted: dict[str, Any] = {
        "ImageId": f"resolve:ssm:{image}",
        "InstanceType": spec.offer.machine_type,
        "MinCount": 1,
        "MaxCount": 1,
        "UserData": user_data,
        "NetworkInterfaces": [interface],
        "BlockDeviceMappings": [_disk()],
        "InstanceInitiatedShutdownBehavior": "terminate",
        # The container uses the host's network, so that one hop is enough.
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
    }
    if spec.offer.spot:
        kinds.append("spot-instances-request")
        wanted["InstanceMarketOptions"] = _spot()
    if zone:
        wanted["Placement"] = {"AvailabilityZone": zone}
    if key_pair:
        wanted["KeyName"] = key_pair
    if instance_profile:
        wanted["IamInstanceProfile"] = {"Name": instance_profile}
    return {**wanted, "TagSpecifications": tagged(kinds, marks)}


def _disk() -> dict[str, Any]:
    disk = {
        "VolumeType": "gp3",
        "VolumeSize": DISK_GIB,
        "Encrypted": True,
        "DeleteOnTermination": True,
    }
    return {"DeviceName": "/dev/xvda", "Ebs": disk}


def _spot() -> dict[str, Any]:
    options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
    return {"MarketType": "spot", "SpotOptions": options}
