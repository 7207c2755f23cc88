"""What only OpenStack does, on a real control plane: beside the suite of all providers."""

from __future__ import annotations

import base64
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psutil
import pytest

from fedspan.domain.machines import Machine, MachineState
from fedspan.domain.spec import GpuNeed, Need
from fedspan.errors import InvalidRequest
from fedspan.providers.openstack.check import examine
from fedspan.providers.openstack.machines import USER_DATA_BYTES, OpenStackProvider
from fedspan.providers.openstack.policy import CALLS, policy
from fedspan.providers.user_data import cloud_config
from tests.clouds.openstack.cloud import OpenStackCloud, surroundings
from tests.clouds.openstack.fixtures import FAULTY
from tests.clouds.openstack.specs import SSH_KEY, offer, spec
from tests.clouds.openstack.tenants import new_groups_have
from tests.clouds.proxy import FaultProxy
from tests.contract.test_providers import NEED, gone, settled


@pytest.fixture
def provider(seoul: OpenStackCloud) -> Iterator[OpenStackProvider]:
    with closing(seoul.provider()) as made:
        yield made


def ended(provider: OpenStackProvider, job: str = "job-1") -> Machine:
    """The machine of a job, once it is stopped."""
    end = time.monotonic() + 60
    while True:
        [machine] = provider.machines(job)
        if machine.state is MachineState.STOPPED:
            return machine
        assert time.monotonic() < end, machine
        time.sleep(0.1)


def test_offers_are_the_flavors_that_fit_and_cost_nothing(provider: OpenStackProvider) -> None:
    names = [one.machine_type for one in provider.offers(Need(vcpus=2, memory_mib=2048))]

    assert names == ["fs.medium", "fs.large", "fs.unhosted"]
    assert {one.price for one in provider.offers(NEED)} == {0}
    assert {one.region for one in provider.offers(NEED)} == {"RegionOne"}


def test_a_flavor_with_gpus_is_for_those_who_need_one(
    seoul: OpenStackCloud, provider: OpenStackProvider
) -> None:
    flavor = seoul.admin.compute.create_flavor(name="fs.gpu", vcpus=1, ram=1024, disk=10)
    seoul.admin.compute.create_flavor_extra_specs(flavor, {"resources:VGPU": "2"})
    with_gpu = Need(vcpus=1, memory_mib=64, gpu=GpuNeed(count=2))
    try:
        assert [(one.machine_type, one.gpus) for one in provider.offers(with_gpu)] == [
            ("fs.gpu", 2)
        ]
        assert "fs.gpu" not in [one.machine_type for one in provider.offers(NEED)]
    finally:
        seoul.admin.compute.delete_flavor(flavor)


def test_a_machine_has_its_user_data_and_nobody_reaches_it(
    seoul: OpenStackCloud, provider: OpenStackProvider
) -> None:
    provider.launch("job-1", spec(environment={"FEDSPAN_TOKEN": "hush"}))

    settled(provider, "job-1")
    [server] = list(seoul.admin.compute.servers(all_projects=True))
    text = base64.b64decode(server.user_data).decode()
    assert text.startswith("#cloud-config\n")
    assert "registry.invalid/client" in base64.b64decode(_file(text, "fedspan.service")).decode()
    assert "FEDSPAN_TOKEN=hush" in base64.b64decode(_file(text, "machine.env")).decode()
    assert _rules(seoul) == [("egress", None, None), ("egress", None, None)]
    assert server.has_config_drive
    [group] = [one for one in seoul.left("seoul") if one.startswith("group")]
    [port] = list(seoul.admin.network.ports(device_id=server.id))
    assert group == f"group {server.name}"
    assert len(port.security_group_ids) == 1


def _file(text: str, name: str) -> str:
    found = re.search(rf'{name}", [^}}]*"content": "([^"]+)"', text)
    assert found
    return found[1]


def _rules(cloud: OpenStackCloud) -> list[tuple[Any, ...]]:
    own = cloud.operator("seoul")
    groups = [one for one in own.network.security_groups() if one.name != "default"]
    rules = [rule for one in groups for rule in one.security_group_rules]
    return sorted(
        [(one["direction"], one["port_range_min"], one["remote_ip_prefix"]) for one in rules],
        key=str,
    )


