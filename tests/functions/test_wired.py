"""What is deployed, as its environment wires it: on AWS, on Google Cloud, and at home."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fedspan import __version__, wiring
from fedspan.absent import NoExecutions, NoKeys
from fedspan.access import Caller, CallerRole, Tokens
from fedspan.app import App
from fedspan.domain.credentials import Cloud
from fedspan.domain.machines import Role
from fedspan.errors import NotFound, Unsupported
from fedspan.keys.base import MasterKey
from fedspan.local.home import Home
from fedspan.local.parts import opened, settings_of
from fedspan.objects.grants import GcsGrants, S3Grants
from fedspan.objects.opening import open_objects
from fedspan.providers.opening import OpenClouds
from fedspan.providers.remote import RemoteProvider
from fedspan.settings import Settings
from fedspan.stores.base import Key, Put
from fedspan.stores.dynamodb import create_table
from fedspan.stores.opening import open_store
from tests.clouds.aws.wire import Wire
from tests.clouds.gcp import kms
from tests.clouds.gcp.fixtures import GcpProject
from tests.clouds.storage.server import StorageServer

ROW = Key("jobs", "a")
ROLE = "arn:aws:iam::123456789012:role/fedspan-objects"
GOOGLE_KEY = "projects/p/locations/global/keyRings/fedspan/cryptoKeys/master"
NOWHERE = "http://127.0.0.1:9"
SIGNING_KEY = "0123456789abcdef" * 4
ADMIN = Caller(role=CallerRole.ADMIN)

Said = Callable[..., None]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[Said]:
    """Puts variables into the environment. Apps wired of it are this test's alone."""

    def say(variables: Mapping[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    for wire in (wiring._on_aws, wiring._on_gcp):
        wire.cache_clear()
    yield say
    for wire in (wiring._on_aws, wiring._on_gcp):
        wire.cache_clear()


@pytest.fixture
def on_aws(
    moto_url: str, aws_wire: Wire, aws_client: Callable[..., Any], said: Said
) -> dict[str, str]:
    """The variables of a control plane there. Its own parts are at `AWS_ENDPOINT_URL`; what
    `FEDSPAN_AWS_ENDPOINT` replaces is asked by way of `aws_wire`."""
    id = f"f{secrets.token_hex(8)}"
    create_table(aws_client("dynamodb", moto_url), id)
    aws_client("s3", moto_url).create_bucket(Bucket=id)
    key = aws_client("kms", moto_url).create_key()["KeyMetadata"]["KeyId"]
    aws_client("kms", moto_url).create_alias(AliasName=f"alias/{id}", TargetKeyId=key)
    aws_client("ssm", moto_url).put_parameter(
        Name=f"/{id}/signing-key", Value=SIGNING_KEY, Type="SecureString"
    )
    machine = aws_client("stepfunctions", moto_url).create_state_machine(
        name=id,
        definition='{"StartAt": "S", "States": {"S": {"Type": "Succeed"}}}',
        roleArn=ROLE,
    )
    variables = {
        "AWS_ENDPOINT_URL": moto_url,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "FEDSPAN_STORE_URL": f"dynamodb://{id}",
        "FEDSPAN_OBJECTS_URL": f"s3://{id}/some/prefix",
        "FEDSPAN_OBJECTS_ROLE": ROLE,
        "FEDSPAN_MASTER_KEY": f"alias/{id}",
        "FEDSPAN_SIGNING_KEY_PARAMETER": f"/{id}/signing-key",
        "FEDSPAN_STATE_MACHINE_ARN": machine["stateMachineArn"],
        "FEDSPAN_AWS_ENDPOINT": aws_wire.url,
        "FEDSPAN_GCP_ENDPOINT": NOWHERE,
        "FEDSPAN_ALLOW_LOOPBACK": "true",
    }
    said(variables)
    return variables


@pytest.fixture
def google_key(gcp_project: GcpProject, tmp_path: Path, said: Said) -> Iterator[kms.CloudKms]:
    """Cloud KMS with a key, and an account in the environment that may use it."""
    secret = gcp_project.secret
    account = secret.model_dump(include={"project_id", "client_email", "private_key_id"})
    account["private_key"] = secret.private_key.get_secret_value()
    file = tmp_path / "account.json"
    account |= {"type": "service_account", "token_uri": secret.token_uri}
    file.write_text(json.dumps(account))
    with kms.serving() as server:
        server.tokens = None
        server.create_key(GOOGLE_KEY)
        said(
            {
                "GOOGLE_APPLICATION_CREDENTIALS": str(file),
                "FEDSPAN_MASTER_KEY": GOOGLE_KEY,
                "FEDSPAN_GCP_ENDPOINT": server.url,
            }
        )
        yield server


@pytest.fixture
def on_gcp(
    google_key: kms.CloudKms, storage_server: StorageServer, firestore_host: str, said: Said
) -> str:
    """The variables of a Cloud Function are set; its bucket."""
    email = "function@project.iam.gserviceaccount.com"
    bucket = storage_server.bucket(f"b-{secrets.token_hex(8)}", email)
    said(
        {
            "FIRESTORE_EMULATOR_HOST": firestore_host,
            "GOOGLE_BASE_URL": storage_server.url,
            "GOOGLE_SERVICE_ACCOUNT_KEY": storage_server.key(email),
            "FEDSPAN_STORE_URL": f"firestore://p-{secrets.token_hex(8)}",
            "FEDSPAN_OBJECTS_URL": f"gs://{bucket.name}/some/prefix",
            "FEDSPAN_AWS_ENDPOINT": NOWHERE,
            "FEDSPAN_ALLOW_LOOPBACK": "true",
        }
    )
    return bucket.name


def keeps(app: App) -> bool:
    """What its store and its objects were given is where the settings say."""
    app.store.write([Put(ROW, "x", expected=0)])
    app.objects.put("a/b", b"y")
    store, objects = open_store(app.settings.store_url), open_objects(app.settings.objects_url)
    found = store.get(ROW)
    store.close()
    return found is not None and found.body == "x" and objects.get("a/b") == b"y"


def opens(key: MasterKey) -> bool:
    data_key, context = bytes(range(32)), {"name": "aws"}
    wrapped = key.wrap(data_key, context)
    return data_key not in wrapped and key.unwrap(wrapped, context) == data_key


def surroundings_of(app: App, cloud: Cloud) -> Any:
    # `app.clouds` of a function is late: it passes on what is asked of it.
    return app.clouds.around(cloud)  # type: ignore[attr-defined]


def test_a_control_plane_on_aws_keeps_what_its_environment_says(on_aws: dict[str, str]) -> None:
    app = wiring.app()

    assert keeps(app)
    assert app.objects.uri("a/b") == f"{on_aws['FEDSPAN_OBJECTS_URL']}/a/b"
    assert wiring.app() is app
    app.store.close()


def test_a_control_plane_on_aws_grants_sessions_of_its_role(on_aws: dict[str, str]) -> None:
    grants = wiring.app().grants

    assert isinstance(grants, S3Grants)
    bucket = on_aws["FEDSPAN_STORE_URL"].partition("//")[2]
    assert (grants.role, grants.bucket, grants.within) == (ROLE, bucket, "some/prefix/")


def test_a_control_plane_on_aws_seals_with_its_key_where_the_settings_say(
    on_aws: dict[str, str], aws_wire: Wire
) -> None:
    keys = wiring.app().keys

    assert keys.name == on_aws["FEDSPAN_MASTER_KEY"]
    assert opens(keys)
    assert aws_wire.actions() == ["kms:Encrypt", "kms:Decrypt"]


def test_a_control_plane_on_aws_without_a_master_key_says_so(
    on_aws: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEDSPAN_MASTER_KEY")

    with pytest.raises(Unsupported, match="FEDSPAN_MASTER_KEY"):
        opens(wiring.app().keys)


def test_a_control_plane_on_aws_starts_its_state_machine(
    on_aws: dict[str, str], aws_client: Callable[..., Any], moto_url: str
) -> None:
    wiring.app().executions.start("job-1", {"job": "job-1"})

    arn = on_aws["FEDSPAN_STATE_MACHINE_ARN"]
    [run] = aws_client("stepfunctions", moto_url).list_executions(stateMachineArn=arn)["executions"]
    assert run["name"] == "job-1"


def test_a_control_plane_on_aws_reads_tokens_of_the_key_in_its_parameter(
    on_aws: dict[str, str],
) -> None:
    token = Tokens(SIGNING_KEY.encode()).issue(ADMIN, wiring.now(), timedelta(hours=1))

    assert wiring.app().tokens.read(token) == ADMIN


def test_a_control_plane_on_aws_reaches_google_by_the_function_that_is_named(
    on_aws: dict[str, str], said: Said
) -> None:
    said({"FEDSPAN_REMOTE_URL": f"{NOWHERE}/machines"})
    provider = wiring.app().providers["gcp"]

    assert isinstance(provider, RemoteProvider)
    assert (provider.url, provider.allow_loopback) == (f"{NOWHERE}/machines", True)
    assert list(wiring.app().providers) == ["gcp"]


def test_a_control_plane_on_aws_has_no_clouds_that_nobody_registered(
    on_aws: dict[str, str],
) -> None:
    assert dict(wiring.app().providers) == {}


def test_a_function_on_google_keeps_what_its_environment_says(on_gcp: str) -> None:
    app = wiring.app_on_gcp()

    assert keeps(app)
    assert app.objects.uri("a/b") == f"gs://{on_gcp}/some/prefix/a/b"
    app.store.close()


def test_a_function_on_google_grants_parts_of_its_bucket(on_gcp: str) -> None:
    grants = wiring.app_on_gcp().grants

    assert isinstance(grants, GcsGrants)
    assert (grants.bucket, grants.within) == (on_gcp, "some/prefix/")


def test_a_function_on_google_seals_with_its_key_where_the_settings_say(on_gcp: str) -> None:
    keys = wiring.app_on_gcp().keys

    assert keys.name == GOOGLE_KEY
    assert opens(keys)
    keys._session.close()  # type: ignore[attr-defined]


def test_a_function_on_google_has_the_machines_of_its_own_project(
    on_gcp: str, gcp_project: GcpProject
) -> None:
    app = wiring.app_on_gcp()
    own = app.providers["gcp"]

    assert list(app.providers) == ["gcp"]
    assert (own.name, own.capabilities.roles) == ("gcp", {Role.AGGREGATOR})
    own.close()  # type: ignore[attr-defined]
    app.store.close()


def test_a_function_on_google_runs_no_jobs(on_gcp: str) -> None:
    with pytest.raises(Unsupported, match="submit to the control plane"):
        wiring.app_on_gcp().executions.start("job-1", {})


@pytest.mark.parametrize(
    ("cloud", "endpoint"),
    [(Cloud.AWS, "http://aws"), (Cloud.GCP, "http://gcp"), (Cloud.OPENSTACK, None)],
)
def test_each_cloud_is_asked_at_its_own_endpoint(cloud: Cloud, endpoint: str | None) -> None:
    settings = Settings(aws_endpoint="http://aws", gcp_endpoint="http://gcp")

    assert wiring.surroundings(settings, no_objects, cloud).endpoint == endpoint
    assert wiring.surroundings(Settings(), no_objects, cloud).endpoint is None


def test_adapters_are_given_what_the_settings_say() -> None:
    settings = Settings(owner="me", ssh_key="ssh-ed25519 AAAA", allow_loopback=True)
    around = wiring.surroundings(settings, no_objects, Cloud.AWS)

    assert (around.owner, around.ssh_key, around.allow_loopback) == ("me", "ssh-ed25519 AAAA", True)
    assert around.images == {
        Role.AGGREGATOR: f"ghcr.io/fedspan/aggregator:{__version__}",
        Role.CLIENT: f"ghcr.io/fedspan/client:{__version__}",
    }
    with pytest.raises(NotFound, match="nobody asks before a price is"):
        around.book()


def no_objects() -> Any:
    raise NotFound("nobody asks before a price is wanted")


def test_a_wired_app_gives_its_clouds_the_endpoints(on_aws: dict[str, str]) -> None:
    app = wiring.app()

    assert isinstance(app.clouds, OpenClouds)
    assert surroundings_of(app, Cloud.AWS).endpoint == on_aws["FEDSPAN_AWS_ENDPOINT"]
    assert surroundings_of(app, Cloud.GCP).endpoint == NOWHERE


def test_a_wired_function_gives_its_clouds_the_endpoints(
    on_gcp: str, google_key: kms.CloudKms
) -> None:
    app = wiring.app_on_gcp()

    assert surroundings_of(app, Cloud.AWS).endpoint == NOWHERE
    assert surroundings_of(app, Cloud.GCP).endpoint == google_key.url


@pytest.mark.parametrize(
    ("image", "tagged"),
    [
        ("aggregator", f"aggregator:{__version__}"),
        ("ghcr.io/fedspan/aggregator", f"ghcr.io/fedspan/aggregator:{__version__}"),
        ("registry:5000/aggregator", f"registry:5000/aggregator:{__version__}"),
        ("registry:5000/aggregator:9", "registry:5000/aggregator:9"),
        ("aggregator:9", "aggregator:9"),
        ("a/aggregator@sha256:" + "0" * 64, "a/aggregator@sha256:" + "0" * 64),
    ],
)
def test_an_image_without_a_tag_is_that_of_this_version(image: str, tagged: str) -> None:
    around = wiring.surroundings(Settings(aggregator_image=image), no_objects, Cloud.AWS)

    assert around.images[Role.AGGREGATOR] == tagged


def test_a_home_seals_with_a_key_of_aws_where_the_settings_say(
    on_aws: dict[str, str], aws_wire: Wire, tmp_path: Path
) -> None:
    home, tokens = Home(tmp_path), Tokens(bytes(32))
    runs = NoExecutions(Unsupported("nothing runs"))
    with opened(home, settings_of(home), tokens, lambda: runs, starts_machines=False) as app:
        assert opens(app.keys)

    assert aws_wire.actions() == ["kms:Encrypt", "kms:Decrypt"]


def test_a_control_plane_on_aws_may_seal_with_a_key_of_google(
    on_aws: dict[str, str], google_key: kms.CloudKms
) -> None:
    keys = wiring.app().keys

    assert opens(keys)
    keys._session.close()  # type: ignore[attr-defined]


def test_without_a_master_key_there_is_none() -> None:
    assert isinstance(wiring.master_key(Settings()), NoKeys)
