"""The test cloud as its administrator has it in hand."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from openstack.exceptions import ConflictException

from fedspan.domain.credentials import OpenStackSecret
from fedspan.domain.machines import Role
from fedspan.placement.book import Book
from fedspan.providers.base import Surroundings
from fedspan.providers.openstack.machines import OpenStackProvider
from tests.clouds.openstack import tenants

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def no_book() -> Book:
    raise AssertionError("a private cloud has no prices")


def surroundings(**changes: Any) -> Surroundings:
    usual: dict[str, Any] = {
        "owner": "fedspan",
        "images": {Role.CLIENT: "registry.invalid/client"},
        "book": no_book,
        "now": lambda: NOW,
        "allow_loopback": True,
    }
    return Surroundings(**usual | changes)


class OpenStackCloud:
    """`made` is what `plane.up` returned. Tests take the project of one of the two operators, or
    a `new_project` of their own."""

    def __init__(self, made: Mapping[str, Any]) -> None:
        self.auth_url: str = made["auth_url"]
        self.region: str = made["region"]
        self.state = Path(made["state"])
        self.urls: dict[str, str] = made["urls"]
        self.projects: dict[str, dict[str, Any]] = dict(made["projects"])
        self.admin = tenants.administrator(self.urls)
        self._operators: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in [self.admin, *self._operators.values()]:
            one.close()

    def new_project(self, name: str) -> str:
        self.projects[name] = tenants.project(self.admin, self.urls, name)
        return name

    def new_user(self, project: str, name: str, role: str = "member") -> dict[str, str]:
        """Another user of a project: username and password."""
        return tenants.member(self.admin, self.projects[project]["id"], name, role)

    def secret(self, of: str = "seoul", /, **changes: Any) -> OpenStackSecret:
        """The password of a project's operator, in the form a person registers."""
        said = {n: self.projects[of][n] for n in ("username", "password", "project")}
        said |= {"auth_url": self.auth_url, "region": self.region}
        return OpenStackSecret.model_validate(said | changes)

    def provider(self, project: str = "seoul", **changes: Any) -> OpenStackProvider:
        """The machines of a project, under its name."""
        return OpenStackProvider(project, self.secret(project), surroundings(**changes))

    def application_credential(
        self,
        project: str,
        *,
        seconds: float | None = None,
        rules: Sequence[Mapping[str, str]] | None = None,
        **changes: Any,
    ) -> OpenStackSecret:
        """A new one of the project's operator: one that ends in so many seconds, or that may make
        the calls of `rules` only."""
        asked: dict[str, Any] = {"name": f"for-a-test-{time.monotonic_ns()}"}
        if seconds is not None:
            ends = datetime.now(UTC) + timedelta(seconds=seconds)  # noqa: TID251  Keystone's clock
            asked["expires_at"] = f"{ends:%Y-%m-%dT%H:%M:%S.%f}"
        if rules is not None:
            asked["access_rules"] = list(rules)
        own = self.operator(project)
        made = own.identity.create_application_credential(user=own.current_user_id, **asked)
        said = {
            "auth_url": self.auth_url,
            "region": self.region,
            "application_credential_id": made.id,
            "application_credential_secret": made.secret,
        }
        return OpenStackSecret.model_validate(said | changes)

    @contextmanager
    def booting(self, command: Sequence[str], **environment: str) -> Iterator[None]:
        """What VMs run from now on, as ``command USER_DATA FOLDER``, instead of sleeping."""
        said = {"FEDSPAN_TEST_BOOT": shlex.join(command), **environment}
        (self.state / "vm.json").write_text(json.dumps(said))
        try:
            yield
        finally:
            (self.state / "vm.json").unlink()

    def operator(self, project: str) -> Any:
        """A connection as the project's operator."""
        if project not in self._operators:
            its = self.projects[project]
            login = {"username": its["username"], "password": its["password"]}
            made = tenants.connection({**login, "project_id": its["id"]}, self.urls)
            self._operators[project] = made
        return self._operators[project]

    def set_enabled(self, username: str, enabled: bool) -> None:
        self.admin.identity.update_user(self.admin.identity.find_user(username), is_enabled=enabled)

    def set_quota(self, project: str, **quota: int) -> None:
        """Of Nova: instances, cores, ram, key_pairs. `tenants.QUOTA` is what they begin with."""
        self.admin.compute.update_quota_set(self.projects[project]["id"], **quota)

    def set_network_quota(self, project: str, **quota: int) -> None:
        self.admin.network.update_quota(self.projects[project]["id"], **quota)

    def add_region(self, name: str, urls: Mapping[str, str]) -> None:
        """Another region in the catalogue, whose services are at `urls`."""
        self.admin.identity.create_region(id=name)
        tenants.fill_catalogue(self.admin, urls, name)

    def remove_region(self, name: str) -> None:
        for endpoint in list(self.admin.identity.endpoints(region_id=name)):
            self.admin.identity.delete_endpoint(endpoint)
        self.admin.identity.delete_region(name)

    def left(self, project: str) -> list[str]:
        """What there is of anybody's machines in a project: servers, security groups, key pairs."""
        own = self.operator(project)
        groups = own.network.security_groups(project_id=self.projects[project]["id"])
        return sorted(
            [f"server {one.name} {one.status}" for one in own.compute.servers()]
            + [f"group {one.name}" for one in groups if one.name != "default"]
            + [f"key pair {one.name}" for one in own.compute.keypairs()]
        )

    def clear(self, project: str) -> None:
        """Remove all that `left` names, and wait until it is gone."""
        own, end = self.operator(project), time.monotonic() + 60
        for server in list(own.compute.servers()):
            own.compute.delete_server(server.id)
        for pair in list(own.compute.keypairs()):
            own.compute.delete_keypair(pair.name)
        while left := self.left(project):
            assert time.monotonic() < end, left
            for group in own.network.security_groups(project_id=self.projects[project]["id"]):
                if group.name != "default":
                    with suppress(ConflictException):  # the port of a server is not gone yet
                        own.network.delete_security_group(group.id)
            time.sleep(0.1)
