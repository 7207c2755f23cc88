"""The least an OpenStack credential needs: the role `member`, and these calls."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from fedspan.domain.credentials import Policy

ROLE: Final = "member"


class Call(NamedTuple):
    """One kind of request. `path` is below the service's endpoint; ``{id}`` is any one segment.
    `root` is the endpoint's usual last segments, which a deployment may have below a prefix."""

    service: str
    method: str
    root: str
    path: str
    purpose: str

    @property
    def action(self) -> str:
        return f"{self.service} {self.method} {self.root}{self.path}"


CALLS: Final = (
    Call("compute", "GET", "/v2.1", "/flavors/detail", "offer machines"),
    Call("compute", "GET", "/v2.1", "/limits", "show quotas"),
    Call("compute", "GET", "/v2.1", "/servers/detail", "see the machines"),
    Call("compute", "POST", "/v2.1", "/servers", "launch a machine"),
    Call("compute", "DELETE", "/v2.1", "/servers/{id}", "end a machine"),
    Call("compute", "POST", "/v2.1", "/os-keypairs", "let an SSH key in, if one is set"),
    Call("compute", "DELETE", "/v2.1", "/os-keypairs/{id}", "remove it"),
    Call("image", "GET", "/v2", "/images", "find the image"),
    Call("network", "GET", "/v2.0", "/networks", "find the network"),
    Call("network", "GET", "/v2.0", "/security-groups", "see what is left of machines"),
    Call("network", "POST", "/v2.0", "/security-groups", "close a machine off"),
    Call("network", "DELETE", "/v2.0", "/security-groups/{id}", "remove that"),
    Call("network", "POST", "/v2.0", "/security-group-rules", "let its port be reached"),
    Call("network", "DELETE", "/v2.0", "/security-group-rules/{id}", "let nothing else in"),
    Call(
        "identity",
        "GET",
        "/v3",
        "/users/{id}/application_credentials/{id}",
        "know when an application credential ends",
    ),
)


def policy() -> Policy:
    """For an application credential: ``openstack application credential create fedspan --role
    member --access-rules <file of the value of access_rules>``. Keystone's tokens need no rule."""
    return {
        "roles": [ROLE],
        "access_rules": [
            {"service": one.service, "method": one.method, "path": _pattern(one)} for one in CALLS
        ],
    }


def allowed(rules: Iterable[Mapping[str, str]], call: Call, prefix: str) -> bool:
    """Whether access rules let a call through to an endpoint with the path `prefix`, as
    keystonemiddleware decides it."""
    path = prefix + call.path.replace("{id}", "0")
    return any(
        (one["service"], one["method"]) == (call.service, call.method)
        and _expression(one["path"]).fullmatch(path)
        for one in rules
    )


def _pattern(call: Call) -> str:
    """Access rules see the whole path; ``**`` is whatever the operator put before the version."""
    return "/**" + (call.root + call.path).removeprefix("/")


def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*|\{[^}]*\})", pattern)
    known = {"**": ".*", "*": "[^/]+"}
    coded = [
        known.get(part, "[^/]+") if number % 2 else re.escape(part)
        for number, part in enumerate(parts)
    ]
    return re.compile("".join(coded))
