"""From our errors to Chalice's answers, and from its requests to our values.

Chalice middleware never sees an exception of a view, so `answered` stands under every route.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, TypeVar

from chalice import Response
from chalice.app import Request
from pydantic import BaseModel

from fedspan.access import Caller, CallerRole, allow_person, bearer
from fedspan.app import App
from fedspan.domain.spec import MAX_SPEC_BYTES
from fedspan.edge import JSON, PROBLEM, a_word, json_body, problem_document, told, whole_number
from fedspan.errors import FedspanError
from fedspan.wiring import app

M = TypeVar("M", bound=BaseModel)


def answered(view: Callable[..., Any]) -> Callable[..., Response]:
    """The view's answer as JSON; an error of our tree as a problem document."""

    @functools.wraps(view)
    def answer(*args: Any, **kwargs: Any) -> Response:
        try:
            made = view(*args, **kwargs)
        except Exception as exc:
            return problem(told(exc, by=view.__name__))
        return made if isinstance(made, Response) else json_response(made)

    return answer


def json_response(body: object, status: int = 200) -> Response:
    return Response(body, status_code=status, headers=dict(JSON))


def problem(exc: FedspanError) -> Response:
    document = json.dumps(problem_document(exc))
    return Response(document, status_code=exc.http, headers=dict(PROBLEM))


def dumped(value: BaseModel) -> dict[str, Any]:
    return value.model_dump(mode="json")


def caller(made: App, request: Request) -> Caller:
    """Who calls, by the bearer token."""
    return made.tokens.read(bearer(request.headers.get("authorization", "")))


def person(request: Request, at_least: CallerRole) -> App:
    """The app, for a person of this role or a higher one."""
    made = app()
    allow_person(caller(made, request), at_least=at_least)
    return made


def dry_run(request: Request) -> bool:
    return (request.query_params or {}).get("dry_run") == "true"


def body(model: type[M], request: Request, most: int = MAX_SPEC_BYTES) -> M:
    """The request's JSON body as a `model`."""
    return json_body(model, request.raw_body, most)


def number(request: Request, name: str, default: int, most: int) -> int:
    """A whole number of the query string, from 1 to `most`."""
    return whole_number(name, (request.query_params or {}).get(name), default, most)


def word(request: Request, name: str) -> str | None:
    """What the query string says, if it says it; never nothing."""
    return a_word(name, (request.query_params or {}).get(name))
