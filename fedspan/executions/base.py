"""What runs state machines."""

from __future__ import annotations

from typing import Any, Protocol


class Executions(Protocol):
    def start(self, name: str, payload: dict[str, Any]) -> None:
        """Start the federated job's machine under `name`. Idempotent by name."""

    def alive(self, name: str) -> bool:
        """Whether the execution `name` was started and has not ended."""

    def succeed(self, token: str, output: dict[str, Any]) -> bool:
        """Complete the waiting task. False when nobody waits on `token` any more."""

    def fail(self, token: str, error: str, cause: str) -> bool:
        """Fail the waiting task with the class name `error`. False as in `succeed`."""

    def heartbeat(self, token: str) -> bool:
        """Renew the waiting task's heartbeat. False as in `succeed`."""
