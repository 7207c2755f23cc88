"""OpenStack's faults on the wire: what each is told as, and that nothing is left behind."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from fedspan.domain.machines import MachineState
from fedspan.errors import CloudUnavailable, ProviderError, QuotaReached, Throttled
from fedspan.providers.openstack.machines import OpenStackProvider
from tests.clouds.openstack.cloud import OpenStackCloud, surroundings
from tests.clouds.openstack.fixtures import FAULTY
from tests.clouds.openstack.specs import SSH_KEY, spec
from tests.clouds.proxy import Fault, FaultProxy
from tests.contract.test_providers import NEED, gone, settled

Proxies = dict[str, FaultProxy]
SERVERS, PAIRS = ("nova", r"/servers(/[^/]+)?$"), ("nova", "/os-keypairs")
GROUPS, RULES = ("neutron", r"/security-groups(/[^/?]+)?$"), ("neutron", "/security-group-rules")
MADE = (GROUPS, RULES, PAIRS, SERVERS)
REMOVED = (SERVERS, PAIRS, GROUPS)
"""What a launch makes and an end removes: service, path."""
END_FAULTS = ({"status": 500}, {"status": 429}, {"cut": "before"}, {"cut": "after"})
REFUSALS = (
    # status, what the cloud says, what it is told as
    (400, "Invalid input for field", "ProviderError"),
    (400, "Flavor 7 could not be found.", "NotOffered"),
    (400, "Flavor's memory is too small for requested image.", "NotOffered"),
    (400, "Flavor's disk is too small for requested image.", "NotOffered"),
    (400, "Can not find requested image", "NotOffered"),
    (400, "Image 7 could not be found.", "NotOffered"),
    (400, "Image 7 is not active.", "NotOffered"),
    (400, "Network 7 could not be found.", "NotOffered"),
    (401, "Token authorization failed", "Denied"),
    (403, "Policy doesn't allow it to be performed.", "Denied"),
    (403, "Quota exceeded for instances: Requested 1, but already used 1 of 1", "QuotaReached"),
    (403, "Maximum number of key pairs exceeded", "QuotaReached"),
    (403, "Only volume-backed servers are allowed for flavors with zero disk.", "NotOffered"),
    (404, "The resource could not be found.", "NotOffered"),
    (409, "Quota exceeded for resources: ['port'].", "QuotaReached"),
    (409, "There was a conflict", "ProviderError"),
    (413, "Too large", "ProviderError"),
    (418, "A teapot", "ProviderError"),
    (429, "Slow down", "Throttled"),
    (500, "Unexpected API Error", "CloudUnavailable"),
    (502, "Bad gateway", "CloudUnavailable"),
    (503, "No server is available", "CloudUnavailable"),
    (504, "Gateway timeout", "CloudUnavailable"),
)


@pytest.fixture
def provider(seoul: OpenStackCloud, faulty_region: Proxies) -> Iterator[OpenStackProvider]:
    made = behind(seoul, faulty_region)
    yield made
    made.close()


def behind(cloud: OpenStackCloud, proxies: Proxies) -> OpenStackProvider:
    secret = cloud.secret(auth_url=proxies["keystone"].url, region=FAULTY)
    return OpenStackProvider("seoul", secret, surroundings(ssh_key=SSH_KEY))


@pytest.mark.parametrize(("status", "words", "error"), REFUSALS)
def test_a_refused_launch_is_told_and_leaves_nothing(
    seoul: OpenStackCloud,
    faulty_region: Proxies,
    provider: OpenStackProvider,
    status: int,
    words: str,
    error: str,
) -> None:
    body = json.dumps({"refused": {"code": status, "message": words}}).encode()
    # A 401 is answered with a new token, and again.
    faults = [Fault(status, body, method="POST", path=SERVERS[1]) for _ in range(2)]
    faulty_region["nova"].faults += faults if status == 401 else faults[:1]

    with pytest.raises(ProviderError, match="launch job-1-client-1: ") as refused:
        provider.launch("job-1", spec(port=8443))
    assert type(refused.value).__name__ == error
    assert words in str(refused.value)
    if refused.value.retryable:  # what was made is kept for the repeat, and listed
        [left] = provider.machines()
        assert left.state is MachineState.STOPPED
        provider.terminate(left)
    assert seoul.left("seoul") == []


def test_a_refused_launch_leaves_the_machine_that_another_made_of_the_key(
    seoul: OpenStackCloud, faulty_region: Proxies, provider: OpenStackProvider
) -> None:
    made = provider.launch("job-1", spec())
    faulty_region["nova"].faults += [
        Fault(200, b'{"servers": []}', path="/servers/detail"),  # as if it was not there yet
        Fault(403, b'{"x": {"message": "Quota exceeded"}}', method="POST", path=SERVERS[1]),
    ]
    with pytest.raises(QuotaReached):
        provider.launch("job-1", spec())

    assert [one.id for one in settled(provider, "job-1")] == [made.id]
    kinds = [one.split()[0] for one in seoul.left("seoul")]
    assert kinds == ["group", "key", "server"]


@pytest.mark.parametrize(("place", "cut"), [*itertools.product(MADE, ["before", "after"])], ids=str)
def test_a_launch_that_is_cut_off_anywhere_is_repeated_safely(
    seoul: OpenStackCloud, faulty_region: Proxies, place: tuple[str, str], cut: Any
) -> None:
    service, path = place
    faulty_region[service].faults.append(Fault(cut=cut, method="POST", path=path))
    dies, next_one = behind(seoul, faulty_region), behind(seoul, faulty_region)
    with pytest.raises(CloudUnavailable):
        dies.launch("job-1", spec(port=8443))
    assert not faulty_region[service].faults
    made = next_one.launch("job-1", spec(port=8443))

    kinds = [one.split()[0] for one in seoul.left("seoul")]
    assert kinds == ["group", "key", "server"]
    gone(next_one, made)
    assert seoul.left("seoul") == []
    for one in (dies, next_one):
        one.close()


@pytest.mark.parametrize(
    ("place", "fault"),
    [*itertools.product(REMOVED, END_FAULTS)],
    ids=str,
)
def test_an_end_that_fails_anywhere_is_repeated_until_nothing_is_left(
    seoul: OpenStackCloud,
    faulty_region: Proxies,
    provider: OpenStackProvider,
    place: tuple[str, str],
    fault: dict[str, Any],
) -> None:
    service, path = place
    made = provider.launch("job-1", spec())
    faulty_region[service].faults.append(Fault(**fault, method="DELETE", path=path))
    with pytest.raises((CloudUnavailable, Throttled)):
        gone(provider, made)
    assert not faulty_region[service].faults

    gone(provider, made)
    assert seoul.left("seoul") == []


def test_a_machine_stays_listed_while_any_of_it_cannot_be_removed(
    seoul: OpenStackCloud, faulty_region: Proxies, provider: OpenStackProvider
) -> None:
    made = provider.launch("job-1", spec())
    burst = [Fault(500, method="DELETE", path=GROUPS[1]) for _ in range(5)]
    faulty_region["neutron"].faults += burst
    for _ in burst:
        with pytest.raises(CloudUnavailable):
            gone(provider, made)
        assert [one.id for one in provider.machines("job-1")] == [made.id]

    gone(provider, made)
    assert seoul.left("seoul") == []


def test_throttling_in_bursts_is_told_each_time_and_passes(
    seoul: OpenStackCloud, faulty_region: Proxies, provider: OpenStackProvider
) -> None:
    provider.machines()
    faulty_region["nova"].faults += [Fault(429, headers={"Retry-After": "30"}) for _ in range(3)]
    for _ in range(3):
        with pytest.raises(Throttled):
            provider.machines()

    assert list(provider.machines()) == []


def test_a_service_that_says_nonsense_is_told(
    seoul: OpenStackCloud, faulty_region: Proxies, provider: OpenStackProvider
) -> None:
    provider.machines()
    faulty_region["nova"].faults.append(Fault(200, b"<html>maintenance</html>"))

    with pytest.raises(ProviderError, match="list servers"):
        provider.machines()


@pytest.mark.parametrize(
    ("service", "path"), [("nova", r"^/v2\.1$"), ("glance", "^/$"), ("nova", "/flavors/detail")]
)
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}, {"cut": "before"}])
def test_a_service_that_fails_at_first_sight_is_unavailable_or_does_without(
    seoul: OpenStackCloud,
    faulty_region: Proxies,
    provider: OpenStackProvider,
    service: str,
    path: str,
    fault: dict[str, Any],
) -> None:
    faulty_region[service].faults.append(Fault(**fault, path=path))

    try:
        assert provider.offers(NEED)
    except ProviderError as exc:
        assert type(exc) is CloudUnavailable, exc
    assert not faulty_region[service].faults
    assert provider.offers(NEED)
