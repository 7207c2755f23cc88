"""Which servers of an OpenStack cloud are taken: flavors with room, and servers that stay."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from openstack.compute.v2.flavor import Flavor
from openstack.image.v2.image import Image

from fedspan.domain.machines import MachineState
from fedspan.errors import CloudUnavailable, NoCapacity
from fedspan.providers.openstack import choosing
from fedspan.providers.openstack.check import examine
from fedspan.providers.openstack.machines import OpenStackProvider
from tests.clouds.openstack.cloud import OpenStackCloud, surroundings
from tests.clouds.openstack.fixtures import FAULTY
from tests.clouds.openstack.specs import offer, spec
from tests.clouds.proxy import Fault, FaultProxy
from tests.contract.test_provider_openstack import ended
from tests.contract.test_providers import NEED, gone, settled


@pytest.fixture
def provider(seoul: OpenStackCloud) -> Iterator[OpenStackProvider]:
    with closing(seoul.provider()) as made:
        yield made


def test_flavors_with_too_little_disk_are_not_offered(
    seoul: OpenStackCloud, provider: OpenStackProvider
) -> None:
    made = [
        seoul.admin.compute.create_flavor(name=f"fs.disk{size}", vcpus=1, ram=1024, disk=size)
        for size in (0, 9, 10)
    ]
    try:
        offered = [one.machine_type for one in provider.offers(NEED)]
        notes = examine(seoul.secret(), surroundings()).notes
    finally:
        for one in made:
            seoul.admin.compute.delete_flavor(one)
    assert [one for one in offered if "disk" in one] == ["fs.disk10"]
    [note] = [one for one in notes if one.startswith("flavors: ")]
    assert "fs.disk10" in note
    assert "fs.disk9" not in note
    assert note.endswith("; flavors with less than 10 GB of disk are not used")


@pytest.mark.parametrize(
    ("image", "disk", "holds"),
    [
        ({}, 10, True),
        ({}, 9, False),
        ({"min_disk": 20}, 19, False),
        ({"min_disk": 20}, 20, True),
        ({"min_ram": 2048}, 10, False),
        ({"block_device_mapping": '[{"source_type": "snapshot"}]'}, 0, True),
    ],
    ids=str,
)
def test_a_flavor_holds_an_image_or_does_not(image: dict[str, Any], disk: int, holds: bool) -> None:
    flavor = Flavor(name="f", vcpus=1, ram=1024, disk=disk)

    assert choosing.holds(flavor, Image(**image)) is holds


def test_a_repeat_on_a_server_that_no_host_took_is_told_and_removes_it(
    seoul: OpenStackCloud, provider: OpenStackProvider
) -> None:
    unhosted = spec(offer=offer("fs.unhosted", 8, 16_384))
    made = provider.launch("job-1", unhosted)
    ended(provider)

    with pytest.raises(NoCapacity, match="No valid host was found"):
        provider.launch("job-1", unhosted)
    until_gone = time.monotonic() + 60
    while any(one.startswith("server") for one in seoul.left("seoul")):
        assert time.monotonic() < until_gone
        time.sleep(0.1)
    provider.launch("job-1", spec())
    [running] = settled(provider, "job-1")
    assert (running.id, running.state) == (made.id, MachineState.RUNNING)
    gone(provider, made)


@pytest.mark.parametrize(
    "going",
    [
        {"OS-EXT-STS:task_state": "deleting"},
        {"OS-EXT-STS:task_state": "soft-deleting"},
        {"OS-EXT-STS:task_state": "deleting", "status": "ERROR"},
        {"OS-EXT-STS:task_state": None, "status": "SOFT_DELETED"},
    ],
    ids=str,
)
def test_a_machine_that_is_going_away_is_not_handed_back(
    seoul: OpenStackCloud, faulty_region: dict[str, FaultProxy], going: dict[str, Any]
) -> None:
    """As Nova shows it for a moment, which a test cannot hold on to."""
    secret = seoul.secret(auth_url=faulty_region["keystone"].url, region=FAULTY)
    with closing(OpenStackProvider("seoul", secret, surroundings())) as provider:
        made = provider.launch("job-1", spec())
        listed = seoul.operator("seoul").compute.get("/servers/detail").json()
        listed["servers"][0] |= going
        faulty_region["nova"].faults.append(
            Fault(200, json.dumps(listed).encode(), path="/servers/detail")
        )
        with pytest.raises(CloudUnavailable, match="is still going; try again"):
            provider.launch("job-1", spec())

        assert not faulty_region["nova"].faults
        assert [one.id for one in provider.machines()] == [made.id]
        gone(provider, made)


def test_the_one_that_stays_is_handed_back_beside_one_that_goes(
    seoul: OpenStackCloud, faulty_region: dict[str, FaultProxy]
) -> None:
    secret = seoul.secret(auth_url=faulty_region["keystone"].url, region=FAULTY)
    with closing(OpenStackProvider("seoul", secret, surroundings())) as provider:
        made = provider.launch("job-1", spec())
        listed = seoul.operator("seoul").compute.get("/servers/detail").json()
        older = {"created": "2000-01-01T00:00:00Z", "OS-EXT-STS:task_state": "deleting"}
        listed["servers"].insert(0, listed["servers"][0] | older | {"id": "an-older-one"})
        faulty_region["nova"].faults.append(
            Fault(200, json.dumps(listed).encode(), path="/servers/detail")
        )

        assert provider.launch("job-1", spec()).id == made.id
        assert not faulty_region["nova"].faults
        gone(provider, made)
