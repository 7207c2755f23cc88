"""AWS Step Functions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from fedspan.errors import Denied, FedspanError, ProviderError, Throttled

CODES: Final[dict[str, type[FedspanError]]] = {
    "AccessDeniedException": Denied,
    "ThrottlingException": Throttled,
    "ExecutionLimitExceeded": Throttled,
}
NOBODY_WAITS: Final = frozenset({"TaskTimedOut", "TaskDoesNotExist", "InvalidToken"})
LONGEST_CAUSE: Final = 32_768
"""Step Functions refuses a longer cause."""


class StepFunctions:
    """`client` is boto3's ``stepfunctions`` client."""

    def __init__(self, client: Any, state_machine_arn: str) -> None:
        self._client = client
        self._arn = state_machine_arn

    def start(self, name: str, payload: dict[str, Any]) -> None:
        try:
            self._client.start_execution(
                stateMachineArn=self._arn, name=name, input=json.dumps(payload)
            )
        except ClientError as exc:
            if exc.response["Error"]["Code"] != "ExecutionAlreadyExists":
                raise _translated("start", exc) from exc
        except BotoCoreError as exc:
            raise ProviderError(f"step functions start: {exc}") from exc

    def alive(self, name: str) -> bool:
        arn = self._arn.replace(":stateMachine:", ":execution:") + f":{name}"
        try:
            found = self._client.describe_execution(executionArn=arn)
        except ClientError as exc:
            if exc.response["Error"]["Code"] == "ExecutionDoesNotExist":
                return False
            raise _translated("describe", exc) from exc
        except BotoCoreError as exc:
            raise ProviderError(f"step functions describe: {exc}") from exc
        return bool(found["status"] == "RUNNING")

    def succeed(self, token: str, output: dict[str, Any]) -> bool:
        return _told(
            "succeed",
            lambda: self._client.send_task_success(taskToken=token, output=json.dumps(output)),
        )

    def fail(self, token: str, error: str, cause: str) -> bool:
        return _told(
            "fail",
            lambda: self._client.send_task_failure(
                taskToken=token, error=error, cause=cause[:LONGEST_CAUSE]
            ),
        )

    def heartbeat(self, token: str) -> bool:
        return _told("heartbeat", lambda: self._client.send_task_heartbeat(taskToken=token))


def _told(action: str, call: Callable[[], object]) -> bool:
    try:
        call()
    except ClientError as exc:
        if exc.response["Error"]["Code"] in NOBODY_WAITS:
            return False
        raise _translated(action, exc) from exc
    except BotoCoreError as exc:
        raise ProviderError(f"step functions {action}: {exc}") from exc
    return True


def _translated(action: str, exc: ClientError) -> FedspanError:
    code = exc.response["Error"]["Code"]
    return CODES.get(code, ProviderError)(f"step functions {action}: {code}")
