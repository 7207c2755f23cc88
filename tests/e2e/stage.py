"""The clouds a cross-cloud job runs on, all on loopback, and what is registered of them."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
import pytest

from fedspan.local.hospitals import write_hospitals
from fedspan.stores.dynamodb import create_table
from tests.clouds.aws.server import moto_server
from tests.clouds.aws.watcher import Ec2Watcher
from tests.clouds.boot import GUEST, REPOSITORY
from tests.clouds.firestore.emulator import FirestoreEmulator
from tests.clouds.gcp.server import GcpServer
from tests.clouds.openstack import plane
from tests.clouds.openstack.tenants import administrator
from tests.clouds.storage.tokens import TokenServer

AWS_REGION: Final = "ap-northeast-2"
GCP_REGION: Final = "us-west1"
PROJECT: Final = "fedspan-e2e"
BUCKET: Final = "fedspan-models"
ROLE: Final = "fedspan-objects"
CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "AKIAFEDSPANE2ETEST00",
    "AWS_SECRET_ACCESS_KEY": "s" * 40,
}


@dataclass
class Stage:
    """`on_aws` and `on_gcp` are the variables of a control plane at home in either cloud; `sites`
    says of each participant where it is and what its data is like."""

    folder: Path
    on_aws: Mapping[str, str]
    on_gcp: Mapping[str, str]
    sites: Mapping[str, Mapping[str, Any]]
    openstack: Mapping[str, Any]
    key_file: Path
    gcp: GcpServer
    moto: str

    def register(self, control: Callable[..., Any], cloud: str) -> list[dict[str, Any]]:
        """The credential of `cloud` and those of both participants, proved by their clouds."""
        if cloud == "aws":
            made = [control("credential", "add", "aws", "--from-env", "--region", AWS_REGION)]
        else:
            key = ("--key", str(self.key_file), "--region", GCP_REGION)
            made = [control("credential", "add", "gcp", *key)]
        for name, project in self.openstack["projects"].items():
            login = ("--auth-url", self.openstack["auth_url"], "--username", project["username"])
            where = ("--project", project["project"], "--region", self.openstack["region"])
            add = ("credential", "add", "openstack", name, *login, *where, "--password-file", "-")
            made.append(control(*add, given=project["password"]))
        return made

    def inventory(self) -> list[str]:
        """What is left on any cloud of machines, firewalls and keys, to an administrator."""
        return [*self._on_ec2(), *self._on_compute_engine(), *self._on_openstack()]

    def _on_ec2(self) -> Iterator[str]:
        client = _client("ec2", self.moto)
        for page in client.describe_instances()["Reservations"]:
            for one in page["Instances"]:
                if one["State"]["Name"] != "terminated":
                    yield f"aws instance {one['InstanceId']} ({one['State']['Name']})"
        for one in client.describe_security_groups()["SecurityGroups"]:
            if one["GroupName"] != "default":
                yield f"aws security group {one['GroupName']}"
        for one in client.describe_key_pairs()["KeyPairs"]:
            yield f"aws key pair {one['KeyName']}"
        client.close()

    def _on_compute_engine(self) -> Iterator[str]:
        project = self.gcp.projects[PROJECT]
        yield from (f"gcp instance {name}" for name in project.instances)
        yield from (f"gcp firewall {name}" for name in project.firewalls)

    def _on_openstack(self) -> Iterator[str]:
        with administrator(self.openstack["urls"]) as admin:
            for one in admin.compute.servers(all_projects=True):
                yield f"openstack server {one.name} ({one.status})"
            for one in admin.network.security_groups():
                if one.name != "default":
                    yield f"openstack security group {one.name}"


@contextmanager
def staged(folder: Path, say: Callable[[str], None]) -> Iterator[Stage]:
    """All clouds, up and furnished, while the block runs."""
    with ExitStack() as stack:
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        environment.setenv("FEDSPAN_TEST_BOOT", shlex.join(booting({})))
        say("starting OpenStack")
        state = folder / "openstack"
        openstack = plane.up(state)
        stack.callback(plane.down, state)
        say("starting AWS, Compute Engine, Cloud Storage and Firestore")
        moto = stack.enter_context(moto_server())
        watcher = Ec2Watcher(moto, AWS_REGION, booting({}), folder / "ec2")
        stack.enter_context(watcher)
        gcp = stack.enter_context(GcpServer(boot=booting({})))
        storage = stack.enter_context(TokenServer(gcp.accounts))
        firestore = stack.enter_context(FirestoreEmulator())
        secret = gcp.key(gcp.project(PROJECT))
        key_file = folder / "key.json"
        key_file.write_text(json.dumps(_key_document(secret)))
        storage.bucket(BUCKET, secret.client_email)
        gcp.exchange = storage.exchange
        own_file = folder / "own.json"
        own_file.write_text(storage.key_file(secret.client_email))
        common = {
            "FEDSPAN_ALLOW_LOOPBACK": "true",
            "FEDSPAN_AWS_ENDPOINT": moto,
            "FEDSPAN_GCP_ENDPOINT": gcp.url,
        }
        yield Stage(
            folder=folder,
            on_aws={**common, **_at_home_in_aws(moto)},
            on_gcp={
                **common,
                "FEDSPAN_STORE_URL": f"firestore://{PROJECT}",
                "FEDSPAN_OBJECTS_URL": f"gs://{BUCKET}",
                "FIRESTORE_EMULATOR_HOST": firestore.host,
                "GOOGLE_BASE_URL": storage.url,
                "GOOGLE_SERVICE_ACCOUNT_KEY": storage.key(secret.client_email),
                "GOOGLE_APPLICATION_CREDENTIALS": str(own_file),
            },
            sites=_sites(folder / "sites"),
            openstack=openstack,
            key_file=key_file,
            gcp=gcp,
            moto=moto,
        )


def booting(guest: Mapping[str, str]) -> list[str]:
    """The command that boots a machine which has the variables `guest` by its nature."""
    script = REPOSITORY / "tests" / "clouds" / "boot.py"
    return ["/usr/bin/env", f"{GUEST}={json.dumps(guest)}", sys.executable, str(script)]


def _at_home_in_aws(moto: str) -> dict[str, str]:
    """A table, a bucket and the role whose sessions machines get, and how to find them."""
    dynamodb, s3, iam = (_client(name, moto) for name in ("dynamodb", "s3", "iam"))
    create_table(dynamodb, "fedspan")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": AWS_REGION})
    role = iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    for client in (dynamodb, s3, iam):
        client.close()
    return {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": moto,
        "AWS_DEFAULT_REGION": AWS_REGION,
        "FEDSPAN_STORE_URL": "dynamodb://fedspan",
        "FEDSPAN_OBJECTS_URL": f"s3://{BUCKET}",
        "FEDSPAN_OBJECTS_ROLE": role,
    }


def _client(service: str, url: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=AWS_REGION,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )


def _key_document(secret: Any) -> dict[str, str]:
    """As Google's console gives it."""
    plain = secret.model_dump(include={"project_id", "client_email", "private_key_id", "token_uri"})
    key = secret.private_key.get_secret_value()
    return {"type": "service_account", **plain, "private_key": key}


def _sites(folder: Path) -> dict[str, dict[str, Any]]:
    """The demo's hospitals; the data lies where only their machines look for it."""
    found = {}
    for site in write_hospitals(folder):
        [data] = site.datasets
        found[site.name] = {
            "city": site.city,
            "latitude": site.latitude,
            "longitude": site.longitude,
            "path": data.path,
            "classes": data.classes,
            "examples": data.examples,
        }
    return found
