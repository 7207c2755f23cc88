"""AWS Step Functions in this process: moto's interpreter, our state machine, our handlers.

moto's interpreter asks a boto3 client to invoke a Lambda. It is given `_Lambda` instead, which
calls the handler and answers as AWS does, error class names included; nothing else of botocore
is touched, so real AWS clients in this process stay real.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import structlog

from fedspan.errors import Unsupported
from fedspan.local.asl import (
    CallbackEndpoint,
    ExecutionAlreadyExists,
    HeartbeatEndpoint,
    InvalidToken,
    StepFunctionsParserBackend,
    TaskDoesNotExist,
    TaskTimedOut,
    callback,
    lambda_eval_utils,
)
from fedspan.local.functions import Handler

ACCOUNT: Final = "000000000000"
REGION: Final = "us-east-1"
ARN: Final = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:"
KEPT: Final = 20
NOBODY_WAITS: Final = (InvalidToken, TaskDoesNotExist, TaskTimedOut)
log = structlog.get_logger()


def arns(definition: str) -> str:
    """The definition with each ``${function}`` replaced by the ARN its handler has here."""
    return re.sub(r"\$\{(\w+)\}", lambda found: ARN + found[1], definition)


class _Endpoint(CallbackEndpoint):
    """Where a task waits to be told. moto's own loses a word that comes before the task's
    heartbeat is watched, as one does that a Lambda gives about its own token."""

    def setup_heartbeat_endpoint(self, heartbeat_seconds: int) -> HeartbeatEndpoint:
        endpoint = super().setup_heartbeat_endpoint(heartbeat_seconds)
        if self.get_outcome() is not None:
            endpoint.notify()  # type: ignore[no-untyped-call]  # moto's
        return endpoint

    def notify_heartbeat(self) -> bool:
        """A heartbeat that comes that early is none of an unknown task."""
        super().notify_heartbeat()
        return True


class Interpreter:
    """`Executions` over the state machine in the file `definition`.

    `handlers` maps a function's name to what runs it. One interpreter lives in a process.
    """

    def __init__(self, definition: Path, handlers: Mapping[str, Handler]) -> None:
        self._backend = StepFunctionsParserBackend(REGION, ACCOUNT)
        _replace(lambda_eval_utils, "boto_client_for", _Lambda(handlers).client)
        _replace(callback, "CallbackEndpoint", _Endpoint)
        machine = self._backend.create_state_machine(
            name=definition.name.partition(".")[0],
            definition=arns(definition.read_text()),
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/states",
        )
        self._arn = machine.arn
        self._starting = threading.Lock()

    def start(self, name: str, payload: dict[str, Any]) -> None:
        with self._starting:
            self._forget()
            with contextlib.suppress(ExecutionAlreadyExists):
                self._backend.start_execution(self._arn, name, json.dumps(payload))

    def _forget(self) -> None:
        """Keep the last executions that ended; the store has what came of the others. The list
        is replaced, not changed: another thread may be looking for a token in it."""
        for machine in self._backend.state_machines:
            old = [one for one in machine.executions if one.status != "RUNNING"][:-KEPT]
            machine.executions = [one for one in machine.executions if one not in old]

    def alive(self, name: str) -> bool:
        return self.status(name) == "RUNNING"

    def succeed(self, token: str, output: dict[str, Any]) -> bool:
        return _told(lambda: self._backend.send_task_success(token, json.dumps(output)))

    def fail(self, token: str, error: str, cause: str) -> bool:
        return _told(lambda: self._backend.send_task_failure(token, error, cause))

    def heartbeat(self, token: str) -> bool:
        return _told(lambda: self._backend.send_task_heartbeat(token))

    def running(self) -> list[str]:
        """The names of the executions that have not ended."""
        return [
            execution.name
            for machine in self._backend.state_machines
            for execution in machine.executions
            if execution.status == "RUNNING"
        ]

    def status(self, name: str) -> str | None:
        """``RUNNING``, ``SUCCEEDED``, ``FAILED`` ... of the execution `name`, if it was started."""
        for machine in self._backend.state_machines:
            for execution in machine.executions:
                if execution.name == name:
                    return str(execution.status)
        return None


class _Lambda:
    """As much of a boto3 Lambda client as the interpreter uses."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers

    def client(self, **_: Any) -> _Lambda:
        return self

    def invoke(self, *, FunctionName: str, Payload: bytes, **_: Any) -> dict[str, Any]:
        name = FunctionName.removeprefix(ARN)
        answer: dict[str, Any] = {"StatusCode": 200}
        try:
            document = self._handlers[name](json.loads(Payload), None)
        except Exception as exc:  # a Lambda reports whatever its handler raises
            log.warning("lambda failed", function=name, error=type(exc).__name__, cause=str(exc))
            answer["FunctionError"] = "Unhandled"
            document = {"errorType": type(exc).__name__, "errorMessage": str(exc)}
        return {**answer, "Payload": io.BytesIO(json.dumps(document).encode())}


def _replace(module: ModuleType, name: str, by: object) -> None:
    """Put ours in the place of moto's. Raises `Unsupported` when it has moved."""
    if not hasattr(module, name):
        raise Unsupported(f"moto's {module.__name__} has no {name}; install moto>=5.2.5,<5.3")
    setattr(module, name, by)


def _told(call: Callable[[], object]) -> bool:
    try:
        call()
    except NOBODY_WAITS:
        return False
    return True
