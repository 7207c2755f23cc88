"""Who may pass the gateway: asked before any view runs, and again by the view.

The gateway lets in whoever has a token of ours; what the token opens, the views decide, for what is
forbidden looks like what is unknown. API Gateway remembers the answer for a token, so it names no
path.
"""

from __future__ import annotations

from typing import Any, Final

from chalice import Chalice
from chalice.app import AuthRequest, AuthResponse, ChaliceAuthorizer

from fedspan.access import bearer
from fedspan.app import App
from fedspan.errors import Unauthorized

OPEN: Final = frozenset({"/v1/health"})
"""Paths that ask for no token."""

REMEMBERED_SECONDS: Final = 60
"""So long a token that has just expired still passes the gateway; the views refuse it at once."""


def guard(app: Chalice, by: ChaliceAuthorizer) -> None:
    """Put `by` before every route there is, but the open ones: a new one is closed by default."""
    for path, methods in app.routes.items():
        for entry in methods.values():
            entry.authorizer = None if path in OPEN else by


def admitted(app: App, request: AuthRequest) -> AuthResponse | dict[str, Any]:
    """The caller's role and what binds it, in the context of the request; or a refusal that says
    why."""
    try:
        caller = app.tokens.read(bearer(request.token))
    except Unauthorized as exc:
        return refusal(request, str(exc))
    context = {key: str(value) for key, value in caller.model_dump(exclude_none=True).items()}
    return AuthResponse(routes=["*"], principal_id=caller.role, context=context)


def refusal(request: AuthRequest, why: str) -> dict[str, Any]:
    """Denied outright: Chalice's own, an empty list of what is allowed, is no valid policy.
    The gateway's answer repeats `detail` (``infra/aws/front.tf``)."""
    denied = {"Effect": "Deny", "Action": "execute-api:Invoke", "Resource": [request.method_arn]}
    return {
        "principalId": "nobody",
        "context": {"detail": why},
        "policyDocument": {"Version": "2012-10-17", "Statement": [denied]},
    }
