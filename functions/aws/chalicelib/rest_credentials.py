"""REST routes of credentials. Their secrets come in, and never go out: an operator sees which
there are, an administrator changes them."""

from __future__ import annotations

from typing import Any, Final

from chalice import Blueprint, Response

from chalicelib import answers
from chalicelib.answers import answered, body, dry_run, dumped, json_response
from fedspan.access import CallerRole
from fedspan.app import App
from fedspan.domain.credentials import Cloud, Registration
from fedspan.domain.parsing import nearest
from fedspan.errors import InvalidRequest, NotFound
from fedspan.providers.opening import policy_of
from fedspan.services import credentials

routes = Blueprint(__name__)
LONGEST: Final = 64 * 1024
"""Bytes of a credential; one with a chain of certificates has some 10 KB."""


def person(at_least: CallerRole) -> App:
    return answers.person(routes.current_request, at_least)


def forced() -> bool:
    return (routes.current_request.query_params or {}).get("force") == "true"


@routes.route("/v1/credentials", methods=["POST"])
@answered
def post_credential() -> Response:
    made, request = person(CallerRole.ADMIN), routes.current_request
    told, only = body(Registration, request, LONGEST), dry_run(request)
    credential = credentials.register(made, told, dry_run=only)
    return json_response(dumped(credential), 200 if only else 201)


@routes.route("/v1/credentials", methods=["GET"])
@answered
def get_credentials() -> dict[str, Any]:
    found = credentials.list_credentials(person(CallerRole.OPERATOR))
    return {"credentials": [dumped(one) for one in found]}


@routes.route("/v1/credentials/{name}", methods=["GET"])
@answered
def get_credential(name: str) -> dict[str, Any]:
    return dumped(credentials.show(person(CallerRole.OPERATOR), name))


@routes.route("/v1/credentials/{name}", methods=["PUT"])
@answered
def put_credential(name: str) -> dict[str, Any]:
    made, request = person(CallerRole.ADMIN), routes.current_request
    told = body(Registration, request, LONGEST)
    if told.name != name:
        raise InvalidRequest(f"name: the path says {name!r}, the body {told.name!r}")
    return dumped(credentials.rotate(made, told, dry_run=dry_run(request), force=forced()))


@routes.route("/v1/credentials/{name}", methods=["DELETE"])
@answered
def delete_credential(name: str) -> dict[str, Any]:
    unsaid = credentials.delete(person(CallerRole.ADMIN), name, force=forced())
    return {"deleted": name, **({"left": unsaid} if unsaid else {})}


@routes.route("/v1/credentials/{name}/check", methods=["POST"])
@answered
def check_credential(name: str) -> dict[str, Any]:
    return dumped(credentials.check(person(CallerRole.OPERATOR), name))


@routes.route("/v1/policies/{provider}", methods=["GET"])
@answered
def get_policy(provider: str) -> dict[str, Any]:
    made = person(CallerRole.VIEWER)
    if provider not in set(Cloud):
        raise NotFound(f"no policy {provider!r}{nearest(provider, Cloud)}")
    return policy_of(Cloud(provider), made.settings.owner)
