"""What an OpenStack cloud really refuses, how it is told, and that nothing is left behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from fedspan.errors import CredentialRejected, Denied, NotOffered, QuotaReached
from fedspan.providers.openstack.check import examine
from fedspan.providers.openstack.machines import OpenStackProvider
from fedspan.providers.openstack.policy import policy
from tests.clouds.openstack.cloud import OpenStackCloud, surroundings
from tests.clouds.openstack.specs import SSH_KEY, offer, spec
from tests.contract.test_providers import gone


@pytest.fixture
def provider(seoul: OpenStackCloud) -> Iterator[OpenStackProvider]:
    with closing(seoul.provider()) as made:
        yield made


@pytest.mark.parametrize("quota", ["instances", "cores", "ram", "key_pairs"])
def test_a_quota_of_nova_is_told_and_leaves_nothing(seoul: OpenStackCloud, quota: str) -> None:
    provider = seoul.provider(ssh_key=SSH_KEY)
    seoul.set_quota("seoul", **{quota: 0})
    try:
        with pytest.raises(QuotaReached, match=r"(?i)quota exceeded|key pairs"):
            provider.launch("job-1", spec())
    finally:
        seoul.set_quota("seoul", key_pairs=100)
    assert seoul.left("seoul") == []
    provider.close()


def test_a_quota_of_neutron_is_told_and_leaves_nothing(
    seoul: OpenStackCloud, provider: OpenStackProvider
) -> None:
    seoul.set_network_quota("seoul", security_groups=1)
    try:
        with pytest.raises(QuotaReached, match="security_group"):
            provider.launch("job-1", spec())
    finally:
        seoul.set_network_quota("seoul", security_groups=100)
    assert seoul.left("seoul") == []


def test_an_offer_that_is_gone_is_told_with_those_there_are(
    seoul: OpenStackCloud, provider: OpenStackProvider
) -> None:
    with pytest.raises(NotOffered, match=r"no flavor fs\.gone; there are: fs\.small, fs\.medium"):
        provider.launch("job-1", spec(offer=offer("fs.gone")))
    assert seoul.left("seoul") == []


def test_a_flavor_only_for_volumes_is_not_offered_by_nova(
    seoul: OpenStackCloud, provider: OpenStackProvider
) -> None:
    flavor = seoul.admin.compute.create_flavor(name="fs.diskless", vcpus=1, ram=1024, disk=0)
    try:
        with pytest.raises(NotOffered, match=r"(?i)zero disk"):
            provider.launch("job-1", spec(offer=offer("fs.diskless")))
    finally:
        seoul.admin.compute.delete_flavor(flavor)
    assert seoul.left("seoul") == []


@pytest.mark.parametrize("field", ["image", "network"])
def test_an_image_or_network_that_is_missing_leaves_nothing(
    seoul: OpenStackCloud, field: str
) -> None:
    provider = OpenStackProvider("seoul", seoul.secret(**{field: "gone"}), surroundings())

    with pytest.raises(NotOffered, match=f"no {field} gone"):
        provider.launch("job-1", spec())
    assert seoul.left("seoul") == []
    provider.close()


def test_access_rules_that_forbid_are_told_as_denied(seoul: OpenStackCloud) -> None:
    rules: Any = policy()["access_rules"]
    without = [one for one in rules if not one["path"].endswith("/servers")]
    secret = seoul.application_credential("seoul", rules=without)
    provider = OpenStackProvider("seoul", secret, surroundings(ssh_key=SSH_KEY))

    with pytest.raises(Denied, match=r"launch job-1-client-1: .*401"):
        provider.launch("job-1", spec())
    assert seoul.left("seoul") == []
    provider.close()


def test_a_user_disabled_while_machines_run_is_told(
    seoul: OpenStackCloud, provider: OpenStackProvider
) -> None:
    login = seoul.new_user("seoul", "leaves-while-it-runs")
    theirs = OpenStackProvider("seoul", seoul.secret(**login), surroundings())
    made = theirs.launch("job-1", spec())
    seoul.set_enabled(login["username"], False)
    end = time.monotonic() + 30
    with pytest.raises(CredentialRejected) as refused:  # its token is believed for a moment
        while time.monotonic() < end:
            theirs.machines()
            time.sleep(0.2)

    assert login["password"] not in str(refused.value)
    gone(provider, made)
    theirs.close()


def test_a_role_that_may_only_read_is_noted_and_denied(seoul: OpenStackCloud) -> None:
    login = seoul.new_user("seoul", "only-reads", role="reader")
    with closing(OpenStackProvider("seoul", seoul.secret(**login), surroundings())) as theirs:
        assert (
            "its roles are reader; clouds usually ask for the role member"
            in examine(seoul.secret(**login), surroundings()).notes
        )
        with pytest.raises(Denied, match=r"make the security group .*403"):
            theirs.launch("job-1", spec())
    assert seoul.left("seoul") == []
