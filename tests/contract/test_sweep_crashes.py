"""Whatever died when, before, during or after any call to a cloud: the sweep leaves nothing.

Each step is a process of its own that launches or ends a machine, until it dies; then others sweep.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fedspan.domain.machines import Machine, MachineSpec, Role, cheapest
from fedspan.domain.spec import Need
from fedspan.errors import FedspanError
from fedspan.providers.base import Provider
from fedspan.services.sweep import clear
from tests.clouds.aws import accounts
from tests.clouds.aws.server import forget_machines
from tests.clouds.death import Death, MortalProxy
from tests.clouds.gcp.server import GcpServer
from tests.clouds.openstack.cloud import OpenStackCloud, surroundings
from tests.support.world import world

NEED = Need(vcpus=1, memory_mib=512)
MOST_CALLS = 14
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Step:
    """A process launches the machine of `key`, or ends it, and dies after `calls` calls."""

    ends: bool
    key: str
    calls: int
    done: bool


STEPS = st.lists(
    st.builds(
        Step,
        ends=st.booleans(),
        key=st.sampled_from(["a", "b"]),
        calls=st.integers(0, MOST_CALLS),
        done=st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@dataclass(frozen=True)
class Cloud:
    """`provider` makes one as a new process would: by way of `death`, or safely. `left` is what
    an administrator sees of our machines."""

    death: Death
    provider: Callable[[bool], contextlib.AbstractContextManager[Provider]]
    left: Callable[[], Sequence[str]]


@contextlib.contextmanager
def on_aws(moto_url: str) -> Iterator[Cloud]:
    owner, death = f"crash-{next(_numbers)}", Death()
    tagged = [{"Name": "tag:fedspan:owner", "Values": [owner]}]
    with MortalProxy(moto_url, death) as proxy:

        def provider(mortal: bool) -> contextlib.AbstractContextManager[Provider]:
            url = proxy.url if mortal else moto_url
            secret = accounts.SECRET.model_copy(update={"regions": ("eu-west-1",)})
            made = accounts.provider(url, secret, owner=owner, ssh_key="ssh-ed25519 AAAA a@b")
            return contextlib.closing(made)

        def left() -> list[str]:
            keys = {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
            ec2 = boto3.client("ec2", "eu-west-1", endpoint_url=moto_url, **keys)
            pages = ec2.describe_instances(Filters=tagged)["Reservations"]
            machines = [one for page in pages for one in page["Instances"]]
            alive = [one for one in machines if one["State"]["Name"] != "terminated"]
            groups = ec2.describe_security_groups(Filters=tagged)["SecurityGroups"]
            pairs = ec2.describe_key_pairs(Filters=tagged)["KeyPairs"]
            ec2.close()
            return [str(one) for one in (*alive, *groups, *pairs)]

        yield Cloud(death, provider, left)
    forget_machines()


@contextlib.contextmanager
def on_gcp(server: GcpServer) -> Iterator[Cloud]:
    from tests.clouds.gcp.fixtures import GcpProject

    state, death = server.project(f"crash-project-{next(_numbers)}"), Death()
    project = GcpProject(server, state, server.key(state))
    with MortalProxy(server.url, death) as proxy:

        def provider(mortal: bool) -> contextlib.AbstractContextManager[Provider]:
            endpoint = proxy.url if mortal else server.url
            return contextlib.nullcontext(project.provider(endpoint=endpoint))

        yield Cloud(death, provider, lambda: [*map(str, state.instances), *state.firewalls])
    project.close()
    del server.projects[state.id]


@contextlib.contextmanager
def on_openstack(cloud: OpenStackCloud) -> Iterator[Cloud]:
    from fedspan.providers.openstack.machines import OpenStackProvider

    death, region = Death(), f"Mortal{next(_numbers)}"
    with ExitStack() as stack:
        urls = {
            name: stack.enter_context(MortalProxy(url, death)).url
            for name, url in cloud.urls.items()
        }
        cloud.add_region(region, urls)
        stack.callback(cloud.remove_region, region)

        def provider(mortal: bool) -> contextlib.AbstractContextManager[Provider]:
            changes = {"region": region, "auth_url": f"{urls['keystone']}/v3"} if mortal else {}
            around = surroundings(ssh_key="ssh-ed25519 AAAA a@b")
            made = OpenStackProvider("seoul", cloud.secret("seoul", **changes), around)
            return contextlib.closing(made)

        yield Cloud(death, provider, lambda: cloud.left("seoul"))


def live(cloud: Cloud, step: Step) -> None:
    """What one process does before it dies."""
    with cloud.provider(True) as provider, contextlib.suppress(FedspanError):
        cloud.death.comes(after=step.calls, done=step.done)
        known = [one for one in provider.machines() if one.key == step.key] if step.ends else []
        for machine in known:
            provider.terminate(machine)
        if not step.ends:
            provider.launch("a-job", wanted(provider, step.key))
    cloud.death.is_over()


def wanted(provider: Provider, key: str) -> MachineSpec:
    role = min(provider.capabilities.roles)
    offers = [one for one in provider.offers(NEED) if not one.spot]
    where = min(one.region for one in offers)
    offer = cheapest([one for one in offers if one.region == where], NEED)
    port = 8443 if role is Role.AGGREGATOR else 0
    # As AWS and Google name them; the launch of the other key leaves the zone to the cloud.
    avoid = (f"{where}a", f"{where}-a") if key == "a" else ()
    return MachineSpec(key=key, role=role, epoch=1, offer=offer, port=port, avoid_zones=avoid)


def swept(cloud: Cloud, folder: Path) -> Sequence[Machine]:
    """What is listed once sweeps change nothing more: of a job that nobody knows, nothing."""
    end = time.monotonic() + 60
    while True:
        with cloud.provider(False) as provider:
            app = world(folder, providers={provider.name: provider}).app
            clear(app)
            found = provider.machines()
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.05)


def holds(cloud: Cloud, steps: Sequence[Step], folder: Path) -> None:
    for step in steps:
        live(cloud, step)

    assert list(swept(cloud, folder)) == []
    assert list(cloud.left()) == []


FEW = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
MANY = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
WHOLE = [Step(ends=False, key="a", calls=99, done=True), Step(True, "a", 99, True)]


@MANY
@example(steps=WHOLE)
@given(steps=STEPS)
def test_nothing_is_left_on_aws(moto_url: str, tmp_path: Path, steps: list[Step]) -> None:
    with on_aws(moto_url) as cloud:
        holds(cloud, steps, tmp_path)


@MANY
@example(steps=WHOLE)
@given(steps=STEPS)
def test_nothing_is_left_on_gcp(gcp_server: GcpServer, tmp_path: Path, steps: list[Step]) -> None:
    with on_gcp(gcp_server) as cloud:
        holds(cloud, steps, tmp_path)


@FEW
@example(steps=WHOLE)
@given(steps=STEPS)
def test_nothing_is_left_on_openstack(
    seoul: OpenStackCloud, tmp_path: Path, steps: list[Step]
) -> None:
    with on_openstack(seoul) as cloud:
        holds(cloud, steps, tmp_path)


@pytest.mark.parametrize("make", [on_aws, on_gcp], ids=["aws", "gcp"])
def test_a_process_that_lives_long_enough_does_all_of_it(
    make: Callable[..., contextlib.AbstractContextManager[Cloud]], request: pytest.FixtureRequest
) -> None:
    """Else the crash points would prove nothing."""
    place = request.getfixturevalue("moto_url" if make is on_aws else "gcp_server")
    with make(place) as cloud:
        live(cloud, WHOLE[0])
        assert cloud.left()
        end = time.monotonic() + 60
        while cloud.left():
            live(cloud, WHOLE[1])
            assert time.monotonic() < end, cloud.left()
