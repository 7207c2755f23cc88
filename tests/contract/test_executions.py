"""What runs state machines: Step Functions on the wire, and its interpreter in this process."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from fedspan.executions.base import Executions
from fedspan.executions.stepfunctions import StepFunctions
from fedspan.local.interpreter import KEPT, Interpreter

PATIENCE = 30.0


@dataclass
class Runner:
    """`token` waits for the token of the next waiting task, `status` tells how a run is."""

    executions: Executions
    token: Callable[[], str]
    status: Callable[[str], str]


def machine(waiting: dict[str, Any]) -> str:
    """A machine of one task that waits to be told."""
    task = {"Type": "Task", "HeartbeatSeconds": 60, "TimeoutSeconds": 120, "End": True, **waiting}
    return json.dumps({"StartAt": "Wait", "States": {"Wait": task}})


def interpreted(request: pytest.FixtureRequest) -> Iterator[Runner]:
    tokens: queue.Queue[str] = queue.Queue()
    file = request.getfixturevalue("tmp_path") / "waiting.asl.json"
    file.write_text(
        machine(
            {
                "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
                "Parameters": {
                    "FunctionName": "${tell}",
                    "Payload": {"token.$": "$$.Task.Token"},
                },
            }
        )
    )

    def tell(event: dict[str, Any], context: object) -> dict[str, Any]:
        tokens.put(event["token"])
        return {}

    runs = Interpreter(file, {"tell": tell})
    yield Runner(runs, lambda: tokens.get(timeout=PATIENCE), lambda name: runs.status(name) or "")


def on_the_wire(request: pytest.FixtureRequest) -> Iterator[Runner]:
    moto_url: str = request.getfixturevalue("moto_url")
    request.getfixturevalue("monkeypatch").setenv("MOTO_PORT", moto_url.rsplit(":", 1)[1])
    config = {"stepfunctions": {"execute_state_machine": True}}
    requests.post(f"{moto_url}/moto-api/config", json=config, timeout=30).raise_for_status()
    aws = request.getfixturevalue("aws_client")
    client, sqs = aws("stepfunctions", moto_url), aws("sqs", moto_url)
    url = sqs.create_queue(QueueName="tokens")["QueueUrl"]
    made = client.create_state_machine(
        name="waiting",
        roleArn="arn:aws:iam::123456789012:role/states",
        definition=machine(
            {
                "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
                "Parameters": {"QueueUrl": url, "MessageBody": {"token.$": "$$.Task.Token"}},
            }
        ),
    )["stateMachineArn"]

    def token() -> str:
        end = time.monotonic() + PATIENCE
        while not (found := sqs.receive_message(QueueUrl=url).get("Messages")):
            assert time.monotonic() < end, "no task waits"
            time.sleep(0.02)
        sqs.delete_message(QueueUrl=url, ReceiptHandle=found[0]["ReceiptHandle"])
        return str(json.loads(found[0]["Body"])["token"])

    def status(name: str) -> str:
        arn = made.replace(":stateMachine:", ":execution:") + f":{name}"
        return str(client.describe_execution(executionArn=arn)["status"])

    yield Runner(StepFunctions(client, made), token, status)
    client.delete_state_machine(stateMachineArn=made)
    sqs.delete_queue(QueueUrl=url)


@pytest.fixture(params=[interpreted, on_the_wire], ids=lambda f: f.__name__)
def runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    yield from request.param(request)


def ended(runner: Runner, name: str) -> str:
    end = time.monotonic() + PATIENCE
    while runner.status(name) == "RUNNING":
        assert time.monotonic() < end, f"{name} does not end"
        time.sleep(0.02)
    return runner.status(name)


def test_a_task_that_is_told_of_success_completes(runner: Runner) -> None:
    assert not runner.executions.alive("one")
    runner.executions.start("one", {"job": "j"})
    token = runner.token()

    assert runner.executions.alive("one")
    assert runner.executions.heartbeat(token)
    assert runner.executions.succeed(token, {"done": True})
    assert ended(runner, "one") == "SUCCEEDED"
    assert not runner.executions.alive("one")


def test_a_task_that_is_told_of_failure_fails(runner: Runner) -> None:
    runner.executions.start("two", {})

    assert runner.executions.fail(runner.token(), "AggregatorLost", "its machine is gone")
    assert ended(runner, "two") == "FAILED"


def test_one_name_starts_one_execution(runner: Runner) -> None:
    runner.executions.start("three", {"job": "j"})
    runner.executions.start("three", {"job": "j"})
    token = runner.token()
    assert runner.executions.succeed(token, {})

    assert ended(runner, "three") == "SUCCEEDED"
    runner.executions.start("three", {"job": "j"})
    assert not runner.executions.alive("three")


def test_a_token_nobody_waits_on_is_no_error(runner: Runner) -> None:
    runner.executions.start("four", {})
    token = runner.token()
    runner.executions.succeed(token, {})
    ended(runner, "four")

    for tell in (
        lambda t: runner.executions.succeed(t, {}),
        lambda t: runner.executions.fail(t, "E", "c"),
        runner.executions.heartbeat,
    ):
        assert tell("A" * 64) is False


def test_the_interpreter_answers_a_lambda_that_completes_its_own_task(tmp_path: Path) -> None:
    file = tmp_path / "waiting.asl.json"
    waiting = {
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Parameters": {"FunctionName": "${tell}", "Payload": {"token.$": "$$.Task.Token"}},
    }
    file.write_text(machine(waiting))

    def tell(event: dict[str, Any], context: object) -> dict[str, Any]:
        assert runs.succeed(event["token"], {})
        return {}

    runs = Interpreter(file, {"tell": tell})
    runs.start("own", {})
    runner = Runner(runs, str, lambda name: runs.status(name) or "")

    assert ended(runner, "own") == "SUCCEEDED"


def test_the_interpreter_forgets_executions_that_ended_long_ago(tmp_path: Path) -> None:
    file = tmp_path / "passing.asl.json"
    file.write_text(json.dumps({"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}))
    runs = Interpreter(file, {})
    runner = Runner(runs, str, lambda name: runs.status(name) or "")
    for number in range(KEPT + 10):
        runs.start(f"run-{number}", {})
        assert ended(runner, f"run-{number}") == "SUCCEEDED"

    assert runs.status("run-0") is None
    assert runs.status(f"run-{KEPT + 9}") == "SUCCEEDED"


def test_the_interpreter_comes_without_ec2_and_what_else_needs_that_gets_it(
    python: Callable[..., Any],
) -> None:
    script = """
import sys, fedspan.local.interpreter
print([one for one in sys.modules if one.startswith("moto.ec2")])
from moto.batch import batch_backends, models
from moto.batch.utils import JobStatus
print(batch_backends is models.batch_backends, models.JobStatus is JobStatus)
"""
    assert python(script).communicate()[0].splitlines() == ["[]", "True True"]
