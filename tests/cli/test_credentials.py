"""``fedspan credential``: what is asked, what is shown, and that a secret is seen nowhere."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedspan import wiring
from fedspan.domain.credentials import Cloud
from fedspan.keys.file import FileKey
from fedspan.local.home import Home
from fedspan.providers.opening import policy_of
from fedspan.services.registered import Registered
from tests.cli.conftest import ROOT, Result, serving
from tests.support.clouds import (
    APPLICATION,
    APPLICATION_WORD,
    AWS_SECOND,
    AWS_WORD,
    KEY_ID,
    OPENSTACK_WORD,
    ROBOT,
    USER,
    WORDS,
    Account,
    MemoryClouds,
    gcp_file,
    memory_clouds,
)

URL = "https://keystone.example/v3"
AWS = ("aws", "--access-key-id", KEY_ID, "--secret-file", "-")
SITE = ("openstack", "hospital", "--auth-url", URL, "--username", USER, "--project", "research")


@pytest.fixture
def clouds(home: Home) -> Iterator[MemoryClouds]:
    """A control plane whose clouds are in memory. At the end no file of its home has a secret."""
    made = memory_clouds(wiring.now)
    with serving(home) as app:
        keys = FileKey(home.path / "master.key")
        providers = Registered(app.store, keys, made, app.providers)
        wiring.install(replace(app, clouds=made, keys=keys, providers=providers))
        try:
            yield made
        finally:
            wiring.uninstall()
    files = b"".join(one.read_bytes() for one in home.path.rglob("*") if one.is_file())
    for word in WORDS:
        assert word.encode() not in files


@pytest.fixture
def run(cli: Callable[..., Result], clouds: MemoryClouds) -> Callable[..., Result]:
    """``fedspan credential ...``, whose output never has a secret."""

    def call(*arguments: object, stdin: str = "") -> Result:
        result = cli("credential", *map(str, arguments), stdin=stdin.encode())
        for word in WORDS:
            assert word not in result.out + result.err
        return result

    return call


def test_an_aws_key_is_added_shown_listed_checked_deleted(run: Callable[..., Result]) -> None:
    made = run("add", *AWS, stdin=f"{AWS_WORD}\n")
    shown, listed = run("show", "aws"), run("list")
    checked, deleted = run("check", "aws"), run("delete", "aws")

    assert [one.code for one in (made, shown, listed, checked, deleted)] == [0] * 5
    assert made.out.splitlines()[0] == "credential aws is registered"
    for said in ("arn:aws:iam::1:user/f", "123456789012", "✓  ec2:RunInstances", "2: region-1"):
        assert said in made.out
        assert said in shown.out
    assert "nothing" in listed.out
    assert deleted.out == "credential aws is deleted\n"
    assert "no credentials yet" in run("list").out


def test_documents_are_what_the_api_says(run: Callable[..., Result]) -> None:
    made = run("add", *AWS, "--json", stdin=AWS_WORD).document

    assert made.pop("kept") is True
    assert run("show", "aws", "--json").document == made
    assert run("check", "aws", "--json").document == made
    assert run("list", "--json").document == {"credentials": [made]}
    assert run("delete", "aws", "--json").document == {"deleted": "aws"}
    assert run("show", "aws", "--json").code == 5


def test_a_dry_run_keeps_nothing(run: Callable[..., Result]) -> None:
    made = run("add", *AWS, "--dry-run", stdin=AWS_WORD)

    assert made.code == 0
    assert made.out.splitlines()[0] == "credential aws would be kept"
    assert run("list", "--json").document == {"credentials": []}


def test_what_is_lacking_is_told_with_what_helps(
    run: Callable[..., Result], clouds: MemoryClouds
) -> None:
    clouds.accounts[KEY_ID].denied = {"ec2:RunInstances"}
    dry = run("add", *AWS, "--dry-run", stdin=AWS_WORD)
    refused = run("add", *AWS, stdin=AWS_WORD)
    clouds.accounts[KEY_ID].denied = set()
    run("add", *AWS, stdin=AWS_WORD)
    clouds.accounts[KEY_ID].denied = {"ec2:RunInstances"}
    checked = run("check", "aws")

    assert [one.code for one in (dry, refused, checked)] == [6, 6, 6]
    assert "✗  ec2:RunInstances" in dry.out
    assert "would be refused" in dry.out
    for said in (dry.out, refused.err, checked.out):
        assert "fedspan credential policy aws" in said
        assert "ec2:RunInstances" in said


def test_a_credential_that_proves_nothing_is_refused(run: Callable[..., Result]) -> None:
    result = run("add", *AWS, stdin="x" * 40)

    assert result.code == 6
    assert f"aws does not know {KEY_ID}" in result.err


def test_keys_come_from_the_environment(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = run("add", "aws", "--from-env")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", AWS_WORD)
    for name, value in (
        ("OS_AUTH_URL", URL),
        ("OS_USERNAME", USER),
        ("OS_PASSWORD", OPENSTACK_WORD),
        ("OS_PROJECT_NAME", "research"),
    ):
        monkeypatch.setenv(name, value)

    assert empty.code == 2
    assert "none of AWS_ACCESS_KEY_ID" in empty.err
    limited = run("add", "aws", "--from-env", "--region", "region-2", "--json")
    assert limited.document["examination"]["regions"] == ["region-2"]
    assert run("add", "openstack", "hospital", "--from-env").code == 0


def test_a_profile_of_aws_is_taken(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    keys = f"aws_access_key_id = {KEY_ID}\naws_secret_access_key = {AWS_WORD}\n"
    file.write_text(f"[work]\n{keys}")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))

    assert run("add", "aws", "--profile", "work").code == 0
    unknown = run("add", "aws", "--profile", "other")
    assert (unknown.code, "--profile other" in unknown.err) == (2, True)


def test_a_google_key_file_is_taken(run: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text(json.dumps(gcp_file()))
    made = run("add", "gcp", "--key", file)

    assert made.code == 0
    assert ROBOT in made.out
    assert run("rotate", "gcp", "--key", "-", stdin=file.read_text()).code == 0


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"type": "authorized_user"}', json.dumps({"x": WORDS}), "\xff"],
)
def test_a_file_that_is_no_google_key_is_refused(run: Callable[..., Result], text: str) -> None:
    result = run("add", "gcp", "--key", "-", stdin=text)

    assert result.code == 2
    assert "no key of a service account" in result.err


def test_a_password_and_an_application_credential_are_taken(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(f"{OPENSTACK_WORD}\n")
    made = run("add", *SITE, "--password-file", file)
    by_id = ("--auth-url", URL, "--application-credential-id", APPLICATION)
    rotated = run(
        "rotate", "openstack", "hospital", *by_id, "--password-file", "-", stdin=APPLICATION_WORD
    )

    assert (made.code, rotated.code) == (0, 0)
    assert rotated.out.splitlines()[0] == "credential hospital is rotated"
    assert "Rotated" in rotated.out


CLOUDS_YAML = f"""
clouds:
  research:
    auth: {{auth_url: {URL}, username: {USER}, password: {OPENSTACK_WORD}, project_name: research}}
    region_name: RegionOne
    identity_api_version: 3
  app:
    auth_type: v3applicationcredential
    auth:
      auth_url: {URL}
      application_credential_id: {APPLICATION}
      application_credential_secret: {APPLICATION_WORD}
  by-id:
    auth: {{auth_url: {URL}, username: {USER}, password: {OPENSTACK_WORD}, project_id: p1}}
  number: {{auth: 17}}
