"""Terraform's own word on infra/aws, and what stands on AWS when it was applied: moto's."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest

from fedspan.settings import Settings
from fedspan.stores.dynamodb import TABLE
from tests.clouds.aws.fixtures import AWS
from tests.infra.conftest import INFRA, ROOT, Terraform, moto_as_aws

REGION = "eu-west-3"
MACHINE = ROOT / "state_machines/federated_job.asl.json"
FUNCTIONS = 19

Resources = dict[str, dict[str, Any]]
Applied = tuple[Resources, dict[str, Any]]


def test_the_files_are_formatted() -> None:
    if shutil.which("terraform") is None:
        pytest.skip("LEFT OUT: terraform fmt; it is not on PATH")
    command = ["terraform", "fmt", "-check", "-recursive", "-diff", str(INFRA)]
    ran = subprocess.run(command, capture_output=True, text=True)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_provider_finds_nothing_wrong(terraform: Terraform) -> None:
    said = json.loads(terraform("validate", "-json"))

    assert (said["valid"], said["diagnostics"]) == (True, [])


@pytest.fixture(scope="module")
def applied(terraform: Terraform, package: Path, moto_url: str) -> Iterator[Applied]:
    """All resources by address, and what a second plan says. Left out is what moto lacks: budgets'
    subscribers, and AWS's own policy for the logs of API Gateway."""
    words = [
        "-no-color",
        f"-var=package={package}",
        f"-var=state_machine={MACHINE}",
        "-var=s3_path_style=true",
        "-var=credentials_key=true",
        "-var=monthly_budget_usd=0",
        "-var=api_gateway_account=false",
        "-var=keep_objects=false",
    ]
    account = {
        "AWS_ENDPOINT_URL": moto_url,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_MAX_ATTEMPTS": "2",
        "TF_VAR_signing_key": "0123456789abcdef" * 4,
    }
    with moto_as_aws():
        terraform("apply", "-auto-approve", *words, **account)
        terraform("plan", "-out=again", *words, **account)
        again = json.loads(terraform("show", "-json", "again"))
        state = json.loads(terraform("show", "-json"))
        there = {one["address"]: one for one in state["values"]["root_module"]["resources"]}
        yield there, again
        terraform("destroy", "-auto-approve", *words, **account)
        assert json.loads(terraform("show", "-json")).get("values") is None


def of(applied: Applied, kind: str) -> list[dict[str, Any]]:
    return [one["values"] for one in applied[0].values() if one["type"] == kind]


def test_what_was_applied_needs_no_second_time(applied: Applied) -> None:
    changes = [
        one for one in applied[1]["resource_changes"] if one["change"]["actions"] != ["no-op"]
    ]
    for one in changes:
        before, after = one["change"]["before"], one["change"]["after"]
        differing = {name for name in before if before[name] != after.get(name, before[name])}

        # moto forgets where a function logs.
        assert (one["type"], differing) == ("aws_lambda_function", {"logging_config"})


def test_every_function_has_a_role_a_log_group_and_an_environment_of_its_own(
    applied: Applied,
) -> None:
    functions = of(applied, "aws_lambda_function")
    groups = {
        one["name"]: one["retention_in_days"] for one in of(applied, "aws_cloudwatch_log_group")
    }
    [environment] = functions[0]["environment"]

    assert len(functions) == FUNCTIONS
    assert len({one["role"] for one in functions}) == FUNCTIONS
    assert {f"/aws/lambda/{one['function_name']}" for one in functions} < groups.keys()
    assert set(groups.values()) == {30}
    settings = Settings.from_env(environment["variables"])
    assert {name.removeprefix("FEDSPAN_").lower() for name in environment["variables"]} <= set(
        Settings.model_fields
    )
    assert settings.owner == f"fedspan-aws-{REGION}"
    assert settings.api_url.startswith("https://") and settings.api_url.endswith("/api")
    assert settings.state_machine_arn == of(applied, "aws_sfn_state_machine")[0]["arn"]
    assert settings.master_key == of(applied, "aws_kms_alias")[0]["arn"]


def statements(applied: Applied) -> Iterator[tuple[str, dict[str, Any]]]:
    for one in of(applied, "aws_iam_role_policy"):
        for statement in json.loads(one["policy"])["Statement"]:
            yield one["name"], statement


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def test_no_action_and_no_resource_of_a_role_is_a_wildcard(applied: Applied) -> None:
    """Of all roles; but Step Functions' log delivery, whose actions know no resources."""
    for name, one in statements(applied):
        assert not [action for action in listed(one["Action"]) if "*" in action], (name, one)
        if name == "tasks" and one["Sid"] == "Logs":
            continue
        for resource in listed(one["Resource"]):
            assert re.fullmatch(rf"arn:aws:(s3|iam|\w+:{REGION}|\w+):[^*]+(/\*|:\*)?", resource), (
                one
            )
            assert "unknown" not in resource


