"""The gateway's authorizer: asked before any view, for every route but the open ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from chalice.test import Client

from fedspan import wiring
from fedspan.access import Caller, CallerRole
from fedspan.local import functions
from tests.support.world import World, world

ARN = "arn:aws:execute-api:eu-west-1:123456789012:abcdef/api/GET/v1/jobs"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[World]:
    made = world(tmp_path, now=wiring.now)
    wiring.install(made.app)
    yield made
    wiring.uninstall()


def asked(header: str) -> dict[str, Any]:
    """As API Gateway asks a TOKEN authorizer."""
    event = {"type": "TOKEN", "authorizationToken": header, "methodArn": ARN}
    return dict(functions.module().authorize(event, None))


def token(served: World, caller: Caller, *, lasts: int = 60) -> str:
    return served.app.tokens.issue(caller, served.app.now(), timedelta(seconds=lasts))


def test_every_route_but_the_open_ones_asks_the_authorizer(served: World) -> None:
    routes = {
        path: {entry.authorizer and entry.authorizer.name for entry in methods.values()}
        for path, methods in functions.chalice_app().routes.items()
    }

    assert routes.pop("/v1/health") == {None}
    assert len(routes) > 15
    assert {name for names in routes.values() for name in names} == {"authorize"}


@pytest.mark.parametrize(
    "caller",
    [
        Caller(role=CallerRole.VIEWER),
        Caller(role=CallerRole.SITE, site="seoul"),
        Caller(role=CallerRole.AGGREGATOR, job="j", epoch=2),
    ],
    ids=lambda one: str(one.role),
)
def test_people_and_machines_pass_and_the_views_learn_who_they_are(
    served: World, caller: Caller
) -> None:
    said = asked(f"Bearer {token(served, caller)}")

    [statement] = said["policyDocument"]["Statement"]
    assert statement["Effect"] == "Allow"
    assert statement["Resource"] == [
        "arn:aws:execute-api:eu-west-1:123456789012:abcdef/api/*/*"
    ]  # API Gateway keeps it for every path this token is sent to
    known = {name: str(v) for name, v in caller.model_dump(exclude_none=True).items()}
    assert said["context"] == known
    assert said["principalId"] == caller.role


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer e30.e30.x", "Basic eA=="])
def test_a_token_that_proves_nothing_is_denied_and_told_why(served: World, header: str) -> None:
    said = asked(header)

    [statement] = said["policyDocument"]["Statement"]
    assert (statement["Effect"], statement["Resource"]) == ("Deny", [ARN])
    assert said["context"]["detail"].startswith(("a token is needed", "this token is not"))
    assert "e30" not in str(said)


def test_an_expired_token_is_denied(served: World) -> None:
    said = asked(f"Bearer {token(served, Caller(role=CallerRole.ADMIN), lasts=-1)}")

    assert said["policyDocument"]["Statement"][0]["Effect"] == "Deny"
    assert "expired" in said["context"]["detail"]


def test_the_view_asks_again_what_the_gateway_let_through(served: World) -> None:
    """API Gateway remembers an answer; a token may have ended since."""
    event = {
        "requestContext": {"httpMethod": "GET", "resourcePath": "/v1/jobs", "authorizer": {}},
        "headers": {"Authorization": f"Bearer {token(served, Caller(role='viewer'), lasts=-1)}"},
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "body": "",
        "isBase64Encoded": False,
    }
    answer = functions.chalice_app()(event, None)

    assert answer["statusCode"] == 401


def test_chalice_local_refuses_as_the_gateway_does(served: World) -> None:
    with Client(functions.chalice_app()) as client:
        known = {"Authorization": f"Bearer {token(served, Caller(role=CallerRole.VIEWER))}"}

        assert client.http.get("/v1/jobs").status_code == 401
        assert client.http.get("/v1/jobs", headers={"Authorization": "Bearer x"}).status_code == 403
        assert client.http.get("/v1/jobs", headers=known).status_code == 200
        assert client.http.get("/v1/health").status_code == 200
