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


def test_a_plan_that_terraform_cannot_make_is_counted_in_the_files(
    cli, nobody, a_terraform, tmp_path
):
    """Without the provider there still is an answer, and it says what it is."""
    a_terraform.write_text(
        '#!/bin/sh\ncase "$1" in version) echo \'{"terraform_version": "1.11.4"}\';; '
        "*) echo no provider >&2; exit 1;; esac\n"
    )
    (tmp_path / "gcp/fedspan").mkdir(parents=True)
    (tmp_path / "gcp/main.py").write_text("")
    words = ["--plan", "--package", str(tmp_path / "gcp"), "--var", "project=p-1", "--json"]
    result = cli("deploy", "gcp", *words)

    assert result.code == 0, result.err
    shown = json.loads(result.out)
    assert shown["resources"]["google_cloudfunctions2_function"] == 5
    assert 0 < shown["idle_usd_a_month"]["list_price"] < 1
    assert "no provider" in shown["notes"][0]


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
    assert shown["resources"]["aws_lambda_function"] == 18
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