def test_what_a_role_allows_is_what_its_packaged_policy_allows_and_narrower(
    applied: Applied,
) -> None:
    folder = ROOT / "functions/aws/.chalice"
    stage = json.loads((folder / "config.json").read_text())["stages"]["dev"]
    for name, function in stage["lambda_functions"].items():
        written = json.loads((folder / function["iam_policy_file"]).read_text())["Statement"]
        made = [one for role, one in statements(applied) if role == name]

        assert [one["Sid"] for one in made] == [one["Sid"] for one in written]
        for wide, narrow in zip(written, made, strict=True):
            assert listed(narrow["Action"]) == wide["Action"]
            assert fnmatchcase(
                narrow["Resource"],
                wide["Resource"].replace(":federated_job", ":fedspan-federated-job"),
            )


def test_nothing_is_public_and_everything_is_encrypted_at_rest(
    applied: Applied,
) -> None:
    [block] = of(applied, "aws_s3_bucket_public_access_block")
    [encryption] = of(applied, "aws_s3_bucket_server_side_encryption_configuration")
    [policy] = of(applied, "aws_s3_bucket_policy")
    [table] = of(applied, "aws_dynamodb_table")
    [parameter] = of(applied, "aws_ssm_parameter")
    [key] = of(applied, "aws_kms_key")

    assert all(
        value for name, value in block.items() if name.startswith(("block", "ignore", "restr"))
    )
    assert encryption["rule"][0]["apply_server_side_encryption_by_default"]
    [only_tls] = json.loads(policy["policy"])["Statement"]
    assert (only_tls["Effect"], only_tls["Condition"]) == (
        "Deny",
        {"Bool": {"aws:SecureTransport": "false"}},
    )
    assert table["server_side_encryption"][0]["enabled"]
    assert table["point_in_time_recovery"][0]["enabled"]
    assert (parameter["type"], key["enable_key_rotation"]) == ("SecureString", True)


def test_the_signing_key_is_on_aws_and_in_no_state(applied: Applied, moto_url: str) -> None:
    assert "0123456789abcdef" not in json.dumps(applied[0])
    there = {**AWS, "region_name": REGION}
    with contextlib.closing(boto3.client("ssm", endpoint_url=moto_url, **there)) as ssm:
        found = ssm.get_parameter(Name="/fedspan/signing-key", WithDecryption=True)
    assert found["Parameter"]["Value"] == "0123456789abcdef" * 4


def test_the_table_is_that_of_the_store(applied: Applied) -> None:
    [table] = of(applied, "aws_dynamodb_table")
    keys = {one["KeyType"]: one["AttributeName"] for one in TABLE["KeySchema"]}
    kinds = {one["AttributeName"]: one["AttributeType"] for one in TABLE["AttributeDefinitions"]}

    assert (table["hash_key"], table["range_key"]) == (keys["HASH"], keys["RANGE"])
    assert {one["name"]: one["type"] for one in table["attribute"]} == kinds
    assert table["billing_mode"] == TABLE["BillingMode"]


def test_the_state_machine_calls_functions_that_are_there(applied: Applied) -> None:
    [machine] = of(applied, "aws_sfn_state_machine")
    called = set(re.findall(r"arn:aws:lambda:[^\"]*", machine["definition"]))
    arns = {one["arn"] for one in of(applied, "aws_lambda_function")}
    invoked = [
        one for name, one in statements(applied) if name == "tasks" and one["Sid"] == "Tasks"
    ]

    assert len(called) == len(set(re.findall(r"\$\{\w+\}", MACHINE.read_text())))
    assert called < arns
    assert set(invoked[0]["Resource"]) == called


def test_all_that_can_carry_tags_says_whose_it_is(applied: Applied) -> None:
    untagged = [
        address
        for address, one in applied[0].items()
        if one["values"].get("tags_all", {"owner": "fedspan"}) is None
        or one["values"].get("tags_all", {"owner": "fedspan"}).get("owner") != "fedspan"
    ]

    assert untagged == []


def test_the_api_logs_who_asked_what(applied: Applied) -> None:
    [stage] = of(applied, "aws_api_gateway_stage")
    [logged] = stage["access_log_settings"]

    assert logged["destination_arn"].endswith(":log-group:/aws/apigateway/fedspan")
    assert "$context.authorizer.principalId" in logged["format"]
    assert "authorization" not in logged["format"].lower()


def test_the_gateway_answers_as_our_views_do(applied: Applied) -> None:
    answers = {one["response_type"]: one for one in of(applied, "aws_api_gateway_gateway_response")}
    denied = answers["ACCESS_DENIED"]
    document = denied["response_templates"]["application/json"]

    assert denied["status_code"] == "401"
    assert json.loads(document.replace("$context.authorizer.detail", "why")) == {
        "type": "Unauthorized",
        "status": 401,
        "detail": "why",
    }


def test_an_alarm_watches_each_function_that_answers_to_nobody_else(
    applied: Applied,
) -> None:
    alarms = of(applied, "aws_cloudwatch_metric_alarm")
    watched = {one["dimensions"].get("FunctionName") for one in alarms} - {None}
    metrics = Counter(one["metric_name"] for one in alarms)

    assert watched == {
        f"fedspan-{one}" for one in ("api_handler", "authorize", "score_placement", "sweep")
    }
    assert (metrics["ExecutionsFailed"], metrics["5XXError"]) == (1, 1)
