"""What registering an OpenStack credential finds out, on a real control plane."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fedspan.domain.credentials import Examination, OpenStackSecret
from fedspan.errors import (
    CredentialRejected,
    NotOffered,
)
from fedspan.providers.openstack.check import examine
from fedspan.providers.openstack.policy import policy
from tests.clouds.openstack.cloud import OpenStackCloud, surroundings

READ = "GET"


def examined(secret: OpenStackSecret) -> Examination:
    return examine(secret, surroundings())


def told(answer: Examination) -> dict[str, bool | None]:
    return {one.action: one.allowed for one in answer.permissions}


@contextlib.contextmanager
def refused_with(error: type[Exception], words: str, *secret: str) -> Iterator[None]:
    """Exactly this class, these words, and nothing of what should be kept."""
    with pytest.raises(error, match=words) as refused:
        yield
    assert type(refused.value) is error
    for one in secret:
        assert one not in str(refused.value)


def test_a_password_is_examined_by_reading_only(openstack_cloud: OpenStackCloud) -> None:
    before = openstack_cloud.left("busan")
    answer = examined(openstack_cloud.secret("busan"))

    assert answer.identity.subject == "user busan-operator in project busan"
    assert answer.identity.account == openstack_cloud.projects["busan"]["id"]
    assert answer.identity.expires is None
    assert answer.regions == ("RegionOne",)
    assert answer.missing == ()
    assert all(told(answer)[one] for one in told(answer) if f" {READ} " in one)
    assert told(answer)["compute POST /v2.1/servers"] is None
    assert openstack_cloud.left("busan") == before == []


def test_notes_tell_of_quota_flavors_and_what_machines_are_made_from(
    openstack_cloud: OpenStackCloud,
) -> None:
    notes = "\n".join(examined(openstack_cloud.secret("busan")).notes)

    assert "0 of 20 servers, 0 of 64 vCPUs, 0 of 131072 MiB in use" in notes
    assert "fs.small (1 vCPU, 1024 MiB)" in notes
    assert "are not used" not in notes
    assert "image fedspan-base on fedspan-net" in notes


def test_an_application_credential_says_when_it_ends(openstack_cloud: OpenStackCloud) -> None:
    answer = examined(openstack_cloud.application_credential("busan", seconds=3600))

    assert answer.identity.expires is not None
    left = answer.identity.expires - datetime.now(UTC)  # noqa: TID251  Keystone has no other clock
    assert timedelta(minutes=50) < left < timedelta(minutes=61)
    assert any("application credential ends at" in one for one in answer.notes)
    assert told(answer)["identity GET /v3/users/{id}/application_credentials/{id}"]


def test_one_without_an_end_has_none(openstack_cloud: OpenStackCloud) -> None:
    answer = examined(openstack_cloud.application_credential("busan"))

    assert answer.identity.expires is None
    assert answer.identity.account == openstack_cloud.projects["busan"]["id"]


def test_access_rules_as_the_policy_has_them_allow_everything(
    openstack_cloud: OpenStackCloud,
) -> None:
    rules: Any = policy()["access_rules"]
    answer = examined(openstack_cloud.application_credential("busan", rules=rules))

    assert set(told(answer).values()) == {True}


def test_access_rules_tell_what_is_missing_without_trying_it(
    openstack_cloud: OpenStackCloud,
) -> None:
    rules: Any = policy()["access_rules"]
    rules = [one for one in rules if one["method"] == READ and one["service"] != "identity"]
    rules = [one for one in rules if not one["path"].endswith("/limits")]
    answer = examined(openstack_cloud.application_credential("busan", rules=rules))

    assert "compute POST /v2.1/servers" in answer.missing
    assert "network DELETE /v2.0/security-groups/{id}" in answer.missing
    assert "compute GET /v2.1/limits" in answer.missing
    assert "identity GET /v3/users/{id}/application_credentials/{id}" in answer.missing
    assert told(answer)["compute GET /v2.1/servers/detail"]
    assert "when the application credential ends could not be asked" in answer.notes


def test_a_wrong_password_is_rejected(openstack_cloud: OpenStackCloud) -> None:
    with refused_with(CredentialRejected, "401", "not-the-password"):
        examined(openstack_cloud.secret(password="not-the-password"))


def test_an_unknown_user_is_rejected(openstack_cloud: OpenStackCloud) -> None:
    with refused_with(CredentialRejected, "401", "seoul-operator-secret"):
        examined(openstack_cloud.secret(username="nobody"))


def test_a_disabled_user_is_rejected(openstack_cloud: OpenStackCloud) -> None:
    login = openstack_cloud.new_user("seoul", "leaves-soon")
    assert examined(openstack_cloud.secret(**login))
    openstack_cloud.set_enabled("leaves-soon", False)

    with refused_with(CredentialRejected, "401", login["password"]):
        examined(openstack_cloud.secret(**login))


@pytest.mark.parametrize("project", ["busan", "no-such-project"])
def test_the_project_of_another_is_rejected(openstack_cloud: OpenStackCloud, project: str) -> None:
    with refused_with(CredentialRejected, "401"):
        examined(openstack_cloud.secret("seoul", project=project))


def test_an_expired_application_credential_is_rejected(openstack_cloud: OpenStackCloud) -> None:
    secret = openstack_cloud.application_credential("busan", seconds=2)
    assert secret.application_credential_secret is not None
    hidden = secret.application_credential_secret.get_secret_value()
    end = time.monotonic() + 30
    with refused_with(CredentialRejected, "401", hidden):
        while time.monotonic() < end:
            examined(secret)
            time.sleep(0.3)


def test_a_wrong_application_credential_is_rejected(openstack_cloud: OpenStackCloud) -> None:
    with refused_with(CredentialRejected, "401", "wrong-one"):
        examined(
            openstack_cloud.application_credential(
                "busan", application_credential_secret="wrong-one"
            )
        )


def test_a_deleted_application_credential_is_rejected(openstack_cloud: OpenStackCloud) -> None:
    secret = openstack_cloud.application_credential("busan")
    own = openstack_cloud.operator("busan")
    own.identity.delete_application_credential(
        own.current_user_id, secret.application_credential_id
    )

    with refused_with(CredentialRejected, "Could not find Application Credential"):
        examined(secret)


def test_an_unknown_region_is_named_with_those_there_are(openstack_cloud: OpenStackCloud) -> None:
    with refused_with(NotOffered, "no region Mars; there are: .*RegionOne"):
        examined(openstack_cloud.secret(region="Mars"))


def test_one_of_several_regions_is_to_be_named(
    openstack_cloud: OpenStackCloud, half_a_region: Callable[..., str]
) -> None:
    half_a_region(nova=openstack_cloud.urls["nova"])

    with refused_with(NotOffered, "several regions, name one: .*Half0.*RegionOne"):
        examined(openstack_cloud.secret(region=None))


@pytest.mark.parametrize(
    ("missing", "service"), [("nova", "compute"), ("glance", "image"), ("neutron", "network")]
)
def test_a_catalogue_without_a_service_names_it(
    openstack_cloud: OpenStackCloud,
    half_a_region: Callable[..., str],
    missing: str,
    service: str,
) -> None:
    urls = {name: url for name, url in openstack_cloud.urls.items() if name != missing}

    with refused_with(NotOffered, f"has no service {service}"):
        examined(openstack_cloud.secret(region=half_a_region(**urls)))


@pytest.mark.parametrize(
    ("field", "there"), [("image", "fedspan-base"), ("network", "fedspan-net")]
)
def test_a_missing_image_or_network_is_told_with_those_there_are(
    openstack_cloud: OpenStackCloud, field: str, there: str
) -> None:
    named = examined(openstack_cloud.secret(**{field: there}))

    assert any(there in one for one in named.notes)
    with refused_with(NotOffered, f"no {field} gone; there are: {there}"):
        examined(openstack_cloud.secret(**{field: "gone"}))


def test_one_of_several_networks_is_to_be_named(openstack_cloud: OpenStackCloud) -> None:
    project = openstack_cloud.new_project("gwangju")
    own = openstack_cloud.operator(project)
    own.network.create_network(name="another")

    with refused_with(NotOffered, "several networks fit, name one .*another, fedspan-net"):
        examined(openstack_cloud.secret(project))
    assert examined(openstack_cloud.secret(project, network="another"))


def test_a_policy_is_json_that_keystone_takes(openstack_cloud: OpenStackCloud) -> None:
    rules: Any = json.loads(json.dumps(policy()))["access_rules"]

    assert openstack_cloud.application_credential("busan", rules=rules)
    assert all(re.fullmatch(r"/\S{1,224}", one["path"]) for one in rules)
