"""EC2 as tests of its provider see it: on moto, through a wire that can be cut."""

from __future__ import annotations

import secrets
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import boto3
import pytest

from fedspan.domain.machines import MachineSpec, Offer, Role
from fedspan.errors import ProviderError
from fedspan.providers.aws import marks
from fedspan.providers.aws.machines import AwsProvider
from tests.clouds.aws import accounts
from tests.clouds.aws.wire import Wire

SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII9OY6JlctNDUEg8aHg8qhVMZqemmd/2OyDfZkeebtix test"


class Really:
    """What there is of this test, as EC2 itself says."""

    def __init__(self, ec2: Any) -> None:
        self.ec2 = ec2
        self.owner = f"t-{secrets.token_hex(8)}"

    def all(self) -> tuple[list[Any], list[Any], list[Any]]:
        """Instances that have not ended, groups, key pairs."""
        ours = {"Filters": marks.filters(self.owner)}
        kept = self.ec2.describe_instances(**ours)["Reservations"]
        instances = [one for r in kept for one in r["Instances"]]
        return (
            [one for one in instances if one["State"]["Name"] != "terminated"],
            self.ec2.describe_security_groups(**ours)["SecurityGroups"],
            self.ec2.describe_key_pairs(**ours)["KeyPairs"],
        )

    def counts(self) -> list[int]:
        return [len(found) for found in self.all()]


@pytest.fixture(scope="module")
def ec2(moto_url: str) -> Iterator[Any]:
    """Past the wire. botocore makes a client's 750 methods anew each time: one for all tests."""
    keys = {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
    with closing(boto3.client("ec2", "us-east-1", endpoint_url=moto_url, **keys)) as client:
        yield client


@pytest.fixture
def really(ec2: Any) -> Really:
    return Really(ec2)


@pytest.fixture
def cloud(aws_wire: Wire, really: Really) -> Iterator[AwsProvider]:
    aws_wire.owner = really.owner
    provider = accounts.provider(aws_wire.url, ssh_key=SSH_KEY, owner=really.owner)
    yield provider
    provider.close()


def spec(key: str = "j-1-aggregator-1", **changes: Any) -> MachineSpec:
    offer = {
        "provider": "aws",
        "region": "us-east-1",
        "machine_type": "m7i.large",
        "vcpus": 2,
        "memory_mib": 8192,
        "price": 100_800,
        "spot": changes.pop("spot", False),
    }
    given: dict[str, Any] = {
        "key": key,
        "role": Role.AGGREGATOR,
        "epoch": 1,
        "offer": Offer.model_validate(offer),
        "environment": {"FEDSPAN_TOKEN": "hush"},
        "port": 8443,
        "sources": ("192.0.2.0/24", "2001:db8::/32"),
    }
    return MachineSpec(**given | changes)


def told(error: BaseException) -> str:
    """All that a log would have of it."""
    return "".join(traceback.format_exception(error))


@contextmanager
def cut_off(wire: Wire, after: int, *, lost: bool) -> Iterator[None]:
    """Killed after so many calls; `lost`: the last was done, but nobody heard of it."""
    wire.most, wire.lost = after, lost
    with suppress(ProviderError):
        yield
    wire.most = None


def swept(cloud: AwsProvider) -> None:
    """What a tear-down does: as long as something is seen, terminate it."""
    for _ in range(5):
        found = cloud.machines()
        for machine in found:
            cloud.terminate(machine)
        if not found:
            return


class CutOff:
    """What holds wherever a launch is `cut`."""

    def test_leaves_nothing_once_all_that_is_seen_is_terminated(
        self, cut: int, cloud: AwsProvider, really: Really
    ) -> None:
        swept(cloud)

        assert really.counts() == [0, 0, 0]
