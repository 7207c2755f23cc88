"""What can be known of the state machine's file without running it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fedspan.errors import AggregatorLost, tree
from fedspan.local.assets import asset
from fedspan.local.functions import handlers

FILE = asset("state_machines/federated_job.asl.json")
STATES: dict[str, dict[str, Any]] = json.loads(FILE.read_text())["States"]
TASKS = {name: state for name, state in STATES.items() if state["Type"] == "Task"}
# https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
RESERVED = {"States.ALL", "States.Timeout", "States.HeartbeatTimeout"}
# https://docs.aws.amazon.com/step-functions/latest/dg/sfn-best-practices.html
LAMBDA_IS_AWAY = {
    "Lambda.Unknown",  # its time or memory was up
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
}


LOST = {name for name, kind in tree().items() if issubclass(kind, AggregatorLost)}


def targets(state: dict[str, Any]) -> list[str]:
    """Every state that may follow."""
    found = [state[key] for key in ("Next", "Default") if key in state]
    found += [choice["Next"] for choice in state.get("Choices", [])]
    return found + [catch["Next"] for catch in state.get("Catch", [])]


def reachable(start: str) -> set[str]:
    seen: set[str] = set()
    queue = [start]
    while queue:
        name = queue.pop()
        if name not in seen:
            seen.add(name)
            queue += targets(STATES[name])
    return seen


def test_every_next_exists_and_every_state_is_reached() -> None:
    start = json.loads(FILE.read_text())["StartAt"]

    assert all(name in STATES for state in STATES.values() for name in targets(state))
    assert reachable(start) == set(STATES)


def test_every_path_after_launch_leads_through_teardown() -> None:
    without = {n: s for n, s in STATES.items() if n != "TearDown"}
    queue, seen = ["Launch"], set()
    while queue:
        name = queue.pop()
        if name in seen or name not in without:
            continue
        seen.add(name)
        queue += targets(without[name])

    # A superseded execution has a successor, which tears down; `_believed` keeps machines from
    # naming that error.
    ends = {n for n in seen if STATES[n]["Type"] in ("Succeed", "Fail")}
    assert ends == {"Superseded"}


def test_nobody_is_notified_before_the_machines_are_gone() -> None:
    before = {n for n, s in STATES.items() if "Notify" in targets(s)}

    assert before == {"Gone?", "Salvage"}
    assert {n for n, s in STATES.items() if "Salvage" in targets(s)} == {"Gone?"}


def test_every_state_can_reach_an_end() -> None:
    for name in STATES:
        assert any(STATES[end]["Type"] in ("Succeed", "Fail") for end in reachable(name)), name


@pytest.mark.parametrize("name", TASKS)
def test_what_is_retried_is_a_retryable_error_of_ours(name: str) -> None:
    errors = tree()
    for retry in TASKS[name]["Retry"]:
        ours = set(retry["ErrorEquals"]) - LAMBDA_IS_AWAY

        assert ours <= errors.keys()
        assert all(errors[error].retryable for error in ours)


@pytest.mark.parametrize("name", TASKS)
def test_what_is_caught_is_an_error_of_ours_or_reserved_and_all_comes_last(name: str) -> None:
    catches = [catch["ErrorEquals"] for catch in TASKS[name]["Catch"]]
    for caught in catches:
        assert set(caught) <= tree().keys() | RESERVED
        assert "States.ALL" not in caught or caught == ["States.ALL"]

    assert catches[-1] == ["States.ALL"]
    assert [c for c in catches if c == ["States.ALL"]] == [["States.ALL"]]


def test_a_lost_heartbeat_is_caught_under_both_its_names() -> None:
    waiting = {n for n, s in TASKS.items() if s["Resource"].endswith(".waitForTaskToken")}

    assert waiting == {"AwaitApproval", "AwaitAggregator", "Train", "Rest"}
    for name in waiting - {"AwaitApproval", "Rest"}:
        catches = TASKS[name]["Catch"]
        recovered = {n for c in catches if c["Next"] == "Recover" for n in c["ErrorEquals"]}
        assert recovered == {"States.Timeout", "States.HeartbeatTimeout", *LOST}


def test_a_rest_ends_by_its_time_by_a_word_or_by_the_end_of_the_job() -> None:
    caught = {n: c["Next"] for c in TASKS["Rest"]["Catch"] for n in c["ErrorEquals"]}

    assert {n for n, s in STATES.items() if "Rest" in targets(s)} == {"Again?"}
    assert TASKS["Rest"]["Next"] == "Place"
    assert caught == {
        "States.Timeout": "Place",
        "States.HeartbeatTimeout": "Place",
        "Superseded": "Superseded",
        "States.ALL": "GiveUp",
    }


def test_nothing_is_launched_before_it_was_placed_and_where_asked_for_approved() -> None:
    before = {n for n, s in STATES.items() if "Launch" in targets(s)}

    assert before == {"Approve?", "AwaitApproval"}
    assert {n for n, s in STATES.items() if "Approve?" in targets(s)} == {"Placed?"}
    assert {n for n, s in STATES.items() if "Placed?" in targets(s)} == {"Place"}
    assert {n for n, s in STATES.items() if "AwaitApproval" in targets(s)} == {"Approve?"}
    assert targets(STATES["AwaitApproval"]) == ["Launch", "Superseded", "GiveUp"]


def test_every_task_token_has_a_time_limit_and_a_heartbeat() -> None:
    for name, state in TASKS.items():
        if state["Resource"].endswith(".waitForTaskToken"):
            assert "TimeoutSecondsPath" in state, name
            assert "HeartbeatSecondsPath" in state, name


def test_every_function_named_is_one_that_is_deployed() -> None:
    named = set(re.findall(r"\$\{(\w+)\}", FILE.read_text()))

    of_no_job = {"score_placement"}  # a question that anybody may ask
    assert named == set(handlers()) - of_no_job


def test_outputs_are_objects_and_only_lambdas_are_called() -> None:
    for name, state in TASKS.items():
        assert state["Resource"].startswith("arn:aws:states:::lambda:invoke"), name
        assert state["ResultPath"] is None or "ResultSelector" in state, name


def filled() -> str:
    return re.sub(
        r"\$\{(\w+)\}", r"arn:aws:lambda:us-east-1:000000000000:function:\1", FILE.read_text()
    )


def test_cfn_lint_finds_no_fault(tmp_path: Path) -> None:
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Resources": {
            "Job": {
                "Type": "AWS::StepFunctions::StateMachine",
                "Properties": {
                    "RoleArn": "arn:aws:iam::000000000000:role/states",
                    "Definition": json.loads(filled()),
                },
            }
        },
    }
    file = tmp_path / "template.json"
    file.write_text(json.dumps(template))
    checked = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), str(file)], capture_output=True, text=True
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_statelint_finds_no_fault_beyond_those_it_reports_falsely(tmp_path: Path) -> None:
    file = tmp_path / "machine.json"
    file.write_text(filled())
    checked = subprocess.run(
        [Path(sys.executable).with_name("statelint"), str(file)], capture_output=True, text=True
    )

    assert checked.stdout.strip() == "", checked.stdout
