"""Operations: what Compute answers to each change, PENDING, then RUNNING, then DONE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from tests.clouds.gcp.later import Later
from tests.clouds.gcp.projects import ApiError, Project, number

Effect = Callable[[], "dict[str, Any] | None"]
"""What an operation does; an error it ends with is returned."""

LONGEST_WAIT_S: Final = 120.0


def stamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")  # noqa: TID251 - Google's own clock


def failure(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


@dataclass
class Operations:
    later: Later
    url: Callable[[], str]

    def start(
        self,
        project: Project,
        kind: str,
        target: dict[str, Any],
        zone: str | None,
        effects: tuple[Effect, Effect],
    ) -> dict[str, Any]:
        """An operation on `target`: the first of `effects` when it starts to run, the second when
        it is done."""
        scope = f"zones/{zone}" if zone else "global"
        id_ = number()
        name = f"operation-{id_}"
        home = f"{self.url()}/compute/v1/projects/{project.id}/{scope}"
        operation: dict[str, Any] = {
            "kind": "compute#operation",
            "id": id_,
            "name": name,
            "operationType": kind,
            "targetLink": target["selfLink"],
            "targetId": target["id"],
            "status": "PENDING",
            "progress": 0,
            "insertTime": stamp(),
            "selfLink": f"{home}/operations/{name}",
            **({"zone": home} if zone else {}),
        }
        project.operations[name] = operation
        first, last = effects

        def run() -> None:
            with project.changed:
                operation.update(status="RUNNING", startTime=stamp())
                _ended(operation, first())
                project.changed.notify_all()

        def finish() -> None:
            with project.changed:
                if operation["status"] != "DONE":
                    _ended(operation, last() or {})
                project.changed.notify_all()

        self.later.do(project.operation_s, run)
        self.later.do(2 * project.operation_s, finish)
        return operation

    def get(self, project: Project, name: str) -> dict[str, Any]:
        operation = project.operations.get(name)
        if operation is None:
            said = f"The resource 'projects/{project.id}/operations/{name}' was not found"
            raise ApiError(404, "notFound", said)
        return operation

    def wait(self, project: Project, name: str) -> dict[str, Any]:
        operation = self.get(project, name)
        project.until(lambda: operation["status"] == "DONE", LONGEST_WAIT_S)
        return operation


def _ended(operation: dict[str, Any], error: dict[str, Any] | None) -> None:
    """Done, with `error` if there is something in it; None: not yet."""
    if error is None:
        return
    operation.update(status="DONE", progress=100, endTime=stamp())
    if error:
        status = 503 if "EXHAUSTED" in error["code"] else 403
        told = "SERVICE UNAVAILABLE" if status == 503 else "FORBIDDEN"
        operation.update(error={"errors": [error]})
        operation.update(httpErrorStatusCode=status, httpErrorMessage=told)