def test_a_port_is_open_to_its_sources_and_nothing_else_is(
    seoul: OpenStackCloud, provider: OpenStackProvider
) -> None:
    wanted = spec(port=8443, sources=("192.0.2.0/24", "2001:db8::/32"))
    provider.launch("job-1", wanted)
    provider.launch("job-1", wanted)

    assert [one.split()[0] for one in seoul.left("seoul")] == ["group", "server"]
    assert _rules(seoul) == [
        ("egress", None, None),
        ("egress", None, None),
        ("ingress", 8443, "192.0.2.0/24"),
        ("ingress", 8443, "2001:db8::/32"),
    ]


def test_what_an_operator_lets_into_new_groups_is_shut_out(
    seoul: OpenStackCloud, provider: OpenStackProvider, ssh_for_all: None
) -> None:
    provider.launch("job-1", spec())

    assert _rules(seoul) == [("egress", None, None), ("egress", None, None)]


@pytest.fixture
def ssh_for_all(seoul: OpenStackCloud) -> Iterator[None]:
    """An operator who means well."""
    rule = {"protocol": "tcp", "port_range_min": "22", "port_range_max": "22"}
    made = new_groups_have(seoul.admin, direction="ingress", ethertype="IPv4", **rule)
    yield
    seoul.admin.network.delete_default_security_group_rule(made)


def test_user_data_may_be_as_long_as_nova_takes_it(provider: OpenStackProvider) -> None:
    empty = len(cloud_config(spec(), "registry.invalid/client", USER_DATA_BYTES))
    length = (USER_DATA_BYTES - empty - 16) // 4 * 3  # base64 makes four of three
    provider.launch("job-1", spec(environment={"DATA": "x" * length}))

    with pytest.raises(InvalidRequest, match="its cloud takes 49,149"):
        provider.launch("job-1", spec("another", environment={"DATA": "x" * (length + 99)}))
    assert len(provider.machines()) == 1


def test_exactly_the_calls_of_the_policy_are_made(
    seoul: OpenStackCloud, faulty_region: dict[str, FaultProxy], ssh_for_all: None
) -> None:
    """The access rules of the credential are the policy's, and Nova, Neutron and Glance hold
    against them; what is seen on the wire is what the policy names."""
    rules: Any = policy()["access_rules"]
    secret = seoul.application_credential(
        "seoul", rules=rules, auth_url=faulty_region["keystone"].url, region=FAULTY
    )
    around = surroundings(ssh_key=SSH_KEY)
    provider = OpenStackProvider("seoul", secret, around)
    examine(secret, around)
    made = provider.launch("job-1", spec(port=8443))
    [running] = settled(provider, "job-1")
    gone(provider, made)
    provider.close()

    assert running.state is MachineState.RUNNING
    assert _asked(faulty_region) == {(one.service, one.method, one.path) for one in CALLS}
    assert seoul.left("seoul") == []


def _asked(proxies: dict[str, FaultProxy]) -> set[tuple[str, str, str]]:
    names = {"keystone": "identity", "nova": "compute", "neutron": "network", "glance": "image"}
    found = set()
    for service, proxy in proxies.items():
        for method, path in proxy.seen:
            path = re.sub(r"/[0-9a-f]{32}|/[0-9a-f-]{36}|/fedspan_[^/?]*", "/{id}", path)
            path = re.sub(r"^/v\d(\.\d)?|\?.*$", "", path)
            if path not in ("", "/", "/auth/tokens"):  # versions and tokens need no rule
                found.add((names[service], method, path))
    return found


def test_an_ssh_key_comes_with_the_machine_and_goes_with_it(seoul: OpenStackCloud) -> None:
    provider = seoul.provider(ssh_key=SSH_KEY)
    made = provider.launch("job-1", spec())

    assert [one.split()[0] for one in seoul.left("seoul")] == ["group", "key", "server"]
    gone(provider, made)
    assert seoul.left("seoul") == []
    provider.close()


