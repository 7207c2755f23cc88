"""From a credential to its cloud: the right adapter, and its SDK not before it is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import fedspan
from fedspan.domain.credentials import Cloud, Registration
from fedspan.domain.machines import Role
from fedspan.errors import NotOffered
from fedspan.placement.book import Book
from fedspan.providers.base import Surroundings
from fedspan.providers.opening import OpenClouds, policy_of
from tests.support.clouds import aws_document, openstack_document, registration

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
SITE = registration("hospital", openstack_document())
AWS = registration("aws", aws_document())


def around(cloud: Cloud) -> Surroundings:
    def book() -> Book:
        raise NotOffered("no book here")

    return Surroundings(owner=f"at-{cloud}", images={}, book=book, now=lambda: NOW)


@pytest.mark.parametrize(
    ("told", "role"), [(AWS, Role.AGGREGATOR), (SITE, Role.CLIENT)], ids=["aws", "openstack"]
)
def test_a_credential_opens_its_own_cloud_without_a_call(told: Registration, role: Role) -> None:
    made = OpenClouds(around).provider(told.name, told.secret)

    assert made.name == told.name
    assert made.capabilities.roles == {role}


@pytest.mark.parametrize("cloud", Cloud)
def test_each_cloud_has_a_policy_that_is_json(cloud: Cloud) -> None:
    policy = policy_of(cloud, "fedspan")

    assert json.loads(json.dumps(policy)) == policy != {}


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("boto3", "botocore", "google", "openstack", "keystoneauth1"):
            raise ModuleNotFoundError(f"no {name}", name=name)
sys.meta_path.insert(0, Absent())
from fedspan.domain.credentials import AwsSecret, OpenStackSecret
from fedspan.errors import Unsupported
from fedspan.providers.opening import OpenClouds
clouds = OpenClouds(lambda cloud: None)
aws = AwsSecret(access_key_id="A" * 20, secret_access_key="x" * 40)
site = OpenStackSecret(auth_url="http://k", username="u", password="p", project="p")
for secret in (aws, site):
    for call in (clouds.examine, lambda secret: clouds.provider("a", secret)):
        try:
            call(secret)
        except Unsupported as exc:
            print(exc)
"""


def test_a_cloud_whose_sdk_is_not_installed_says_which_extra_brings_it() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        env={"PYTHONPATH": str(Path(fedspan.__file__).parents[1])},
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stderr
    said = ran.stdout.splitlines()
    assert [one.partition("pip install ")[2] for one in said] == [
        "'fedspan[aws]'",
        "'fedspan[aws]'",
        "'fedspan[openstack]'",
        "'fedspan[openstack]'",
    ]


def test_opening_loads_no_sdk_before_a_cloud_is_asked_for() -> None:
    program = (
        "import sys; import fedspan.providers.opening, fedspan.services.credentials, "
        "fedspan.services.registered, fedspan.keys.opening; "
        "print(sorted({'boto3', 'botocore', 'google.auth', 'openstack'} & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert out.strip() == "[]"
