"""Cloud Storage with Google's tokens before it: an account's, and ones cut down from these.

``POST /token`` gives a service account its token, ``POST /v1/token`` (Google's Security Token
Service) one that has a credential access boundary, which then holds for each call. Of the
language of its conditions this knows what we write.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from tests.clouds.gcp.accounts import Accounts
from tests.clouds.storage.buckets import Refused
from tests.clouds.storage.server import Answer, Call, StorageServer

READS: Final = frozenset({"get", "list"})
ROLES: Final = {
    "inRole:roles/storage.objectViewer": READS,
    "inRole:roles/storage.objectUser": READS | {"create", "delete"},
}
STRING: Final = r'"(?:[^"\\]|\\.)*"'
NAME: Final = re.compile(rf"resource\.name\.startsWith\(({STRING})\)")
LISTED: Final = re.compile(
    r"api\.getAttribute\('storage\.googleapis\.com/objectListPrefix', ''\)"
    rf"\.startsWith\(({STRING})\)"
)


class TokenServer(StorageServer):
    """`exchanged` are the boundaries in the order they were asked for."""

    def __init__(self, accounts: Accounts | None = None) -> None:
        super().__init__(accounts)
        self.exchanged: list[dict[str, Any]] = []
        self.refuse: int | None = None
        self._rules: dict[str, list[dict[str, Any]]] = {}

    def key_file(self, email: str) -> str:
        """What GOOGLE_APPLICATION_CREDENTIALS names."""
        return json.dumps(json.loads(self.key(email)) | {"token_uri": f"{self.url}/token"})

    def answer(self, call: Call) -> Answer:
        match call.verb, call.bucket, call.name:
            case "POST", "token", "":
                status, told = self.accounts.grant(dict(parse_qsl(call.body.decode())))
                return Answer(status, json.dumps(told).encode())
            case "POST", "v1", "token":
                status, told = self.exchange(dict(parse_qsl(call.body.decode())))
                return Answer(status, json.dumps(told).encode())
        rules = self._rules.get(call.headers.get("Authorization", "").removeprefix("Bearer "))
        if rules is not None and not any(_allows(rule, call) for rule in rules):
            raise Refused(403, "AccessDenied", "Access denied.", "a credential access boundary")
        reads = call.verb == "GET" and call.name and call.bucket in self.buckets
        if rules is not None and reads and call.name not in self.buckets[call.bucket].objects:
            # Who may not list all that is there is not told what there is not.
            raise Refused(403, "AccessDenied", "Access denied.", "storage.objects.list")
        return super().answer(call)

    def exchange(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """The Security Token Service's status and document."""
        known = self.accounts.tokens.get(form.get("subject_token", ""))
        if self.refuse or known is None:
            return self.refuse or 400, {"error": "invalid_grant", "error_description": f"{form}"}
        boundary = json.loads(unquote(form["options"]))
        token = f"ya29.d.{secrets.token_urlsafe(24)}"
        self.exchanged.append(boundary)
        self._rules[token] = boundary["accessBoundary"]["accessBoundaryRules"]
        self.accounts.tokens[token] = known
        # Without expires_in, as Google's.
        return 200, {"access_token": token, "token_type": "Bearer"}


def _allows(rule: dict[str, Any], call: Call) -> bool:
    bucket = f"projects/_/buckets/{call.bucket}"
    if rule["availableResource"] != f"//storage.googleapis.com/{bucket}":
        return False
    listing = call.verb == "GET" and not call.name
    verbs = {"GET": "get", "HEAD": "get", "PUT": "create", "POST": "create", "DELETE": "delete"}
    action = "list" if listing else verbs[call.verb]
    if not any(action in ROLES[role] for role in rule["availablePermissions"]):
        return False
    name = bucket if listing else f"{bucket}/objects/{call.name}"
    prefix = call.query.get("prefix", "") if listing else ""
    terms = rule["availabilityCondition"]["expression"].split(" || ")
    return any(_holds(term, name, prefix) for term in terms)


def _holds(term: str, name: str, prefix: str) -> bool:
    if found := NAME.fullmatch(term):
        return name.startswith(json.loads(found[1]))
    found = LISTED.fullmatch(term)
    assert found, term
    return prefix.startswith(json.loads(found[1]))
