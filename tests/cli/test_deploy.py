"""`fedspan deploy`: what is missing is said at once, and --plan changes nothing."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from fedspan.cli import deploying
from tests.infra.conftest import package, plugins

__all__ = ["package", "plugins"]  # fixtures


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No account of any cloud."""
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_PROFILE",
        *deploying.GOOGLE_KEYS,
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def a_terraform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """One that only says its version, first on PATH."""
    program = tmp_path / "bin" / "terraform"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho \'{"terraform_version": "1.11.4"}\'\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return program


def test_all_that_is_missing_is_said_at_once(cli, nobody, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = cli("deploy", "gcp", "--package", str(tmp_path / "none"), "--yes", "--json")

    assert result.code == 2
    problems = json.loads(result.out)["error"]["problems"]
    assert [one.partition(":")[0] for one in problems] == [
        "terraform",
        "package",
        "credentials",
        "--var",
    ]
    assert "make package-gcp" in problems[1]


def test_an_old_terraform_is_refused(cli, nobody, a_terraform, tmp_path):
    a_terraform.write_text('#!/bin/sh\necho \'{"terraform_version": "1.4.9"}\'\n')
    result = cli("deploy", "aws", "--plan", "--package", str(tmp_path))

    assert result.code == 2
    assert "1.4.9 is too old" in result.err


def test_a_variable_without_a_value_is_refused(cli):
    result = cli("deploy", "aws", "--plan", "--var", "region")

    assert result.code == 2
    assert "--var: 'region' is not NAME=VALUE" in result.err


def test_nothing_is_destroyed_of_which_nothing_is_known(cli, a_terraform, package, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    result = cli("deploy", "aws", "--destroy", "--yes", "--package", str(package))

    assert result.code == 2
    assert "holds no state" in result.err


NO_PROVIDER = """\
Warning: something old
{}
Error: Failed to query available provider packages

Could not retrieve the list of available versions: no such host
"""


def failing(program: Path, at: str, said: str) -> None:
    """Make it one that fails `at` a command."""
    program.with_name("said").write_text(said)
    program.write_text(
        f'#!/bin/sh\ncase "$1 $2" in version*) echo \'{{"terraform_version": "1.11.4"}}\';; '
        f'*" {at}") cat "{program.with_name("said")}" >&2; exit 1;; esac\n'
    )


def for_google(tmp_path: Path) -> list[str]:
    (tmp_path / "gcp/fedspan").mkdir(parents=True)
    (tmp_path / "gcp/main.py").write_text("")
    return ["--plan", "--package", str(tmp_path / "gcp"), "--var", "project=p-1"]


def test_without_the_provider_a_plan_is_counted_and_says_so(
    cli, nobody, a_terraform, monkeypatch, tmp_path
):
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "a-token")
    failing(a_terraform, "init", NO_PROVIDER.format("an old thing " * 200))
    words = for_google(tmp_path)
    result, read = cli("deploy", "gcp", *words, "--json"), cli("deploy", "gcp", *words).out

    assert result.code == 0, result.err
    shown = result.document
    assert shown["changes"]["counted"] is True
    assert shown["resources"]["google_cloudfunctions2_function"] == 5
    assert 0 < shown["idle_usd_a_month"]["list_price"] < 1
    assert "no such host" in shown["notes"][0]
    assert read.splitlines()[0] == (
        f"gcp: at least {sum(shown['resources'].values())}, counted in the files: Terraform could "
        "not plan (`terraform init` could not get its provider)"
    )
    assert "terraform init: gets its provider" in result.err


def test_without_terraform_a_plan_counts_the_functions_of_the_package(
    cli, nobody, package, monkeypatch, tmp_path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = cli("deploy", "aws", "--plan", "--package", package, "--json")

    assert result.code == 0, result.err
    assert result.document["unplanned"] == "it is not on PATH"
    assert result.document["resources"]["aws_lambda_function"] == 19
    assert "the 19 functions are those that" in result.document["notes"][0]


def test_a_plan_for_google_without_an_account_is_counted(cli, nobody, a_terraform, tmp_path):
    result = cli("deploy", "gcp", *for_google(tmp_path), "--json")

    assert result.code == 0, result.err
    assert "no account of Google Cloud" in result.document["unplanned"]


@pytest.mark.parametrize(("at", "said"), [("init", "Unreadable"), ("plan", "Invalid value")])
def test_what_terraform_objects_to_is_an_error_and_told_without_its_warnings(
    cli, nobody, a_terraform, package, at, said
):
    failing(a_terraform, at, f"Warning: old\n{'an old thing ' * 200}\nError: {said}\n\nMend it.\n")
    result = cli("deploy", "aws", "--plan", "--package", package, "--json")

    assert result.code == 6
    assert result.document["error"]["message"] == f"terraform {at} failed: Error: {said} Mend it."


def test_a_count_does_not_call_new_what_may_be_there(cli, nobody, home, package, monkeypatch):
    monkeypatch.setenv("PATH", str(home.path))
    (home.path / "deploy/aws").mkdir(parents=True)
    (home.path / "deploy/aws" / deploying.STATE).write_text("{}")
    result = cli("deploy", "aws", "--plan", "--package", package, "--json")

    assert result.document["changes"] == {"counted": True}
    assert "what is there already" in result.document["notes"][1]


def test_a_variable_that_is_none_is_refused_whoever_plans(cli, nobody, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = cli("deploy", "gcp", *for_google(tmp_path), "--var", "projekt=1")

    assert result.code == 2
    assert "--var: 'projekt' is no variable of infra/gcp; did you mean 'project'?" in result.err


def test_terraforms_own_word_on_a_region_that_is_none(cli, nobody, package, plugins, monkeypatch):
    if shutil.which("terraform") is None or plugins is None:
        pytest.skip("LEFT OUT: fedspan deploy aws --plan; terraform or its provider is not here")
    monkeypatch.setenv("TF_PLUGIN_DIR", str(plugins))
    result = cli("deploy", "aws", "--plan", "--package", package, "--var", "region=nowhere")

    assert result.code == 6
    assert "terraform plan failed: Error: invalid AWS Region: nowhere" in result.err


def test_a_plan_without_an_account_says_what_would_be_made_and_what_it_costs(
    cli, nobody, package, plugins, monkeypatch, home
):
    if shutil.which("terraform") is None or plugins is None:
        pytest.skip("LEFT OUT: fedspan deploy aws --plan; terraform or its provider is not here")
    monkeypatch.setenv("TF_PLUGIN_DIR", str(plugins))
    result = cli("deploy", "aws", "--plan", "--package", str(package), "--json")

    assert result.code == 0, result.err
    shown = json.loads(result.out)
    assert shown["account"] is False
    assert shown["changes"].keys() == {"create"}
    assert shown["resources"]["aws_lambda_function"] == 19
    assert shown["resources"]["aws_cloudwatch_metric_alarm"] == 6
    cost = shown["idle_usd_a_month"]
    assert 0 < cost["list_price"] < 1
    assert cost["free_tier"] < 0.10
    assert not (home.path / "deploy").exists()


def test_the_signing_key_is_made_once_and_for_its_owner_only(tmp_path):
    key = deploying.signing_key(tmp_path)

    assert deploying.signing_key(tmp_path) == key
    assert len(key) == 64
    assert stat.S_IMODE((tmp_path / deploying.KEY).stat().st_mode) == 0o600
