"""How a machine speaks to the API: one report at a time, and what is to be made of the answer.

A report that does not arrive costs nothing: the next one says how things are then. When no answer
comes for the length of a lease, nobody may be left who could end this machine: it ends itself.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import requests
from pydantic import BaseModel, ValidationError
from requests.auth import AuthBase

M = TypeVar("M", bound=BaseModel)

API: Final = "FEDSPAN_API"
SHORTEST_RETRY_SECONDS: Final = 0.25
TIMEOUT_SECONDS: Final = (5.0, 15.0)
LEASE_SECONDS: Final = 3600.0
"""Before the first answer, which says how long."""


class Away(Exception):
    """Nobody answered, or not sensibly: keep what runs and ask again."""


class Dismissed(Exception):
    """The API knows us no more, or has put another in our place."""


class _Bearer(AuthBase):
    """As a header alone, the token would give way to what a ``.netrc`` has for the host."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Api:
    """Posts reports with the machine's token. The token goes nowhere else."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.auth = _Bearer(token)

    def post(self, path: str, report: BaseModel, answer: type[M]) -> M:
        """What the API answers to `report`.

        Raises:
            Away: it could not be reached, or failed.
            Dismissed: 401, 404, or 409 because of a stale epoch.
        """
        try:
            response = self._session.post(
                f"{self._url}{path}",
                data=report.model_dump_json(),
                headers={"Content-Type": "application/json"},
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,  # a token follows no redirect
            )
        except requests.RequestException as exc:
            raise Away(f"{path}: {exc}") from exc
        stale = response.status_code == 409 and b"StaleEpoch" in response.content
        if response.status_code in (401, 404) or stale:
            raise Dismissed(f"{path}: {response.status_code} {response.text[:300]}")
        if response.status_code != 200:
            raise Away(f"{path}: {response.status_code} {response.text[:300]}")
        try:
            return answer.model_validate_json(response.content)
        except ValidationError as exc:
            raise Away(f"{path}: the answer is no {answer.__name__}: {exc}") from exc

    def close(self) -> None:
        self._session.close()


@dataclass(slots=True)
class Pace:
    """When to report next: at once, at the next heartbeat, or sooner after a failure; and when
    to give up."""

    heartbeat_seconds: float = 2.0
    lease_seconds: float = LEASE_SECONDS
    _due: float = 0.0
    _failures: int = 0
    _answered: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        return time.monotonic() >= self._due

    def at_once(self) -> None:
        """Report without delay, unless the last attempt failed."""
        if not self._failures:
            self._due = 0.0

    def succeeded(self, heartbeat_seconds: float, lease_seconds: float) -> None:
        """A manifest came. Nothing else renews the lease: what answers 401 on the port of a
        control plane that is gone does not."""
        self.heartbeat_seconds, self._failures = heartbeat_seconds, 0
        self.lease_seconds, self._answered = lease_seconds, time.monotonic()
        self._due = self._answered + heartbeat_seconds

    def failed(self, why: Exception, log: logging.Logger) -> None:
        """Try again soon. Only the first of several failures is worth a line."""
        if not self._failures:
            log.warning("the API is away: %s", why)
        longest = min(self.heartbeat_seconds, SHORTEST_RETRY_SECONDS * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        self._due = time.monotonic() + random.uniform(0.5, 1.0) * longest

    def gave_up(self, log: logging.Logger) -> bool:
        """Whether the lease is over, which is worth a line."""
        over = time.monotonic() > self._answered + self.lease_seconds
        if over:
            log.error(
                "the API has told this machine nothing for %g s, its lease: it ends itself",
                self.lease_seconds,
            )
        return over


class Sequence:
    """Numbers of reports. They start at the clock's milliseconds, so that a process that is
    started again goes on above where it was and is not taken for its own echo."""

    def __init__(self) -> None:
        self._last = time.time_ns() // 1_000_000

    def next(self) -> int:
        self._last += 1
        return self._last


def logger(name: str, file: Path) -> logging.Logger:
    """A log of this process, in `file` and on standard error."""
    file.parent.mkdir(parents=True, exist_ok=True)
    log = logging.getLogger(f"fedspan.{name}")
    log.setLevel(logging.INFO)
    log.propagate = False
    for handler in (logging.FileHandler(file, encoding="utf-8"), logging.StreamHandler(sys.stderr)):
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
    return log


def wanted(name: str) -> str:
    """A variable of the environment this machine cannot do without."""
    try:
        return os.environ[name]
    except KeyError:
        raise SystemExit(f"{name} is not set: this program is started by Fedspan") from None
