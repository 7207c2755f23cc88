"""The state machine's own file, walked one transition at a time, so that a test decides what
happens between any two: a Lambda that dies before or after its work, a token that times out.

It knows the part of the language that `federated_job.asl.json` uses; waits turn a clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fedspan.local.assets import asset

DEFINITION: Final[dict[str, Any]] = json.loads(
    asset("state_machines/federated_job.asl.json").read_text()
)
STATES: Final[dict[str, dict[str, Any]]] = DEFINITION["States"]
LAMBDA_DIED: Final = "Lambda.Unknown"


class Told:
    """What runs executions: it starts walkers, and passes words on to them."""

    def __init__(self, handlers: Mapping[str, Callable[[Any, Any], Any]]) -> None:
        self.handlers = handlers
        self.walkers: dict[str, Walker] = {}

    def start(self, name: str, payload: dict[str, Any]) -> None:
        self.walkers.setdefault(name, Walker(name, self.handlers, dict(payload)))

    def alive(self, name: str) -> bool:
        return name in self.walkers and not self.walkers[name].ended

    def succeed(self, token: str, output: dict[str, Any]) -> bool:
        return self._told(token, lambda walker: walker.go_on(output))

    def fail(self, token: str, error: str, cause: str) -> bool:
        return self._told(token, lambda walker: walker.caught(error, cause))

    def heartbeat(self, token: str) -> bool:
        return self._told(token, lambda walker: None)

    def _told(self, token: str, act: Callable[[Walker], None]) -> bool:
        for walker in self.walkers.values():
            if walker.token == token:
                act(walker)
                return True
        return False


@dataclass
class Walker:
    name: str
    handlers: Mapping[str, Callable[[Any, Any], Any]]
    data: dict[str, Any]
    at: str = DEFINITION["StartAt"]
    token: str | None = None
    waiting: bool = False
    """The task's Lambda is done, and its token is waited on."""
    ended: bool = False
    tokens: int = 0
    tries: dict[int, int] = field(default_factory=dict)

    def step(self, turn: Callable[[float], None], died: str = "") -> None:
        """One transition, if nothing is waited for. With `died` a task's Lambda dies ``before`` or
        ``after`` its work; `turn` lets seconds pass."""
        state = STATES[self.at]
        match state["Type"]:
            case _ if self.waiting or self.ended:
                return
            case "Task":
                self._task(state, died)
            case "Choice":
                self._enter(self._chosen(state))
            case "Wait":
                turn(state["Seconds"] if "Seconds" in state else self._at(state["SecondsPath"]))
                self._enter(state["Next"])
            case "Succeed" | "Fail":
                self.ended = True

    def go_on(self, output: Mapping[str, Any]) -> None:
        """The present task has its result."""
        state = STATES[self.at]
        if state["ResultPath"] is not None:
            self.data[state["ResultPath"].removeprefix("$.")] = {"value": dict(output)}
        self._enter(state["Next"])

    def caught(self, error: str, cause: str) -> None:
        """The present task has failed: it is tried again, or its `Catch` says where to go on."""
        state = STATES[self.at]
        self.token, self.waiting = None, False
        for number, retry in enumerate(state["Retry"]):
            if error in retry["ErrorEquals"]:
                self.tries[number] = self.tries.get(number, 0) + 1
                if self.tries[number] <= retry["MaxAttempts"]:
                    return
        for catch in state["Catch"]:
            if error in catch["ErrorEquals"] or "States.ALL" in catch["ErrorEquals"]:
                if catch["ResultPath"] is not None:
                    told = {"Error": error, "Cause": cause}
                    self.data[catch["ResultPath"].removeprefix("$.")] = told
                self._enter(catch["Next"])
                return

    def _task(self, state: dict[str, Any], died: str) -> None:
        self.tokens += 1
        self.token = f"{self.name}/{self.tokens}"
        waits, name = state["Resource"].endswith(".waitForTaskToken"), self.at
        if died == "before":
            self.caught(LAMBDA_DIED, "")
            return
        try:
            handler = self.handlers[state["Parameters"]["FunctionName"][2:-1]]
            output = handler(self._filled(state["Parameters"]["Payload"]), None)
        except Exception as exc:
            self.caught(type(exc).__name__, json.dumps({"errorMessage": str(exc)}))
            return
        if self.at != name or self.token is None:
            return  # it was told while its Lambda ran
        if died == "after":
            self.caught(LAMBDA_DIED, "")
        elif waits:
            self.waiting = True
        else:
            self.go_on(output)

    def _enter(self, name: str) -> None:
        self.at, self.token, self.waiting, self.tries = name, None, False, {}

    def _chosen(self, state: dict[str, Any]) -> str:
        for choice in state["Choices"]:
            value = self._at(choice["Variable"])
            wanted = (
                choice["BooleanEquals"] if "BooleanEquals" in choice else choice["StringEquals"]
            )
            if value == wanted:
                return str(choice["Next"])
        return str(state["Default"])

    def _filled(self, payload: dict[str, str]) -> dict[str, Any]:
        return {key.removesuffix(".$"): self._at(path) for key, path in payload.items()}

    def _at(self, path: str) -> Any:
        if path == "$$.Task.Token":
            return self.token
        found: Any = self.data
        for part in path.removeprefix("$.").split("."):
            found = found[part]
        return found
