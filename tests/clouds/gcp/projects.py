"""What the server knows of a Google project: its keys, permissions, limits, and all that was made
in it. Tests set what is public here while the server runs."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

REGIONS: Final = {
    "europe-west1": "bcd",
    "europe-west3": "abc",
    "us-central1": "abcf",
    "us-east1": "bcd",
    "us-west1": "abc",
}
"""Of Google's, some, with the letters of their zones."""

ZONES: Final = {f"{region}-{letter}": region for region, all in REGIONS.items() for letter in all}
COMPUTE: Final = "compute.googleapis.com"
PROJECTS: Final = "cloudresourcemanager.googleapis.com"

_numbers = itertools.count(4_000_000_000_000_000_001)


def number() -> str:
    """An id as Google gives every resource, for ever."""
    return str(next(_numbers))


class ApiError(Exception):
    """An answer that is no success, told as Google tells it."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        domain: str = "global",
        status: str = "",
        detail: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.domain = domain
        self.status = status
        self.detail = detail

    def document(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": str(self)}
        error["errors"] = [{"message": str(self), "domain": self.domain, "reason": self.reason}]
        if self.status:
            error["status"] = self.status
        if self.detail:
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            error["details"] = [{"@type": kind, "reason": self.detail, "domain": "googleapis.com"}]
        return {"error": error}


@dataclass
class Fault:
    """Strikes calls of `method` (``instances.insert``), after the first `skip`, `times` times.
    `drop` closes the connection instead of answering; `after`: the call was carried out first."""

    method: str
    error: ApiError
    times: int = 1
    skip: int = 0
    drop: bool = False
    after: bool = False

    def strikes(self, method: str, *, after: bool) -> bool:
        if method != self.method or after != self.after or not self.times:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Project:
    """`permissions` None: all there are. `sold_out` are zones in which the operations of inserts
    fail, with `insert_error`; `custom_networks` those of `networks` whose subnetworks people make;
    `lacking` pairs of a zone and a machine type it does not have.
    `calls` lists the methods called."""

    id: str
    permissions: frozenset[str] | None = None
    disabled: set[str] = field(default_factory=set)
    networks: set[str] = field(default_factory=lambda: {"default"})
    custom_networks: set[str] = field(default_factory=set)
    sold_out: set[str] = field(default_factory=set)
    token_error: dict[str, str] | None = None
    insert_error: str = "ZONE_RESOURCE_POOL_EXHAUSTED"
    lacking: set[tuple[str, str]] = field(default_factory=set)
    most_instances: int = 24
    most_firewalls: int = 100
    external_addresses: bool = True
    page: int = 500
    operation_s: float = 0.02
    calls: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    instances: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    firewalls: dict[str, dict[str, Any]] = field(default_factory=dict)
    operations: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def fail(
        self, method: str, code: int, reason: str, message: str = "injected", **how: Any
    ) -> None:
        """The next call of `method` is answered so; `how` is what `Fault` and `ApiError` take."""
        error = {k: how.pop(k) for k in ("domain", "status", "detail") if k in how}
        self.faults.append(Fault(method, ApiError(code, reason, message, **error), **how))

    def drop(self, method: str, *, after: bool, times: int = 1, skip: int = 0) -> None:
        """The next call of `method` loses its connection, before or `after` it is carried out."""
        error = ApiError(500, "dropped", "dropped")
        self.faults.append(Fault(method, error, times, skip, drop=True, after=after))

    def struck(self, method: str, *, after: bool) -> Fault | None:
        return next((one for one in self.faults if one.strikes(method, after=after)), None)

    def allows(self, permission: str) -> bool:
        return self.permissions is None or permission in self.permissions

    def demand(self, *permissions: str) -> None:
        for permission in permissions:
            if not self.allows(permission):
                said = f"Required '{permission}' permission for 'projects/{self.id}'"
                raise ApiError(403, "forbidden", said, status="PERMISSION_DENIED")

    def until(self, done: Any, seconds: float) -> None:
        """Wait for `done()`, which is about what has changed here."""
        end = time.monotonic() + seconds
        with self.changed:
            while not done() and time.monotonic() < end:
                self.changed.wait(max(0.0, end - time.monotonic()))
