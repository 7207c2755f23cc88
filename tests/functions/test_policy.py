"""What a Lambda's role allows is what its code asks for, and no more."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest

from fedspan.executions.base import Executions
from fedspan.executions.stepfunctions import StepFunctions
from fedspan.local import functions

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "functions/aws/.chalice"
STAGE = json.loads((FOLDER / "config.json").read_text())["stages"]["dev"]["lambda_functions"]
MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:federated_job"
RUN = "arn:aws:states:eu-west-1:123456789012:execution:federated_job:20261120-090000-4f1c9a-1"

STORE = {"dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:DeleteItem"}
ALL = {"logs:CreateLogStream", "logs:PutLogEvents", "ssm:GetParameter"}
READ = {"s3:ListBucket", "s3:GetObject"}
RUNS = {"states:StartExecution", "states:DescribeExecution"}
TASKS = {"states:SendTaskSuccess", "states:SendTaskFailure"}

ALLOWED = {
    "authorize": ALL,
    **dict.fromkeys(("link", "select", "give_up", "notify", "finish"), ALL | STORE),
    **dict.fromkeys(
        ("await_approval", "await_ready", "await_trained", "await_rested"), ALL | STORE | TASKS
    ),
    **dict.fromkeys(("check", "place", "score_placement"), ALL | STORE | READ | {"kms:Decrypt"}),
    **dict.fromkeys(("launch", "recover", "tear_down"), ALL | STORE | {"kms:Decrypt"}),
    "sweep": ALL | STORE | RUNS | {"states:SendTaskFailure", "kms:Decrypt"},
    "save": ALL | STORE | READ | {"s3:PutObject", "s3:AbortMultipartUpload"},
    "api_handler": ALL
    | STORE
    | READ
    | RUNS
    | TASKS
    | {"s3:DeleteObject", "states:SendTaskHeartbeat", "sts:AssumeRole"}
    | {"kms:Encrypt", "kms:Decrypt"}
    | {"logs:CreateLogGroup"},  # `chalice deploy` makes its group under another name
}
"""By function, from what its use case touches (fedspan/services)."""


@dataclass
class Called:
    """A client that does nothing but say what was asked of it."""

    calls: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __getattr__(self, method: str) -> Any:
        def call(**given: Any) -> dict[str, str]:
            self.calls[method] = given
            return {"status": "RUNNING"}

        return call


def every_call() -> dict[str, dict[str, Any]]:
    """By its name in IAM: all that the executions ask of Step Functions."""
    client = Called()
    runs = StepFunctions(client, MACHINE)
    name = RUN.rpartition(":")[2]
    runs.start(name, {})
    runs.alive(name)
    runs.succeed("token", {})
    runs.fail("token", "Error", "cause")
    runs.heartbeat("token")
    real = boto3.client("stepfunctions", region_name="eu-west-1")
    operations = real.meta.method_to_api_mapping
    real.close()
    return {f"states:{operations[method]}": given for method, given in client.calls.items()}


def statements(function: str) -> list[dict[str, Any]]:
    return list(json.loads((FOLDER / STAGE[function]["iam_policy_file"]).read_text())["Statement"])


def allowed(action: str) -> list[str]:
    """On which resources, as patterns, for the function that may do all."""
    return [one["Resource"] for one in statements("api_handler") if action in one["Action"]]


def test_every_function_has_a_policy() -> None:
    chalice = functions.chalice_app()
    there = {one.name for one in chalice.pure_lambda_functions}
    there |= {one.name for one in chalice.event_sources} | {"api_handler", "authorize"}

    assert STAGE.keys() == there == ALLOWED.keys()


def test_every_policy_is_some_functions() -> None:
    used = {one["iam_policy_file"] for one in STAGE.values()}

    assert {file.name for file in FOLDER.glob("policy-*.json")} == used


@pytest.mark.parametrize("function", sorted(ALLOWED))
def test_a_function_may_do_what_its_use_case_needs_and_no_more(function: str) -> None:
    may = {action for one in statements(function) for action in one["Action"]}

    assert may == ALLOWED[function]


@pytest.mark.parametrize("file", sorted(FOLDER.glob("policy-*.json")), ids=lambda one: one.stem)
def test_no_action_is_a_wildcard_and_every_resource_is_named(file: Path) -> None:
    for one in json.loads(file.read_text())["Statement"]:
        assert one["Effect"] == "Allow"
        assert not [action for action in one["Action"] if "*" in action]
        keys = one.get("Condition", {}).get("ForAnyValue:StringEquals", {})
        assert "fedspan" in one["Resource"] + str(keys) or "federated_job" in one["Resource"]


def test_every_method_of_executions_is_called_here() -> None:
    methods = {name for name in vars(Executions) if not name.startswith("_")}

    assert len(every_call()) == len(methods)


@pytest.mark.parametrize("action", every_call())
def test_what_the_code_asks_of_step_functions_is_allowed(action: str) -> None:
    given = every_call()[action]
    on = given.get("executionArn") or given.get("stateMachineArn") or MACHINE

    assert [one for one in allowed(action) if fnmatchcase(on, one)], (action, on)


IAM = {
    "transact_write_items": {"dynamodb:PutItem", "dynamodb:DeleteItem"},
    "get_item": {"dynamodb:GetItem"},
    "query": {"dynamodb:Query"},
    "encrypt": {"kms:Encrypt"},
    "decrypt": {"kms:Decrypt"},
    "assume_role": {"sts:AssumeRole"},
}
"""What IAM asks for a call. A transaction is allowed by what it holds."""


@pytest.mark.parametrize(
    "adapter", ["stores/dynamodb.py", "keys/kms.py", "objects/grants.py"], ids=str
)
def test_every_call_of_an_adapter_is_allowed(adapter: str) -> None:
    code = ast.parse((ROOT / "fedspan" / adapter).read_text())
    made = {
        node.func.attr
        for node in ast.walk(code)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) in ("self._client", "client")
    } - {"close", "create_table"}

    assert made
    assert made <= IAM.keys(), "say in IAM what this call needs"
    assert set().union(*(IAM[one] for one in made)) <= ALLOWED["api_handler"]


def test_executions_of_other_state_machines_are_not_ours() -> None:
    other = RUN.replace("federated_job", "payroll")

    assert not [one for one in allowed("states:DescribeExecution") if fnmatchcase(other, one)]
