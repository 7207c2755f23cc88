"""A real OpenStack control plane on loopback ports."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.clouds.openstack import plane, tenants
from tests.clouds.openstack.cloud import OpenStackCloud
from tests.clouds.proxy import FaultProxy

FAULTY = "Faulty"
"""The region whose services are behind proxies."""


@pytest.fixture(scope="session")
def openstack_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenStackCloud]:
    """Keystone, Placement, Glance, Neutron and Nova; installed first where they are not yet.
    Fails where they cannot be: what is skipped proves nothing."""
    state = tmp_path_factory.mktemp("openstack")
    made = plane.up(state)
    try:
        with OpenStackCloud(made) as cloud:
            yield cloud
    finally:
        plane.down(state)
        assert plane.processes(state) == []


@pytest.fixture(scope="session")
def _proxies(openstack_cloud: OpenStackCloud) -> Iterator[dict[str, FaultProxy]]:
    with contextlib.ExitStack() as stack:
        proxies = {
            name: stack.enter_context(FaultProxy(url)) for name, url in openstack_cloud.urls.items()
        }
        openstack_cloud.add_region(FAULTY, {name: one.url for name, one in proxies.items()})
        yield proxies


@pytest.fixture
def faulty_region(_proxies: dict[str, FaultProxy]) -> Iterator[dict[str, FaultProxy]]:
    """The proxies before the services, by the services' names. Secrets for it have the region
    `FAULTY`, and Keystone's proxy as their `auth_url`."""
    for one in _proxies.values():
        one.reset()
    yield _proxies
    for one in _proxies.values():
        one.reset()


@pytest.fixture
def seoul(openstack_cloud: OpenStackCloud) -> Iterator[OpenStackCloud]:
    """The cloud, whose project "seoul" is empty before and after, with its usual quota."""
    yield openstack_cloud
    openstack_cloud.clear("seoul")
    openstack_cloud.set_quota("seoul", **tenants.QUOTA)


@pytest.fixture
def half_a_region(openstack_cloud: OpenStackCloud) -> Iterator[Callable[..., str]]:
    """Makes a region of these services only, and returns its name."""
    made = []

    def make(**urls: str) -> str:
        made.append(f"Half{len(made)}")
        openstack_cloud.add_region(made[-1], urls)
        return made[-1]

    yield make
    for name in made:
        openstack_cloud.remove_region(name)