def test_a_machine_boots_its_user_data_and_is_stopped_when_that_ends(
    seoul: OpenStackCloud, provider: OpenStackProvider
) -> None:
    until_told = ["sh", "-c", 'cat "$0"; echo; until test -e "$1/off"; do sleep 0.1; done']
    with seoul.booting(until_told, FEDSPAN_TEST_GUEST="{}"):
        provider.launch("job-1", spec(environment={"FEDSPAN_TOKEN": "hush"}))
        settled(provider, "job-1")
    [server] = list(seoul.admin.compute.servers(all_projects=True))
    folder = seoul.state / "instances" / server.id
    end = time.monotonic() + 30
    while "#cloud-config" not in (folder / "console.log").read_text():
        assert time.monotonic() < end
        time.sleep(0.1)
    (folder / "off").touch()

    assert ended(provider).key == "job-1-client-1"


def test_a_machine_that_ends_by_itself_is_stopped(
    seoul: OpenStackCloud, provider: OpenStackProvider
) -> None:
    made = provider.launch("job-1", spec())
    settled(provider, "job-1")
    [server] = list(seoul.admin.compute.servers(all_projects=True))
    [vm] = [one for one in psutil.process_iter() if _folder(one).endswith(server.id)]
    vm.send_signal(signal.SIGKILL)

    assert ended(provider) == made.model_copy(update={"state": MachineState.STOPPED})
    gone(provider, made)
    assert seoul.left("seoul") == []


def _folder(process: psutil.Process) -> str:
    try:
        return process.environ().get("FEDSPAN_TEST_VM", "")
    except psutil.Error:
        return ""


def test_what_a_machine_ended_behind_our_back_leaves_is_listed_and_removed(
    seoul: OpenStackCloud,
) -> None:
    provider = seoul.provider(ssh_key=SSH_KEY)
    made = provider.launch("job-1", spec())
    settled(provider, "job-1")
    own, end = seoul.operator("seoul"), time.monotonic() + 60
    for server in list(own.compute.servers()):
        own.compute.delete_server(server.id)
    while list(own.compute.servers()):
        assert time.monotonic() < end
        time.sleep(0.1)

    assert list(provider.machines()) == [made.model_copy(update={"state": MachineState.STOPPED})]
    gone(provider, made)
    assert seoul.left("seoul") == []
    provider.close()


def test_no_valid_host_is_a_machine_that_stopped(
    seoul: OpenStackCloud, provider: OpenStackProvider
) -> None:
    made = provider.launch("job-1", spec(offer=offer("fs.unhosted", 8, 16_384)))

    assert ended(provider).id == made.id
    gone(provider, made)
    assert seoul.left("seoul") == []


def test_two_launches_at_one_moment_make_one_machine(seoul: OpenStackCloud) -> None:
    providers = [seoul.provider() for _ in range(3)]
    made: list[Machine] = []
    together = threading.Barrier(len(providers))

    def launch(one: OpenStackProvider) -> None:
        one.machines()  # logged in
        together.wait()
        made.append(one.launch("job-1", spec()))

    threads = [threading.Thread(target=launch, args=[one]) for one in providers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({one.id for one in made}) == 1
    end = time.monotonic() + 60
    while sum("DELET" not in one for one in seoul.left("seoul") if "server" in one) > 1:
        assert time.monotonic() < end, seoul.left("seoul")
        time.sleep(0.2)
    gone(providers[0], made[0])
    assert seoul.left("seoul") == []
    for one in providers:
        one.close()


def test_installations_and_credentials_in_one_project_keep_apart(seoul: OpenStackCloud) -> None:
    mine = seoul.provider()
    others = [
        seoul.provider(owner="another"),
        OpenStackProvider("seoul-2", seoul.secret(), surroundings()),
    ]
    made = mine.launch("job-1", spec())

    for one in others:
        assert list(one.machines()) == []
        one.terminate(made)
        one.close()
    assert [one.id for one in mine.machines()] == [made.id]
    gone(mine, made)
    mine.close()
