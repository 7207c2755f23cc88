"""``fedspan credential`` from the command line to a real OpenStack, moto's AWS and our Google, and
back: no part is a fake of ours but Google's server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedspan.local.home import Home
from fedspan.local.offline import offline
from fedspan.services.registered import Registered
from fedspan.wiring import app
from tests.cli.conftest import Result
from tests.clouds.gcp.fixtures import GcpProject
from tests.clouds.openstack.cloud import OpenStackCloud


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSPAN_ALLOW_LOOPBACK", "true")


def lives(
    cli: Callable[..., Result], home: Home, cloud: str, name: str, given: list[Any], secret: str
) -> Any:
    """Through all there is for a credential; what was shown of it when it was added. `given` are
    its options, of which ``-`` reads `secret`."""
    dry = cli("credential", "add", cloud, *given, "--dry-run", stdin=secret.encode())
    assert dry.code == 0, dry.err
    added = cli("credential", "add", cloud, *given, "--json", stdin=secret.encode())
    made = added.document
    assert made["kept"] is True
    assert made["examination"]["permissions"]
    assert not [one for one in made["examination"]["permissions"] if one["allowed"] is False]
    shown = [cli("credential", verb, name) for verb in ("show", "check")]
    shown.append(cli("credential", "rotate", cloud, *given, stdin=secret.encode()))
    assert [one.code for one in shown] == [0, 0, 0], [one.err for one in shown]
    with offline(home):
        here = app()
        provider = Registered(here.store, here.keys, here.clouds, {})[name]
        assert provider.machines() == []
    said = "".join(one.out + one.err for one in (dry, added, *shown))
    files = b"".join(one.read_bytes() for one in home.path.rglob("*") if one.is_file())
    word = secret.strip().splitlines()[0]
    assert word not in said
    assert word.encode() not in files
    assert cli("credential", "delete", name).code == 0
    return made


def test_a_password_of_openstack(
    cli: Callable[..., Result], home: Home, seoul: OpenStackCloud
) -> None:
    secret = seoul.secret("seoul")
    assert secret.password is not None
    word = secret.password.get_secret_value()
    login = ["--auth-url", secret.auth_url, "--username", secret.username]
    login += ["--region", seoul.region]  # other tests may have made another
    given = ["hospital", *login, "--project", secret.project, "--password-file", "-"]
    made = lives(cli, home, "openstack", "hospital", given, word)
    wrong = cli("credential", "add", "openstack", *given, stdin=b"wrong")
    other = cli("credential", "add", "openstack", *given[:-3], "nowhere", *given[-2:],
                stdin=word.encode())  # fmt: skip

    assert made["provider"] == "openstack"
    assert [one.code for one in (wrong, other)] == [6, 6]
    assert cli("credential", "list", "--json").document == {"credentials": []}


def test_an_access_key_of_aws(
    cli: Callable[..., Result], home: Home, moto_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSPAN_AWS_ENDPOINT", moto_url)
    given = ["--access-key-id", "AKIAIOSFODNN7EXAMPLE", "--secret-file", "-"]
    made = lives(cli, home, "aws", "aws", given, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")

    assert made["examination"]["identity"]["account"] == "123456789012"
    assert made["examination"]["regions"]


def test_a_service_account_of_google(
    cli: Callable[..., Result],
    home: Home,
    gcp_project: GcpProject,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FEDSPAN_GCP_ENDPOINT", gcp_project.server.url)
    secret = gcp_project.secret
    pem = secret.private_key.get_secret_value()
    document = {
        "type": "service_account",
        **secret.model_dump(exclude={"provider", "private_key", "regions"}),
        "private_key": pem,
    }
    file = tmp_path / "key.json"
    file.write_text(json.dumps(document))
    made = lives(cli, home, "gcp", "gcp", ["--key", file], pem.splitlines()[1])

    assert made["examination"]["identity"]["account"] == secret.project_id
