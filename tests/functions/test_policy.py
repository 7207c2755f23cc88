"""What a Lambda's role allows is what its code asks for."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest

from fedspan.executions.base import Executions
from fedspan.executions.stepfunctions import StepFunctions

POLICY = Path(__file__).resolve().parents[2] / "functions/aws/.chalice/policy-dev.json"
MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:federated_job"
RUN = "arn:aws:states:eu-west-1:123456789012:execution:federated_job:20261120-090000-4f1c9a-1"


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


def allowed(action: str) -> list[str]:
    """On which resources, as patterns."""
    statements = json.loads(POLICY.read_text())["Statement"]
    return [one["Resource"] for one in statements if action in one["Action"]]


def test_every_method_of_executions_is_called_here() -> None:
    methods = {name for name in vars(Executions) if not name.startswith("_")}

    assert len(every_call()) == len(methods)


@pytest.mark.parametrize("action", every_call())
def test_what_the_code_asks_of_step_functions_is_allowed(action: str) -> None:
    given = every_call()[action]
    on = given.get("executionArn") or given.get("stateMachineArn") or MACHINE

    assert [one for one in allowed(action) if fnmatchcase(on, one)], (action, on)


def test_executions_of_other_state_machines_are_not_ours() -> None:
    other = RUN.replace("federated_job", "payroll")

    assert not [one for one in allowed("states:DescribeExecution") if fnmatchcase(other, one)]
