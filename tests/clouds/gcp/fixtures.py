"""Google Compute Engine on a loopback port."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest

from fedspan.domain.credentials import GcpSecret
from fedspan.domain.machines import Role
from fedspan.placement.book import Book
from fedspan.providers.base import Surroundings
from fedspan.providers.gcp.machines import GcpProvider
from fedspan.services.books import shipped
from tests.clouds.gcp.projects import Project
from tests.clouds.gcp.server import GcpServer

_numbers = itertools.count(1)


@dataclass
class GcpProject:
    """A project on `server`, and a key of a service account in it that may do everything until
    `state.permissions` says otherwise."""

    server: GcpServer
    state: Project
    secret: GcpSecret
    now: datetime = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
    _providers: list[GcpProvider] = field(default_factory=list)

    def around(self, **changes: Any) -> Surroundings:
        given: dict[str, Any] = {
            "owner": "tests",
            "images": {Role.AGGREGATOR: "example.org/aggregator:1"},
            "book": _book,
            "now": lambda: self.now,
            "endpoint": self.server.url,
            "allow_loopback": True,
        }
        return Surroundings(**{**given, **changes})

    def provider(self, secret: GcpSecret | None = None, **changes: Any) -> GcpProvider:
        """A new one, as a new process would make it. `changes` are of its surroundings."""
        made = GcpProvider("gcp", secret or self.secret, self.around(**changes))
        self._providers.append(made)
        return made

    def close(self) -> None:
        for one in self._providers:
            one.close()


@cache
def _book() -> Book:
    return shipped()


@pytest.fixture(scope="session")
def gcp_server() -> Iterator[GcpServer]:
    """On it nothing runs when a machine boots."""
    with GcpServer() as server:
        yield server


@pytest.fixture
def gcp_project(gcp_server: GcpServer) -> Iterator[GcpProject]:
    state = gcp_server.project(f"fedspan-test-{next(_numbers)}")
    project = GcpProject(gcp_server, state, gcp_server.key(state))
    yield project
    project.close()
    gcp_server.skew_s = 0.0
    del gcp_server.projects[state.id]