"""


@pytest.fixture
def clouds_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "clouds.yaml"
    file.write_text(CLOUDS_YAML)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(file))
    return file


@pytest.mark.parametrize("cloud", ["research", "app"])
def test_a_cloud_of_clouds_yaml_is_taken(
    run: Callable[..., Result], clouds_yaml: Path, cloud: str
) -> None:
    made = run("add", "openstack", "hospital", "--cloud", cloud)

    assert made.code == 0
    assert "project-1" in made.out


@pytest.mark.parametrize(
    ("cloud", "said"),
    [
        ("by-id", "project_id is not taken"),
        ("none", "no cloud of that name"),
        ("number", "no cloud"),
    ],
)
def test_a_cloud_that_cannot_be_taken_is_told(
    run: Callable[..., Result], clouds_yaml: Path, cloud: str, said: str
) -> None:
    result = run("add", "openstack", "hospital", "--cloud", cloud)

    assert result.code == 2
    assert said in result.err


def test_a_clouds_yaml_that_is_none_is_told_without_its_lines(
    run: Callable[..., Result], clouds_yaml: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clouds_yaml.write_text(f"clouds: {{a: {{auth: {{password: {OPENSTACK_WORD}: ]")
    broken = run("add", "openstack", "hospital", "--cloud", "a")
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "none.yaml"))
    missing = run("add", "openstack", "hospital", "--cloud", "a")

    assert (broken.code, missing.code) == (2, 2)
    assert "is no YAML" in broken.err
    assert "no clouds.yaml" in missing.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "aws"),
        ("add", "aws", "--from-env", "--profile", "x"),
        ("add", "aws", "--access-key-id", KEY_ID),
        ("add", "aws", "--access-key-id", KEY_ID, "--secret-file", "/nowhere/file"),
        ("add", "aws", "--access-key-id", KEY_ID, "--secret-file", "-"),
        ("add", "aws", f"--secret-access-key={AWS_WORD}"),
        ("add", "openstack", "hospital", "--password", OPENSTACK_WORD),
        ("add", *SITE),
        ("add", *SITE, "--ca", "/nowhere/ca.pem"),
        ("add", "openstack", "Hospital", "--auth-url", URL, "--password-file", "-"),
    ],
)
def test_wrong_usage_is_told(run: Callable[..., Result], arguments: tuple[str, ...]) -> None:
    result = run(*arguments)

    assert result.code == 2
    assert result.err.startswith("error: ") or "error:" in result.err


def test_a_rotation_of_another_account_is_refused(
    run: Callable[..., Result], clouds: MemoryClouds
) -> None:
    run("add", *AWS, stdin=AWS_WORD)
    other = "AKIAOTHEROTHER0123456"
    clouds.accounts[other] = Account("arn:other", "999999999999", {AWS_SECOND})
    refused = run("rotate", "aws", "--access-key-id", other, "--secret-file", "-", stdin=AWS_SECOND)
    again = run("add", *AWS, stdin=AWS_SECOND)
    rotated = run("rotate", *AWS, stdin=AWS_SECOND)

    assert (refused.code, again.code, rotated.code) == (5, 5, 0)
    assert "of account 123456789012, the new one of 999999999999" in refused.err
    assert "fedspan credential rotate" in again.err


def test_a_secret_that_is_asked_for_is_not_shown(home: Home, clouds: MemoryClouds) -> None:
    mine, its = pty.openpty()
    command = [sys.executable, "-m", "fedspan.cli.main", "credential", "add", *AWS[:3]]
    child = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    said = _until(mine, b"secret access key: ")
    os.write(mine, f"{AWS_WORD}\n".encode())
    said += _until(mine, None)
    os.close(mine)

    assert child.wait(60) == 0, said
    assert b"credential aws is registered" in said
    assert AWS_WORD.encode() not in said


def _until(fd: int, end: bytes | None) -> bytes:
    """What is written until `end`, or all there is."""
    said = b""
    while end is None or end not in said:
        try:
            more = os.read(fd, 4096)
        except OSError:  # the other side is closed
            break
        if not more:
            break
        said += more
    return said


@pytest.mark.parametrize("cloud", Cloud)
def test_a_policy_is_printed_as_its_cloud_takes_it(
    cli: Callable[..., Result], home: Home, cloud: str
) -> None:
    shown, document = (cli("credential", "policy", cloud, *more) for more in ([], ["--json"]))

    assert shown.document == document.document == policy_of(Cloud(cloud), home.owner())


def test_without_a_control_plane_credentials_are_listed_and_clouds_asked(
    cli: Callable[..., Result],
) -> None:
    # Keystone's address is refused before anything is sent: it is on loopback.
    at = ("openstack", "hospital", "--auth-url", "http://127.0.0.1:1/v3", *SITE[4:])
    refused = cli("credential", "add", *at, "--password-file", "-", stdin=b"a password")
    listed = cli("credential", "list", "--json")

    assert (refused.code, "auth_url" in refused.err) == (2, True)
    assert listed.document == {"credentials": []}


def test_an_unknown_policy_is_told(run: Callable[..., Result]) -> None:
    result = run("policy", "azure")

    assert result.code == 5
    assert "known: aws, gcp, openstack" in result.err


def test_a_debugged_failure_shows_no_secret(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSPAN_DEBUG", "1")
    result: Any = run("add", *AWS, "--region", "nowhere", stdin=AWS_WORD)

    assert result.code == 2
    assert "Traceback" in result.err
