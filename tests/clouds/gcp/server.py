"""Google Compute Engine on a loopback port: just the calls we make, answered as Google does.

It checks who calls, what is sent and what is permitted. From a script::

    with GcpServer(boot=["python", "boot.py"]) as server:
        project = server.project("a-project")
        secret = server.key(project)
"""

from __future__ import annotations

import copy
import json
import re
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

from fedspan.domain.credentials import GcpSecret
from tests.clouds.gcp.accounts import Accounts, private_key
from tests.clouds.gcp.boot import Boots
from tests.clouds.gcp.compute import Compute
from tests.clouds.gcp.later import Later
from tests.clouds.gcp.listening import Dropped, Listening
from tests.clouds.gcp.operations import Operations
from tests.clouds.gcp.projects import COMPUTE, PROJECTS, ApiError, Fault, Project, number
from tests.clouds.gcp.queries import shown

NAMES: Final = {COMPUTE: "Compute Engine API", PROJECTS: "Cloud Resource Manager API"}
_HOME: Final = r"/compute/v1/projects/(?P<project>[^/]+)"
_ZONE: Final = _HOME + r"/zones/(?P<zone>[^/]+)"
ROUTES: Final = [
    (verb, method, re.compile(path))
    for verb, method, path in (
        (
            "POST",
            "projects.testIamPermissions",
            r"/v1/projects/(?P<project>[^/:]+):testIamPermissions",
        ),
        ("GET", "regions.list", _HOME + "/regions"),
        ("GET", "machineTypes.aggregatedList", _HOME + "/aggregated/machineTypes"),
        ("GET", "instances.aggregatedList", _HOME + "/aggregated/instances"),
        ("GET", "instances.list", _ZONE + "/instances"),
        ("POST", "instances.insert", _ZONE + "/instances"),
        ("DELETE", "instances.delete", _ZONE + "/instances/(?P<name>[^/]+)"),
        ("GET", "networks.get", _HOME + "/global/networks/(?P<name>[^/]+)"),
        ("GET", "firewalls.list", _HOME + "/global/firewalls"),
        ("POST", "firewalls.insert", _HOME + "/global/firewalls"),
        ("GET", "firewalls.get", _HOME + "/global/firewalls/(?P<name>[^/]+)"),
        ("DELETE", "firewalls.delete", _HOME + "/global/firewalls/(?P<name>[^/]+)"),
        ("GET", "zoneOperations.get", _ZONE + "/operations/(?P<name>[^/]+)"),
        ("POST", "zoneOperations.wait", _ZONE + "/operations/(?P<name>[^/]+)/wait"),
        ("GET", "globalOperations.get", _HOME + "/global/operations/(?P<name>[^/]+)"),
        ("POST", "globalOperations.wait", _HOME + "/global/operations/(?P<name>[^/]+)/wait"),
    )
]
KNOWN_QUERY: Final = frozenset({"filter", "fields", "maxResults", "pageToken", "requestId", "$alt"})


