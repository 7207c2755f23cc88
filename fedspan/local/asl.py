"""moto's interpreter of the Amazon States Language, without the rest of moto.

It takes one enumeration from ``moto.batch``, and that package imports all of EC2 with its tables:
half of the time a control plane took to start. The package is there in name alone while the
interpreter is imported; what anyone imports of it later is the real one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec


@contextmanager
def _in_name_alone(package: str) -> Iterator[None]:
    """The modules of `package` can be imported, what its ``__init__`` does is not done."""
    spec = None if package in sys.modules else find_spec(package)
    if spec is not None:
        sys.modules[package] = module_from_spec(spec)
    try:
        yield
    finally:
        if spec is not None:
            del sys.modules[package]


with _in_name_alone("moto.batch"):
    from moto.stepfunctions.exceptions import ExecutionAlreadyExists
    from moto.stepfunctions.parser.api import InvalidToken, TaskDoesNotExist, TaskTimedOut
    from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
    from moto.stepfunctions.parser.asl.eval.callback import callback
    from moto.stepfunctions.parser.asl.eval.callback.callback import (
        CallbackEndpoint,
        HeartbeatEndpoint,
    )
    from moto.stepfunctions.parser.models import StepFunctionsParserBackend

__all__ = [
    "CallbackEndpoint",
    "ExecutionAlreadyExists",
    "HeartbeatEndpoint",
    "InvalidToken",
    "StepFunctionsParserBackend",
    "TaskDoesNotExist",
    "TaskTimedOut",
    "callback",
    "lambda_eval_utils",
]
