"""From our errors to HTTP, and from HTTP to our values.

Chalice middleware never sees an exception of a view, so `answered` stands under every route.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from chalice import Response
from chalice.app import Request
from pydantic import BaseModel

from fedspan.access import Caller
from fedspan.app import App
from fedspan.domain.parsing import parsed
from fedspan.domain.spec import MAX_SPEC_BYTES
from fedspan.errors import FedspanError, InvalidRequest, TooLarge

M = TypeVar("M", bound=BaseModel)
log = structlog.get_logger()


def answered(view: Callable[..., Any]) -> Callable[..., Response]:
    """The view's answer as JSON; an error of our tree as a problem document (RFC 9457)."""

    @functools.wraps(view)
    def answer(*args: Any, **kwargs: Any) -> Response:
        try:
            made = view(*args, **kwargs)
        except FedspanError as exc:
            return problem(exc)
        except Exception:
            log.exception("unexpected", view=view.__name__)
            return problem(FedspanError("something went wrong; the log of the function has more"))
        return made if isinstance(made, Response) else json_response(made)

    return answer


def json_response(body: object, status: int = 200) -> Response:
    return Response(body, status_code=status, headers={"Content-Type": "application/json"})


def problem(exc: FedspanError) -> Response:
    kind = type(exc)
    document: dict[str, Any] = {"type": kind.__name__, "status": kind.http, "detail": str(exc)}
    if isinstance(exc, InvalidRequest):
        document["problems"] = list(exc.problems)
    headers = {"Content-Type": "application/problem+json"}
    return Response(json.dumps(document), status_code=kind.http, headers=headers)


def dumped(value: BaseModel) -> dict[str, Any]:
    return value.model_dump(mode="json")


def caller(app: App, request: Request) -> Caller:
    """Who calls, by the bearer token."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return app.tokens.read(token.strip() if scheme.lower() == "bearer" else None)


def body(model: type[M], request: Request, most: int = MAX_SPEC_BYTES) -> M:
    """The request's JSON body as a `model`."""
    raw = request.raw_body
    if len(raw) > most:
        raise TooLarge(f"the body has {len(raw):,} bytes; at most {most:,} are taken")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest(f"the body is no JSON: {exc}") from None
    return parsed(model, data)


def number(request: Request, name: str, default: int, most: int) -> int:
    """A whole number of the query string, from 1 to `most`."""
    given = (request.query_params or {}).get(name)
    if given is None:
        return default
    if not re.fullmatch("[0-9]{1,9}", given) or not 1 <= int(given) <= most:
        raise InvalidRequest(f"{name}: a whole number from 1 to {most}, got {given!r}")
    return int(given)