class GcpServer:
    """`skew_s` is by how much its clock is ahead of ours; `exchange` answers Google's Security
    Token Service, where there is one; `boot`: see `Boots`."""

    def __init__(self, boot: list[str] | None = None) -> None:
        self.skew_s = 0.0
        self.projects: dict[str, Project] = {}
        self.exchange: Callable[[dict[str, str]], tuple[int, Any]] | None = None
        self.accounts = Accounts(now=lambda: time.time() + self.skew_s)
        self._folder = tempfile.TemporaryDirectory(prefix="gcp-")
        self.boots = Boots(boot, Path(self._folder.name))
        self._later = Later()
        self.compute = Compute(
            Operations(self._later, lambda: self.url), self.boots, lambda: self.url
        )
        self._http = Listening(self.answer)
        self._thread = threading.Thread(target=self._http.serve_forever, args=[0.01], daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def start(self) -> Self:
        self._later.start()
        self._thread.start()
        return self

    def stop(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.hang_up()
        self._http.server_close()
        self._later.stop()
        self.boots.stop_all()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        self.stop()

    def project(self, id_: str) -> Project:
        """A new project, in which everything is allowed."""
        self.projects[id_] = Project(id_)
        return self.projects[id_]

    def key(self, project: Project, account: str = "fedspan", **changes: Any) -> GcpSecret:
        """A key of a service account of `project`, which the server knows; `changes` are made
        only in what is returned."""
        email, pem = f"{account}@{project.id}.iam.gserviceaccount.com", private_key()
        key_id = f"{int(number()):040x}"
        self.accounts.add(email, project.id, key_id, pem)
        known = {
            "project_id": project.id,
            "client_email": email,
            "private_key_id": key_id,
            "private_key": pem,
            "token_uri": f"{self.url}/token",
        }
        return GcpSecret.model_validate(known | changes)

    def revoke(self, secret: GcpSecret) -> None:
        del self.accounts.by_email[secret.client_email].keys[secret.private_key_id]

    def answer(self, verb: str, target: str, header: str, body: bytes) -> tuple[int, Any]:
        """The status and document of a call. Raises `Dropped`."""
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        try:
            if (verb, parts.path) == ("POST", "/token"):
                return self._token(dict(parse_qsl(body.decode())))
            if (verb, parts.path) == ("POST", "/v1/token") and self.exchange is not None:
                return self.exchange(dict(parse_qsl(body.decode())))
            for known, method, path in ROUTES:
                found = path.fullmatch(parts.path)
                if found and known == verb:
                    return 200, self._call(method, found.groupdict(), query, header, body)
            raise ApiError(404, "notFound", f"The requested URL {parts.path} was not found.")
        except ApiError as exc:
            return exc.code, exc.document()

    def _token(self, form: dict[str, str]) -> tuple[int, Any]:
        """A fault of the token's endpoint is one of the first project that has one for it."""
        for project in self.projects.values():
            fault = project.struck("token", after=False)
            if fault is not None:
                _raise(fault)
            if project.token_error is not None:
                return 400, project.token_error
        return self.accounts.grant(form)

    def _call(
        self, method: str, path: dict[str, str], query: dict[str, str], header: str, body: bytes
    ) -> Any:
        service = PROJECTS if method.startswith("projects.") else COMPUTE
        account = self.accounts.caller(header, service)
        project = self.projects.get(path.pop("project"))
        _check_there(project, account.project, service)
        assert project is not None
        _check_enabled(project, service)
        project.calls.append(method)
        _strike(project, method, after=False)
        unknown = query.keys() - KNOWN_QUERY
        if unknown:
            raise ApiError(400, "badRequest", f"Unknown name {sorted(unknown)}: Cannot bind query")
        if method.endswith("Operations.wait"):
            project.demand(f"compute.{method.removesuffix('.wait')}.get")
            return copy.deepcopy(self.compute.operations.wait(project, path["name"]))
        with project.changed:
            answer = copy.deepcopy(self._done(method, project, path, query, body))
        _strike(project, method, after=True)
        return shown(answer, query.get("fields", ""))

    def _done(
        self,
        method: str,
        project: Project,
        path: dict[str, str],
        query: dict[str, str],
        body: bytes,
    ) -> Any:
        compute = self.compute
        match method:
            case "projects.testIamPermissions":
                wanted = _json(body).get("permissions", [])
                return {"permissions": [one for one in wanted if project.allows(one)]}
            case "regions.list":
                return compute.regions_list(project, query)
            case "machineTypes.aggregatedList":
                return compute.machine_types(project, query)
            case "instances.aggregatedList":
                return compute.instances_aggregated(project, query)
            case "instances.list":
                return compute.instances_list(project, path["zone"], query)
            case "instances.insert":
                return compute.instances_insert(project, path["zone"], query, _json(body))
            case "instances.delete":
                return compute.instances_delete(project, path["zone"], path["name"], query)
            case "networks.get":
                return compute.networks_get(project, path["name"])
            case "firewalls.list":
                return compute.firewalls_list(project, query)
            case "firewalls.insert":
                return compute.firewalls_insert(project, query, _json(body))
            case "firewalls.get":
                return compute.firewalls_get(project, path["name"])
            case "firewalls.delete":
                return compute.firewalls_delete(project, path["name"], query)
            case "zoneOperations.get":
                project.demand("compute.zoneOperations.get")
            case _:
                project.demand("compute.globalOperations.get")
        return compute.operations.get(project, path["name"])


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as exc:
        raise ApiError(400, "parseError", f"Invalid JSON payload received. {exc}") from exc
    if not isinstance(document, dict):
        raise ApiError(400, "parseError", "Invalid JSON payload received. Must be an object.")
    return document


def _check_there(project: Project | None, home: str, service: str) -> None:
    """An account has no part in projects other than its own."""
    if project is not None and project.id == home:
        return
    said, status = "The caller does not have permission", "PERMISSION_DENIED"
    if service == COMPUTE:
        said = "Required 'compute.regions.list' permission for 'projects/of-another'"
    raise ApiError(403, "forbidden", said, status=status)


def _check_enabled(project: Project, service: str) -> None:
    if service in project.disabled:
        said = (
            f"{NAMES[service]} has not been used in project {project.id} before or it is disabled. "
            f"Enable it by visiting https://console.developers.google.com/apis/api/{service}/"
            f"overview?project={project.id} then retry."
        )
        how = {"domain": "usageLimits", "status": "PERMISSION_DENIED", "detail": "SERVICE_DISABLED"}
        raise ApiError(403, "accessNotConfigured", said, **how)


def _strike(project: Project, method: str, *, after: bool) -> None:
    fault = project.struck(method, after=after)
    if fault is not None:
        _raise(fault)


def _raise(fault: Fault) -> None:
    if fault.drop:
        raise Dropped
    raise fault.error
