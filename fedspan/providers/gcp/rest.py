"""Calls of Compute Engine and of Resource Manager, in one project."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from fedspan.errors import InvalidRequest
from fedspan.providers.gcp.errors import Refused, of_answer
from fedspan.providers.gcp.identity import Bearer, Identity

Answer = dict[str, Any]

COMPUTE: Final = "https://compute.googleapis.com"
PROJECTS: Final = "https://cloudresourcemanager.googleapis.com"
CONNECT_S: Final = 5.0
READ_S: Final = 20.0
# One more try where it changes nothing: to connect, and to read what was lost. Waiting out what is
# throttled or down is the caller's: it has the time.
RETRY: Final = Retry(total=1, redirect=0, status=0, other=0, allowed_methods=["GET"])


class Calls:
    """`endpoint` replaces Google's hosts. A path is given by its segments, of which none can be
    more than one. What is answered is JSON; what is refused raises `Refused`, and what has no
    answer what requests and google-auth raise: `translated` knows them all."""

    def __init__(self, identity: Identity, endpoint: str | None) -> None:
        project = _path(identity.project)
        self._compute = f"{endpoint or COMPUTE}/compute/v1/projects/{project}"
        self._permissions = f"{endpoint or PROJECTS}/v1/projects/{project}:testIamPermissions"
        self._bearer = Bearer(identity.credentials)
        self._session = requests.Session()
        self._session.auth = self._bearer
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=RETRY))

    def close(self) -> None:
        self._session.close()
        self._bearer.close()

    def get(self, *path: str, **query: str) -> Answer:
        return self._called("GET", f"{self._compute}/{_path(*path)}", query)

    def post(
        self, *path: str, body: Answer | None = None, seconds: float = READ_S, **query: str
    ) -> Answer:
        return self._called("POST", f"{self._compute}/{_path(*path)}", query, body, seconds)

    def delete(self, *path: str) -> Answer:
        return self._called("DELETE", f"{self._compute}/{_path(*path)}")

    def listed(self, *path: str, fields: str, **query: str) -> Iterator[Answer]:
        """The `items` of all pages, with their `fields` only: user data stays there."""
        query["fields"] = f"nextPageToken,items({fields})"
        while True:
            page = self.get(*path, **query)
            yield from page.get("items", [])
            if not page.get("nextPageToken"):
                return
            query["pageToken"] = page["nextPageToken"]

    def aggregated(self, kind: str, fields: str, **query: str) -> Iterator[tuple[str, Answer]]:
        """Each with its zone, of all zones. When one of them cannot be asked the call fails, so
        that none of its machines is taken for gone."""
        query["fields"] = f"nextPageToken,items/*/{kind}({fields})"
        while True:
            page = self.get("aggregated", kind, **query)
            for scope, found in page.get("items", {}).items():
                for one in found.get(kind, []):
                    yield scope.removeprefix("zones/"), one
            if not page.get("nextPageToken"):
                return
            query["pageToken"] = page["nextPageToken"]

    def allowed(self, permissions: Sequence[str]) -> set[str]:
        """Those of `permissions` that the caller has on the project."""
        answer = self._called("POST", self._permissions, {}, {"permissions": list(permissions)})
        return set(answer.get("permissions", []))

    def _called(
        self,
        verb: str,
        url: str,
        query: Mapping[str, str] | None = None,
        body: Answer | None = None,
        seconds: float = READ_S,
    ) -> Answer:
        answer = self._session.request(
            verb,
            url,
            params=query,
            json=body,
            timeout=(CONNECT_S, seconds),
            allow_redirects=False,  # the token is for Google's hosts
        )
        if answer.status_code != 200:
            raise of_answer(answer)
        try:
            document: Answer = answer.json()
        except ValueError as exc:
            raise Refused(502, (), f"{verb} was answered with no JSON") from exc
        return document


def equal(field: str, value: str) -> str:
    """The filter of what has `value`, whatever is in it, in its `field`."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{field}="{escaped}"'


def _path(*segments: str) -> str:
    if {"", ".", ".."} & set(segments):  # these survive quoting, and mean another path
        raise InvalidRequest(f"gcp: {'/'.join(segments)!r} names nothing at Google")
    return "/".join(quote(one, safe="") for one in segments)
