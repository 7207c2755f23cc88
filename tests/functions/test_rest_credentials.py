"""The REST routes of credentials: who may call them, what they answer, what they never say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from fedspan import wiring
from fedspan.access import Caller, CallerRole
from fedspan.cli.logs import logged
from fedspan.errors import CloudUnavailable
from fedspan.local import functions
from fedspan.local.gateway import Gateway
from tests.support.clouds import (
    AWS_SECOND,
    KEY_ID,
    WORDS,
    MemoryClouds,
    aws_document,
    cloudy_world,
    gcp_file,
    openstack_document,
)
from tests.support.world import World, serving

ADMIN, OPERATOR, VIEWER = CallerRole.ADMIN, CallerRole.OPERATOR, CallerRole.VIEWER
AWS = {"name": "aws", "secret": aws_document()}
AGAIN = {"name": "aws", "secret": aws_document(AWS_SECOND)}
GCP = {"name": "gcp", "secret": {"provider": "gcp", **gcp_file()}}
SITE = {"name": "hospital", "secret": openstack_document()}


@dataclass
class Api:
    """Real HTTP on loopback; `heard` is all that was ever answered."""

    world: World
    clouds: MemoryClouds
    url: str
    heard: list[str]

    def call(
        self, method: str, path: str, body: Any = None, who: CallerRole = ADMIN
    ) -> requests.Response:
        token = self.world.app.tokens.issue(Caller(role=who), wiring.now(), timedelta(hours=1))
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body else None
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        got = requests.request(method, self.url + path, data=data, headers=headers, timeout=30)
        self.heard.append(f"{got.headers} {got.text}")
        return got


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "fedspan.log"


@pytest.fixture
def api(tmp_path: Path, log: Path) -> Iterator[Api]:
    """At the end nothing that was answered or logged holds a secret."""
    made, clouds = cloudy_world(tmp_path)
    gateway = Gateway(functions.chalice_app(), 0)
    gateway.start()
    heard: list[str] = []
    with serving(made.app), logged(log):
        yield Api(made, clouds, f"http://127.0.0.1:{gateway.port}", heard)
    gateway.stop()
    for word in WORDS:
        assert word not in "".join(heard)
        assert word not in log.read_text()


def test_a_credential_is_registered_shown_checked_rotated_deleted(api: Api, log: Path) -> None:
    made = api.call("POST", "/v1/credentials", AWS)
    listed = api.call("GET", "/v1/credentials", who=OPERATOR).json()["credentials"]

    assert made.status_code == 201
    assert listed == [made.json()] == [api.call("GET", "/v1/credentials/aws").json()]
    assert made.json()["examination"]["identity"]["account"] == "123456789012"
    assert "secret" not in made.text.lower().replace("secret_", "")
    assert api.call("POST", "/v1/credentials/aws/check", who=OPERATOR).json() == made.json()
    assert api.call("PUT", "/v1/credentials/aws", AGAIN).json()["rotated"] is not None
    assert api.call("DELETE", "/v1/credentials/aws").json() == {"deleted": "aws"}
    assert api.call("GET", "/v1/credentials/aws").status_code == 404
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(one["event"], one["name"], one["provider"]) for one in events] == [
        (f"Credential{what}", "aws", "aws")
        for what in ("Registered", "Checked", "Rotated", "Deleted")
    ]


@pytest.mark.parametrize("told", [GCP, SITE], ids=lambda one: one["name"])
def test_every_cloud_is_taken(api: Api, told: Any) -> None:
    assert api.call("POST", "/v1/credentials", told).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "body", "least"),
    [
        ("GET", "/v1/credentials", None, OPERATOR),
        ("GET", "/v1/credentials/aws", None, OPERATOR),
        ("POST", "/v1/credentials/aws/check", None, OPERATOR),
        ("POST", "/v1/credentials", SITE, ADMIN),
        ("PUT", "/v1/credentials/aws", AGAIN, ADMIN),
        ("DELETE", "/v1/credentials/aws", None, ADMIN),
    ],
)
def test_a_route_opens_from_its_role_on(
    api: Api, method: str, path: str, body: Any, least: CallerRole
) -> None:
    api.call("POST", "/v1/credentials", AWS)
    roles = [VIEWER, OPERATOR, ADMIN]
    answers = [api.call(method, path, body, who).status_code for who in roles]

    below = roles.index(least)
    assert answers[:below] == [404] * below
    assert answers[below] < 300


@pytest.mark.parametrize("role", [CallerRole.AGGREGATOR, CallerRole.SITE])
def test_no_machine_reads_credentials(api: Api, role: CallerRole) -> None:
    assert api.call("GET", "/v1/credentials", who=role).status_code == 404


def test_a_dry_run_keeps_nothing(api: Api) -> None:
    api.clouds.accounts[KEY_ID].denied = {"ec2:RunInstances"}
    made = api.call("POST", "/v1/credentials?dry_run=true", AWS)

    assert made.status_code == 200
    assert made.json()["examination"]["permissions"][0]["allowed"] is False
    assert api.call("GET", "/v1/credentials").json() == {"credentials": []}
    api.clouds.accounts[KEY_ID].denied = set()
    api.call("POST", "/v1/credentials", AWS)
    assert api.call("PUT", "/v1/credentials/aws?dry_run=true", AGAIN).status_code == 200
    assert api.call("GET", "/v1/credentials/aws").json()["rotated"] is None


def test_each_refusal_has_its_status(api: Api) -> None:
    unknown = {"name": "aws", "secret": aws_document("x" * 40)}
    answers = [api.call("POST", "/v1/credentials", unknown)]
    api.clouds.accounts[KEY_ID].denied = {"ec2:RunInstances"}
    answers.append(api.call("POST", "/v1/credentials", AWS))
    api.clouds.accounts[KEY_ID].denied = set()
    api.clouds.fail_next = CloudUnavailable("no answer")
    answers.append(api.call("POST", "/v1/credentials", AWS))
    api.call("POST", "/v1/credentials", AWS)
    answers.append(api.call("POST", "/v1/credentials", AWS))
    answers.append(api.call("PUT", "/v1/credentials/gcp", GCP))
    answers.append(api.call("PUT", "/v1/credentials/gcp", AWS))
    answers.append(api.call("POST", "/v1/credentials", {**AWS, "name": "mine"}))

    assert [(one.status_code, one.json()["type"]) for one in answers] == [
        (422, "CredentialRejected"),
        (403, "Denied"),
        (503, "CloudUnavailable"),
        (409, "Conflict"),
        (404, "NotFound"),
        (400, "InvalidRequest"),
        (400, "InvalidRequest"),
    ]
    assert "ec2:RunInstances" in answers[1].json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(AWS).encode()[:-1],
        json.dumps(AWS)[:-3].encode() + b"\xff",
        json.dumps({**AWS, "secret": AWS["secret"]["secret_access_key"]}).encode(),  # type: ignore[index]
        json.dumps({"name": "aws", "secret": {**aws_document(), "provider": WORDS[0]}}).encode(),
        json.dumps({"name": "aws", "secret": {"key": WORDS[0]}}).encode(),
        json.dumps({"name": WORDS[0], "secret": aws_document(regions=WORDS[0])}).encode(),
        json.dumps({"name": "gcp", "secret": {**gcp_file(), "private_key": WORDS[2]}}).encode(),
        json.dumps({**SITE, "secret": openstack_document(auth_url=WORDS[3])}).encode(),
        json.dumps({**SITE, "secret": openstack_document(username=None)}).encode(),
        json.dumps(WORDS).encode(),
    ],
)
def test_a_body_that_is_wrong_is_not_repeated(api: Api, body: bytes) -> None:
    answer = api.call("POST", "/v1/credentials", body)

    assert (answer.status_code, answer.json()["type"]) == (400, "InvalidRequest")


def test_a_body_that_is_too_long_is_not_read(api: Api) -> None:
    answer = api.call("POST", "/v1/credentials", b"x" * (64 * 1024 + 1))

    assert answer.status_code == 413


def test_a_policy_of_no_cloud_is_not_found(api: Api) -> None:
    answer = api.call("GET", "/v1/policies/azur", who=VIEWER)

    assert answer.status_code == 404
    assert "known: aws, gcp, openstack" in answer.json()["detail"]
