"""`chalice deploy` itself, against AWS's APIs as moto has them, and `chalice delete` after it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.clouds.aws.fixtures import AWS
from tests.infra.conftest import ROOT, moto_as_aws

CHALICE = str(Path(sys.executable).with_name("chalice"))


class Account:
    """What of ours is there."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, service: str, operation: str, key: str, **given: Any) -> list[dict[str, Any]]:
        with contextlib.closing(boto3.client(service, endpoint_url=self.url, **AWS)) as client:
            pages = client.get_paginator(operation).paginate(**given)
            return [one for page in pages for one in page[key]]

    def functions(self) -> dict[str, dict[str, Any]]:
        found = self.ask("lambda", "list_functions", "Functions")
        return {one["FunctionName"]: one for one in found if "fedspan-dev" in one["FunctionName"]}

    def roles(self) -> set[str]:
        names = {one["RoleName"] for one in self.ask("iam", "list_roles", "Roles")}
        return {name for name in names if name.startswith("fedspan-dev")}

    def apis(self) -> list[dict[str, Any]]:
        found = self.ask("apigateway", "get_rest_apis", "items")
        return [one for one in found if one["name"] == "fedspan"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy as functions/aws/package.py makes it, without our code: small zips."""
    out = tmp_path_factory.mktemp("chalice") / "aws"
    shutil.copytree(ROOT / "functions/aws", out, ignore=shutil.ignore_patterns("__pycache__"))
    (out / "requirements.txt").write_text("")
    return out


def chalice(project: Path, url: str, *words: str) -> subprocess.CompletedProcess[str]:
    account = {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": AWS["region_name"],
        "AWS_ACCESS_KEY_ID": AWS["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": AWS["aws_secret_access_key"],
    }
    return subprocess.run(
        [CHALICE, *words],
        cwd=project,
        env={**os.environ, **account, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def deployed(project: Path, moto_url: str) -> Iterator[Account]:
    """Deployed; deleted afterwards, whatever happened."""
    with moto_as_aws():
        ran = chalice(project, moto_url, "deploy")
        try:
            assert ran.returncode == 0, ran.stdout + ran.stderr
            yield Account(moto_url)
        finally:
            chalice(project, moto_url, "delete")


def test_every_function_is_there_with_a_role_of_its_own(deployed: Account) -> None:
    config = json.loads((ROOT / "functions/aws/.chalice/config.json").read_text())
    configured = config["stages"]["dev"]["lambda_functions"]
    named = {"fedspan-dev" if one == "api_handler" else f"fedspan-dev-{one}" for one in configured}
    functions = deployed.functions()

    assert functions.keys() == named
    assert {one["Role"].split("/")[-1] for one in functions.values()} == deployed.roles()
    assert deployed.roles() == {f"fedspan-dev-{one}" for one in configured}


def test_every_log_group_forgets_after_a_month(deployed: Account) -> None:
    found = deployed.ask(
        "logs", "describe_log_groups", "logGroups", logGroupNamePrefix="/aws/lambda/fedspan-dev"
    )

    # Chalice calls the API's function fedspan-dev, and its log group by another name: there the
    # function makes one that keeps all. Terraform (infra/aws) and CloudFormation have it right.
    named = {one["logGroupName"].replace("-api_handler", "") for one in found}
    assert named == {f"/aws/lambda/{name}" for name in deployed.functions()}
    assert {one["retentionInDays"] for one in found} == {30}


def test_the_sweep_is_scheduled(deployed: Account) -> None:
    rules = deployed.ask("events", "list_rules", "Rules", NamePrefix="fedspan-dev-sweep")

    assert [one["ScheduleExpression"] for one in rules] == ["rate(1 minute)"]


def test_every_path_of_the_api_but_health_asks_the_authorizer(deployed: Account) -> None:
    [api] = deployed.apis()
    paths = deployed.ask(
        "apigateway", "get_resources", "items", restApiId=api["id"], embed=["methods"]
    )
    methods = {one["path"]: one.get("resourceMethods", {}) for one in paths}

    assert "/v1/jobs/{job_id}" in methods
    assert {"GET", "POST"} <= methods["/v1/jobs"].keys()
    # Moto keeps no security of an imported API: what was sent is in tests/infra/test_package.py.


def test_delete_leaves_nothing(project: Path, deployed: Account) -> None:
    """But the logs: Chalice lets them stand. The last of this file."""
    ran = chalice(project, deployed.url, "delete")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert deployed.functions() == {}
    assert deployed.roles() == set()
    assert deployed.apis() == []
